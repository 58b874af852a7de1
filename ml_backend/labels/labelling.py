"""Clusters + what annotators answered → which clips to ask for, and the label of every cluster and clip.

A pure function of its inputs, computed when asked for: an edited, deleted or late annotation needs no special case.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml_backend.labels.discriminant import discriminant_labels
from ml_backend.labels.propagation import UNLABELLED, Threshold, cluster_labels, majority, thresholded
from ml_backend.labelstudio.config import LabelConfig
from ml_backend.labelstudio.tasks import clip_key

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

REJECTED, TIE = "rejected", "tie"


@dataclass(frozen=True)
class Clustering:
    """One participant's clips and clusters. Per clip `(n_clips,)`: index of its recording, start in seconds, cluster,
    distance to the centroid clip, log density in the cluster; `centroids (C,)` clip indices, -1 for empty;
    `components (n_clips, m)` of the vectors, for a discriminant."""

    participant: str
    recordings: tuple[str, ...]
    durations: Floats
    recording_of_clip: Ints
    starts: Floats
    clusters: Ints
    distances: Floats
    log_density: Floats
    centroids: Ints
    clip_seconds: float
    stride_seconds: float
    components: npt.NDArray[np.floating] | None = None

    @property
    def sizes(self) -> Ints:
        """Clips in each cluster `(C,)`."""
        return np.bincount(self.clusters, minlength=len(self.centroids))

    def key(self, clip: int) -> str:
        """The clip's key in tasks."""
        start = float(self.starts[clip])
        return clip_key(self.recordings[self.recording_of_clip[clip]], start, start + self.clip_seconds)

    def candidates(self, cluster: int) -> Iterator[int]:
        """The cluster's clips in the order in which they are offered: the centroid clip, then the densest that do not
        overlap an offered one, since overlapping clips show the same."""
        own = np.flatnonzero(self.clusters == cluster)
        ranked = own[np.argsort(-self.log_density[own], kind="stable")]
        offered: list[int] = []
        for clip in [int(self.centroids[cluster]), *map(int, ranked)] if len(own) else []:
            if not any(self._overlap(clip, other) for other in offered):
                offered.append(clip)
                yield clip

    def _overlap(self, one: int, other: int) -> bool:
        same = self.recording_of_clip[one] == self.recording_of_clip[other]
        return bool(same and abs(self.starts[one] - self.starts[other]) < self.clip_seconds - 1e-6)


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


def answers_by_clip(
    rows: Iterable[tuple[str, str, str | None, bool]],
) -> dict[str, dict[str, list[str | None]]]:
    """participant → clip key → choices, None for a skipped or empty answer; from `Store.answers`."""
    answers: dict[str, dict[str, list[str | None]]] = defaultdict(lambda: defaultdict(list))
    for participant, clip, choice, skipped in rows:
        answers[participant][clip].append(None if skipped else choice)
    return answers


def participant_labels(
    clustering: Clustering,
    answers: dict[str, list[str | None]],
    config: LabelConfig,
    corrected: bool = False,
) -> ParticipantLabels:
    """Labels of one participant's clusters, and the clips to ask for.

    A cluster is asked by its centroid clip; where that was skipped or found mixed, by the next-best clip. With
    `corrected` a discriminant corrects what clusters spread.
    """
    index = {name: number for number, name in enumerate(config.classes)}
    found: list[tuple[int, int]] = []
    wanted: list[tuple[int, int]] = []
    ties: list[str] = []
    annotated = np.zeros(len(clustering.clusters), dtype=bool)
    for cluster in np.argsort(-clustering.sizes, kind="stable"):
        for clip in clustering.candidates(int(cluster)):
            wanted.append((int(cluster), clip))
            verdict = _verdict(answers.get(clustering.key(clip), []), config)
            if verdict == TIE:
                ties.append(clustering.key(clip))
            elif verdict in index:
                found.append((int(cluster), index[verdict]))
                annotated[clip] = True
            if verdict != REJECTED:
                break
    of_clusters = cluster_labels(len(clustering.centroids), found)
    propagated = of_clusters[clustering.clusters]
    if corrected and clustering.components is not None:
        propagated = np.where(annotated, propagated, discriminant_labels(clustering.components, propagated))
    return ParticipantLabels(clustering, of_clusters, wanted, annotated, ties, propagated)


def _verdict(choices: list[str | None], config: LabelConfig) -> str | None:
    """What annotators say of one clip: a class, REJECTED (skipped or mixed), TIE, or None while unanswered."""
    given = [choice for choice in choices if choice is not None]
    if not given:
        return REJECTED if choices else None
    winner = majority(given)
    if winner is None:
        return TIE
    # A class that is no longer in the config cannot be exported: its clip is asked again only by a person's edit.
    return REJECTED if winner in config.mixed else winner
