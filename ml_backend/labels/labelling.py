"""Clusters + what annotators answered → which clips to ask for, and the label of every cluster and clip.

A pure function of its inputs, computed when asked for: an edited, deleted or late annotation needs no special case.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from ml_backend.clusters import Clustering
from ml_backend.errors import ConfigError
from ml_backend.labels.across import Labelled, Others, common_basis, in_common
from ml_backend.labels.answers import (
    IMPORTED,
    REJECTED,
    REVIEW,
    TIE,
    UNLABELLED,
    Answer,
    Classes,
    answers_by_clip,
    verdict,
)
from ml_backend.labels.calibration import EXPECTED, temperature, tempered
from ml_backend.labels.discriminant import Moments, discriminant_labels
from ml_backend.labels.edges import borders_by_frames, halfway_borders
from ml_backend.labels.reliability import said_together
from ml_backend.labels.review import Painted, stretches_of
from ml_backend.labels.temporal import Prior, clip_posterior
from training import contract
from training.contract import Threshold

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

BY_STRETCH = (REVIEW, IMPORTED)
"""Sources of answers that are about whole stretches of a recording."""
NOBODY: Mapping[int, float] = MappingProxyType({})
PROPAGATIONS = ("cluster", "discriminant", "temporal")
"""A label goes to its cluster as in the paper; or a discriminant corrects that; or a model of time does besides."""


@dataclass(frozen=True)
class ParticipantLabels:
    """cluster_labels `(C,)` class indices or -1; wanted: (cluster, clip) that should have a task, answered ones
    included; said: `(n_clips,)` the class that people gave the clip itself, else -1; answered_by: who gave it, as
    numbers of Label Studio's users, by clip; ties: clips without majority;
    propagated: `(n_clips,)` class indices or -1 before any threshold; borders: `(n_clips,)` seconds from which on
    each clip labels samples; reviewed: by recording, the stretches that somebody went through, which override all
    that, and imported ones, which override all but these.

    Of the model of time, else NaN, None and 0: confidence `(n_clips,)`, the probability that the label is right;
    posterior `(n_clips, n_classes)`, that of every class; temperature, at which they are calibrated, None where
    answers are too few to tell; from_others, how much other participants' labels count in them."""

    clustering: Clustering
    cluster_labels: Ints
    wanted: list[tuple[int, int]]
    said: Ints
    answered_by: Mapping[int, tuple[int, ...]]
    ties: list[str]
    propagated: Ints
    confidence: Floats
    borders: Floats
    posterior: Floats | None = None
    temperature: float | None = None
    from_others: float = 0.0
    reviewed: Mapping[str, list[Painted[int]]] = field(default_factory=dict)
    imported: Mapping[str, list[Painted[int]]] = field(default_factory=dict)

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


Temperatures = Callable[[Clustering, Ints, Callable[[], float | None]], float | None]
"""Called with a clustering, what was said of each of its clips, and what finds its temperature; may remember it."""


def found_anew(clustering: Clustering, said: Ints, find: Callable[[], float | None]) -> float | None:  # noqa: ARG001
    """The temperature, without remembering any."""
    return find()


def participant_labels(
    clustering: Clustering,
    answers: Iterable[Answer],
    classes: Classes,
    propagation: str = "cluster",
    others: Others | None = None,
    temperatures: Temperatures = found_anew,
    everywhere: bool = False,
    known: Mapping[int, float] = NOBODY,
) -> ParticipantLabels:
    """Labels of one participant's clusters and clips, and the clips to ask for.

    A cluster is asked by its centroid clip; where that was skipped or found mixed, by the next-best clip. Answers to
    other clips, given before another clustering say, count for the clips that they cover. With `others` the model of
    time also heeds what they say; `everywhere` it also labels clusters that nobody was asked about. known: how far
    each annotator can be relied on, where that is known.
    """
    answers = list(answers)
    by_clip = answers_by_clip(clustering, answers)
    given, said = _given(clustering, by_clip, classes, known)
    wanted: list[tuple[int, int]] = []
    found: list[tuple[int, int]] = []
    for cluster in map(int, np.argsort(-clustering.sizes, kind="stable")):
        for clip in clustering.candidates(cluster):
            if clip in by_clip and by_clip[clip][0].source in BY_STRETCH:  # of what is known already nobody is asked
                found.append((cluster, int(said[clip])))
                break
            wanted.append((cluster, clip))
            if said[clip] != UNLABELLED:
                found.append((cluster, int(said[clip])))
            if given.get(clip) != REJECTED:
                break
    # Clips that were answered before another clustering are known too, those that stand for their cluster best first.
    earlier = np.flatnonzero(said != UNLABELLED)
    earlier = earlier[np.argsort(-clustering.log_density[earlier], kind="stable")]
    found += [(int(clustering.clusters[clip]), int(said[clip])) for clip in earlier]
    of_clusters = cluster_labels(len(clustering.centroids), found)
    spread, unknown = of_clusters[clustering.clusters], np.full(len(said), np.nan)
    labels = ParticipantLabels(
        clustering=clustering,
        cluster_labels=of_clusters,
        wanted=wanted,
        said=said,
        answered_by={clip: _annotators(own) for clip, own in by_clip.items() if said[clip] != UNLABELLED},
        ties=[clustering.key(clip) for clip, what in sorted(given.items()) if what == TIE],
        propagated=spread,
        confidence=unknown,
        borders=halfway_borders(clustering),
        reviewed=stretches_of(REVIEW, clustering.participant, answers, classes),
        imported=stretches_of(IMPORTED, clustering.participant, answers, classes),
    )
    features = clustering.principal_components
    if features is None or propagation == "cluster":
        return replace(labels, propagated=np.where(labels.annotated, said, spread))
    if propagation == "discriminant":
        return replace(labels, propagated=np.where(labels.annotated, said, discriminant_labels(features, spread)))
    centroids = set(clustering.centroids.tolist())
    only_reviewed = [clip for clip, own in by_clip.items() if own[0].source in BY_STRETCH and clip not in centroids]
    judged = said.copy()
    judged[only_reviewed] = UNLABELLED
    return _by_time(labels, judged, len(classes.names), others, temperatures, everywhere)


def likely_classes(labels: ParticipantLabels, clip: int, most: int = 3) -> list[int]:
    """The likeliest classes of a clip, the best first; none where nothing is known yet, or others are not to be
    trusted before the participant's own first answer."""
    if labels.posterior is None or not labels.posterior[clip].any():
        return []
    ranked = np.argsort(-labels.posterior[clip], kind="stable")[:most]
    return [int(number) for number in ranked if labels.posterior[clip, number] > 0]


def others_of(
    clusterings: Callable[[], Iterable[Clustering]],
    answers: Mapping[str, Sequence[Answer]],
    classes: Classes,
    known: Mapping[int, float] = NOBODY,
) -> Others | None:
    """What every participant's own answers say to the others; None where vectors cannot be compared.

    `clusterings` gives them one after another, twice; answers: of each participant; known as of participant_labels.
    """
    if (basis := common_basis(clusterings())) is None:
        return None
    labelled: dict[str, Labelled] = {}
    for clustering in clusterings():
        values = in_common(clustering, basis)
        own = answers.get(clustering.participant, [])
        if values is None or not own:
            continue
        _, said = _given(clustering, answers_by_clip(clustering, own), classes, known)
        if (answered := np.flatnonzero(said != UNLABELLED)).size:
            posterior = _reached(clustering, answered)[:, None] * _posterior(
                clustering, said, len(classes.names), None
            )
            labelled[clustering.participant] = Labelled(
                Moments.of(values, posterior), values[answered], said[answered]
            )
    return Others(basis, labelled)


def _annotators(answers: Iterable[Answer]) -> tuple[int, ...]:
    """Who gave these answers, each once."""
    return tuple(sorted({one.annotator for one in answers if one.annotator is not None}))


def _given(
    clustering: Clustering, answers: Mapping[int, Sequence[Answer]], classes: Classes, known: Mapping[int, float]
) -> tuple[dict[int, str | None], Ints]:
    """The verdict on each clip that was answered; and the class that people gave each clip itself, `(n_clips,)`, else
    -1."""
    choices = len(classes.names) + len(classes.mixed)
    given = {
        clip: verdict(
            [one.choice for one in own], classes, partial(said_together, own, known, choices) if known else None
        )
        for clip, own in answers.items()
    }
    index = {name: number for number, name in enumerate(classes.names)}
    said = np.full(len(clustering.clusters), UNLABELLED, dtype=np.int64)
    for clip, what in given.items():
        said[clip] = index.get(str(what), UNLABELLED)
    return given, said


def _by_time(
    labels: ParticipantLabels,
    judged: Ints,
    n_classes: int,
    others: Others | None,
    temperatures: Temperatures,
    everywhere: bool,
) -> ParticipantLabels:
    """The labels that the model of time gives, where a cluster has an answer, or `everywhere`. judged: `(n_clips,)`
    what was said of clips that tell how sure it may be: without those whose neighbours were all gone through too."""
    clustering, said = labels.clustering, labels.said
    answered = np.flatnonzero(labels.annotated)
    prior = others.prior(clustering, answered, said[answered]) if others is not None else None
    posterior = _posterior(clustering, said, n_classes, prior)

    def find() -> float | None:
        assert clustering.principal_components is not None
        place = (clustering.principal_components, clustering.clusters, clustering.begins)
        answered = np.flatnonzero(judged != UNLABELLED)
        return temperature(*place, answered, judged[answered], n_classes)

    known = temperatures(clustering, judged, find)
    probable = tempered(posterior, EXPECTED if known is None else known)
    # Where nobody has looked yet, a class that is still to be named may hide: those clips wait for their answer.
    reached = np.full(len(said), answered.size > 0) if everywhere else _reached(clustering, answered)
    propagated = np.where(reached, posterior.argmax(axis=1), UNLABELLED)
    return replace(
        labels,
        propagated=propagated,
        confidence=np.where(reached, probable.max(axis=1), np.nan),
        borders=borders_by_frames(clustering, propagated, reached[:, None] * posterior),
        posterior=probable,
        temperature=known,
        from_others=prior.weight if prior is not None else 0.0,
    )


def _posterior(clustering: Clustering, said: Ints, n_classes: int, prior: Prior | None) -> Floats:
    answered = np.flatnonzero(said != UNLABELLED)
    assert clustering.principal_components is not None
    place = (clustering.principal_components, clustering.clusters, clustering.begins)
    return clip_posterior(*place, answered, said[answered], n_classes, prior)


def _reached(clustering: Clustering, answered: Ints) -> Bools:
    """True for the clips of every cluster in which a clip is answered; `(n_clips,)`."""
    reached: Bools = np.isin(clustering.clusters, clustering.clusters[answered])
    return reached


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
