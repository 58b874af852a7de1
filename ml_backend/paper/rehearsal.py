"""A rehearsal: how many clips must we label? On recordings whose truth is known an annotator is played, and the
labels are compared with the truth, for several numbers of clusters, beside the paper's method on the same clusters.

The participants are answered one after another: where answers about one inform another (`across_participants`),
each one sees those before it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_backend.clusters import Clustering, components_for, load_clustering, participants_of
from ml_backend.embeddings import Progress
from ml_backend.errors import ConfigError, RecordingError
from ml_backend.jobs import embed_and_cluster
from ml_backend.labels import (
    UNLABELLED,
    Answer,
    Classes,
    ParticipantLabels,
    macro_f1,
    macro_recall,
    others_of,
    parse_threshold,
    participant_labels,
)
from ml_backend.recordings import (
    CheckedRecording,
    Imu,
    clip_of_samples,
    clip_of_samples_by_borders,
    last_sample_of_clips,
    mostly_in_clips,
)
from ml_backend.settings import Parameters, Settings

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SECONDS_TO_ANSWER = 1.0
"""What a person needs for a clip besides watching it once."""
PAPER = "paper"


@dataclass(frozen=True)
class Annotator:
    """Says what a clip mostly shows, or with `as_in_paper` what its last sample does; errs with the probability
    `error`, each other class alike."""

    as_in_paper: bool = False
    error: float = 0.0
    seed: int = 1


@dataclass(frozen=True)
class Figures:
    """How right one participant's labels are. Recall and F1 over the samples that are labelled; seconds from each
    true change of class to the nearest labelled one; changes_per_true: labelled changes for each true one;
    expected_accuracy: what the model of time expects, None where it is not calibrated."""

    macro_recall: float
    macro_f1: float
    accuracy: float
    coverage: float
    change_seconds_median: float
    change_seconds_p90: float
    changes_per_true: float
    watched: float
    minutes: float
    answers: int
    expected_accuracy: float | None
    from_others: float


AVERAGED = tuple(field.name for field in fields(Figures) if field.name != "from_others")
"""What a row of the table holds the mean of."""


@dataclass(frozen=True)
class Truth:
    """One participant's recordings with their true classes; `checked` in the order of the clustering's recordings."""

    checked: list[CheckedRecording]
    classes: list[Ints]


def rehearse(
    settings: Settings,
    parameters: Parameters,
    checked: list[CheckedRecording],
    components: list[str],
    annotator: Annotator,
    progress: Progress,
) -> list[dict[str, Any]]:
    """A row for each number of clusters and method (the paper's, and the one that `parameters` say), as JSON has it.

    RecordingError if a recording brings no labels.
    """
    classes, truths = _truths(checked)
    rows = []
    for number in components:
        own = parameters.model_copy(update={"components": number})
        with TemporaryDirectory(prefix="rehearsal-") as name:
            embed_and_cluster(settings, Path(name), own, checked, progress)
            for method in (PAPER, own.propagation):
                found = dict(_played(Path(name), own, method, classes, truths, annotator))
                rows.append(_row(number, method, own, found))
    return rows


def _truths(checked: list[CheckedRecording]) -> tuple[Classes, dict[str, Truth]]:
    """All classes that occur, and the truth of each participant."""
    labelled: list[tuple[CheckedRecording, list[str]]] = []
    for result in checked:
        if result.imu is None or result.imu.labels is None:
            raise RecordingError(
                f"{result.recording.imu}: has no column of labels; a rehearsal needs recordings whose truth is known"
            )
        labelled.append((result, result.imu.labels.tolist()))
    classes = Classes(tuple(sorted({name for _, names in labelled for name in names})))
    index = {name: number for number, name in enumerate(classes.names)}
    found: dict[str, Truth] = {}
    for result, names in labelled:
        truth = found.setdefault(result.recording.participant, Truth([], []))
        truth.checked.append(result)
        truth.classes.append(np.array([index[name] for name in names]))
    return classes, found


def _played(
    folder: Path,
    parameters: Parameters,
    method: str,
    classes: Classes,
    truths: Mapping[str, Truth],
    annotator: Annotator,
) -> Iterator[tuple[str, Figures]]:
    """Each participant's figures, answered one after another."""
    if method == PAPER:
        parameters = parameters.model_copy(update={"propagation": "cluster", "paper_exact": True})
        annotator = replace(annotator, as_in_paper=True)
    across = parameters.propagation == "temporal" and parameters.across_participants
    given: dict[str, list[Answer]] = {}
    for number, name in enumerate(participants_of(folder)):
        clustering, truth = load_clustering(folder, name), truths[name]
        answers = list(_answers(clustering, truth, classes, annotator, number))
        before = partial(map, partial(load_clustering, folder), list(given))
        others = others_of(before, given, classes) if across and given else None
        labels = participant_labels(clustering, answers, classes, parameters.propagation, others)
        yield name, _figures(labels, truth, parameters, answers)
        given[name] = answers


def _answers(
    clustering: Clustering, truth: Truth, classes: Classes, annotator: Annotator, number: int
) -> Iterator[Answer]:
    """What the annotator says of every cluster's centroid clip; nothing of a clip without a sample."""
    random = np.random.default_rng([annotator.seed, number])
    for clip in np.sort(clustering.centroids[clustering.centroids >= 0]):
        recording, start = int(clustering.recording_of_clip[clip]), clustering.starts[[clip]]
        times, shown = _imu(truth.checked[recording]).times, truth.classes[recording]
        if annotator.as_in_paper:
            last = int(last_sample_of_clips(times, start, clustering.clip_seconds)[0])
            said = int(shown[last]) if last >= 0 else UNLABELLED
        else:
            said = int(mostly_in_clips(times, shown, start, clustering.clip_seconds)[0])
        if said == UNLABELLED:
            continue
        if random.random() < annotator.error and len(classes.names) > 1:
            said = (said + int(random.integers(1, len(classes.names)))) % len(classes.names)
        yield Answer(
            participant=clustering.participant,
            recording=clustering.recordings[recording],
            start_seconds=float(start[0]),
            end_seconds=float(start[0]) + clustering.clip_seconds,
            choice=classes.names[said],
            seconds=clustering.clip_seconds + SECONDS_TO_ANSWER,
        )


def _figures(labels: ParticipantLabels, truth: Truth, parameters: Parameters, answers: list[Answer]) -> Figures:
    clustering = labels.clustering
    of_clips = labels.clip_labels(parse_threshold(parameters.threshold))
    shown, predicted, errors = [], [], []
    true_changes = labelled_changes = 0
    for number, (result, classes) in enumerate(zip(truth.checked, truth.classes, strict=True)):
        times, own = _imu(result).times, np.flatnonzero(clustering.recording_of_clip == number)
        end = float(clustering.durations[number])
        if parameters.paper_exact:
            clip = clip_of_samples(times, clustering.starts[own], clustering.stride_seconds, end)
        else:
            clip = clip_of_samples_by_borders(times, labels.borders[own], end)
        found = np.where(clip >= 0, of_clips[own][np.maximum(clip, 0)], UNLABELLED)
        true, labelled = changes(times, classes), changes(times, found)
        errors.append(to_nearest(true, labelled))
        true_changes, labelled_changes = true_changes + len(true), labelled_changes + len(labelled)
        shown.append(classes)
        predicted.append(found)
    truth_of_samples, label_of_samples = np.concatenate(shown), np.concatenate(predicted)
    kept = label_of_samples != UNLABELLED
    of_changes = np.concatenate(errors) if true_changes else np.array([np.nan])
    sure = labels.confidence[of_clips != UNLABELLED]
    return Figures(
        macro_recall=macro_recall(truth_of_samples, label_of_samples),
        macro_f1=macro_f1(truth_of_samples, label_of_samples),
        accuracy=float((truth_of_samples[kept] == label_of_samples[kept]).mean()) if kept.any() else float("nan"),
        coverage=float(kept.mean()),
        change_seconds_median=float(np.median(of_changes)),
        change_seconds_p90=float(np.quantile(of_changes, 0.9, method="higher")),
        changes_per_true=labelled_changes / true_changes if true_changes else float("nan"),
        watched=_watched(answers) / float(clustering.durations.sum()),
        minutes=sum(answer.seconds or 0.0 for answer in answers) / 60,
        answers=len(answers),
        expected_accuracy=float(sure.mean()) if labels.temperature is not None and len(sure) else None,
        from_others=labels.from_others,
    )


def changes(times: Floats, classes: Ints) -> Floats:
    """When the class changes from one to another, in seconds."""
    changed = (classes[1:] != classes[:-1]) & (classes[1:] != UNLABELLED) & (classes[:-1] != UNLABELLED)
    return times[1:][changed]


def to_nearest(true: Floats, labelled: Floats) -> Floats:
    """Seconds from each true change to the nearest labelled one; infinite where none is."""
    if len(labelled) == 0:
        return np.full(len(true), np.inf)
    after = np.clip(np.searchsorted(labelled, true), 1, len(labelled)) - 1
    following = np.minimum(after + 1, len(labelled) - 1)
    return np.minimum(np.abs(true - labelled[after]), np.abs(true - labelled[following]))


def _watched(answers: list[Answer]) -> float:
    """Seconds of video that are watched, those of overlapping clips once."""
    seconds, until = 0.0, ("", 0.0)
    for answer in sorted(answers, key=lambda answer: (answer.recording, answer.start_seconds)):
        begin = max(answer.start_seconds, until[1]) if answer.recording == until[0] else answer.start_seconds
        seconds += max(0.0, answer.end_seconds - begin)
        until = (answer.recording, answer.end_seconds)
    return seconds


def _row(components: str, method: str, parameters: Parameters, found: Mapping[str, Figures]) -> dict[str, Any]:
    """The mean over participants of every figure, with the standard deviation of the two scores."""
    own = {name: [getattr(one, name) for one in found.values()] for name in AVERAGED}
    return {
        "components": int(components) if components.isdigit() else components,
        "method": method,
        **{name: _over_participants(np.mean, values) for name, values in own.items()},
        **{f"{name}_std": _over_participants(np.std, own[name]) for name in ("macro_recall", "macro_f1")},
        "across_participants": method == "temporal" and parameters.across_participants and len(found) > 1,
        "participants": {name: _finite(asdict(one)) for name, one in found.items()},
    }


def _over_participants(statistic: Callable[[list[float]], Any], values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None and np.isfinite(value)]
    return float(statistic(known)) if known else None


def _finite(figures: dict[str, Any]) -> dict[str, Any]:
    """JSON knows neither NaN nor infinity."""
    return {
        name: None if isinstance(value, float) and not np.isfinite(value) else value
        for name, value in figures.items()
    }


def _imu(result: CheckedRecording) -> Imu:
    assert result.imu is not None
    return result.imu


def check_components(components: list[str]) -> None:
    """ConfigError if one is neither a count nor a share, or none is named."""
    if not components:
        raise ConfigError("--components: name at least one number of clusters, such as 20,50,100")
    for number in components:
        try:
            components_for(number, 1)
        except ValueError:
            raise ConfigError(f"--components: '{number}' is neither a count nor a share such as 10%") from None


def parse_error(text: str) -> float:
    """`5%` or `0.05` → the share of answers that are wrong; ConfigError quotes what is none."""
    try:
        share = float(text.strip().removesuffix("%")) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise ConfigError(f"--error {text}: expected a share of wrong answers such as 5%")
    return share


def write_plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Macro recall, and the 90 % of the seconds by which changes are off, against answers a participant; PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (recall, changes) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for number, method in enumerate(dict.fromkeys(row["method"] for row in rows)):
        own = sorted((row for row in rows if row["method"] == method), key=lambda row: row["answers"] or 0)
        answers, colour = [row["answers"] for row in own], f"C{number}"
        scores, spread = ([100 * row[name] for row in own] for name in ("macro_recall", "macro_recall_std"))
        recall.errorbar(answers, scores, spread, marker="o", capsize=3, label=method, color=colour)
        for name, style, share in (("change_seconds_p90", "o-", "90 %"), ("change_seconds_median", ".:", "half")):
            changes.plot(answers, [row[name] for row in own], style, color=colour, label=f"{method}, {share} nearer")
    recall.set(xlabel="answers a participant", ylabel="macro recall of samples, percent", ylim=(0, 101))
    changes.set(xlabel="answers a participant", ylabel="seconds between true and labelled change", ylim=(0, None))
    for axes in (recall, changes):
        axes.legend()
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
