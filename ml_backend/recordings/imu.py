"""Read the IMU of a recording (CSV or Parquet) and put its samples on the video's clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from ml_backend.errors import RecordingError
from ml_backend.recordings.gopro import CHANNELS, camera_motion
from training.contract import COLUMNS, NULL_CLASS, PARTICIPANT_COLUMNS

Floats = npt.NDArray[np.float64]

CAMERA_SUFFIXES = (".mp4", ".mov", ".m4v")
TIME_COLUMNS = ("time", "timestamp", "timestamps", "t", "seconds")
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


@dataclass(frozen=True)
class ImuFormat:
    """How to read an IMU file. A sample taken t seconds after the file's first lies at
    `offset_seconds + t·(1 + drift_ppm/10⁶)` on the video's clock."""

    sampling_rate: float = 50.0
    offset_seconds: float = 0.0
    drift_ppm: float = 0.0
    time_column: str | None = None
    time_unit: str = "s"
    columns: tuple[str, ...] | None = None
    label_column: str | None = None
    missing_values: str = "error"


@dataclass(frozen=True)
class Imu:
    """times `(n_samples,)` seconds on the video's clock; values `(n_samples, n_channels)` in the file's units;
    labels `(n_samples,)` ground truth as text, None where the file has none; sampling_rate in Hz."""

    times: Floats
    values: Floats
    channels: tuple[str, ...]
    labels: npt.NDArray[np.object_] | None
    sampling_rate: float

    @property
    def start(self) -> float:
        """Time of the first sample."""
        return float(self.times[0])

    @property
    def end(self) -> float:
        """Time at which the last sample's period ends."""
        return float(self.times[-1]) + 1 / self.sampling_rate


def read_imu(path: Path, how: ImuFormat) -> Imu:
    """Read `path`, or what a GoPro wrote into its video; RecordingError names the file, column and first bad row."""
    if path.suffix.lower() in CAMERA_SUFFIXES:
        return _camera_imu(path, how)
    table = _read_table(path, how)
    if table.num_rows < 2:
        raise RecordingError(f"{path}: holds {table.num_rows} samples; an IMU recording needs at least two")
    label_column = _named(path, table, how.label_column, ("label",), "labels")
    time_column = _named(path, table, how.time_column, TIME_COLUMNS, "time_column")
    channels = _channels(path, table, how, label_column, time_column)
    seconds = _sample_seconds(path, table, time_column, how)
    rate = 1 / float(np.median(np.diff(seconds)))
    return Imu(
        times=how.offset_seconds + seconds * (1 + how.drift_ppm * 1e-6),
        values=np.stack([_channel(path, table, name, how) for name in channels], axis=1),
        channels=tuple(channels),
        labels=_labels(table, label_column) if label_column else None,
        sampling_rate=round(rate, 3),
    )


def _camera_imu(path: Path, how: ImuFormat) -> Imu:
    if not path.is_file():
        raise RecordingError(f"{path}: no such file")
    seconds, values = camera_motion(path)
    wanted = how.columns or CHANNELS
    for name in wanted:
        if name not in CHANNELS:
            raise RecordingError(f"{path}: the camera has no channel '{name}'; it has {', '.join(CHANNELS)}")
    return Imu(
        times=how.offset_seconds + seconds * (1 + how.drift_ppm * 1e-6),
        values=values[:, [CHANNELS.index(name) for name in wanted]],
        channels=tuple(wanted),
        labels=None,
        sampling_rate=round(1 / float(np.median(np.diff(seconds))), 3),
    )


def _read_table(path: Path, how: ImuFormat) -> pa.Table:
    if not path.is_file():
        raise RecordingError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise RecordingError(f"{path}: the file is empty; copy it again or remove it")
    try:
        if path.suffix.lower() == ".parquet":
            return pa.parquet.read_table(path)
        # Labels stay text even where a chunk looks like numbers or holds only empty cells.
        types = {how.label_column or "label": pa.string()}
        options = pa.csv.ConvertOptions(
            column_types=types, strings_can_be_null=True, null_values=["", "NaN", "nan", "NA"]
        )
        return pa.csv.read_csv(path, convert_options=options)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError) as error:
        first_line = str(error).splitlines()[0]
        kind = "Parquet" if path.suffix.lower() == ".parquet" else "CSV"
        raise RecordingError(f"{path}: cannot be read as {kind}: {first_line}") from None


def _named(path: Path, table: pa.Table, wanted: str | None, usual: Sequence[str], field: str) -> str | None:
    if wanted is not None:
        if wanted not in table.column_names:
            raise RecordingError(
                f"{path}: has no column '{wanted}' ({field}); it has {', '.join(table.column_names)}"
            )
        return wanted
    return next((name for name in table.column_names if name.strip().lower() in usual), None)


def _channels(path: Path, table: pa.Table, how: ImuFormat, label: str | None, time: str | None) -> list[str]:
    if how.columns is not None:
        for name in how.columns:
            _named(path, table, name, (), "imu_columns")
        return _refuse_export_names(path, list(how.columns))
    others = [name for name in table.column_names if name not in (label, time)]
    channels = [name for name in others if name.strip().lower() not in PARTICIPANT_COLUMNS and name.strip()]
    if not channels:
        raise RecordingError(f"{path}: has no channel columns; it has {', '.join(table.column_names)}")
    return _refuse_export_names(path, channels)


def _refuse_export_names(path: Path, channels: list[str]) -> list[str]:
    for name in channels:
        if name in COLUMNS:
            raise RecordingError(
                f"{path}: channel '{name}' has the name of a column of the export; rename it, or name the others in "
                "imu_columns of dataset.yaml"
            )
    return channels


def _channel(path: Path, table: pa.Table, name: str, how: ImuFormat) -> Floats:
    column = table[name]
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        row = next(i for i, text in enumerate(column.to_pylist()) if text is not None and not _is_number(text))
        raise RecordingError(
            f"{path}: column '{name}' holds text: '{column[row].as_py()}' in sample {row + 1}; "
            "correct it, or name the channels in imu_columns of dataset.yaml"
        )
    try:
        values = np.asarray(pc.cast(column, pa.float64()).to_numpy(), dtype=np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise RecordingError(f"{path}: column '{name}' holds {column.type}, expected numbers") from None
    bad = ~np.isfinite(values)
    if not bad.any():
        return values
    if how.missing_values == "interpolate" and not bad.all():
        rows = np.arange(len(values))
        return np.interp(rows, rows[~bad], values[~bad])
    raise RecordingError(
        f"{path}: column '{name}' has {bad.sum()} missing or infinite values, the first in sample "
        f"{int(bad.argmax()) + 1}; correct them or set missing_values to interpolate"
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _sample_seconds(path: Path, table: pa.Table, name: str | None, how: ImuFormat) -> Floats:
    """Seconds since the first sample `(n_samples,)`, strictly increasing."""
    if name is None:
        return np.arange(table.num_rows) / how.sampling_rate
    column = table[name]
    if pa.types.is_timestamp(column.type):
        column, unit = pc.cast(pc.cast(column, pa.timestamp("ns")), pa.int64()), "ns"
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        unit = how.time_unit
    else:
        raise RecordingError(
            f"{path}: column '{name}' holds {column.type} such as '{column[0].as_py()}'; "
            "expected seconds or timestamps such as 2024-05-01 12:00:00.02"
        )
    if column.null_count:
        raise RecordingError(
            f"{path}: column '{name}' has {column.null_count} empty cells; every sample needs a time"
        )
    clock = column.to_numpy()
    # Differences first: nanoseconds since 1970 do not fit a float.
    seconds = np.asarray((clock - clock[0]) * UNITS[unit], dtype=np.float64)
    steps = np.diff(seconds)
    if not (steps > 0).all():
        row = int((~(steps > 0)).argmax())
        raise RecordingError(
            f"{path}: the clock in column '{name}' does not increase at sample {row + 2} "
            f"({clock[row]} is followed by {clock[row + 1]}); sort the samples or remove repeated ones"
        )
    if 1 / np.median(steps) < 1:
        raise RecordingError(
            f"{path}: column '{name}' gives {1 / np.median(steps):.3g} samples a second; is its unit not seconds? "
            "Set time_unit (ms, us, ns) in dataset.yaml"
        )
    return seconds


def _labels(table: pa.Table, name: str) -> npt.NDArray[np.object_]:
    """Empty cells are the null class, as in WEAR's files."""
    return np.array(
        [NULL_CLASS if value in (None, "") else str(value) for value in table[name].to_pylist()], dtype=object
    )
