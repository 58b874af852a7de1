"""Read a dataset: an export of weakhar (`dataset.json` and a Parquet or CSV file a participant), or a folder of
WEAR-style CSV files with ground truth; and cut it into windows that never span a gap or two recordings.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from training.contract import (
    ANNOTATED,
    CLIPS_FILE,
    COLUMNS,
    DESCRIPTION_FIELDS,
    GAP_STEPS,
    IMPORTED,
    NULL_CLASS,
    PROPAGATED_LABEL,
    RATES_ALIKE,
    REVIEWED,
    SCHEMA_VERSION,
    gap_seconds,
    sampling_rate_of,
)
from training.errors import TrainingError

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NOT_CHANNELS = (*COLUMNS, "sbj_id")
UNLABELLED = -1


@dataclass(frozen=True)
class Participant:
    """One participant's samples, from row `begin` of the dataset's values on; all columns `(n,)`.

    segment changes at a gap or a recording; clip is the number of the clip that labels the sample (-1: none), or of
    the stride that it lies in where the export is older or there is none; weak and truth are classes or -1; annotated
    is True where a person's own answer labels the sample, reviewed where one labelled the recording; distance is
    that to the centroid clip. truth is None where it is unknown, the others are None in a folder of CSV files;
    propagated, the label without any threshold, is None too where it follows from the cluster. clip_distances
    `(n_clips,)` are those of all clips, also of such as label no sample; None where the export does not say.
    """

    name: str
    begin: int
    segment: Ints
    clip: Ints
    truth: Ints | None
    weak: Ints | None
    annotated: Bools | None
    cluster: Ints | None
    distance: npt.NDArray[np.float64] | None
    propagated: Ints | None = None
    confidence: npt.NDArray[np.float64] | None = None
    reviewed: Bools | None = None
    clip_distances: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Dataset:
    """values `(n, channels)` of all participants, one after another; labels in the order of class indices;
    sampling_rate in Hz; threshold is that with which it was exported; names_clips: `clip` comes from the export;
    paper_exact: a clip's label is that of its first stride, as in exports of schema 1."""

    path: Path
    values: Floats
    title: str
    labels: tuple[str, ...]
    channels: tuple[str, ...]
    sampling_rate: float
    clip_seconds: float
    stride_seconds: float
    participants: tuple[Participant, ...]
    threshold: str = "none"
    names_clips: bool = False
    paper_exact: bool = True

    def participant(self, name: str) -> Participant:
        """By name; TrainingError lists those there are."""
        for participant in self.participants:
            if participant.name == name:
                return participant
        known = ", ".join(participant.name for participant in self.participants)
        raise TrainingError(f"{self.path}: has no participant '{name}'; it has {known}")


def read_dataset(path: Path, sampling_rate: float | None = None, track: str | None = None) -> Dataset:
    """An export's folder or a folder of WEAR-style CSV; TrainingError names the file, the column and the remedy.

    sampling_rate: Hz, of CSV files that have no column `time`. track: which labels of an export that has several,
    None for the first; of a further one no ground truth is known.
    """
    if not path.is_dir():
        raise TrainingError(f"{path}: no such folder; name an export of weakhar or a folder of WEAR-style CSV files")
    if (path / "dataset.json").is_file():
        return _read_export(path, _description(path / "dataset.json"), track)
    if track:
        raise TrainingError(f"{path}: --track {track} is for exports of weakhar, this has none; leave it out")
    files = sorted(path.glob("*.csv"), key=lambda file: (len(file.stem), file.stem))
    if not files:
        raise TrainingError(f"{path}: holds neither dataset.json nor CSV files; name an export of weakhar")
    return _read_csv_folder(path, files, sampling_rate)


def window_starts(segment: Ints, usable: Bools, length: int, step: int) -> Ints:
    """Starts of windows of `length` samples every `step`, all samples usable and of one segment; `(n_windows,)`.

    Windows are counted anew from the beginning of each run of usable samples.
    """
    if len(segment) == 0:
        return np.zeros(0, dtype=np.int64)
    runs = np.where(usable, segment, -1)
    edges = np.flatnonzero(np.diff(runs)) + 1
    begins, ends = np.concatenate([[0], edges]), np.concatenate([edges, [len(runs)]])
    kept = (runs[begins] >= 0) & (ends - begins >= length)
    starts = [np.arange(begin, end - length + 1, step) for begin, end in zip(begins[kept], ends[kept], strict=True)]
    return np.concatenate(starts).astype(np.int64) if starts else np.zeros(0, dtype=np.int64)


def read_recording(
    path: Path, channels: tuple[str, ...], sampling_rate: float, given: float | None = None
) -> tuple[npt.NDArray[np.float64], Floats, Ints]:
    """Times `(n,)` in seconds, the named channels `(n, channels)` and gapless segments `(n,)` of a file with a column
    `time`, or of one `given` its rate; CSV or Parquet. TrainingError if that is not `sampling_rate`, all in Hz."""
    table = _read_table(path)
    values = _values(path, table, channels)
    if "time" in table.column_names:
        return table["time"].to_numpy(), values, _segments(path, table, sampling_rate, 1.0)[0]
    rate = _sampling_rate(path, table, given)
    check_rate(path, rate, sampling_rate)
    return np.arange(table.num_rows) / rate, values, _segments(path, table, rate, 1.0)[0]


def check_rate(path: Path, rate: float, expected: float) -> None:
    """TrainingError if two sampling rates (Hz) are not alike."""
    if abs(rate / expected - 1) > RATES_ALIKE:
        raise TrainingError(
            f"{path}: has {rate:.4g} samples a second, expected {expected:g}; resample it, or write times in seconds"
        )


def _description(path: Path) -> dict[str, Any]:
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path}: not valid JSON ({error}); export the dataset again") from None
    version = description.get("schema_version") if isinstance(description, dict) else None
    if not isinstance(version, int):
        raise TrainingError(f"{path}: has no schema_version; is it an export of weakhar?")
    if version > SCHEMA_VERSION:
        raise TrainingError(
            f"{path}: schema_version {version} is newer than the {SCHEMA_VERSION} that this weakhar reads; update it"
        )
    for field in DESCRIPTION_FIELDS:
        if field not in description:
            raise TrainingError(f"{path}: has no field '{field}'; export the dataset again")
    if description.get("format", "parquet") != "parquet":
        raise TrainingError(f"{path}: is of the wear format, which holds no times; export as parquet to train")
    return dict(description)


def _read_export(path: Path, description: dict[str, Any], track: str | None = None) -> Dataset:
    tracks = description.get("tracks") or {}
    if track and track not in tracks:
        known = ", ".join(tracks) or "none"
        raise TrainingError(f"{path / 'dataset.json'}: has no track '{track}'; it has {known}")
    labels = list(tracks[track]["labels"] if track else description["labels"])
    of_track = f"_{track}" if track else ""
    files = {name: path / str(entry["file"]) for name, entry in description["participants"].items()}
    if not files:
        raise TrainingError(f"{path / 'dataset.json'}: lists no participants; export the dataset again")
    # Ground truth may know classes that no annotator could choose.
    known_truth = set() if track else set[str]().union(*(_values_found(file) for file in files.values()))
    truth_labels = labels + sorted(known_truth - set(labels))
    channels = tuple(description["channels"])
    sampling_rate = float(description["sampling_rate"])
    stride = float(description["stride_seconds"])
    names_clips = int(description["schema_version"]) >= 2
    of_clips = _clip_distances(path / CLIPS_FILE)
    participants, values, begin = [], [], 0
    for name, file in files.items():
        table = _read_table(file)
        values.append(_values(file, table, channels))
        segment, clip = _segments(file, table, sampling_rate, stride)
        if names_clips:
            clip = _numbers(file, table, "clip", np.int64, -1)
        weak = _class_indices(file, table, f"label{of_track}", labels, "the labels of dataset.json")
        propagated, column = None, f"{PROPAGATED_LABEL}{of_track}"
        if column in table.column_names:
            propagated = _class_indices(file, table, column, labels, "the labels of dataset.json")
        truth = None
        if "ground_truth" in table.column_names and not track:
            truth = _class_indices(file, table, "ground_truth", truth_labels, "ground truth")
        source = np.asarray(_column(file, table, f"source{of_track}").to_pylist())
        participants.append(
            Participant(
                name=name,
                begin=begin,
                segment=segment,
                clip=clip,
                truth=truth,
                weak=weak,
                annotated=np.isin(source, (ANNOTATED, REVIEWED, IMPORTED)),
                reviewed=np.isin(source, (REVIEWED, IMPORTED)),
                cluster=_numbers(file, table, "cluster", np.int64, -1),
                distance=_numbers(file, table, "distance", np.float64, np.inf),
                propagated=propagated,
                confidence=_confidence(file, table, f"confidence{of_track}"),
                clip_distances=of_clips.get(name),
            )
        )
        begin += table.num_rows
    project = description.get("label_studio_project") or {}
    return Dataset(
        path=path,
        values=np.concatenate(values),
        title=f"{path.absolute().name} {project.get('title', '')}".strip(),
        labels=tuple(truth_labels),
        channels=channels,
        sampling_rate=sampling_rate,
        clip_seconds=float(description["clip_seconds"]),
        stride_seconds=stride,
        participants=tuple(participants),
        threshold=str(description.get("threshold", "none")),
        names_clips=names_clips,
        paper_exact=bool(description.get("paper_exact", not names_clips)),
    )


def _clip_distances(file: Path) -> dict[str, npt.NDArray[np.float64]]:
    """Each participant's clips' distances, in their order; none where the export has no table of clips."""
    if not file.is_file():
        return {}
    table = _read_table(file)
    names = np.asarray(_column(file, table, "participant").to_pylist())
    clips = _numbers(file, table, "clip", np.int64, -1)
    distances = _numbers(file, table, "distance", np.float64, np.inf)
    found = {}
    for name in np.unique(names):
        own = np.flatnonzero(names == name)
        found[str(name)] = distances[own[np.argsort(clips[own], kind="stable")]]
    return found


def _read_csv_folder(path: Path, files: list[Path], sampling_rate: float | None) -> Dataset:
    tables = {file: _read_table(file) for file in files}
    channels: tuple[str, ...] | None = None
    found: set[str] = set()
    for file, table in tables.items():
        own = tuple(name for name in table.column_names if name not in NOT_CHANNELS)
        if channels is None:
            channels = own
        if own != channels or not own:
            unlike = ", ".join(sorted(set(own) ^ set(channels))) or "their order"
            raise TrainingError(f"{file}: its channels differ from {files[0]} in {unlike}; give all the same columns")
        if "label" not in table.column_names:
            raise TrainingError(f"{file}: has no column 'label'; a folder without dataset.json needs ground truth")
        found |= {str(value or NULL_CLASS) for value in pc.unique(table["label"]).to_pylist()}
    assert channels is not None
    labels = [NULL_CLASS] * (NULL_CLASS in found) + sorted(found - {NULL_CLASS})
    sampling_rate = _sampling_rate(files[0], tables[files[0]], sampling_rate)
    participants, values, begin = [], [], 0
    for file, table in tables.items():
        segment, clip = _segments(file, table, sampling_rate, 1.0)
        filled = table.set_column(
            table.column_names.index("label"), "label", pc.fill_null(table["label"], NULL_CLASS)
        )
        truth = _class_indices(file, filled, "label", labels, "the labels found")
        values.append(_values(file, table, channels))
        participants.append(Participant(file.stem, begin, segment, clip, truth, None, None, None, None))
        begin += table.num_rows
    return Dataset(
        path=path,
        values=np.concatenate(values),
        title=path.absolute().name,
        labels=tuple(labels),
        channels=channels,
        sampling_rate=sampling_rate,
        clip_seconds=4.0,
        stride_seconds=1.0,
        participants=tuple(participants),
    )


def _read_table(file: Path, only: str | None = None) -> pa.Table:
    """The whole file, or of a Parquet file that has the column `only` just that."""
    if not file.is_file():
        raise TrainingError(f"{file}: no such file; is the export complete? Export it again")
    if file.suffix.lower() not in (".csv", ".parquet"):
        raise TrainingError(f"{file}: is neither .csv nor .parquet; name a file of IMU samples")
    try:
        if file.suffix.lower() == ".parquet":
            columns = [only] if only in pa.parquet.read_schema(file).names else None
            table = pa.parquet.read_table(file, columns=columns)
        else:
            types = {"label": pa.string(), "ground_truth": pa.string()}
            # "null" is a class, so that arrow's own list of null values will not do.
            options = pa.csv.ConvertOptions(
                column_types=types, strings_can_be_null=True, null_values=["", "NaN", "nan", "NA"]
            )
            table = pa.csv.read_csv(file, convert_options=options)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError) as error:
        raise TrainingError(
            f"{file}: cannot be read ({str(error).splitlines()[0]}); copy or export it again"
        ) from None
    if len(set(table.column_names)) < len(table.column_names):
        raise TrainingError(f"{file}: has two columns of one name; its columns are {', '.join(table.column_names)}")
    if table.num_rows == 0:
        raise TrainingError(f"{file}: holds no samples; remove the participant or export it again")
    return table


def _values_found(file: Path) -> set[str]:
    """Classes in the ground truth of a file."""
    table = _read_table(file, "ground_truth")
    if "ground_truth" not in table.column_names:
        return set()
    return {str(value) for value in pc.unique(table["ground_truth"]).to_pylist() if value is not None}


def _values(file: Path, table: pa.Table, channels: tuple[str, ...]) -> Floats:
    values = np.empty((table.num_rows, len(channels)), dtype=np.float32)
    for number, name in enumerate(channels):
        if name not in table.column_names:
            has = ", ".join(column for column in table.column_names if column not in NOT_CHANNELS)
            raise TrainingError(f"{file}: has no channel '{name}'; its channels are {has}. Give all the same columns")
        try:
            values[:, number] = pc.cast(table[name], pa.float32(), safe=False).to_numpy()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise TrainingError(f"{file}: channel '{name}' holds {table[name].type}, expected numbers") from None
        bad = ~np.isfinite(values[:, number])
        if bad.any():
            raise TrainingError(
                f"{file}: channel '{name}' has {bad.sum()} missing or infinite values, the first in sample "
                f"{int(bad.argmax()) + 1}; correct them or drop the channel"
            )
    return values


def _class_indices(file: Path, table: pa.Table, column: str, labels: list[str], where: str) -> Ints:
    """Index of each value in `labels`, -1 for null."""
    values = _column(file, table, column).combine_chunks()
    unknown = pc.filter(values, pc.and_(pc.is_valid(values), pc.invert(pc.is_in(values, pa.array(labels)))))
    if len(unknown):
        raise TrainingError(f"{file}: column '{column}' holds '{unknown[0]}', which is not among {where}")
    indices = pc.fill_null(pc.index_in(values, pa.array(labels, pa.string())), UNLABELLED)
    return np.asarray(indices.to_numpy(zero_copy_only=False), dtype=np.int64)


def _column(file: Path, table: pa.Table, name: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise TrainingError(f"{file}: has no column '{name}'; export the dataset again")
    return table[name]


def _numbers(file: Path, table: pa.Table, column: str, kind: Any, missing: float) -> npt.NDArray[Any]:
    return np.asarray(pc.fill_null(_column(file, table, column), missing).to_numpy(), dtype=kind)


def _confidence(file: Path, table: pa.Table, column: str) -> npt.NDArray[np.float64] | None:
    if column not in table.column_names:
        return None
    found: npt.NDArray[np.float64] = _numbers(file, table, column, np.float64, np.nan)
    return found


def _sampling_rate(file: Path, table: pa.Table, given: float | None) -> float:
    """By the clock in column `time`, else as given; Hz."""
    if "time" in table.column_names:
        if not pa.types.is_floating(table["time"].type) and not pa.types.is_integer(table["time"].type):
            raise TrainingError(f"{file}: column 'time' holds {table['time'].type}, expected seconds")
        steps = np.diff(table["time"].to_numpy())
        if not (steps > 0).any():
            raise TrainingError(f"{file}: column 'time' does not increase within a recording; sort the samples")
        return round(sampling_rate_of(steps[steps > 0]), 3)
    if given is None:
        raise TrainingError(f"{file}: has no column 'time' in seconds; add one, or give --sampling-rate (Hz)")
    return given


def _segments(file: Path, table: pa.Table, sampling_rate: float, stride_seconds: float) -> tuple[Ints, Ints]:
    """Number of the gapless segment, and of the clip's stride, that each sample lies in; two `(n,)`."""
    count = table.num_rows
    recording = np.zeros(count, dtype=np.int64)
    if "recording" in table.column_names:
        names = table["recording"].combine_chunks()
        names = names if pa.types.is_dictionary(names.type) else names.dictionary_encode()
        recording = np.asarray(names.indices.to_numpy(zero_copy_only=False), dtype=np.int64)
    other = np.diff(recording) != 0
    if "time" in table.column_names:
        time = table["time"].to_numpy()
        if not np.issubdtype(time.dtype, np.number):
            raise TrainingError(f"{file}: column 'time' holds {table['time'].type}, expected seconds")
        steps = np.diff(time)
        if (steps[~other] <= 0).any():
            raise TrainingError(f"{file}: column 'time' does not increase within a recording; sort the samples")
        rate = sampling_rate_of(steps[~other]) if (~other).any() else sampling_rate
        check_rate(file, rate, sampling_rate)
        longest = gap_seconds(steps[~other]) if (~other).any() else np.inf
        gaps = other | (steps > max(longest, GAP_STEPS / sampling_rate))
        stride = np.floor(time / stride_seconds + 1e-6).astype(np.int64)
    else:
        gaps = other
        stride = (np.arange(count) / sampling_rate // stride_seconds).astype(np.int64)
    segment = np.concatenate([[0], np.cumsum(gaps)])
    changes = other | (np.diff(stride) != 0)
    return segment, np.concatenate([[0], np.cumsum(changes)])
