"""Read one IMU file and put its samples on the video's clock."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ml_backend.errors import RecordingError
from ml_backend.files import check_present
from ml_backend.recordings.clocks import (
    UNIT_NAMES,
    Clock,
    NoMotionError,
    clock_by_content,
    counts,
    is_clock_name,
    is_text,
    rises,
    sample_clock,
    stands_still,
)
from ml_backend.recordings.devices import DEVICE_SUFFIXES, read_device
from ml_backend.recordings.gopro import CHANNELS, camera_motion
from ml_backend.recordings.tables import SampleTable, read_table
from training.contract import COLUMNS, NULL_CLASS, PARTICIPANT_COLUMNS, gap_seconds, sampling_rate_of

Floats = npt.NDArray[np.float64]

RATE_IN_WORDS = re.compile(r"(\d+(?:\.\d+)?)\s*Hz", re.IGNORECASE)
NO_RATE = re.compile(r"pass|cut|filter\s*:|bandwidth", re.IGNORECASE)
CAMERA_SUFFIXES = (".mp4", ".mov", ".m4v")
NO_CHANNEL_NAMES = re.compile(
    r"(.*[\s_])?(activity|aktivit[aä]t|labels?|class|target|gt|ground_?truth|y_true|annotations?|gesture|marker|exercise"
    r"|event|trigger|state|subject|sbj|participant|pid|user|person|session|trial|battery|packet|pkt|msg|counter|count"
    r"|index|id|no|nr|num|samples?|frames?|row|seq|sequence|date|year|month|day|hour|minute|second|ms|crc|checksum|valid"
    r"|unnamed:?|time_?stamp|time|timestamps|clock|ts|temps[\s_][ée]coul[ée])"
    r"([\s_#]*(id|no|nr|num|number|index|counter|count|level|name|voltage|since.*|offset|\d+)?)([\s_]*[(\[].*)?"
    r"|__index_level_\d+__"
)
"""What clocks, counters, labels and numbers of things are called, with `_` between the words of camelCase."""
SENSOR_COLUMN = re.compile(
    r"(sensor|device|imu|node|tracker|placement|position|location|body_?part|side|mac)[\s_]*(id|no|nr|name|address|type)?"
)
"""What the column is called that says by which sensor each sample was taken, where several stand in one file."""
MOST_SENSORS = 64
UNIT_IN_NAME = re.compile(r".+?\s*[(\[]([^()\[\]]{1,16})[)\]]\s*")
SENSOR_NAMES = re.compile(
    r"(.*[^a-z])?(a|g|m|q|w|acc\w*|gyr\w*|mag\w*|quat\w*|euler\w*|lin\w*|grav\w*|ang\w*|rot\w*|user)?[\s_.\-]*[xyzw0-3](\W.*)?"
    r"|.*(acc|gyr|mag|quat|roll|pitch|yaw|press|temp|hum|emg|ecg|ppg|eda|heart).*"
)
"""What a sensor's axes and quantities are called: a signal of that name may rise as it likes."""


@dataclass(frozen=True)
class ImuFormat:
    """How to read an IMU file. A sample taken t seconds after the file's first lies at
    `offset_seconds + t·(1 + drift_ppm/10⁶)` on the video's clock; with video_created, seconds since 1970 (UTC), the
    offset is by the file's own absolute times. sampling_rate is for files without a clock; columns_of: who asks for
    those columns, for messages."""

    sampling_rate: float | None = None
    offset_seconds: float = 0.0
    drift_ppm: float = 0.0
    video_created: float | None = None
    time_column: str | None = None
    time_unit: str | None = None
    columns: tuple[str, ...] | None = None
    columns_of: str = "imu_columns"
    label_column: str | None = None
    missing_values: str = "error"
    duplicate_stamps: str = "error"
    steps_back: str = "error"


Interval = tuple[float, float, str]
"""Start and end in seconds on the video's clock, and a label."""


@dataclass(frozen=True)
class Imu:
    """times `(n_samples,)` seconds on the video's clock; values `(n_samples, n_channels)` in the file's units;
    labels `(n_samples,)` ground truth as text, None where the file has none; sampling_rate in Hz; clock: the
    column that gave the times, None where the rate did; set_aside: columns that are no channels; label_column:
    that of the ground truth; filled: how many missing values were filled in; started: when the first sample was
    taken, in seconds since 1970 (UTC), None where the file does not say (of an archive the earliest of any
    table); first: what the file's own clock shows there, in seconds; units: channel → its unit, of those for
    which the file states one."""

    times: Floats
    values: Floats
    channels: tuple[str, ...]
    labels: npt.NDArray[np.object_] | None
    sampling_rate: float
    clock: str | None = None
    set_aside: tuple[str, ...] = ()
    label_column: str | None = None
    filled: int = 0
    started: float | None = None
    first: float = 0.0
    units: Mapping[str, str] = field(default_factory=dict)

    @property
    def gaps(self) -> Floats:
        """Where samples are missing: start and end in seconds, `(n_gaps, 2)`."""
        steps = np.diff(self.times)
        after = np.flatnonzero(steps > gap_seconds(steps))
        return np.stack([self.times[after], self.times[after + 1]], axis=1)

    @property
    def start(self) -> float:
        """Time of the first sample."""
        return float(self.times[0])

    @property
    def end(self) -> float:
        """Time at which the last sample's period ends."""
        return float(self.times[-1]) + 1 / self.sampling_rate


def ground_truth(imu: Imu) -> list[Interval]:
    """The stretches of time in which all samples have one label in the file itself; none without labels."""
    if imu.labels is None or len(imu.times) == 0:
        return []
    names = np.array(["" if label is None else str(label) for label in imu.labels])
    begins = np.flatnonzero(np.r_[True, names[1:] != names[:-1]])
    edges = [*imu.times[begins].tolist(), float(imu.times[-1])]
    return [
        (round(start, 3), round(end, 3), str(names[first]))
        for first, start, end in zip(begins, edges[:-1], edges[1:], strict=True)
        if names[first]
    ]


def read_imu_file(path: Path, how: ImuFormat, content: bytes | None = None) -> Imu:
    """Read one table of samples, that of a device, what a GoPro wrote into its video, or the text `content` of an
    archive's member; RecordingError names the file, column and first bad row."""
    suffix = path.suffix.lower()
    if suffix in CAMERA_SUFFIXES:
        return _camera_imu(path, how)
    if suffix in DEVICE_SUFFIXES:
        check_present(path)
        found = read_device(path)
    else:
        found = read_table(path, how.label_column, content)
    table = found.samples
    if table.num_rows < 2:
        raise RecordingError(f"{path}: holds {table.num_rows} samples; an IMU recording needs at least two")
    label_column = _named(path, table, how.label_column, ("label",), "labels")
    time_column = _clock(path, table, how, label_column)
    channels, set_aside = _channels(path, table, how, label_column, time_column)
    clock = _seconds(path, found, how, time_column)
    offset = _offset(path, clock, how)
    labels = _labels(table, label_column) if label_column else None
    columns, aside = {name: table[name] for name in channels}, (*set_aside, *found.aside)
    units = {name: unit for name in channels if (unit := found.units.get(name) or unit_in(name))}
    del found, table
    values, filled = _values(path, columns, how)
    return Imu(
        times=offset + clock.seconds * (1 + how.drift_ppm * 1e-6),
        values=values,
        channels=tuple(channels),
        labels=labels,
        sampling_rate=round(clock.rate, 3),
        clock=time_column,
        set_aside=aside,
        label_column=label_column,
        filled=filled,
        started=clock.started,
        first=clock.first,
        units=units,
    )


def unit_in(name: str) -> str | None:
    """The unit in brackets behind a channel's name, as in `Acceleration x (m/s^2)`; None where there is none."""
    found = UNIT_IN_NAME.fullmatch(name)
    return found[1].strip() if found else None


def _seconds(path: Path, found: SampleTable, how: ImuFormat, column: str | None) -> Clock:
    """When each sample was taken: by the clock, else by the rate that the user gave."""
    heads = (RATE_IN_WORDS.search(line) for line in found.above if not NO_RATE.search(line))
    said = next((rate for rate in heads if rate), None)
    if column is None:
        if how.sampling_rate is None:
            hint = f"; its head says '{said[0]}'" if said else ""
            raise RecordingError(
                f"{path}: has no clock (a column of times); set sampling_rate (Hz), or name its clock in time_column "
                f"of dataset.yaml{hint}"
            )
        return Clock(np.arange(found.samples.num_rows) / how.sampling_rate, how.sampling_rate)
    unit = how.time_unit or UNIT_NAMES.get(found.units.get(column, "").lower())
    spread, cut = how.duplicate_stamps == "spread", how.steps_back == "cut"
    clock = sample_clock(path, column, found.samples[column], unit, spread, cut)
    if said and how.time_unit is None and not 0.2 < clock.rate / float(said[1]) < 5:
        if column.strip().lower() == "sampletimefine":  # MTw's counts 100 µs, that of Movella's DOT µs
            other = sample_clock(path, column, found.samples[column], "100us", spread, cut)
            if 0.8 < other.rate / float(said[1]) < 1.25:
                return other
        raise RecordingError(
            f"{path}: column '{column}' gives {clock.rate:.4g} samples a second, its head says '{said[0]}'; "
            "set time_unit in dataset.yaml"
        )
    return clock


def _offset(path: Path, clock: Clock, how: ImuFormat) -> float:
    if how.video_created is None:
        return how.offset_seconds
    if clock.started is None:
        raise RecordingError(
            f"{path}: its clock does not say when it was taken (no date, or no zone), as `clock: absolute` needs; "
            "write offset_seconds instead"
        )
    return how.offset_seconds + clock.started - how.video_created


def _camera_imu(path: Path, how: ImuFormat) -> Imu:
    check_present(path)
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
        units={name: "deg/s" if "gyro" in name else "m/s^2" for name in wanted},
    )


def _clock(path: Path, table: pa.Table, how: ImuFormat, label: str | None) -> str | None:
    """The column of the samples' times, None where there is none."""
    if how.time_column is not None:
        return _named(path, table, how.time_column, (), "time_column")
    others = [name for name in table.column_names if name != label and name not in (how.columns or ())]
    called = [name for name in others if is_clock_name(name)]
    if how.sampling_rate is not None:  # beside it, the numbers of rows are no clock
        called = [name for name in called if not counts(table[name])]
    if called:  # T may be a temperature beside it
        return min(called, key=lambda name: len(name.strip()) == 1)
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
            _named(path, table, name, (), how.columns_of)
        if len(set(how.columns)) < len(how.columns):
            raise RecordingError(f"{path}: imu_columns names a column twice; name each once")
        return _refuse_export_names(path, list(how.columns)), []
    _refuse_mixed(path, table, label)
    others = [name for name in table.column_names if name not in (label, time)]
    named = [name for name in others if name.strip().lower() not in PARTICIPANT_COLUMNS and name.strip()]
    aside = [name for name in named if _is_no_channel(name, table[name])]
    channels = [name for name in named if name not in aside]
    if not channels:
        raise NoMotionError(
            f"{path}: has no channel columns; it has {', '.join(table.column_names)}. Name them in imu_columns",
            "nothing in it moves",
        )
    return _refuse_export_names(path, channels), aside


def _refuse_mixed(path: Path, table: pa.Table, label: str | None) -> None:
    """RecordingError for a file in which the samples of several people, or of several sensors, stand in turn."""
    for name in table.column_names:
        called = name.strip().lower()
        people = called in PARTICIPANT_COLUMNS
        if name == label or not (people or SENSOR_COLUMN.fullmatch(called)):
            continue
        whose = [value for value in pc.unique(table[name]).to_pylist() if value is not None]
        if 1 < len(whose) <= (len(table) if people else MOST_SENSORS):
            shown = ", ".join(map(_label, whose[:2]))
            what, remedy = ("people", "") if people else ("sensors", ", <recording>.<sensor>.csv")
            raise RecordingError(
                f"{path}: column '{name}' names {len(whose)} {what} ({shown}, …); write a file each{remedy}"
            )


def _is_no_channel(name: str, column: pa.ChunkedArray) -> bool:
    """True for what is called, or rises, or stands still, as no signal of a sensor does."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip()).lower().replace(".", "_")
    if NO_CHANNEL_NAMES.fullmatch(text) or is_clock_name(name) or (SENSOR_COLUMN.fullmatch(text) and is_text(column)):
        return True
    return not SENSOR_NAMES.fullmatch(text) and (rises(column) or stands_still(column))


def _refuse_export_names(path: Path, channels: list[str]) -> list[str]:
    for name in channels:
        if name in COLUMNS:
            raise RecordingError(
                f"{path}: channel '{name}' has the name of a column of the export; rename it, or name the others in "
                "imu_columns of dataset.yaml"
            )
    return channels


def _values(path: Path, columns: dict[str, pa.ChunkedArray], how: ImuFormat) -> tuple[Floats, int]:
    """The channels `(n_samples, n_channels)`, and how many values were missing and filled in; empties `columns`, so
    that they are in memory once."""
    values, filled = np.empty((len(next(iter(columns.values()))), len(columns)), order="F"), 0
    for number, name in enumerate(list(columns)):
        values[:, number] = _numbers(path, name, columns.pop(name))
        filled += _fill(path, name, values[:, number], how.missing_values)
    return values, filled


def _numbers(path: Path, name: str, column: pa.ChunkedArray) -> Floats:
    if is_text(column):
        texts = column.to_pylist()
        row = next((i for i, text in enumerate(texts) if text is not None and not _is_number(text)), None)
        if row is None:
            return np.array([np.nan if text is None else float(text) for text in texts])
        raise RecordingError(
            f"{path}: column '{name}' holds text: '{column[row].as_py()}' in sample {row + 1}; "
            "correct it, or name the channels in imu_columns of dataset.yaml"
        )
    try:
        return np.asarray(pc.cast(column, pa.float64()).to_numpy(), dtype=np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise RecordingError(f"{path}: column '{name}' holds {column.type}, expected numbers") from None


def _fill(path: Path, name: str, values: Floats, missing_values: str) -> int:
    """Fill in what is missing in `values (n,)`, in place; how many there were."""
    bad = ~np.isfinite(values)
    if not bad.any():
        return 0
    if missing_values == "zero":  # as the paper's code; of no use for anything else
        values[bad] = 0.0
    elif missing_values == "interpolate" and not bad.all():
        rows = np.arange(len(values))
        values[bad] = np.interp(rows[bad], rows[~bad], values[~bad])
    else:
        raise RecordingError(
            f"{path}: column '{name}' has {bad.sum()} missing or infinite values, the first in sample "
            f"{int(bad.argmax()) + 1}; correct them or set missing_values to interpolate"
        )
    return int(bad.sum())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _labels(table: pa.Table, name: str) -> npt.NDArray[np.object_]:
    """Empty cells are the null class, as in WEAR's files; whole numbers are written alike in all kinds of files."""
    return np.array([_label(value) for value in table[name].to_pylist()], dtype=object)


def _label(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if isinstance(value, float):
        value = None if np.isnan(value) else int(value) if value == int(value) else value
    return NULL_CLASS if value is None else str(value).strip() or NULL_CLASS
