"""A participant's samples with the clip that labels each, written recording by recording: most of an export."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from ml_backend.clusters import Clustering
from ml_backend.errors import RecordingError
from ml_backend.files import content_key, written_atomically
from ml_backend.labels import NOT_REVIEWED, UNLABELLED, ParticipantLabels, reviewed_at
from ml_backend.recordings import (
    Imu,
    Recording,
    clip_of_samples,
    clip_of_samples_by_borders,
    nearest_clip_of_samples,
    read_imus,
)
from training.contract import ANNOTATED, COLUMNS, IMPORTED, OMITTED, PROPAGATED, PROPAGATED_LABEL, REVIEWED

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Arrow's other allocators keep what was freed, which in a long export is 100 MB.
pa.set_memory_pool(pa.system_memory_pool())


@dataclass(frozen=True)
class RecordingSamples:
    """One recording's samples with the clip that labels each: `clip (n_samples,)`, -1 outside all clips; watched
    `(n_samples,)`, the class that a person gave a clip in which the sample lies, else -1; and reviewed
    and imported `(n_samples,)`, what who went through the recording left there, -1 for no class, and what was called
    so elsewhere, else NOT_REVIEWED."""

    name: str
    imu: Imu
    clip: npt.NDArray[np.int64]
    watched: npt.NDArray[np.int64]
    reviewed: npt.NDArray[np.int64]
    imported: npt.NDArray[np.int64]

    def labels(self, clip_classes: Ints) -> Ints:
        """The class of each sample, -1 for none; `(n_samples,)`. clip_classes: `(n_clips,)` with the threshold."""
        by_clip = np.where(self.clip >= 0, clip_classes[np.maximum(self.clip, 0)], UNLABELLED)
        below = np.where(self.imported == NOT_REVIEWED, by_clip, self.imported)
        return np.where(self.reviewed == NOT_REVIEWED, below, self.reviewed)


@dataclass(frozen=True)
class Track:
    """What else was asked about each clip, a posture beside the activity: its labels of every participant."""

    name: str
    classes: tuple[str, ...]
    everything: Sequence[ParticipantLabels]


@dataclass(frozen=True)
class Layer:
    """One track's labels of one participant, and how its columns' names end; clip_classes with the threshold."""

    labels: ParticipantLabels
    classes: tuple[str, ...]
    clip_classes: Ints
    suffix: str = ""

    def columns(self, part: RecordingSamples) -> dict[str, Any]:
        """label, source, confidence and propagated label of the samples."""
        names = np.array([*self.classes, None], dtype=object)  # index -1 is the last: unlabelled
        clip, outside = np.maximum(part.clip, 0), part.clip < 0
        label, reviewed = part.labels(self.clip_classes), part.reviewed != NOT_REVIEWED
        imported = ~reviewed & (part.imported != NOT_REVIEWED)
        source = np.where(label == part.watched, ANNOTATED, PROPAGATED).astype(object)
        source = np.where(label == UNLABELLED, OMITTED, source)
        source[imported], source[reviewed] = IMPORTED, REVIEWED
        confidence = np.where(reviewed | imported, 1.0, np.where(outside, np.nan, self.labels.confidence[clip]))
        propagated = np.where(outside, UNLABELLED, self.labels.propagated[clip])
        found = {
            "label": pa.array(names[label], pa.string()),
            "source": pa.array(source, pa.string()),
            "confidence": pa.array(confidence, pa.float64(), mask=np.isnan(confidence)),
            PROPAGATED_LABEL: pa.array(names[propagated], pa.string()),
        }
        return {f"{name}{self.suffix}": column for name, column in found.items()}


class SamplesFile:
    """A participant's file, written recording by recording: of long ones only one is in memory at a time. Knows
    afterwards how many samples come from where and have a label, the rate of each recording, the channels with their
    units, and whether the truth is known of any."""

    def __init__(self, path: Path, file_format: str, number: int) -> None:
        self._path, self._wear, self._number = path, file_format == "wear", number
        self._writer: Any = None
        self.has_truth = False
        self.channels: tuple[str, ...] = ()
        self.units: dict[str, set[str]] = {}
        self.rates: list[float] = []
        self.sources = Counter[str]()
        self.labelled = 0

    def add(
        self,
        labels: ParticipantLabels,
        part: RecordingSamples,
        classes: tuple[str, ...],
        clip_classes: Ints,
        tracks: Sequence[tuple[Layer, RecordingSamples]] = (),
    ) -> None:
        """Append a recording's samples; RecordingError if it has other channels than the first."""
        self.channels = self.channels or part.imu.channels
        if part.imu.channels != self.channels:
            raise RecordingError(
                f"recording {part.name}: has other channels than the participant's first one; name imu_columns"
            )
        self.rates.append(part.imu.sampling_rate)
        for name, unit in part.imu.units.items():
            self.units.setdefault(name, set()).add(unit)
        self.has_truth |= part.imu.labels is not None
        own = Layer(labels, classes, clip_classes)
        others = [_pieces(other) for _, other in tracks]
        for piece, *further in zip(_pieces(part), *others, strict=True):
            table = _table(own, piece)
            for (layer, _), one in zip(tracks, further, strict=True):
                for name, column in layer.columns(one).items():
                    table = table.append_column(name, column)
            counts = table["source"].value_counts().to_pylist()
            self.sources.update({row["values"]: row["counts"] for row in counts})
            self.labelled += len(table) - table["label"].null_count
            self._write(_wear_table(table, self._number) if self._wear else table)

    def _write(self, table: pa.Table) -> None:
        if self._writer is None:
            make = pa.csv.CSVWriter if self._wear else pa.parquet.ParquetWriter
            self._writer = make(self._path, table.schema)
        self._writer.write_table(table)

    def __enter__(self) -> "SamplesFile":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()


def drop_column(path: Path, name: str) -> None:
    """Write a Parquet file, if there is one, again without a column, a row group at a time."""
    if not path.is_file():  # of recordings without a sample
        return
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
    return placed(labels, read_imus(recording.imus, recording.span), number, paper_exact)


def placed(labels: ParticipantLabels, imu: Imu, number: int, paper_exact: bool) -> RecordingSamples:
    """The same of an IMU that was read already."""
    clustering = labels.clustering
    name = clustering.recordings[number]
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
    on_top = (reviewed_at(imu.times, name, own) for own in (labels.reviewed, labels.imported))
    return RecordingSamples(name, imu, clip, watched, *on_top)


def _pieces(part: RecordingSamples, samples: int = 20_000) -> Iterator[RecordingSamples]:
    """A recording in pieces, since its table is as large again as its samples."""
    for first in range(0, len(part.clip), samples):
        own = slice(first, first + samples)
        truth = part.imu.labels[own] if part.imu.labels is not None else None
        imu = replace(part.imu, times=part.imu.times[own], values=part.imu.values[own], labels=truth)
        columns = (part.clip, part.watched, part.reviewed, part.imported)
        yield RecordingSamples(part.name, imu, *(column[own] for column in columns))


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


def _table(layer: Layer, part: RecordingSamples) -> pa.Table:
    """One recording's samples, in the columns of the contract, the channels behind the time."""
    clustering, count = layer.labels.clustering, len(part.clip)
    clip, outside = np.maximum(part.clip, 0), part.clip < 0
    truth = part.imu.labels if part.imu.labels is not None else np.full(count, None)
    labels = layer.columns(part)
    return pa.table(
        {
            # No dictionaries, which `datasets` does not read; in the file they are ones.
            "participant": pa.array([clustering.participant] * count, pa.string()),
            "recording": pa.array([part.name] * count, pa.string()),
            "time": part.imu.times,
            **{name: part.imu.values[:, number] for number, name in enumerate(part.imu.channels)},
            **{name: labels[name] for name in ("label", "source", "confidence")},
            "clip": pa.array(clip, pa.int32(), mask=outside),
            "cluster": pa.array(clustering.clusters[clip], pa.int32(), mask=outside),
            "distance": pa.array(clustering.distances[clip], pa.float64(), mask=outside),
            PROPAGATED_LABEL: labels[PROPAGATED_LABEL],
            "ground_truth": pa.array(truth, pa.string()),
        }
    )


def _wear_table(table: pa.Table, number: int) -> pa.Table:
    """WEAR's columns: sbj_id, channels…, label; samples of omitted clips are dropped, as the paper does."""
    kept = table.filter(pa.compute.is_valid(table["label"]))
    ours = set(COLUMNS)
    channels = [name for name in kept.column_names if name not in ours]
    subject = pa.array(np.full(kept.num_rows, number), pa.int64())
    return pa.table(
        [subject, *[kept[name] for name in channels], kept["label"]], names=["sbj_id", *channels, "label"]
    )
