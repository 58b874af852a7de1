"""A linear discriminant, and labels by it: what the answers to a few clips say of all clips, not only of their
clusters.

Clusters are not pure; but the labels that they spread are mostly right, and a linear discriminant fitted on all of
them, in the directions that matter, puts many of the wrong ones right (docs/clustering.md). No further answers are
asked for.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from ml_backend.labels.answers import UNLABELLED

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SHRINKAGE = 0.3
"""Of the discriminant's covariance towards a sphere."""


def discriminant_labels(components: npt.NDArray[np.floating], labels: Ints) -> Ints:
    """The labels `(n_clips,)` that a discriminant gives, fitted on `components (n_clips, m)` with `labels`.

    Clips that are UNLABELLED stay so; with a single class, or no more clips than classes, nothing changes.
    """
    known = labels != UNLABELLED
    classes = len(np.unique(labels[known]))
    if classes < 2 or known.sum() <= classes:
        return labels
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis  # takes a second and 60 MB

    discriminant = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE)
    result = labels.copy()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Only one sample available")  # a class with one clip has no spread
        discriminant.fit(components[known], labels[known])
    result[known] = discriminant.predict(components[known])
    return result


@dataclass(frozen=True)
class Moments:
    """All that a discriminant needs to know of weighted clips: counts `(K,)`, sums `(K, m)` of the clips' values by
    class, scatter `(m, m)` about the origin. Those of several participants add up."""

    counts: Floats
    sums: Floats
    scatter: Floats

    @classmethod
    def of(cls, values: Floats, weights: Floats, gram: Floats | None = None) -> "Moments":
        """Of `values (n, m)` that count `weights (n, K)`; gram: `values.T @ values` if it is at hand."""
        shares = weights.sum(axis=1)
        if gram is None:
            return cls(weights.sum(axis=0), weights.T @ values, (values * shares[:, None]).T @ values)
        other = np.flatnonzero(shares != 1)  # most clips count once
        odd = values[other]
        return cls(weights.sum(axis=0), weights.T @ values, gram + (odd * (shares[other] - 1)[:, None]).T @ odd)

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.counts + other.counts, self.sums + other.sums, self.scatter + other.scatter)

    def __sub__(self, other: "Moments") -> "Moments":
        return Moments(self.counts - other.counts, self.sums - other.sums, self.scatter - other.scatter)

    def discriminant(self) -> tuple[Floats, Floats]:
        """Directions `(m, K)` and offsets `(K,)`: `values @ directions + offsets` are the classes' log likelihoods up
        to a constant of each clip; -inf for a class that has no clip."""
        counts = np.maximum(self.counts, 1e-12)
        means = self.sums / counts[:, None]
        covariance = (self.scatter - (means * self.counts[:, None]).T @ means) / max(self.counts.sum(), 1e-12)
        dimensions = len(covariance)
        sphere = max(float(np.trace(covariance)) / dimensions, 1e-9)
        covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * sphere * np.eye(dimensions)
        directions = cho_solve(cho_factor(covariance), means.T)
        offsets = -0.5 * (means.T * directions).sum(axis=0)
        return directions, np.where(self.counts > 1e-9, offsets, -np.inf)
