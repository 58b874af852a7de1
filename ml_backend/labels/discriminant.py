"""Labels by a discriminant: what the answers to a few clips say of all clips, not only of their clusters.

Clusters are not pure; but the labels that they spread are mostly right, and a linear discriminant fitted on all of
them, in the directions that matter, puts many of the wrong ones right (docs/clustering.md). No further answers are
asked for.
"""

import warnings

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from ml_backend.labels.propagation import UNLABELLED

Ints = npt.NDArray[np.int64]

DIMENSIONS = 50
"""With as many dimensions as clips a discriminant would only repeat what it was told."""
SHRINKAGE = 0.3


def reduced(vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """The first 50 principal components of `vectors (n_clips, dim)`, fewer where there are fewer; `(n_clips, m)`."""
    dimensions = min(DIMENSIONS, *vectors.shape)
    components: npt.NDArray[np.float32] = PCA(dimensions, svd_solver="randomized", random_state=0).fit_transform(
        np.asarray(vectors, dtype=np.float32)
    )
    return components


def discriminant_labels(components: npt.NDArray[np.floating], labels: Ints) -> Ints:
    """The labels `(n_clips,)` that a discriminant gives, fitted on `components (n_clips, m)` with `labels`.

    Clips that are UNLABELLED stay so; with a single class, or no more clips than classes, nothing changes.
    """
    known = labels != UNLABELLED
    classes = len(np.unique(labels[known]))
    if classes < 2 or known.sum() <= classes:
        return labels
    discriminant = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE)
    result = labels.copy()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Only one sample available")  # a class with one clip has no spread
        discriminant.fit(components[known], labels[known])
    result[known] = discriminant.predict(components[known])
    return result
