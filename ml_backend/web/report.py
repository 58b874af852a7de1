"""What the status page and the demo's report show of a project: job, labelling, coverage and timelines."""

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_backend.errors import WeakHARError
from ml_backend.jobs import Project, Store, project_labels, project_parameters, project_status
from ml_backend.labels import UNLABELLED, ParticipantLabels, parse_threshold
from ml_backend.labelstudio import parse_label_config
from ml_backend.settings import Settings

PLOT_WIDTH, PLOT_HEIGHT = 320, 120


@dataclass(frozen=True)
class Strip:
    """One recording's timeline: (start, width in percent, class, seconds from, seconds to) of each stretch."""

    name: str
    seconds: float
    stretches: list[tuple[float, float, str, float, float]]


@dataclass(frozen=True)
class ParticipantReport:
    """How far one participant is; `curve` is an SVG polyline of coverage against threshold."""

    name: str
    clips: int
    clusters: int
    labelled: int
    coverage: float
    ties: list[str]
    curve: str
    max_distance: float
    strips: list[Strip]


@dataclass(frozen=True)
class ProjectReport:
    """One project as the page shows it; `problem` is set where its labels cannot be computed."""

    project: Project
    status: dict[str, Any]
    threshold: str
    colours: Mapping[str, str]
    participants: list[ParticipantReport]
    problem: str
    propagation: str = "temporal"
    paper_exact: bool = False


def project_report(store: Store, settings: Settings, project: Project) -> ProjectReport:
    """Everything the page shows of one project, from what the store and the cluster files hold now."""
    status = project_status(store, project)
    try:
        parameters = project_parameters(settings, project)
        threshold = parse_threshold(parameters.threshold)
        classes = parse_label_config(project.label_config).classes.names
        everything = project_labels(store, settings, project.id)
        exact = parameters.paper_exact
        participants = [_participant(labels, labels.clip_labels(threshold), classes, exact) for labels in everything]
    except WeakHARError as error:
        return ProjectReport(project, status, "", {}, [], str(error))
    colours = class_colours(classes)
    return ProjectReport(
        project, status, str(threshold), colours, participants, "", parameters.propagation, parameters.paper_exact
    )


def class_colours(classes: tuple[str, ...]) -> dict[str, str]:
    """A colour for each class, evenly round the colour circle; grey for the null class."""
    colours = {}
    for number, name in enumerate(classes):
        lightness = 0.46 if number % 2 else 0.62
        r, g, b = colorsys.hls_to_rgb(number / len(classes), lightness, 0.6)
        colours[name] = (
            "#aab" if name.lower() == "null" else f"#{int(r * 255):02x}{int(g * 255):02x}{int(b * 255):02x}"
        )
    return colours


def _participant(
    labels: ParticipantLabels, clip_classes: npt.NDArray[np.int64], classes: tuple[str, ...], paper_exact: bool
) -> ParticipantReport:
    clustering = labels.clustering
    distances = np.sort(clustering.distances[labels.cluster_labels[clustering.clusters] != UNLABELLED])
    largest = float(clustering.distances.max(initial=0.0)) or 1.0
    share = np.arange(1, len(distances) + 1) / len(clustering.clusters)
    points = [(PLOT_WIDTH * d / largest, PLOT_HEIGHT * (1 - s)) for d, s in zip(distances, share, strict=True)]
    # Labels change half-way between the centres of two clips; by the paper's rule at the second one's start.
    later = 0.0 if paper_exact else (clustering.clip_seconds - clustering.stride_seconds) / 2
    recordings = range(len(clustering.recordings))
    return ParticipantReport(
        name=clustering.participant,
        clips=len(clustering.clusters),
        clusters=int((clustering.centroids >= 0).sum()),
        labelled=labels.answered,
        coverage=float((clip_classes != UNLABELLED).mean()),
        ties=labels.ties,
        curve=" ".join(f"{x:.1f},{y:.1f}" for x, y in _thinned(points)),
        max_distance=largest,
        strips=[_strip(labels, number, clip_classes, classes, later) for number in recordings],
    )


def _thinned(points: list[tuple[float, float]], most: int = 200) -> list[tuple[float, float]]:
    step = max(1, len(points) // most)
    return points[::step] + points[-1:]


def _strip(
    labels: ParticipantLabels,
    number: int,
    clip_classes: npt.NDArray[np.int64],
    classes: tuple[str, ...],
    later: float,
) -> Strip:
    """One recording's timeline; a clip's label starts `later` seconds after the clip, the first one's with it."""
    clustering = labels.clustering
    own = np.flatnonzero(clustering.recording_of_clip == number)
    total = float(clustering.durations[number])
    if len(own) == 0:
        return Strip(clustering.recordings[number], total, [])
    values = clip_classes[own]
    begins = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    edges = np.r_[clustering.starts[own][0], clustering.starts[own][begins[1:]] + later, total]
    stretches = [
        (100 * float(start) / total, 100 * float(end - start) / total, classes[value], float(start), float(end))
        for start, end, value in zip(edges[:-1], edges[1:], values[begins], strict=True)
        if value != UNLABELLED
    ]
    return Strip(clustering.recordings[number], total, stretches)
