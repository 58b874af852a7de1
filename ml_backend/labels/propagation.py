"""Clusters + annotations + threshold → the label of every clip. Pure numpy, computed when asked for."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ml_backend.errors import ConfigError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

UNLABELLED = -1

Propagation = Literal["cluster", "discriminant"]
"""A label goes to its cluster, or a discriminant corrects what clusters spread."""


@dataclass(frozen=True)
class Threshold:
    """Which clips keep their label: all, those nearer than `distance` (strict, SPEC 3), or the nearest `share`."""

    distance: float | None = None
    share: float | None = None

    def __str__(self) -> str:
        if self.share is not None:
            return f"{self.share:.0%}"
        return "none" if self.distance is None else f"{self.distance:g}"

    def keeps(self, distances: Floats) -> npt.NDArray[np.bool_]:
        """True for every clip that keeps its label; distances: `(n_clips,)` of one participant."""
        if self.distance is not None:
            return distances < self.distance
        kept = np.ones(len(distances), dtype=bool)
        if self.share is not None:
            kept[np.argsort(distances, kind="stable")[int(np.ceil(self.share * len(distances))) :]] = False
        return kept


def parse_threshold(text: str | float | None) -> Threshold:
    """`None`, "" or "none": keep all; "6": distances below 6; "90%": the nearest 90 % of the clips."""
    text = "none" if text is None else str(text).strip().lower()
    if text in ("", "none"):
        return Threshold()
    number = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(%?)", text)
    if number and number[2] and 0 < float(number[1]) <= 100:
        return Threshold(share=float(number[1]) / 100)
    if number and not number[2] and float(number[1]) > 0:
        return Threshold(distance=float(number[1]))
    raise ConfigError(
        f"threshold: '{text}' is neither a distance above 0 (such as 6) nor a share of clips (such as 90%)"
    )


def majority(answers: Sequence[str]) -> str | None:
    """The label most annotators of one clip gave; None on a tie or without an answer."""
    ranked = Counter(answers).most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def cluster_labels(n_clusters: int, answers: Iterable[tuple[int, int]]) -> Ints:
    """`(n_clusters,)` label index of each cluster; answers: (cluster, label), the best clip's first."""
    labels = np.full(n_clusters, UNLABELLED, dtype=np.int64)
    for cluster, label in answers:
        if labels[cluster] == UNLABELLED:
            labels[cluster] = label
    return labels


def thresholded(labels: Ints, distances: Floats, threshold: Threshold) -> Ints:
    """Label index of each clip, UNLABELLED where the threshold omits it; all `(n_clips,)` of one participant."""
    return np.where(threshold.keeps(distances), labels, UNLABELLED)


def macro_recall(truth: Ints, predicted: Ints) -> float:
    """Mean over the classes that occur of their recall, on the samples that are labelled (SPEC 4); NaN for none."""
    kept = predicted != UNLABELLED
    truth, predicted = truth[kept], predicted[kept]
    recalls = [float((predicted[truth == c] == c).mean()) for c in np.unique(truth)]
    return float(np.mean(recalls)) if recalls else float("nan")
