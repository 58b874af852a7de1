"""Clusters + what annotators answered → which clips to ask for, and the label of every cluster and clip.

A pure function of its inputs, computed when asked for: an edited, deleted or late annotation needs no special case.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml_backend.clusters import Clustering
from ml_backend.errors import ConfigError
from ml_backend.labels.answers import REJECTED, TIE, UNLABELLED, Answer, Classes, answers_by_clip, verdict
from ml_backend.labels.discriminant import discriminant_labels
from ml_backend.labels.temporal import clip_posterior
from training import contract
from training.contract import Threshold

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

PROPAGATIONS = ("cluster", "discriminant", "temporal")
"""A label goes to its cluster as in the paper; or a discriminant corrects that; or a model of time does besides."""


@dataclass(frozen=True)
class ParticipantLabels:
    """cluster_labels `(C,)` class indices or -1; wanted: (cluster, clip) that should have a task, answered ones
    included; said: `(n_clips,)` the class that people gave the clip itself, else -1; ties: clips without majority;
    propagated: `(n_clips,)` class indices or -1 before any threshold; confidence: `(n_clips,)` the probability
    that the model of time gives that label, NaN without it."""

    clustering: Clustering
    cluster_labels: Ints
    wanted: list[tuple[int, int]]
    said: Ints
    ties: list[str]
    propagated: Ints
    confidence: Floats

    @property
    def annotated(self) -> Bools:
        """True for every clip that people gave its label; `(n_clips,)`."""
        annotated: Bools = self.said != UNLABELLED
        return annotated

    def clip_labels(self, threshold: Threshold) -> Ints:
        """Class index of every clip, -1 where unlabelled or omitted; `(n_clips,)`."""
        return thresholded(self.propagated, self.clustering.distances, threshold, self.confidence)

    @property
    def answered(self) -> int:
        """Clusters with a label."""
        return int((self.cluster_labels != UNLABELLED).sum())


def participant_labels(
    clustering: Clustering, answers: Iterable[Answer], classes: Classes, propagation: str = "cluster"
) -> ParticipantLabels:
    """Labels of one participant's clusters and clips, and the clips to ask for.

    A cluster is asked by its centroid clip; where that was skipped or found mixed, by the next-best clip. Answers to
    other clips, given before another clustering say, count for the clips that they cover.
    """
    index = {name: number for number, name in enumerate(classes.names)}
    given = {clip: verdict(choices, classes) for clip, choices in answers_by_clip(clustering, answers).items()}
    said = np.full(len(clustering.clusters), UNLABELLED, dtype=np.int64)
    for clip, what in given.items():
        said[clip] = index.get(str(what), UNLABELLED)
    wanted: list[tuple[int, int]] = []
    found: list[tuple[int, int]] = []
    for cluster in map(int, np.argsort(-clustering.sizes, kind="stable")):
        for clip in clustering.candidates(cluster):
            wanted.append((cluster, clip))
            if said[clip] != UNLABELLED:
                found.append((cluster, int(said[clip])))
            if given.get(clip) != REJECTED:
                break
    of_clusters = cluster_labels(len(clustering.centroids), found)
    propagated, confidence = _propagated(clustering, of_clusters, said, len(classes.names), propagation)
    ties = [clustering.key(clip) for clip, what in sorted(given.items()) if what == TIE]
    return ParticipantLabels(clustering, of_clusters, wanted, said, ties, propagated, confidence)


def _propagated(
    clustering: Clustering, of_clusters: Ints, said: Ints, n_classes: int, propagation: str
) -> tuple[Ints, Floats]:
    """Label of every clip and its confidence; two `(n_clips,)`."""
    spread, unknown = of_clusters[clustering.clusters], np.full(len(said), np.nan)
    features = clustering.principal_components
    if propagation == "cluster" or features is None:
        return spread, unknown
    if propagation == "discriminant":
        return np.where(said != UNLABELLED, said, discriminant_labels(features, spread)), unknown
    answered = np.flatnonzero(said != UNLABELLED)
    if len(answered) == 0:
        return spread, unknown
    posterior = clip_posterior(features, clustering.clusters, clustering.begins, answered, said[answered], n_classes)
    # Where nobody has looked yet, a class that is still to be named may hide: those clips wait for their answer.
    reached = np.isin(clustering.clusters, clustering.clusters[answered])
    return np.where(reached, posterior.argmax(axis=1), UNLABELLED), np.where(reached, posterior.max(axis=1), np.nan)


def cluster_labels(n_clusters: int, answers: Iterable[tuple[int, int]]) -> Ints:
    """`(n_clusters,)` label index of each cluster; answers: (cluster, label), the best clip's first."""
    labels = np.full(n_clusters, UNLABELLED, dtype=np.int64)
    for cluster, label in answers:
        if labels[cluster] == UNLABELLED:
            labels[cluster] = label
    return labels


def thresholded(labels: Ints, distances: Floats, threshold: Threshold, confidence: Floats | None = None) -> Ints:
    """Label index of each clip, UNLABELLED where the threshold omits it; all `(n_clips,)` of one participant.

    ConfigError if the threshold is one of confidence and labels were not propagated by the model of time.
    """
    if (labels == UNLABELLED).all():
        return labels
    try:
        return np.where(threshold.keeps(distances, confidence), labels, UNLABELLED)
    except ValueError as error:
        raise ConfigError(str(error)) from None


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
