"""The paper's tables and figures from a published download: labelling accuracy by embedding, by number of clusters
and by the supplement's ablations, and training; ours beside the paper's numbers.

Everything is of the paper's protocol: participants clustered one by one, seeds 1, 2, 3 averaged, the annotator
answers with a clip's last sample (sections 3 and 4 of the paper), training with the published code's oddities.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet

from ml_backend.clusters import METHODS, FittedClustering, cluster, components_for, reduced, side_by_side
from ml_backend.embeddings import Progress
from ml_backend.errors import ConfigError, RecordingError
from ml_backend.files import written_atomically
from ml_backend.labels import PROPAGATIONS, UNLABELLED, parse_threshold
from ml_backend.paper.annotator import Track, WeakLabels, annotate
from ml_backend.paper.published import SAMPLING_RATE, STRIDE_SECONDS, PublishedDataset
from ml_backend.recordings import Imu, clip_starts
from training import contract
from training.approaches import APPROACHES, parse_approaches
from training.dataset import Dataset as TrainingDataset
from training.dataset import read_dataset
from training.evaluate import Score, Spread, make_jobs, over_seeds, run_grid, scores
from training.loop import Settings as LoopSettings
from training.tables import write_tables

BACKBONES = ("i3d", "clip", "dinov2", "raft", "i3d+raft", "clip+raft", "dinov2+raft")
SEEDS = (1, 2, 3)
COMPONENTS = (50, 100)
TABLE_3_COMPONENTS = ("classes", "50", "100")
CLIP_SECONDS = (1, 2, 4)
ANSWERS = (1, 5)
THRESHOLDS = ("none", "8", "6", "4")
ABLATIONS = ("clip-length", "answers", "thresholds")
MOST_CLIPS_APART = 5
"""Videos and IMU were not cut at the same sample."""
PAPER_NAMES = {"i3d": "I3D", "clip": "CLIP", "dinov2": "DINOv2", "raft": "RAFT"}

PAPER_WAY = ("gmm", "cluster")
Way = Callable[..., "Case"]
"""Makes a case of the paper's, but clustered and propagated in a way of one's own: `partial(Case, method="ward")`."""


@dataclass(frozen=True)
class Case:
    """One cell of a table: how clips are made, embedded, clustered, answered and thresholded."""

    backbone: str = "clip+raft"
    components: int = 100
    clip_seconds: float = 4.0
    answers: int = 1
    threshold: str = "none"
    method: str = "gmm"
    propagation: str = "cluster"


@dataclass(frozen=True)
class Result:
    """Percent: accuracy and coverage `(participants, seeds)`; watched `(participants,)`, the share of the recording
    that the annotator sees."""

    accuracy: npt.NDArray[np.float64]
    coverage: npt.NDArray[np.float64]
    watched: npt.NDArray[np.float64]

    @property
    def of_participants(self) -> npt.NDArray[np.float64]:
        """Accuracy of each participant, mean over seeds."""
        mean: npt.NDArray[np.float64] = self.accuracy.mean(axis=1)
        return mean


@dataclass(frozen=True)
class Row:
    """A line of a table; where the paper gives them, `paper` is (mean, std) and `paper_watched` the share of the data
    that was annotated, in percent."""

    name: str
    case: Case
    paper: tuple[float, float] | None = None
    paper_watched: float | None = None


@dataclass(frozen=True)
class Outcome:
    """A table: its rows with what was found, and those that await a part of the download."""

    title: str
    rows: list[tuple[Row, Result]]
    waiting: list[Row]


def embeddings_table(dataset: PublishedDataset, name: str, way: Way, progress: Progress) -> Outcome:
    """The paper's Table 2: labelling accuracy by embedding, 100 clusters."""
    paper = _paper("labelling_accuracy_c100")
    column = paper["columns"].index(name) if name in paper["columns"] else None
    rows = []
    for backbone in BACKBONES:
        title = _title(backbone)
        value = None if column is None else _pair(paper[title][column])
        rows.append(Row(title, way(backbone=backbone), value, _watched_of_paper(name)))
    return _measured(dataset, f"{name}: labelling accuracy by embedding, 100 clusters", rows, progress)


def clusters_figure(dataset: PublishedDataset, name: str, way: Way, progress: Progress) -> Outcome:
    """The paper's Figure 2: labelling accuracy by embedding and number of clusters (classes, 50, 100)."""
    answers = _answers_of_paper(name)
    rows = []
    for backbone in BACKBONES:
        for components in _counts(dataset):
            case = way(backbone=backbone, components=components)
            value = answers.get((1, components)) if backbone == "clip+raft" else None
            rows.append(Row(f"{_title(backbone)}, {components}", case, value, _watched_of_case(name, case)))
    return _measured(dataset, f"{name}: labelling accuracy by number of clusters", rows, progress)


def ablation(dataset: PublishedDataset, name: str, which: str, way: Way, progress: Progress) -> Outcome:
    """One of the supplement's: `clip-length`, `answers` a cluster, `thresholds`; CLIP+RAFT."""
    answers = _answers_of_paper(name)
    if which == "clip-length":
        of_dataset = _paper("clip_length_seconds_c100").get(name, {})
        rows = [
            Row(f"{seconds} s", way(clip_seconds=seconds), _pair(own), own[2] if own else None)
            for seconds in CLIP_SECONDS
            for own in [of_dataset.get(str(seconds))]
        ]
    elif which == "answers":
        rows = [
            Row(f"C = {components}, answers = {count}", case, answers.get((count, components)))
            for components in _counts(dataset)
            for count in ANSWERS
            for case in [way(components=components, answers=count)]
        ]
    elif which == "thresholds":
        rows = [
            Row(f"C = {components}, T = {threshold}", case, value, _watched_of_case(name, case))
            for components in _counts(dataset)
            for threshold in THRESHOLDS
            for case in [way(components=components, threshold=threshold)]
            for value in [answers.get((1, components)) if threshold == "none" else None]
        ]
    else:
        raise ConfigError(f"ablation '{which}' is not known; known are {', '.join(ABLATIONS)}")
    return _measured(dataset, f"{name}: labelling accuracy by {which}", rows, progress)


def training_tables(
    dataset: PublishedDataset,
    name: str,
    components: list[str],
    models: list[str],
    settings: LoopSettings,
    folder: Path,
    way: Way,
    progress: Progress,
    spread: Spread | None = None,
) -> Iterator[tuple[str, TrainingDataset, list[Score]]]:
    """The paper's Table 3 for each number of clusters (`classes`, `50`, `100`): CLIP+RAFT, the weak labels of each of
    three seeds trained on with that seed; a run that was stopped goes on."""
    for count in components:
        own = folder / f"clusters-{count}"
        case = way(components=len(dataset.labels) if count == "classes" else int(count))
        exports = _write_exports(dataset, name, own, case, progress)
        trained_on, rows = _training_table(dataset, exports, models, settings, own, count, progress, spread)
        write_tables(trained_on, rows, own, count)
        yield count, trained_on, rows


def check_counts(counts: list[str]) -> None:
    """ConfigError if the paper's Table 3 does not have one of them, or none is named."""
    if not counts or not set(counts) <= set(TABLE_3_COMPONENTS):
        known = ", ".join(TABLE_3_COMPONENTS)
        raise ConfigError(f"--components '{','.join(counts)}': table 3 is for {known}; name one or more of them")


def _write_exports(
    dataset: PublishedDataset, name: str, folder: Path, case: Case, progress: Progress
) -> list[tuple[int, Path]]:
    """Weak labels of one number of clusters, an export a seed."""
    exports = [(seed, folder / f"export-seed-{seed}" / name) for seed in SEEDS]
    for number, (seed, export) in enumerate(exports):
        tables = (
            (participant, _participant_table(dataset, participant, case, seed))
            for participant in dataset.participants
        )
        write_dataset(export, dataset.labels, case.clip_seconds, STRIDE_SECONDS, SAMPLING_RATE, tables)
        progress(f"labelling with {case.components} clusters", number + 1, len(exports))
    return exports


def _training_table(
    dataset: PublishedDataset,
    exports: list[tuple[int, Path]],
    models: list[str],
    settings: LoopSettings,
    folder: Path,
    count: str,
    progress: Progress,
    spread: Spread | None,
) -> tuple[TrainingDataset, list[Score]]:
    approaches = parse_approaches(list(APPROACHES), ["none", "6", "4"])
    found = []
    for number, (seed, export) in enumerate(exports):
        trained_on = read_dataset(export)
        jobs = make_jobs(trained_on, models, approaches, [seed], [list(group) for group in dataset.splits])
        target = folder / f"seed-{seed}"

        def report(done: int, total: int, _: str, before: int = number) -> None:
            progress(f"training with {count} clusters", before * total + done, len(exports) * total)

        run_grid(trained_on, jobs, settings, target, report, spread=spread)
        found.append(scores(trained_on, jobs, target))
    return trained_on, over_seeds(found)


def write_dataset(
    folder: Path,
    labels: Iterable[str],
    clip_seconds: float,
    stride_seconds: float,
    sampling_rate: float,
    tables: Iterable[tuple[str, pa.Table]],
) -> None:
    """An export, as `training` reads it, from each participant's `sample_table`."""
    with written_atomically(folder) as temporary:
        temporary.mkdir(parents=True)
        participants, channels = {}, []
        for participant, table in tables:
            pa.parquet.write_table(table, temporary / f"{participant}.parquet")
            participants[participant] = {"file": f"{participant}.parquet"}
            channels = table.column_names[: table.column_names.index("recording")]
        description = {
            "schema_version": 1,  # in which strides are clips, as in the paper's code
            "labels": list(labels),
            "channels": channels,
            "sampling_rate": sampling_rate,
            "clip_seconds": clip_seconds,
            "stride_seconds": stride_seconds,
            "paper_exact": True,
            "participants": participants,
        }
        (temporary / "dataset.json").write_text(json.dumps(description, indent=1, ensure_ascii=False))


def sample_table(
    channels: Iterable[str],
    values: npt.NDArray[np.floating],
    labels: Iterable[str],
    track: Track,
    clusters: FittedClustering,
    weak: WeakLabels,
) -> pa.Table:
    """One participant's samples with weak labels and ground truth, in the columns of an export."""
    names = np.array([*labels, None], dtype=object)  # index -1 is the last: unlabelled
    clip = track.clip_of_sample
    source = np.where(np.isin(clip, weak.answered), contract.ANNOTATED, contract.PROPAGATED)
    columns: dict[str, Any] = dict(zip(channels, values.T.copy(), strict=True))
    columns |= {"recording": pa.array(["one"] * len(clip)), "time": track.times}
    columns["label"] = pa.array(names[weak.samples], pa.string())
    columns["source"] = np.where(weak.samples == UNLABELLED, contract.OMITTED, source)
    columns |= {"cluster": clusters.labels_[clip].astype(np.int32), "distance": clusters.distances_[clip]}
    columns[contract.PROPAGATED_LABEL] = pa.array(names[weak.propagated], pa.string())
    columns["ground_truth"] = pa.array(names[track.truth], pa.string())
    return pa.table(columns)


def table_rows(outcome: Outcome) -> tuple[list[str], list[list[str]]]:
    """Header and rows as text: ours, the paper's and the difference, the share watched and the paper's, and
    the share kept, all in percent."""
    header = ["", "ours", "paper", "differs", "watched (paper)", "kept"]
    rows = []
    for row, result in outcome.rows:
        mean, std = result.of_participants.mean(), result.of_participants.std()
        paper = f"{row.paper[0]:.2f} ± {row.paper[1]:.2f}" if row.paper else "-"
        difference = f"{mean - row.paper[0]:+.2f}" if row.paper else "-"
        watched = f"{result.watched.mean():.2f}" + (f" ({row.paper_watched:.2f})" if row.paper_watched else "")
        kept = f"{100 * result.coverage.mean():.1f}"
        rows.append([row.name, f"{mean:.2f} ± {std:.2f}", paper, difference, watched, kept])
    return header, rows + [[row.name, "awaits its vectors", *["-"] * 4] for row in outcome.waiting]


def write_outcome(dataset: PublishedDataset, outcome: Outcome, folder: Path, stem: str) -> None:
    """`STEM.md`, `STEM.csv`, and `STEM-participants.csv` with each participant's and seed's accuracy."""
    header, rows = table_rows(outcome)
    lines = [f"# {outcome.title}", "", "| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    _write_text(folder / f"{stem}.md", "\n".join(lines) + "\n")
    _write_csv(folder / f"{stem}.csv", [header, *rows])
    details = [
        [row.name, participant, seed, f"{accuracy:.4f}"]
        for row, result in outcome.rows
        for participant, of_seeds in zip(dataset.participants, result.accuracy, strict=True)
        for seed, accuracy in zip(SEEDS, of_seeds, strict=True)
    ]
    _write_csv(folder / f"{stem}-participants.csv", [["", "participant", "seed", "accuracy"], *details])


def write_box_plots(outcome: Outcome, path: Path) -> None:
    """The paper's Figure 2, PNG: box plots over participants, a group an embedding, a box a number of clusters, and
    under them bars of the share watched."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    counts = sorted({row.case.components for row, _ in outcome.rows})
    names = list(dict.fromkeys(row.name.rpartition(",")[0] for row, _ in outcome.rows))
    size = (2.5 + 1.3 * len(names), 6)
    figure, (above, below) = plt.subplots(2, sharex=True, figsize=size, layout="constrained", height_ratios=[3, 1])
    for number, components in enumerate(counts):
        found = [(names.index(row.name.rpartition(",")[0]), result) for row, result in outcome.rows
                 if row.case.components == components]  # fmt: skip
        places = [place + (number - (len(counts) - 1) / 2) * 0.25 for place, _ in found]
        boxes = above.boxplot(
            [result.of_participants for _, result in found],
            positions=places,
            widths=0.2,
            patch_artist=True,
            medianprops={"color": "black"},
            label=f"{components} clusters",
        )
        for box in boxes["boxes"]:
            box.set_facecolor(f"C{number}")
        bars = below.bar(places, [result.watched.mean() for _, result in found], width=0.2, color=f"C{number}")
        below.bar_label(bars, fmt="%.0f", fontsize=7)
    above.set(ylabel="labelling accuracy, percent", title=outcome.title, ylim=(0, 100))
    above.legend(loc="lower right")
    below.set_xticks(range(len(names)), names)
    below.set(ylabel="watched, percent")
    below.margins(y=0.2)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def way_of(clustering: str, propagation: str) -> Way:
    """The paper's way with `gmm` and `cluster`, or another; ConfigError names what is not known."""
    for option, value, known in (
        ("clustering", clustering, METHODS),
        ("propagation", propagation, PROPAGATIONS),
    ):
        if value not in known:
            raise ConfigError(f"--{option} '{value}' is not known; known are {', '.join(known)}")
    return partial(Case, method=clustering, propagation=propagation)


def paper_name(dataset: PublishedDataset, name: str | None) -> str:
    """The paper's spelling of the dataset's name, or the name as it is where the paper does not have it."""
    wanted = name or dataset.name
    return next((known for known in _paper("labelling_accuracy_c100")["columns"] if known.lower() in wanted.lower()),
                wanted)  # fmt: skip


def _measured(dataset: PublishedDataset, title: str, rows: list[Row], progress: Progress) -> Outcome:
    there = [row for row in rows if dataset.has(row.case.backbone, row.case.clip_seconds)]
    if not there:
        missing = " or ".join(dict.fromkeys(f"{row.case.backbone} at {row.case.clip_seconds:g} s" for row in rows))
        raise ConfigError(f"{dataset.root}: holds no vectors of {missing} under processed/")
    way = [value for value in (rows[0].case.method, rows[0].case.propagation) if value not in PAPER_WAY]
    title = ", ".join([title, *way])
    # What differs only in answers and threshold shares a clustering.
    groups: dict[Case, list[Row]] = {}
    for row in there:
        groups.setdefault(replace(row.case, answers=1, threshold="none"), []).append(row)
    tasks = [
        (case, rows, name, seed) for case, rows in groups.items() for name in dataset.participants for seed in SEEDS
    ]
    found: dict[tuple[Row, str, int], tuple[float, float, float]] = {}
    with side_by_side() as run:
        results = run(lambda task: _one(dataset, task[0], [row.case for row in task[1]], *task[2:]), tasks)
        for number, ((_, own, name, seed), values) in enumerate(zip(tasks, results, strict=True), start=1):
            found |= {(row, name, seed): value for row, value in zip(own, values, strict=True)}
            progress("clustering", number, len(tasks))
    return Outcome(title, [(row, _result(dataset, row, found)) for row in there], [r for r in rows if r not in there])


def _one(
    dataset: PublishedDataset, case: Case, cases: list[Case], participant: str, seed: int
) -> list[tuple[float, float, float]]:
    """Accuracy, coverage and share watched of each of `cases`, which share the clustering of `case`."""
    track, _, clusters, components = clustered(dataset, participant, case, seed)
    values = []
    for own in cases:
        weak = annotate(track, clusters, own.answers, parse_threshold(own.threshold), components)
        watched = 100 * len(weak.answered) * own.clip_seconds / (track.times[-1] + 1 / SAMPLING_RATE)
        values.append((100 * weak.accuracy(track), weak.coverage, watched))
    return values


def clustered(
    dataset: PublishedDataset, participant: str, case: Case, seed: int
) -> tuple[Track, Imu, FittedClustering, npt.NDArray[np.float32] | None]:
    """A participant's track, IMU, clusters, and principal components if labels are propagated by them.

    Clips are those that both vectors and IMU have.
    """
    imu, truth = _imu_and_truth(dataset, participant)
    vectors = dataset.vectors(participant, case.backbone, case.clip_seconds)
    starts = clip_starts(0.0, imu.end, case.clip_seconds, STRIDE_SECONDS)
    if abs(len(starts) - len(vectors)) > max(MOST_CLIPS_APART, 0.05 * len(starts)) or not len(starts):
        raise RecordingError(
            f"{dataset.root}: {participant} has {len(vectors)} vectors of {case.backbone} for {len(starts)} clips of "
            f"{case.clip_seconds:g} s in its {imu.end:.0f} s of IMU; copy both again"
        )
    starts, vectors = starts[: len(vectors)], vectors[: len(starts)]
    track = Track(imu.times, truth, starts, case.clip_seconds, STRIDE_SECONDS)
    count = components_for(case.components, len(vectors))
    components = reduced(vectors) if case.propagation == "discriminant" else None
    return track, imu, cluster(vectors, count, seed, case.method, paper_exact=True), components


@lru_cache(4)
def _imu_and_truth(dataset: PublishedDataset, participant: str) -> tuple[Imu, npt.NDArray[np.int64]]:
    """Read once for the seeds that follow each other."""
    imu = dataset.imu(participant)
    return imu, dataset.truth(imu)


def _participant_table(dataset: PublishedDataset, participant: str, case: Case, seed: int) -> pa.Table:
    track, imu, clusters, components = clustered(dataset, participant, case, seed)
    weak = annotate(track, clusters, components=components)
    return sample_table(imu.channels, imu.values, dataset.labels, track, clusters, weak)


def _result(dataset: PublishedDataset, row: Row, found: dict[tuple[Row, str, int], Any]) -> Result:
    values = np.array([[found[row, name, seed] for seed in SEEDS] for name in dataset.participants])
    return Result(values[:, :, 0], values[:, :, 1], values[:, 0, 2])


def _paper(table: str) -> dict[str, Any]:
    tables = json.loads((files("ml_backend.paper") / "paper_tables.json").read_text(encoding="utf-8"))
    content: dict[str, Any] = tables[table]
    return content


def _title(backbone: str) -> str:
    return "+".join(PAPER_NAMES[part] for part in backbone.split("+"))


def _counts(dataset: PublishedDataset) -> tuple[int, ...]:
    """The paper's numbers of clusters: as many as classes, 50, 100."""
    return len(dataset.labels), *COMPONENTS


def _watched_of_paper(name: str) -> float | None:
    """The share of the data that the paper's annotator sees with 100 clips of 4 s, in percent."""
    row = _paper("clip_length_seconds_c100").get(name)
    return float(row["4"][2]) if row else None


def _watched_of_case(name: str, case: Case) -> float | None:
    return _watched_of_paper(name) if case.components == 100 else None


def _answers_of_paper(name: str) -> dict[tuple[int, int], tuple[float, float]]:
    """(clips answered a cluster, clusters) → the paper's accuracy with CLIP+RAFT."""
    paper = _paper("annotated_clips_per_cluster_CLIP+RAFT")
    if name not in paper:
        return {}
    rows = paper[name]
    return {
        (count, components): (value[0], value[1])
        for count in ANSWERS
        for components, value in zip(rows["C"], rows[f"s={count}"], strict=True)
    }


def _pair(values: list[float] | None) -> tuple[float, float] | None:
    return (values[0], values[1]) if values else None


def _write_text(path: Path, text: str) -> None:
    with written_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _write_csv(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    with written_atomically(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)
