"""The clock of an IMU file: which column it is, in which unit, and when each sample was taken.

A column is a clock by its name, or where none is called so by its content: it is the only one that rises from each
sample to the next, and is not the number of the row. What is a clock only by content is said by `check`.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ml_backend.errors import RecordingError
from training.contract import sampling_rate_of

Floats = npt.NDArray[np.float64]

UNITS = {"min": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
UNIT_NAMES = {
    **dict.fromkeys(("min", "mins", "minute", "minutes"), "min"),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds", "sek", "sekunden"), "s"),
    **dict.fromkeys(("ms", "msec", "millis", "millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("us", "µs", "μs", "usec", "micros", "microsecond", "microseconds"), "us"),
    **dict.fromkeys(("ns", "nsec", "nanos", "nanosecond", "nanoseconds"), "ns"),
}
CLOCK_NAMES = {
    *("time", "timestamp", "timestamps", "time_stamp", "t", "ts", "seconds", "sec", "secs", "datetime", "date_time"),
    *("elapsed", "elapsed_time", "time_elapsed", "seconds_elapsed", "epoch", "unix", "unixtime", "unix_time", "utc"),
    *(
        "sampletime",
        "sample_time",
        "sampletimefine",
        "system_time",
        "local_time",
        "local_timestamp",
        "unix_timestamp",
    ),
    *("zeit", "zeitstempel", "temps", "tiempo", "tempo", "tid", "tijd", "czas"),
}
"""What a clock's column may be called, without its unit, in small letters, with `_` for blanks, dots and dashes."""
UNIT_OF_CLOCK = {"sampletimefine": "us", "seconds": "s", "sec": "s", "secs": "s", "seconds_elapsed": "s"}
"""Clocks that have their unit in their name."""
_UNITS = "|".join(sorted(UNIT_NAMES, key=len, reverse=True))
CLOCK_NAME = re.compile(rf"(?P<name>.+?)(?:_*[(\[](?P<bracketed>{_UNITS})[)\]]|_(?P<behind>{_UNITS}))?")
FEWEST_TO_JUDGE = 20
"""A signal may rise for a few samples, but not without a break for so many."""
LEAST_RATE = 5.0
"""Samples a second below which a clock's unit must be another one."""


def clock_by_content(path: Path, table: pa.Table, names: Iterable[str]) -> str | None:
    """Which of the columns `names` is the clock, None if none is; RecordingError if several may be."""
    rising = [name for name in names if rises(table[name]) and not _counts(table[name])]
    if len(rising) > 1:
        raise RecordingError(
            f"{path}: {' and '.join(repr(name) for name in rising)} may each be the clock; name one in time_column, "
            "or the channels in imu_columns"
        )
    return rising[0] if rising else None


def is_clock_name(name: str) -> bool:
    """True if a column is called as clocks are."""
    return _name_and_unit(name)[0] in CLOCK_NAMES


def rises(column: pa.ChunkedArray) -> bool:
    """True for timestamps, and for numbers that rise from each sample to the next."""
    if pa.types.is_timestamp(column.type):
        return True
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)) or column.null_count:
        return False
    values = column.to_numpy()
    return len(values) >= FEWEST_TO_JUDGE and bool((np.diff(values) > 0).all())


def sample_seconds(path: Path, name: str, column: pa.ChunkedArray, unit: str | None = None) -> Floats:
    """Seconds since the first sample `(n_samples,)`, strictly increasing, by the clock `column` called `name`.

    `unit` is what the user says; else the name or the magnitude tells it, else seconds. RecordingError where the
    clock does not rise, or too slowly for any IMU."""
    if pa.types.is_timestamp(column.type):
        column, unit = pc.cast(pc.cast(column, pa.timestamp("ns")), pa.int64()), "ns"
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        unit = unit or _name_and_unit(name)[1] or _unit_of_epoch(column)
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
            f"({clock[row]} is followed by {clock[row + 1]}); sort the samples, or give each of a packet its own time"
        )
    if (rate := sampling_rate_of(steps)) < LEAST_RATE:
        raise RecordingError(
            f"{path}: column '{name}' gives {rate:.3g} samples a second; is its unit not seconds? "
            "Set time_unit (ms, us, ns) in dataset.yaml"
        )
    return seconds


def _unit_of_epoch(column: pa.ChunkedArray) -> str:
    """The unit of a clock that counts from 1970, told by its magnitude; seconds for any other."""
    first = float(column[0].as_py() or 0)
    return next((unit for least, unit in ((1e17, "ns"), (1e14, "us"), (1e11, "ms")) if first >= least), "s")


def _name_and_unit(name: str) -> tuple[str, str | None]:
    """A column's name without its unit, as in CLOCK_NAMES, and the unit that it gives."""
    text = re.sub(r"[\s.\-]+", "_", name.strip().lower())
    if text in CLOCK_NAMES:
        return text, UNIT_OF_CLOCK.get(text)
    found = CLOCK_NAME.fullmatch(text)
    if found is None:
        return text, None
    return found["name"], UNIT_NAMES.get(found["bracketed"] or found["behind"] or "")


def _counts(column: pa.ChunkedArray) -> bool:
    """True for the numbers of rows: 0, 1, 2, …"""
    return not pa.types.is_timestamp(column.type) and bool((np.diff(column.to_numpy()) == 1).all())
