"""Labels by a discriminant: what the answers to a few clips say of all clips, not only of their clusters.

Clusters are not pure; but the labels that they spread are mostly right, and a linear discriminant fitted on all of
them, in the directions that matter, puts many of the wrong ones right (docs/clustering.md). No further answers are
asked for.
"""

import warnings

import numpy as np
import numpy.typing as npt
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from ml_backend.labels.answers import UNLABELLED

Ints = npt.NDArray[np.int64]

SHRINKAGE = 0.3


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
