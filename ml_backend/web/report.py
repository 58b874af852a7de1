"""What the status page and the demo's report show of a project: job, labelling, coverage and timelines."""

import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ml_backend.clusters import participant_folder, truth_of
from ml_backend.errors import WeakHARError
from ml_backend.jobs import (
    AuditFound,
    Project,
    Standing,
    Store,
    Unused,
    clusters_folder,
    news_of_classes,
    parameters_in_force,
    project_answers,
    project_audit,
    project_config,
    project_counts,
    project_labels,
    project_parameters,
    project_standing,
    unused_answers,
)
from ml_backend.labels import (
    IMPORTED,
    REVIEW,
    UNLABELLED,
    Answer,
    LabelledStretch,
    ParticipantLabels,
    Threshold,
    agreement_of,
    labelled_stretches,
    parse_threshold,
    reliabilities,
    work_of,
)
from ml_backend.labelstudio import class_colours
from ml_backend.recordings import Interval
from ml_backend.settings import Settings

PLOT_WIDTH, PLOT_HEIGHT = 320, 120
BY_HAND = "14 to 25"
"""Minutes that it takes to label 10 minutes of recording by hand, on WEAR and Wetlab, as the paper has it."""


A_PAGE = 20
"""Participants on a page."""
Stretch = tuple[float, float, str, float, float]
Labels = weakref.ref[ParticipantLabels]
_stretches: dict[tuple[Path, str], tuple[Labels, tuple[str, bool], list[LabelledStretch]]] = {}


def last_page(participants: int) -> int:
    """The number of the last page, of so many participants."""
    return max(1, -(-participants // A_PAGE))


@dataclass(frozen=True)
class Part:
    """Which participants are shown: those whose names hold `find`, and of these a page; number 0: all."""

    number: int = 1
    find: str = ""

    def of(self, participants: Sequence[str]) -> "tuple[list[int], Paging]":
        """Their numbers among all, and where they are."""
        found = [number for number, name in enumerate(participants) if self.find.casefold() in name.casefold()]
        last = last_page(len(found)) if self.number else 1
        page = min(self.number, last)
        shown = found[(page - 1) * A_PAGE : page * A_PAGE] if page else found
        return shown, Paging(page, last, len(found), len(participants), self.find)


@dataclass(frozen=True)
class Paging:
    """The page `number` of `last`, of the participants `found` among `total`, whose names hold `find`."""

    number: int = 1
    last: int = 1
    found: int = 0
    total: int = 0
    find: str = ""
    page_size: int = A_PAGE


@dataclass(frozen=True)
class Strip:
    """One recording's timeline: (start, width in percent, class, seconds from, seconds to) of each stretch;
    truth: the same of what its own files say, where they do."""

    name: str
    seconds: float
    stretches: list[Stretch]
    truth: list[Stretch]


@dataclass(frozen=True)
class ParticipantReport:
    """How far one participant is. `curve` is an SVG polyline: with the model of time of the accuracy to expect
    against the share of clips that keep their label, the surest first, from 50 % to 100 %; else of coverage against
    the distance threshold. `mark` is the present threshold's point on it, `expected` the accuracy to expect there."""

    name: str
    clips: int
    clusters: int
    labelled: int
    coverage: float
    ties: list[str]
    curve: str
    mark: tuple[float, float] | None
    expected: float | None
    calibrated: bool
    from_others: float
    max_distance: float
    strips: list[Strip]


@dataclass(frozen=True)
class ProjectReport:
    """One project as the page shows it, beside its job; `problem` is set where its labels cannot be computed. unused:
    (what, lines with the number of their task) of answers that do nothing; unknown_choices: what answers name that is
    no class, and of choices `undecided`, which may be one; parameters: (name, value, where it comes from) of those
    that are not the defaults; minutes: how much of the recordings each class has; left: how long the rest will take,
    in words; audit: how right the labels are, where somebody asked;
    people: what labelling cost them, and how far they agree; standing: how far it is to the target; paging: which of
    all participants these are; complete: of how many each cluster is labelled."""

    threshold: str
    colours: Mapping[str, str]
    participants: list[ParticipantReport]
    problem: str
    counts: dict[str, Any]
    propagation: str = "temporal"
    paper_exact: bool = False
    unused: tuple[tuple[str, list[Unused]], ...] = ()
    unknown_choices: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()
    parameters: tuple[tuple[str, Any, str], ...] = ()
    news: tuple[str, ...] = ()
    minutes: Mapping[str, float] = field(default_factory=dict)
    left: str = ""
    audit: AuditFound | None = None
    people: tuple[str, ...] = ()
    standing: Standing | None = None
    paging: Paging = field(default_factory=Paging)
    complete: int = 0


def project_report(store: Store, settings: Settings, project: Project, part: Part = Part(0)) -> ProjectReport:
    """Everything the page shows of one project but its job, from what the store and the cluster files hold now; of
    participants the `part`."""
    counts = project_counts(store, project.id)
    try:
        return _report(store, settings, project, part, counts)
    except WeakHARError as error:
        return ProjectReport("", {}, [], str(error), counts)


def _report(store: Store, settings: Settings, project: Project, part: Part, counts: dict[str, Any]) -> ProjectReport:
    parameters = project_parameters(settings, project)
    threshold = parse_threshold(parameters.threshold)
    config = project_config(project)
    classes = config.classes.names
    everything = project_labels(store, settings, project.id)
    folder = clusters_folder(settings, project.id)
    stretches = partial(_stretches_of, folder, threshold=threshold, paper_exact=parameters.paper_exact)
    shown, paging = part.of(everything.participants)
    minutes, complete, recorded = _summed(everything, stretches, classes)
    given = project_answers(store, settings, project.id)
    audit = project_audit(store, settings, project.id, given)
    undecided = tuple(name for name, meant in config.meanings.items() if meant is None)
    return ProjectReport(
        threshold=str(threshold),
        colours=class_colours(classes),
        participants=[_participant(everything[one], threshold, classes, stretches, folder) for one in shown],
        problem="",
        counts=counts,
        propagation=parameters.propagation,
        paper_exact=parameters.paper_exact,
        unused=unused_answers(store, project.id, given, everything),
        unknown_choices=tuple(
            dict.fromkeys([*undecided, *(one.choice for one in given.not_understood if one.choice)])
        ),
        undecided=undecided,
        parameters=tuple(one for one in parameters_in_force(settings, project) if one[2] != "default"),
        news=news_of_classes(store, project, everything),
        minutes=minutes,
        paging=paging,
        complete=complete,
        left=_left(store, project.id, counts),
        people=tuple(in_words(given.answers, recorded)),
        audit=audit,
        standing=project_standing(store, settings, project, audit),
    )


Stretches = Callable[[ParticipantLabels], list[LabelledStretch]]


def _stretches_of(
    folder: Path, labels: ParticipantLabels, threshold: Threshold, paper_exact: bool
) -> list[LabelledStretch]:
    """A participant's labelled stretches, remembered as long as the labels themselves are held."""
    place, how = (folder, labels.clustering.participant), (str(threshold), paper_exact)
    known = _stretches.get(place)

    def forget(gone: Labels) -> None:
        if place in _stretches and _stretches[place][0] is gone:
            _stretches.pop(place, None)

    if known is None or known[0]() is not labels or known[1] != how:
        found = list(labelled_stretches(labels, labels.clip_labels(threshold), paper_exact))
        _stretches[place] = known = weakref.ref(labels, forget), how, found
    return known[2]


def _summed(
    everything: Iterable[ParticipantLabels], stretches: Stretches, classes: tuple[str, ...]
) -> tuple[dict[str, float], int, float]:
    """How many minutes of all recordings have each class, of how many participants each cluster is labelled, and how
    many seconds they recorded."""
    minutes, complete, recorded = dict.fromkeys(classes, 0.0), 0, 0.0
    for labels in everything:
        for one in stretches(labels):
            minutes[classes[one.label]] += (one.end_seconds - one.start_seconds) / 60
        complete += int(labels.answered >= (labels.clustering.centroids >= 0).sum())
        recorded += float(labels.clustering.durations.sum())
    return minutes, complete, recorded


def in_words(answers: list[Answer], recorded: float) -> Iterator[str]:
    """What labelling `recorded` seconds cost people so far, and how far they agree, in words."""
    reviews = [answer for answer in answers if answer.source == REVIEW]
    imported = sum(answer.source == IMPORTED for answer in answers)
    answers = [answer for answer in answers if answer.source not in (REVIEW, IMPORTED)]
    if (work := work_of(answers)) is not None and recorded:
        each = work.seconds / recorded * 10
        yield (
            f"{work.answers} answers took {work.seconds / 60:.1f} min, {work.median:.1f} s each: {each:.1f} min for "
            f"every 10 min of recording; labelling all of it by hand takes {BY_HAND} min"
        )
    if imported:
        yield f"{imported} intervals were labelled elsewhere and imported"
    if took := [one.seconds for one in reviews if one.seconds]:
        yield f"going through {len(took)} parts of recordings took {sum(took) / 60:.1f} min"
    if (agreement := agreement_of(answers)) is not None:
        one, other, times = agreement.confused or ("", "", 0)
        confused = f"; most often confused: {one} and {other}, {times} times" if times else ""
        yield (
            f"people agree with a kappa of {agreement.kappa:.2f} on {agreement.clips} clips that several answered"
            f"{confused}"
        )
        known = reliabilities(answers)
        by_class = ", ".join(f"{name} {kappa:.2f}" for name, kappa in agreement.by_class.items())
        pairs = (
            f"{first} and {second} {kappa:.2f} ({clips} clips)"
            for (first, second), (kappa, clips) in agreement.by_pair.items()
        )
        right = ", ".join(f"{person} {share:.0%}" for person, share in known.items())
        yield f"kappa by class: {by_class}; by pair of users: {', '.join(pairs)}" + (
            f"; right where others answered too: {right}, and where they disagree their answers weigh by that"
            if known
            else ""
        )


def _left(store: Store, project_id: int, counts: Mapping[str, int]) -> str:
    """How long the tasks without an answer will take at the pace so far: the median, since people drink coffee."""
    paces = [one.seconds for _, one in store.annotations(project_id) if one.seconds]
    missing = counts["tasks"] - counts["tasks_annotated"]
    if not paces or missing <= 0:
        return ""
    pace = float(np.median(paces))
    return f"about {max(1, round(missing * pace / 60))} min left, at {pace:.1f} s an answer"


def _participant(
    labels: ParticipantLabels, threshold: Threshold, classes: tuple[str, ...], stretches: Stretches, folder: Path
) -> ParticipantReport:
    clustering, clip_classes = labels.clustering, labels.clip_labels(threshold)
    truth = truth_of(participant_folder(folder, clustering.participant))
    sure = labels.confidence[~np.isnan(labels.confidence)]
    largest = float(clustering.distances.max(initial=0.0)) or 1.0
    points = _expected_accuracy(labels) if len(sure) else _coverage_by_distance(labels, largest)
    kept = clip_classes != UNLABELLED
    expected = float(labels.confidence[kept].mean()) if len(sure) and kept.any() else None
    mark = (PLOT_WIDTH * float(kept.mean()), _height(expected)) if expected is not None else None
    return ParticipantReport(
        name=clustering.participant,
        clips=len(clustering.clusters),
        clusters=int((clustering.centroids >= 0).sum()),
        labelled=labels.answered,
        coverage=float(kept.mean()),
        ties=labels.ties,
        curve=" ".join(f"{x:.1f},{y:.1f}" for x, y in _thinned(points)),
        mark=mark,
        expected=expected,
        calibrated=labels.temperature is not None,
        from_others=labels.from_others,
        max_distance=largest,
        strips=_strips(labels, stretches(labels), classes, truth),
    )


def _expected_accuracy(labels: ParticipantLabels) -> list[tuple[float, float]]:
    """The mean confidence of the clips that are kept, against their share of all clips, the surest first."""
    sure = -np.sort(-labels.confidence[~np.isnan(labels.confidence)])
    means = np.cumsum(sure) / np.arange(1, len(sure) + 1)
    share = np.arange(1, len(sure) + 1) / len(labels.confidence)
    return [(PLOT_WIDTH * float(x), _height(float(y))) for x, y in zip(share, means, strict=True)]


def _height(accuracy: float) -> float:
    """Where an accuracy stands in the plot, which shows the upper half."""
    return PLOT_HEIGHT * min(1.0, 2 * (1 - accuracy))


def _coverage_by_distance(labels: ParticipantLabels, largest: float) -> list[tuple[float, float]]:
    clustering = labels.clustering
    distances = np.sort(clustering.distances[labels.cluster_labels[clustering.clusters] != UNLABELLED])
    share = np.arange(1, len(distances) + 1) / len(clustering.clusters)
    points = [(PLOT_WIDTH * d / largest, PLOT_HEIGHT * (1 - s)) for d, s in zip(distances, share, strict=True)]
    return [(0.0, float(PLOT_HEIGHT)), *points]


def _thinned(points: list[tuple[float, float]], most: int = 200) -> list[tuple[float, float]]:
    step = max(1, len(points) // most)
    return points[::step] + points[-1:]


def _strips(
    labels: ParticipantLabels,
    stretches: Iterable[LabelledStretch],
    classes: tuple[str, ...],
    truth: Mapping[str, list[Interval]],
) -> list[Strip]:
    """The timelines of a participant's recordings."""
    found = defaultdict(list)
    for one in stretches:
        found[one.recording].append((one.start_seconds, one.end_seconds, classes[one.label]))
    lengths = zip(labels.clustering.recordings, map(float, labels.clustering.durations), strict=True)
    return [
        Strip(name, seconds, _drawn(found[name], seconds), _drawn(truth.get(name, ()), seconds))
        for name, seconds in lengths
    ]


def _drawn(intervals: Iterable[Interval], seconds: float) -> list[Stretch]:
    """Where intervals are on a timeline of so many seconds; what lies outside of it is not drawn."""
    within = ((max(0.0, start), min(seconds, end), name) for start, end, name in intervals)
    share = 100 / seconds
    return [(share * start, share * (end - start), name, start, end) for start, end, name in within if end > start]
