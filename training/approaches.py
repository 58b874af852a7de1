"""The approaches of the paper's Table 3: which samples to train on, with which labels and which loss.

All are derived from one export: it holds the cluster, the distance to the centroid clip, the source and the truth.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.contract import Threshold, parse_threshold
from training.dataset import UNLABELLED, Dataset, Participant
from training.errors import TrainingError

Ints = npt.NDArray[np.int64]

APPROACHES = ("full", "few-shot-ce", "random-ce", "weak-ce", "weak-phgce")


@dataclass(frozen=True)
class Approach:
    """One row of the table: an approach and, for the weak ones, its threshold (`none`, `6` or `90%`)."""

    name: str
    threshold: str = "none"

    def __str__(self) -> str:
        return self.name if self.threshold == "none" else f"{self.name} (T = {self.threshold})"

    @property
    def loss(self) -> str:
        """Name of its loss; fully supervised training uses cross-entropy."""
        return "phgce" if self.name.endswith("phgce") else "ce"


def parse_approaches(names: list[str], thresholds: list[str]) -> list[Approach]:
    """Every approach, the weak ones with every threshold; TrainingError quotes what is wrong."""
    approaches = []
    for name in names:
        if name not in APPROACHES:
            raise TrainingError(f"approach '{name}' is not known; known are {', '.join(APPROACHES)}")
        for threshold in thresholds if name.startswith("weak") else ["none"]:
            _threshold(threshold)
            approaches.append(Approach(name, threshold))
    return list(dict.fromkeys(approaches))


def training_labels(
    dataset: Dataset, participant: Participant, approach: Approach, seed: int, as_published: bool = False
) -> Ints:
    """Class index of every sample to train on, -1 for the others; `(n,)`.

    `as_published`: randomly drawn clips get their cluster's label, as in the published code, not their own truth.
    """
    if approach.name == "full":
        return ground_truth(dataset, participant)
    if participant.weak is None:
        raise TrainingError(f"{dataset.path}: holds no weak labels, so only the approach 'full' can train on it")
    if approach.name.startswith("weak"):
        return _weak_labels(dataset, participant, approach.threshold)
    assert participant.annotated is not None
    if approach.name == "few-shot-ce":
        return np.where(participant.annotated, participant.weak, UNLABELLED)
    labels = _random_labels(dataset, participant, participant.annotated, seed)
    if as_published:
        return np.where(labels != UNLABELLED, _weak_labels(dataset, participant, "none"), UNLABELLED)
    return labels


def ground_truth(dataset: Dataset, participant: Participant) -> Ints:
    """Ground truth of every sample, -1 where unknown; TrainingError if the participant has none."""
    if participant.truth is None or (participant.truth == UNLABELLED).all():
        raise TrainingError(
            f"{dataset.path}: participant '{participant.name}' has no ground truth; evaluation and the approaches "
            "'full' and 'random-ce' need it"
        )
    return participant.truth


def _weak_labels(dataset: Dataset, participant: Participant, threshold: str) -> Ints:
    """Labels anew from what was propagated and the distances, so that any threshold can follow from one export."""
    assert participant.weak is not None
    assert participant.distance is not None
    assert participant.cluster is not None
    wanted = _threshold(threshold)
    inside = participant.cluster >= 0
    labels = participant.propagated.copy() if participant.propagated is not None else _cluster_labels(participant)
    if wanted.confidence is not None or wanted.distance is not None:
        try:
            labels = np.where(wanted.keeps(participant.distance, participant.confidence), labels, UNLABELLED)
        except ValueError as error:
            raise TrainingError(f"{dataset.path}: {error}") from None
    if wanted.share is not None:
        clip = _clips(dataset, participant)
        first = np.unique(clip[inside], return_index=True)[1]
        of_clips, numbers = participant.distance[inside][first], clip[inside][first]
        if participant.clip_distances is not None:  # some clips label no sample, and count all the same
            of_clips = participant.clip_distances
            numbers = np.arange(len(of_clips), dtype=numbers.dtype)
        labels[np.isin(clip, numbers[~wanted.keeps(of_clips)])] = UNLABELLED
    return labels if participant.reviewed is None else np.where(participant.reviewed, participant.weak, labels)


def _cluster_labels(participant: Participant) -> Ints:
    """The label of each sample's cluster, also where the export's threshold omits it."""
    assert participant.weak is not None
    assert participant.cluster is not None
    inside = participant.cluster >= 0
    label_of_cluster = np.full(participant.cluster.max() + 1, UNLABELLED)
    labelled = inside & (participant.weak != UNLABELLED)
    label_of_cluster[participant.cluster[labelled]] = participant.weak[labelled]
    return np.where(inside, label_of_cluster[np.maximum(participant.cluster, 0)], UNLABELLED)


def _clips(dataset: Dataset, participant: Participant) -> Ints:
    """Number of the clip that labels each sample, `(n,)`.

    That of its stride; but the last clip's label fills up to the end of the recording, so that strides
    there, too short for a clip, are those of the clip before.
    """
    if dataset.names_clips:
        return participant.clip
    assert participant.distance is not None
    assert participant.cluster is not None
    run = np.where(participant.cluster >= 0, participant.segment, -1)
    ends = np.append(np.flatnonzero(np.diff(run)) + 1, len(run))
    remaining = np.repeat(ends, np.diff(ends, prepend=0)) - np.arange(len(run))
    too_short = remaining[1:] < round(dataset.clip_seconds * dataset.sampling_rate)
    alike = (np.diff(participant.cluster) == 0) & (participant.distance[1:] == participant.distance[:-1])
    change = (np.diff(participant.clip) != 0) & ~(too_short & alike)
    return np.concatenate([[0], np.cumsum(change)])


def _random_labels(dataset: Dataset, participant: Participant, annotated: npt.NDArray[np.bool_], seed: int) -> Ints:
    """As many randomly drawn clips as were annotated, each labelled as its last sample is."""
    truth = ground_truth(dataset, participant)
    if not dataset.paper_exact:
        return _random_whole_clips(dataset, participant, truth, annotated, seed)
    clips = np.unique(participant.clip[participant.truth != UNLABELLED])
    wanted = len(np.unique(participant.clip[annotated]))
    drawn = np.random.default_rng(seed).choice(clips, min(wanted, len(clips)), replace=False)
    labels = np.full(len(truth), UNLABELLED)
    length = round(dataset.clip_seconds * dataset.sampling_rate)
    for clip in drawn:
        own = np.flatnonzero(participant.clip == clip)
        within = np.flatnonzero(participant.segment[own[0] : own[0] + length] == participant.segment[own[0]])
        labels[own] = truth[own[0] + within[-1]]
    return labels


def _random_whole_clips(
    dataset: Dataset, participant: Participant, truth: Ints, annotated: npt.NDArray[np.bool_], seed: int
) -> Ints:
    """As many whole clips as the annotated samples fill, drawn at random, each labelled as most of its samples
    are."""
    clips = np.unique(participant.clip[(truth != UNLABELLED) & (participant.clip >= 0)])
    length = round(dataset.clip_seconds * dataset.sampling_rate)
    wanted = min(len(clips), round(annotated.sum() / length))
    labels = np.full(len(truth), UNLABELLED)
    for clip in np.random.default_rng(seed).choice(clips, wanted, replace=False):
        own = np.flatnonzero(participant.clip == clip)
        first = max(0, own[len(own) // 2] - length // 2)
        span = np.arange(first, min(first + length, len(truth)))
        span = span[(participant.segment[span] == participant.segment[own[0]]) & (truth[span] != UNLABELLED)]
        if len(span):
            labels[span] = np.bincount(truth[span]).argmax()
    return labels


def _threshold(text: str) -> Threshold:
    """TrainingError quotes what is no threshold."""
    try:
        return parse_threshold(text)
    except ValueError as error:
        raise TrainingError(str(error)) from None
