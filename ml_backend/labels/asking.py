"""Which clips to ask for next, where one asks in rounds until labels are good enough, and what that may bring.

docs/clustering.md has what other choices bring at equal answers: those where the model is least sure bring less.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from ml_backend.labels.labelling import ParticipantLabels

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def in_order_of_cover(
    labels: ParticipantLabels, asked: Iterable[int], clips: Iterable[int]
) -> list[tuple[int, float]]:
    """`clips` in the order in which one had best ask for them after those `asked`, each with how much it covers: by
    how much it brings all clips of the participant nearer to one that is asked for, as the sum of squared distances
    (greedy k-medoids). One that stands for many clips far from all answers comes first, whatever the clusters.

    Without principal components, the order is as given.
    """
    features, candidates = labels.clustering.principal_components, list(clips)
    if features is None or not candidates:
        return [(clip, 0.0) for clip in candidates]
    values = np.asarray(features, dtype=np.float64)
    to_candidates = _squares(values, candidates)
    before = list(asked)
    nearest = _squares(values, before).min(axis=1) if before else (values**2).sum(axis=1)
    found: list[tuple[int, float]] = []
    left = np.ones(len(candidates), dtype=bool)
    while left.any():
        gain = np.maximum(nearest[:, None] - to_candidates, 0).sum(axis=0)
        best = int(np.where(left, gain, -1.0).argmax())
        found.append((candidates[best], float(gain[best])))
        left[best] = False
        nearest = np.minimum(nearest, to_candidates[:, best])
    return found


def expected_right(labels: ParticipantLabels) -> Floats:
    """The probability that each clip's label is right, 0 of a clip without one; `(n_clips,)`."""
    return np.where(labels.propagated >= 0, np.nan_to_num(labels.confidence), 0.0)


def could_bring(labels: ParticipantLabels) -> Floats:
    """How many clips more would be right if all of a cluster's clips were, `(C,)`: the most that an answer brings."""
    clustering = labels.clustering
    return np.asarray(
        np.bincount(clustering.clusters, 1 - expected_right(labels), len(clustering.centroids)), np.float64
    )


def _squares(values: Floats, clips: list[int]) -> Floats:
    """Squared distances of all clips to some, `(n_clips, n)`."""
    lengths = (values**2).sum(axis=1)
    return np.asarray(np.maximum(lengths[:, None] + lengths[clips] - 2 * values @ values[clips].T, 0))
