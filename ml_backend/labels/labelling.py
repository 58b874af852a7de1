"""Clusters + what annotators answered → which clips to ask for, and the label of every cluster and clip.

A pure function of its inputs, computed when asked for: an edited, deleted or late annotation needs no special case.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml_backend.clusters import Clustering
from ml_backend.errors import ConfigError
from ml_backend.labels.answers import REJECTED, TIE, UNLABELLED, Classes, verdict
from ml_backend.labels.discriminant import discriminant_labels
from training import contract
from training.contract import Threshold

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PROPAGATIONS = ("cluster", "discriminant")
"""A label goes to its cluster as in the paper, or a discriminant corrects what clusters spread."""


@dataclass(frozen=True)
class ParticipantLabels:
    """cluster_labels `(C,)` class indices or -1; wanted: (cluster, clip) that should have a task, answered ones
    included; annotated: `(n_clips,)` True where its own answer labels it; ties: clips without majority; propagated:
    `(n_clips,)` class indices or -1 before any threshold."""

    clustering: Clustering
    cluster_labels: Ints
    wanted: list[tuple[int, int]]
    annotated: npt.NDArray[np.bool_]
    ties: list[str]
    propagated: Ints

    def clip_labels(self, threshold: Threshold) -> Ints:
        """Class index of every clip, -1 where unlabelled or omitted; `(n_clips,)`."""
        return thresholded(self.propagated, self.clustering.distances, threshold)

    @property
    def answered(self) -> int:
        """Clusters with a label."""
        return int((self.cluster_labels != UNLABELLED).sum())


def participant_labels(
    clustering: Clustering,
    answers: dict[str, list[str | None]],
    classes: Classes,
    propagation: str = "cluster",
) -> ParticipantLabels:
    """Labels of one participant's clusters, and the clips to ask for.

    A cluster is asked by its centroid clip; where that was skipped or found mixed, by the next-best clip.
    """
    index = {name: number for number, name in enumerate(classes.names)}
    found: list[tuple[int, int]] = []
    wanted: list[tuple[int, int]] = []
    ties: list[str] = []
    annotated = np.zeros(len(clustering.clusters), dtype=bool)
    for cluster in np.argsort(-clustering.sizes, kind="stable"):
        for clip in clustering.candidates(int(cluster)):
            wanted.append((int(cluster), clip))
            said = verdict(answers.get(clustering.key(clip), []), classes)
            if said == TIE:
                ties.append(clustering.key(clip))
            elif said in index:
                found.append((int(cluster), index[said]))
                annotated[clip] = True
            if said != REJECTED:
                break
    of_clusters = cluster_labels(len(clustering.centroids), found)
    propagated = of_clusters[clustering.clusters]
    if propagation == "discriminant" and clustering.principal_components is not None:
        corrected = discriminant_labels(clustering.principal_components, propagated)
        propagated = np.where(annotated, propagated, corrected)
    return ParticipantLabels(clustering, of_clusters, wanted, annotated, ties, propagated)


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


def parse_threshold(text: str | float | None) -> Threshold:
    """As `training.contract.parse_threshold`; ConfigError quotes what is no threshold."""
    try:
        return contract.parse_threshold(text)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def check_propagation(propagation: str) -> None:
    """ValueError if there is no such way to propagate."""
    if propagation not in PROPAGATIONS:
        raise ValueError(f"'{propagation}' is not known; known are {', '.join(PROPAGATIONS)}")
