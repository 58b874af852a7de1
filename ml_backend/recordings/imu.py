"""Read the IMU of a recording (CSV or Parquet) and put its samples on the video's clock."""

import re
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
from ml_backend.recordings.clocks import clock_by_content, is_clock_name, rises, sample_seconds
from ml_backend.recordings.gopro import CHANNELS, camera_motion
from training.contract import COLUMNS, NULL_CLASS, PARTICIPANT_COLUMNS, sampling_rate_of

Floats = npt.NDArray[np.float64]

CAMERA_SUFFIXES = (".mp4", ".mov", ".m4v")
NO_CHANNEL_NAMES = re.compile(
    r"(.*[\s_])?(activity|label|class|subject|participant|user|person|session|trial|battery|packet|counter|count|index|id|no"
    r"|nr|sample|samples|frame|frames|row|seq|sequence|date)([\s_](id|no|nr|number|index|counter|count|level|name))?"
)
SENSOR_NAMES = re.compile(
    r"(.*[^a-z])?(a|g|m|q|w|acc\w*|gyr\w*|mag\w*|quat\w*|euler\w*|lin\w*|grav\w*|ang\w*|rot\w*|user)?[\s_.\-]*[xyzw0-3](\W.*)?"
    r"|.*(acc|gyr|mag|quat|roll|pitch|yaw|press|temp|hum|emg|ecg|ppg|eda|heart).*"
)
"""What a sensor's axes and quantities are called: a signal of that name may rise as it likes."""


@dataclass(frozen=True)
class ImuFormat:
    """How to read an IMU file. A sample taken t seconds after the file's first lies at
    `offset_seconds + t·(1 + drift_ppm/10⁶)` on the video's clock."""

    sampling_rate: float = 50.0
    offset_seconds: float = 0.0
    drift_ppm: float = 0.0
    time_column: str | None = None
    time_unit: str | None = None
    columns: tuple[str, ...] | None = None
    label_column: str | None = None
    missing_values: str = "error"


@dataclass(frozen=True)
class Imu:
    """times `(n_samples,)` seconds on the video's clock; values `(n_samples, n_channels)` in the file's units;
    labels `(n_samples,)` ground truth as text, None where the file has none; sampling_rate in Hz; clock: the column
    that gave the times, None where the rate did; set_aside: columns that are no channels."""

    times: Floats
    values: Floats
    channels: tuple[str, ...]
    labels: npt.NDArray[np.object_] | None
    sampling_rate: float
    clock: str | None = None
    set_aside: tuple[str, ...] = ()

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
    time_column = _clock(path, table, how, label_column)
    channels, set_aside = _channels(path, table, how, label_column, time_column)
    if time_column is None:
        seconds = np.arange(table.num_rows) / how.sampling_rate
    else:
        seconds = sample_seconds(path, time_column, table[time_column], how.time_unit)
    rate = sampling_rate_of(np.diff(seconds))
    return Imu(
        times=how.offset_seconds + seconds * (1 + how.drift_ppm * 1e-6),
        values=np.stack([_channel(path, table, name, how) for name in channels], axis=1),
        channels=tuple(channels),
        labels=_labels(table, label_column) if label_column else None,
        sampling_rate=round(rate, 3),
        clock=time_column,
        set_aside=tuple(set_aside),
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
        sampling_rate=round(sampling_rate_of(np.diff(seconds)), 3),
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
        table = pa.csv.read_csv(path, convert_options=options)
        _check_header(path, table)
        return table
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError) as error:
        first_line = str(error).splitlines()[0]
        kind = "Parquet" if path.suffix.lower() == ".parquet" else "CSV"
        raise RecordingError(f"{path}: cannot be read as {kind}: {first_line}") from None


def _check_header(path: Path, table: pa.Table) -> None:
    """RecordingError if the first line holds no names, or one twice."""
    names = [name.strip() for name in table.column_names]
    if len(names) > 1 and all(_is_number(name) for name in names):
        raise RecordingError(
            f"{path}: its first line holds numbers ({', '.join(names[:3])}, …), no names; write a header "
            "with the names of the columns above it"
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RecordingError(f"{path}: has the column '{twice[0]}' twice; rename one of them in the header")


def _clock(path: Path, table: pa.Table, how: ImuFormat, label: str | None) -> str | None:
    """The column of the samples' times, None where there is none."""
    if how.time_column is not None:
        return _named(path, table, how.time_column, (), "time_column")
    others = [name for name in table.column_names if name != label and name not in (how.columns or ())]
    if called := next((name for name in others if is_clock_name(name)), None):
        return called
    return clock_by_content(
        path, table, [name for name in others if not SENSOR_NAMES.fullmatch(name.strip().lower())]
    )


def _named(path: Path, table: pa.Table, wanted: str | None, usual: Sequence[str], field: str) -> str | None:
    if wanted is not None:
        if wanted not in table.column_names:
            raise RecordingError(
                f"{path}: has no column '{wanted}' ({field}); it has {', '.join(table.column_names)}"
            )
        return wanted
    return next((name for name in table.column_names if name.strip().lower() in usual), None)


def _channels(
    path: Path, table: pa.Table, how: ImuFormat, label: str | None, time: str | None
) -> tuple[list[str], list[str]]:
    """The channels, and the columns that are none: second clocks, counters, numbers of activities."""
    if how.columns is not None:
        for name in how.columns:
            _named(path, table, name, (), "imu_columns")
        return _refuse_export_names(path, list(how.columns)), []
    others = [name for name in table.column_names if name not in (label, time)]
    named = [name for name in others if name.strip().lower() not in PARTICIPANT_COLUMNS and name.strip()]
    aside = [name for name in named if _is_no_channel(name, table[name])]
    channels = [name for name in named if name not in aside]
    if not channels:
        raise RecordingError(
            f"{path}: has no channel columns; it has {', '.join(table.column_names)}. Name them in imu_columns"
        )
    return _refuse_export_names(path, channels), aside


def _is_no_channel(name: str, column: pa.ChunkedArray) -> bool:
    """True for what is called, or rises, as no signal of a sensor does."""
    text = name.strip().lower()
    if NO_CHANNEL_NAMES.fullmatch(text) or is_clock_name(name):
        return True
    return not SENSOR_NAMES.fullmatch(text) and rises(column)


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
    if how.missing_values == "zero":  # as the paper's code; of no use for anything else
        return np.where(bad, 0.0, values)
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


def _labels(table: pa.Table, name: str) -> npt.NDArray[np.object_]:
    """Empty cells are the null class, as in WEAR's files."""
    return np.array(
        [NULL_CLASS if value in (None, "") else str(value) for value in table[name].to_pylist()], dtype=object
    )
