"""The weakly labelled dataset: clip labels spread to IMU samples, written as Parquet or as WEAR's CSV; with `elan`
also as documents that ELAN opens.

`training/contract.py` defines what is written; `training` reads nothing else.
"""

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from slugify import slugify

from ml_backend.clusters import Clustering
from ml_backend.errors import ConfigError, RecordingError
from ml_backend.export.intervals import write_elan, write_intervals
from ml_backend.export.readme import readme
from ml_backend.files import content_key, written_atomically
from ml_backend.labels import (
    UNLABELLED,
    LabelledStretch,
    ParticipantLabels,
    Threshold,
    labelled_stretches,
    macro_recall,
    parse_threshold,
)
from ml_backend.recordings import (
    Imu,
    Recording,
    clip_of_samples,
    clip_of_samples_by_borders,
    nearest_clip_of_samples,
    read_imus,
)
from training.contract import (
    ANNOTATED,
    CLIPS_FILE,
    COLUMNS,
    ELAN_FOLDER,
    INTERVALS_FILE,
    OMITTED,
    PROPAGATED,
    PROPAGATED_LABEL,
    RATES_ALIKE,
    README_FILE,
    SAMPLES_FOLDER,
    SCHEMA_VERSION,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Arrow's other allocators keep what was freed, which in a long export is 100 MB.
pa.set_memory_pool(pa.system_memory_pool())

FORMATS = ("parquet", "wear", "elan")
Annotators = Mapping[tuple[str, str, float], Sequence[int]]
"""Who answered, as numbers of Label Studio's users, by participant, recording and start of the clip in seconds."""
TABLE_THRESHOLDS = ("none", "95%", "90%", "75%", "50%", "25%")


@dataclass(frozen=True)
class RecordingSamples:
    """One recording's samples with the clip that labels each: `clip (n_samples,)`, -1 outside all clips; and watched
    `(n_samples,)`, the class that a person gave a clip in which the sample lies, else -1."""

    name: str
    imu: Imu
    clip: npt.NDArray[np.int64]
    watched: npt.NDArray[np.int64]


def write_export(
    everything: list[ParticipantLabels],
    recordings: Mapping[str, Recording],
    classes: tuple[str, ...],
    parameters: Mapping[str, Any],
    threshold: Threshold,
    target: Path,
    file_format: str = "parquet",
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    annotators: Annotators | None = None,
) -> dict[str, Any]:
    """Write the dataset to the folder `target` (replaced as a whole) and return its `dataset.json`.

    `recordings` are the present ones by participant/name; `parameters` go into `dataset.json` as they are; `progress`
    gets how many participants of how many are done; `annotators` who answered.
    """
    if file_format not in FORMATS:
        raise ConfigError(f"format: '{file_format}' is not known; known are {', '.join(FORMATS)}")
    if target.exists() and not (target / "dataset.json").is_file() and any(target.iterdir()):
        raise ConfigError(f"{target}: is not empty and no export of weakhar; choose another folder")
    with written_atomically(target) as temporary:
        (temporary / SAMPLES_FOLDER).mkdir(parents=True)
        if file_format == "elan":
            (temporary / ELAN_FOLDER).mkdir()
        participants: dict[str, Any] = {}
        warnings: list[str] = []
        signals: dict[str, Any] = {}
        clips: list[pa.Table] = []
        stretches: dict[str, list[LabelledStretch]] = {}
        has_truth = False
        names = file_names([labels.clustering.participant for labels in everything])
        for number, labels in enumerate(everything):
            progress(number, len(everything))
            name = labels.clustering.participant
            file = f"{SAMPLES_FOLDER}/{names[name]}.{'csv' if file_format == 'wear' else 'parquet'}"
            kept, exact = labels.clip_labels(threshold), bool(parameters.get("paper_exact"))
            with _SamplesFile(temporary / file, file_format, number) as out:
                for recording in range(len(labels.clustering.recordings)):
                    out.add(labels, samples_of(labels, recordings, recording, exact), classes, kept)
            participants[name] = {"file": file, **_counts(labels, out.sources)}
            clips.append(_clips_table(labels, classes, kept, annotators or {}))
            stretches[name] = list(labelled_stretches(labels, kept, exact))
            if file_format == "elan":
                own = {key.partition("/")[2]: one for key, one in recordings.items() if key.startswith(f"{name}/")}
                files = file_names(own)
                participants[name]["elan"] = [f"{ELAN_FOLDER}/{names[name]}-{file}.eaf" for file in files.values()]
                for (key, one), file in zip(own.items(), participants[name]["elan"], strict=True):
                    marked = [stretch for stretch in stretches[name] if stretch.recording == key]
                    write_elan(name, one, marked, classes, temporary / file, target / ELAN_FOLDER)
            has_truth |= out.has_truth
            signals.setdefault("channels", list(out.channels))
            signals.setdefault("sampling_rate", float(np.median(out.rates)))
            warnings += _differences(name, out, signals)
        if not has_truth and file_format != "wear":  # every file has the same columns
            for counts in participants.values():
                _drop_column(temporary / counts["file"], "ground_truth")
        description = {
            "schema_version": SCHEMA_VERSION,
            "format": "wear" if file_format == "wear" else "parquet",
            "labels": list(classes),
            **signals,
            **parameters,
            "threshold": str(threshold),
            "participants": participants,
            "warnings": [*parameters.get("warnings", []), *warnings],
        }
        write_intervals(stretches, classes, temporary / INTERVALS_FILE)
        pa.parquet.write_table(pa.concat_tables(clips), temporary / CLIPS_FILE)
        text = json.dumps(description, indent=1, ensure_ascii=False)
        (temporary / "dataset.json").write_text(text, encoding="utf-8")
        (temporary / README_FILE).write_text(readme(description), encoding="utf-8")
    return description


def file_names(participants: Iterable[str]) -> dict[str, str]:
    """A readable name for each participant's file, unique whatever a file system takes for the same."""
    names: dict[str, str] = {}
    for participant in participants:
        plain = slugify(participant, max_length=60) or "participant"
        name, number = plain, 1
        while name in names.values():
            number += 1
            name = f"{plain}-{number}"
        names[participant] = name
    return names


def _differences(name: str, out: "_SamplesFile", signals: Mapping[str, Any]) -> list[str]:
    """What keeps a participant's samples from being one table with the others'."""
    found = []
    if list(out.channels) != signals["channels"]:
        found.append(
            f"{name}: has channels {', '.join(out.channels)}, not those of the first participant; name imu_columns"
        )
    slowest, fastest = min([*out.rates, signals["sampling_rate"]]), max([*out.rates, signals["sampling_rate"]])
    if fastest > (1 + RATES_ALIKE) * slowest:
        rates = ", ".join(f"{rate:g}" for rate in dict.fromkeys(round(rate, 2) for rate in out.rates))
        found.append(f"{name}: has {rates} samples a second, dataset.json names {signals['sampling_rate']:g}")
    return found


def forget_in_export(folder: Path, participant: str) -> bool:
    """Remove a participant from an export for good; True if they were in it."""
    file = folder / "dataset.json"
    description: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    theirs = description["participants"].pop(participant, None)
    if theirs is None:
        return False
    for name in ("answers_not_understood", "answers_to_pictures_that_are_gone"):
        description[name] = [line for line in description.get(name, []) if f"({participant}/" not in line]
    clips = pa.parquet.read_table(folder / CLIPS_FILE) if (folder / CLIPS_FILE).is_file() else None
    if clips is not None:
        kept = clips.filter(pa.compute.not_equal(clips["participant"], participant))
        with written_atomically(folder / CLIPS_FILE) as temporary:
            pa.parquet.write_table(kept, temporary)
    with written_atomically(file) as temporary:
        temporary.write_text(json.dumps(description, indent=1, ensure_ascii=False), encoding="utf-8")
    for document in theirs.get("elan", ()):
        (folder / document).unlink(missing_ok=True)
    _forget_intervals(folder / INTERVALS_FILE, participant)
    if (folder / README_FILE).is_file():
        (folder / README_FILE).write_text(readme(description), encoding="utf-8")
    (folder / theirs["file"]).unlink(missing_ok=True)
    return True


def _forget_intervals(file: Path, participant: str) -> None:
    if not file.is_file():
        return
    with file.open(encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream)
    with written_atomically(file) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *(row for row in rows if row[0] != participant)])


def threshold_table(
    everything: list[ParticipantLabels],
    recordings: Mapping[str, Recording],
    classes: tuple[str, ...],
    paper_exact: bool = False,
) -> list[dict[str, Any]]:
    """Coverage (share of samples labelled) and, where ground truth is known, labelling accuracy as mean and standard
    deviation over participants, for several thresholds."""
    coverage: dict[str, list[float]] = defaultdict(list)
    accuracy: dict[str, list[float]] = defaultdict(list)
    for labels in everything:
        count = len(labels.clustering.recordings)
        samples = [samples_of(labels, recordings, number, paper_exact) for number in range(count)]
        truth = _truth(samples, classes)
        for threshold in TABLE_THRESHOLDS:
            predicted = _sample_labels(labels.clip_labels(parse_threshold(threshold)), samples)
            coverage[threshold].append(float((predicted != UNLABELLED).mean()))
            if truth is not None:
                accuracy[threshold].append(macro_recall(truth, predicted))
    return [
        {
            "threshold": threshold,
            "coverage": float(np.mean(coverage[threshold])),
            "accuracy": _finite(np.mean, accuracy[threshold]),
            "accuracy_std": _finite(np.std, accuracy[threshold]),
        }
        for threshold in TABLE_THRESHOLDS
        if coverage[threshold]
    ]


class _SamplesFile:
    """A participant's file, written recording by recording: of long ones only one is in memory at a time. Knows
    afterwards how many samples come from where, the rate of each recording, the channels, and whether the truth is
    known of any."""

    def __init__(self, path: Path, file_format: str, number: int) -> None:
        self._path, self._wear, self._number = path, file_format == "wear", number
        self._writer: Any = None
        self.has_truth = False
        self.channels: tuple[str, ...] = ()
        self.rates: list[float] = []
        self.sources = Counter[str]()

    def add(
        self, labels: ParticipantLabels, part: RecordingSamples, classes: tuple[str, ...], clip_classes: Ints
    ) -> None:
        """Append a recording's samples; RecordingError if it has other channels than the first."""
        self.channels = self.channels or part.imu.channels
        if part.imu.channels != self.channels:
            raise RecordingError(
                f"recording {part.name}: has other channels than the participant's first one; name imu_columns"
            )
        self.rates.append(part.imu.sampling_rate)
        self.has_truth |= part.imu.labels is not None
        for piece in _pieces(part):
            table = _table(labels, piece, classes, clip_classes)
            counts = table["source"].value_counts().to_pylist()
            self.sources.update({row["values"]: row["counts"] for row in counts})
            self._write(_wear_table(table, self._number) if self._wear else table)

    def _write(self, table: pa.Table) -> None:
        if self._writer is None:
            make = pa.csv.CSVWriter if self._wear else pa.parquet.ParquetWriter
            self._writer = make(self._path, table.schema)
        self._writer.write_table(table)

    def __enter__(self) -> "_SamplesFile":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()


def _drop_column(path: Path, name: str) -> None:
    """Write a Parquet file again without a column, a row group at a time."""
    with pa.parquet.ParquetFile(path) as file, written_atomically(path) as temporary:
        schema = file.schema_arrow
        kept = [other for other in schema.names if other != name]
        with pa.parquet.ParquetWriter(temporary, schema.remove(schema.get_field_index(name))) as writer:
            for number in range(file.num_row_groups):
                writer.write_table(file.read_row_group(number, columns=kept))


def samples_of(
    labels: ParticipantLabels, recordings: Mapping[str, Recording], number: int, paper_exact: bool
) -> RecordingSamples:
    """Read the IMU of a participant's recording and find each sample's clip: the one within whose borders it lies, or
    with `paper_exact` the one in whose first stride."""
    clustering = labels.clustering
    name = clustering.recordings[number]
    recording = recordings.get(f"{clustering.participant}/{name}")
    if recording is None:
        raise RecordingError(f"recording {clustering.participant}/{name} is gone; restore it or run again")
    if clustering.videos and clustering.videos[number] != content_key(recording.video):
        raise RecordingError(
            f"{recording.video}: is another video than the one that was clustered; run the job, which asks what it "
            "shows"
        )
    imu = read_imus(recording.imus, recording.span)
    own = np.flatnonzero(clustering.recording_of_clip == number)
    end = float(clustering.durations[number])
    starts = clustering.starts[own]
    if paper_exact:
        local = clip_of_samples(imu.times, starts, clustering.stride_seconds, end)
    else:
        local = clip_of_samples_by_borders(imu.times, labels.borders[own], end)
    clip = np.where(local >= 0, own[local] if len(own) else -1, -1)
    said = labels.said[own]
    watched = _paper_watched(local, said) if paper_exact else _watched(imu.times, starts, clustering, said)
    return RecordingSamples(name, imu, clip, watched)


def _pieces(part: RecordingSamples, samples: int = 20_000) -> Iterator[RecordingSamples]:
    """A recording in pieces, since its table is as large again as its samples."""
    for first in range(0, len(part.clip), samples):
        own = slice(first, first + samples)
        truth = part.imu.labels[own] if part.imu.labels is not None else None
        imu = replace(part.imu, times=part.imu.times[own], values=part.imu.values[own], labels=truth)
        yield RecordingSamples(part.name, imu, part.clip[own], part.watched[own])


def _watched(times: Floats, starts: Floats, clustering: Clustering, said: Ints) -> Ints:
    """What a person said of a clip in which each sample lies, of the nearest where several were watched; else -1."""
    watched = np.full(len(times), UNLABELLED, dtype=np.int64)
    answered = np.flatnonzero(said != UNLABELLED)
    if len(answered) == 0:
        return watched
    nearest = answered[nearest_clip_of_samples(times, starts[answered], clustering.clip_seconds, np.inf)]
    since = times - starts[nearest]
    inside = (since > -1e-6) & (since < clustering.clip_seconds - 1e-6)
    return np.where(inside, said[nearest], watched)


def _paper_watched(clip: Ints, said: Ints) -> Ints:
    """The paper's code takes the first stride of an answered clip for annotated."""
    return np.where(clip >= 0, said[np.maximum(clip, 0)], UNLABELLED) if len(said) else np.full(len(clip), UNLABELLED)


def _table(
    labels: ParticipantLabels, part: RecordingSamples, classes: tuple[str, ...], clip_classes: Ints
) -> pa.Table:
    """One recording's samples, in the columns of the contract, the channels behind the time; clip_classes:
    `(n_clips,)` with the threshold."""
    clustering = labels.clustering
    names = np.array([*classes, None], dtype=object)  # index -1 is the last: unlabelled
    clip, outside = np.maximum(part.clip, 0), part.clip < 0
    label = np.where(outside, UNLABELLED, clip_classes[clip])
    source = np.where(label == part.watched, ANNOTATED, PROPAGATED).astype(object)
    confidence = labels.confidence[clip]
    truth = part.imu.labels if part.imu.labels is not None else np.full(len(clip), None)
    return pa.table(
        {
            # No dictionaries, which `datasets` does not read; in the file they are ones.
            "participant": pa.array([clustering.participant] * len(clip), pa.string()),
            "recording": pa.array([part.name] * len(clip), pa.string()),
            "time": part.imu.times,
            **{name: part.imu.values[:, number] for number, name in enumerate(part.imu.channels)},
            "label": pa.array(names[label], pa.string()),
            "source": pa.array(np.where(label == UNLABELLED, OMITTED, source), pa.string()),
            "confidence": pa.array(confidence, pa.float64(), mask=outside | np.isnan(confidence)),
            "clip": pa.array(clip, pa.int32(), mask=outside),
            "cluster": pa.array(clustering.clusters[clip], pa.int32(), mask=outside),
            "distance": pa.array(clustering.distances[clip], pa.float64(), mask=outside),
            PROPAGATED_LABEL: pa.array(names[np.where(outside, UNLABELLED, labels.propagated[clip])], pa.string()),
            "ground_truth": pa.array(truth, pa.string()),
        }
    )


def _clips_table(
    labels: ParticipantLabels, classes: tuple[str, ...], clip_classes: Ints, annotators: Annotators
) -> pa.Table:
    """A row a clip: where it lies, its cluster, what people said of it, and its label."""
    clustering = labels.clustering
    names = np.array([*classes, None], dtype=object)
    count = len(clustering.clusters)
    return pa.table(
        {
            "participant": pa.array([clustering.participant] * count, pa.string()),
            "clip": pa.array(np.arange(count), pa.int32()),
            "recording": pa.array(np.array(clustering.recordings, object)[clustering.recording_of_clip], pa.string()),
            "start_seconds": clustering.starts,
            "end_seconds": clustering.starts + clustering.clip_seconds,
            "cluster": pa.array(clustering.clusters, pa.int32()),
            "centroid_clip": np.isin(np.arange(count), clustering.centroids),
            "distance": clustering.distances,
            "answer": pa.array(names[labels.said], pa.string()),
            "answered_by": pa.array(_answered_by(labels, annotators), pa.list_(pa.int64())),
            "label": pa.array(names[clip_classes], pa.string()),
            PROPAGATED_LABEL: pa.array(names[labels.propagated], pa.string()),
            "confidence": pa.array(labels.confidence, pa.float64(), mask=np.isnan(labels.confidence)),
        }
    )


def _answered_by(labels: ParticipantLabels, annotators: Annotators) -> list[list[int]]:
    """Who gave each clip the class that it has by people's answers."""
    clustering, found = labels.clustering, []
    for clip, said in enumerate(labels.said):
        recording = clustering.recordings[clustering.recording_of_clip[clip]]
        who = annotators.get((clustering.participant, recording, round(float(clustering.starts[clip]), 3)), ())
        found.append(sorted(set(who)) if said != UNLABELLED else [])
    return found


def _wear_table(table: pa.Table, number: int) -> pa.Table:
    """WEAR's columns: sbj_id, channels…, label; samples of omitted clips are dropped, as the paper does."""
    kept = table.filter(pa.compute.is_valid(table["label"]))
    ours = set(COLUMNS)
    channels = [name for name in kept.column_names if name not in ours]
    subject = pa.array(np.full(kept.num_rows, number), pa.int64())
    return pa.table(
        [subject, *[kept[name] for name in channels], kept["label"]], names=["sbj_id", *channels, "label"]
    )


def _counts(labels: ParticipantLabels, sources: Mapping[str, int]) -> dict[str, Any]:
    samples = sum(sources.values())
    return {
        "samples": samples,
        "coverage": 1 - sources.get(OMITTED, 0) / max(1, samples),
        "clips": len(labels.clustering.clusters),
        "clusters": int((labels.clustering.centroids >= 0).sum()),
        "clusters_labelled": labels.answered,
        "ties": labels.ties,
        "temperature": labels.temperature,
        "from_others": round(labels.from_others, 4),
        **{source: sources.get(source, 0) for source in (ANNOTATED, PROPAGATED, OMITTED)},
    }


def _sample_labels(clip_classes: npt.NDArray[np.int64], samples: list[RecordingSamples]) -> npt.NDArray[np.int64]:
    clip = np.concatenate([part.clip for part in samples])
    return np.where(clip >= 0, clip_classes[np.maximum(clip, 0)], UNLABELLED)


def _truth(samples: list[RecordingSamples], classes: tuple[str, ...]) -> npt.NDArray[np.int64] | None:
    """Ground truth as class indices; classes that no annotator can choose count as their own, always missed."""
    if any(part.imu.labels is None for part in samples):
        return None
    names = np.concatenate([part.imu.labels for part in samples if part.imu.labels is not None])
    index = {name: number for number, name in enumerate((*classes, *sorted(set(names) - set(classes))))}
    return np.array([index[name] for name in names])


def _finite(statistic: Any, values: list[float]) -> float | None:
    known = [value for value in values if np.isfinite(value)]
    return float(statistic(known)) if known else None
