"""The clock of an IMU file: which column it is, in which unit, and when each sample was taken.

A column is a clock by its name, or where none is called so by its content: it is the only one that rises from each
sample to the next, and is not the number of the row. What is a clock only by content is said by `check`.

Stamps may be text: what can be read in one way only is read, whether it has a date, a zone, both or none.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ml_backend.errors import RecordingError
from training.contract import sampling_rate_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

UNITS = {"h": 3600.0, "min": 60.0, "s": 1.0, "ms": 1e-3, "100us": 1e-4, "us": 1e-6, "ns": 1e-9}
UNIT_NAMES = {
    **dict.fromkeys(("h", "hr", "hour", "hours"), "h"),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), "min"),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds", "sek", "sekunden"), "s"),
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), "ms"),
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
        "loggingtime",
    ),
    *("zeit", "zeitstempel", "temps", "temps_écoulé", "temps_ecoule", "tiempo", "tempo", "tid", "tijd", "czas"),
}
"""What a clock's column may be called, without its unit, in small letters, with `_` for blanks, dots and dashes."""
UNIT_OF_CLOCK = {"sampletimefine": "us", "seconds": "s", "sec": "s", "secs": "s", "seconds_elapsed": "s"}
"""Clocks that have their unit in their name."""
_UNITS = "|".join(sorted(UNIT_NAMES, key=len, reverse=True))
CLOCK_NAME = re.compile(rf"(?P<name>.+?)(?:_*[(\[](?P<bracketed>{_UNITS})[)\]]|_(?P<behind>{_UNITS}))?")
FEWEST_TO_JUDGE = 20
"""A signal may rise for a few samples, but not without a break for so many."""
LEAST_RATE, MOST_RATE = 5.0, 20_000.0
"""Samples a second below and above which a clock's unit must be another one."""


STEPS_BACK = "sort the samples, or set steps_back: cut where the clock was started anew"
SAME_STAMP = "set duplicate_stamps: spread where the samples of a packet share a stamp"
OLDEST, NEWEST = 946_684_800.0, 4_102_444_800.0
"""The years 2000 and 2100, in seconds since 1970: clocks that count from there are within."""
MOST_PIECES = 20
"""A clock that steps back more often was not started anew: its samples are not in order."""
GAP_BETWEEN_PIECES = 4.0
"""Sampling periods: pieces of a recording whose clock restarted are told apart as by a gap."""
STAMP = (
    r"^\s*(?:(?P<a>\d{1,4})(?P<by>[-./])(?P<b>\d{1,2})[-./](?P<c>\d{1,4})(?:[Tt ,]\s*|$))?"
    r"(?:(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9})|:(?P<millis>\d{3}))?)?)?"
    r"\s*(?:(?P<half>[AaPp])\.?[Mm]\.?)?\s*(?P<zone>[Zz]|UTC|[+-]\d{2}:?\d{2})?\s*$"
)
WRAP = 2.0**32
DAY, HOUR = 86_400 * 10**9, 3600 * 10**9


class NoMotionError(RecordingError):
    """A table is no IMU's: its clock gives too few samples a second, or nothing in it moves."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Clock:
    """seconds: since the first sample `(n_samples,)`, strictly increasing; rate: Hz; started: when the first was
    taken, in seconds since 1970 (UTC), None where the clock does not say; first: what it shows there, in seconds."""

    seconds: Floats
    rate: float
    started: float | None = None
    first: float = 0.0


def clock_by_content(path: Path, table: pa.Table, names: Iterable[str]) -> str | None:
    """Which of the columns `names` is the clock, None if none is; RecordingError if several may be."""
    rising = [name for name in names if rises(table[name]) and not counts(table[name])]
    if len(rising) > 1:
        raise RecordingError(
            f"{path}: {' and '.join(repr(name) for name in rising)} may each be the clock; name one in time_column, "
            "or the channels in imu_columns"
        )
    return rising[0] if rising else None


def is_clock_name(name: str) -> bool:
    """True if a column is called as clocks are."""
    return _name_and_unit(name)[0] in CLOCK_NAMES


def is_text(column: pa.ChunkedArray) -> bool:
    """True if the cells are text."""
    return bool(pa.types.is_string(column.type) or pa.types.is_large_string(column.type))


def _is_number(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_integer(column.type) or pa.types.is_floating(column.type))


def rises(column: pa.ChunkedArray) -> bool:
    """True for timestamps, and for numbers that rise from each sample to the next."""
    if pa.types.is_timestamp(column.type) or _holds_stamps(column):
        return True
    return _can_be_judged(column) and bool((np.diff(column.to_numpy()) > 0).all())


def stands_still(column: pa.ChunkedArray) -> bool:
    """True for a number that is the same in every sample."""
    return _can_be_judged(column) and bool((np.diff(column.to_numpy()) == 0).all())


def _can_be_judged(column: pa.ChunkedArray) -> bool:
    """True for enough numbers, of which none is missing."""
    return _is_number(column) and column.null_count == 0 and len(column) >= FEWEST_TO_JUDGE


def sample_clock(
    path: Path,
    name: str,
    column: pa.ChunkedArray,
    unit: str | None = None,
    spread: bool = False,
    cut: bool = False,
) -> Clock:
    """When each sample was taken, by the clock `column` called `name`.

    `unit` is what the user or the file says; else the name or the magnitude tells it, else seconds. With `spread`
    samples that share a stamp go evenly to the next one; with `cut` a clock that steps back goes on after a short
    gap. RecordingError where the clock does not rise, may be read in two ways, or gives a rate that no IMU has.
    """
    if column.null_count:
        row = next(number for number, value in enumerate(column.to_pylist()) if value is None)
        raise RecordingError(
            f"{path}: column '{name}' has {column.null_count} empty cells, the first in sample {row + 1}; every "
            "sample needs a time"
        )
    ticks, unit, absolute = _ticks(path, name, column, unit)
    # Differences first: nanoseconds since 1970 do not fit a float.
    ticks = ticks if cut else _without_wraps(ticks)
    seconds = np.asarray((ticks - ticks[0]) * UNITS[unit], dtype=np.float64)
    if cut:
        seconds = _going_on(seconds)
    steps = np.diff(seconds)
    if spread and (steps >= 0).all():
        seconds = _spread(seconds)
        steps = np.diff(seconds)
    wrong = steps < 0 if spread else ~(steps > 0)
    if wrong.any():
        row = int(wrong.argmax())
        shown = f"{column[row].as_py()} is followed by {column[row + 1].as_py()}"
        remedy = SAME_STAMP if steps[row] == 0 else STEPS_BACK
        if abs(steps[row] + 3600) < 60:
            remedy = "at a change of daylight-saving time? Write the zone"
        raise RecordingError(
            f"{path}: the clock in column '{name}' does not increase at sample {row + 2} ({shown}); {remedy}"
        )
    rate = sampling_rate_of(steps)
    if not LEAST_RATE <= rate <= MOST_RATE:
        said = (
            f"{path}: column '{name}' gives {rate:.3g} samples a second; is its unit not {unit}? "
            f"Set time_unit ({', '.join(UNITS)}) in dataset.yaml"
        )
        raise NoMotionError(said, "too few samples a second") if rate < LEAST_RATE else RecordingError(said)
    first = float(ticks[0]) * UNITS[unit]
    return Clock(seconds, rate, first if absolute else None, first)


def _ticks(path: Path, name: str, column: pa.ChunkedArray, unit: str | None) -> tuple[npt.NDArray[Any], str, bool]:
    """The clock's numbers, their unit, and whether they count from 1970 in UTC."""
    if pa.types.is_timestamp(column.type):
        zone = column.type.tz is not None
        stamps = pc.cast(pc.cast(column, pa.timestamp("ns", column.type.tz)), pa.int64()).to_numpy()
        if not zone:
            _refuse_saved_daylight(path, name, column, stamps)
        return stamps, "ns", zone
    if pa.types.is_duration(column.type):
        return pc.cast(pc.cast(column, pa.duration("ns")), pa.int64()).to_numpy(), "ns", False
    if pa.types.is_decimal(column.type) or _are_numbers(path, name, column):
        column = pc.cast(column, pa.float64())
    if _is_number(column):
        known = unit or _name_and_unit(name)[1]
        by_magnitude = _unit_of_epoch(column)
        unit = known or by_magnitude or "s"
        first = float(column[0].as_py()) * UNITS[unit]
        if known is None and by_magnitude and not OLDEST <= first <= NEWEST:
            raise RecordingError(
                f"{path}: column '{name}' would begin in the year {1970 + int(first / 31_556_952)}; set time_unit "
                f"({', '.join(UNITS)}) in dataset.yaml, or write seconds"
            )
        ticks = column.to_numpy()
        if unit == "s" and _is_written_as_time_of_day(ticks):
            raise RecordingError(
                f"{path}: column '{name}' counts as 105959, 110000: times of day without colons; write them as "
                "10:59:59, or as seconds"
            )
        if not np.isfinite(ticks).all():
            row = int((~np.isfinite(ticks)).argmax())
            raise RecordingError(
                f"{path}: column '{name}' holds {ticks[row]} in sample {row + 1}; every sample needs a time"
            )
        return ticks, unit, OLDEST <= first <= NEWEST
    if is_text(column):
        nanoseconds, zone = _stamps(path, name, column)
        return nanoseconds, "ns", zone
    raise RecordingError(f"{path}: column '{name}' holds {column.type}, expected seconds or timestamps")


def _is_written_as_time_of_day(numbers: Floats) -> bool:
    """True for HHMMSS, which jumps from 59 to 100 with each minute, and no other clock ever shows 60 to 99."""
    minutes = np.floor(numbers / 100)
    jumps = np.diff(numbers)[np.diff(minutes) > 0]
    within = (numbers >= 0) & (numbers < 240_000) & (numbers % 100 < 60) & (minutes % 100 < 60)
    return bool(len(jumps) and within.all() and (jumps > 40).all())


def _are_numbers(path: Path, name: str, column: pa.ChunkedArray) -> bool:
    """True for text of which all cells are numbers; RecordingError if only the first ones are."""
    if not is_text(column):
        return False
    is_number = pc.match_substring_regex(column, r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$").to_numpy()
    if is_number[0] and not is_number.all():
        row = int((~is_number.astype(bool)).argmax())
        raise RecordingError(
            f"{path}: column '{name}' holds '{column[row].as_py()}' in sample {row + 1}, no number; correct it"
        )
    return bool(is_number.all())


def _stamps(path: Path, name: str, column: pa.ChunkedArray) -> tuple[Ints, bool]:
    """Nanoseconds `(n,)` of stamps that are text, and whether they are since 1970 in UTC."""
    parts = pc.extract_regex(column, STAMP).combine_chunks()
    found = {part: parts.field(part) for part in ("a", "by", "b", "c", "hour", "half", "zone")}
    if parts.null_count or pc.any(pc.equal(found["hour"], "")).as_py():
        row = next(n for n, one in enumerate(parts.to_pylist()) if one is None or not one["hour"])
        raise RecordingError(
            f"{path}: column '{name}' holds '{column[row].as_py()}' in sample {row + 1}, which is no time; expected "
            "seconds or stamps such as 2024-05-01T12:00:00.020+02:00"
        )
    nanoseconds = _time_of_day(path, name, column, parts)
    dated, zoned = _all_or_none(path, name, column, found["a"]), _all_or_none(path, name, column, found["zone"])
    known = False
    if dated:
        days, known = _days(path, name, column, found)
        nanoseconds += days * DAY
    else:  # past midnight
        nanoseconds += DAY * np.concatenate([[0], np.cumsum(np.diff(nanoseconds) < -DAY // 2)])
    if zoned:
        nanoseconds -= _zone_minutes(found["zone"]) * 60 * 10**9
    else:
        _refuse_saved_daylight(path, name, column, nanoseconds)
    return nanoseconds, known and zoned


def _time_of_day(path: Path, name: str, column: pa.ChunkedArray, parts: pa.StructArray) -> Ints:
    hour, minute, second = (_numbers(parts.field(part)) for part in ("hour", "minute", "second"))
    half = np.char.lower(np.asarray(parts.field("half").to_pylist(), dtype=str))
    wrong = (hour > 23) | (minute > 59) | (second > 60) | ((half != "") & ((hour > 12) | (hour < 1)))
    if wrong.any():
        row = int(wrong.argmax())
        raise RecordingError(f"{path}: column '{name}' holds no time in sample {row + 1}: '{column[row].as_py()}'")
    hour = np.where(half == "", hour, hour % 12 + 12 * (half == "p"))
    fraction = _numbers(pc.utf8_rpad(parts.field("fraction"), 9, "0")) + _numbers(parts.field("millis")) * 10**6
    result: Ints = ((hour * 60 + minute) * 60 + second) * 10**9 + fraction
    return result


def _numbers(text: pa.Array) -> Ints:
    """Whole numbers, 0 for nothing."""
    filled = pc.if_else(pc.equal(text, ""), "0", text)
    return np.asarray(pc.cast(filled, pa.int64()).to_numpy(zero_copy_only=False), dtype=np.int64)


def _all_or_none(path: Path, name: str, column: pa.ChunkedArray, part: pa.Array) -> bool:
    """Whether the stamps have a part; RecordingError if only some have it."""
    has = pc.not_equal(part, "").to_numpy(zero_copy_only=False)
    if has.any() and not has.all():
        row = int((has != has[0]).argmax())
        raise RecordingError(
            f"{path}: column '{name}' holds '{column[0].as_py()}' and '{column[row].as_py()}' (sample {row + 1}); "
            "write all stamps alike, with date and zone"
        )
    return bool(has[0])


def _days(path: Path, name: str, column: pa.ChunkedArray, found: dict[str, pa.Array]) -> tuple[Ints, bool]:
    """Days since 1970 `(n,)`; else, with False, only days of which all are the same, of an unknown date."""
    a, b, c = (_numbers(found[part]) for part in ("a", "b", "c"))
    if pc.min(pc.utf8_length(found["a"])).as_py() == 4:
        year, month, day = a, b, c
    elif pc.min(pc.utf8_length(found["c"])).as_py() == 4 and _day_first(found, a, b) is not None:
        year, month, day = (c, b, a) if _day_first(found, a, b) else (c, a, b)
    elif (a == a[0]).all() and (b == b[0]).all() and (c == c[0]).all():
        return np.zeros(len(a), dtype=np.int64), False  # the order does not matter within a day
    else:
        raise _day_or_month(path, name, column)
    by_dots = (a <= 12).all() and (b <= 12).all() and year is c
    dates = (year - 1970).astype("datetime64[Y]").astype("datetime64[M]") + (month - 1)
    days = dates.astype("datetime64[D]") + (day - 1)
    wrong = (month < 1) | (month > 12) | (day < 1) | (days.astype("datetime64[M]") != dates)
    if wrong.any():
        row = int(wrong.argmax())
        raise RecordingError(f"{path}: column '{name}' holds no date in sample {row + 1}: '{column[row].as_py()}'")
    if by_dots and (np.abs(np.diff(days.astype(np.int64))) > 1).any():  # 5.3. and 5.4. may be two days of May
        raise _day_or_month(path, name, column)
    return days.astype(np.int64), True


def _day_or_month(path: Path, name: str, column: pa.ChunkedArray) -> RecordingError:
    return RecordingError(
        f"{path}: column '{name}' holds dates such as '{column[0].as_py()}', of which day and month cannot be told "
        "apart; write them as 2024-05-01"
    )


def _day_first(found: dict[str, pa.Array], a: Ints, b: Ints) -> bool | None:
    """True for day, month, year; False for month, day, year; None where nothing tells."""
    if (a > 12).any() or (b > 12).any():
        return bool((a > 12).any())
    return True if found["by"][0].as_py() == "." else None


def _zone_minutes(zone: pa.Array) -> Ints:
    known = {text: _minutes_east(text) for text in pc.unique(zone).to_pylist()}
    return np.array([known[text] for text in zone.to_pylist()], dtype=np.int64)


def _minutes_east(zone: str) -> int:
    digits = re.sub(r"\D", "", zone)
    return (-1 if zone[0] == "-" else 1) * (60 * int(digits[:2]) + int(digits[2:])) if digits else 0


def _refuse_saved_daylight(path: Path, name: str, column: pa.ChunkedArray, nanoseconds: Ints) -> None:
    """RecordingError where local time jumps ahead from the end of an hour by one, as it does in spring."""
    steps = np.diff(nanoseconds)
    jumps = (np.abs(steps - HOUR) < HOUR // 360) & (nanoseconds[:-1] % HOUR > HOUR - HOUR // 360)
    if jumps.any():
        row = int(jumps.argmax())
        raise RecordingError(
            f"{path}: the clock in column '{name}' jumps by an hour at sample {row + 2} ({column[row].as_py()} is "
            f"followed by {column[row + 1].as_py()}); at a change of daylight-saving time? Write the zone"
        )


def _without_wraps(ticks: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The numbers of a clock that begins at 0 again after 2³², as one of 32 bits does (every 72 minutes, of µs)."""
    steps = np.diff(ticks)
    back = steps < -0.9 * WRAP
    if not back.any() or (steps > 0.9 * WRAP).any() or ticks.min() < 0 or ticks.max() >= WRAP:
        return ticks  # what leaps both ways is not in order
    return ticks + WRAP * np.concatenate([[0], np.cumsum(back)])


def _going_on(seconds: Floats) -> Floats:
    """Each piece of a clock that steps back follows the one before it, after a gap that windows do not span."""
    steps = np.diff(seconds)
    back = steps < 0
    if 0 < back.sum() <= MOST_PIECES:
        steps[back] = GAP_BETWEEN_PIECES / sampling_rate_of(steps[~back])
    result: Floats = np.concatenate([[0.0], np.cumsum(steps)])
    return result


def _spread(seconds: Floats) -> Floats:
    """Samples that share a stamp, evenly up to the next stamp; over a gap as densely as elsewhere."""
    begins = np.flatnonzero(np.r_[True, np.diff(seconds) != 0])
    sizes = np.diff(np.r_[begins, len(seconds)])
    lengths = np.diff(seconds[begins])
    usual = float(np.median(lengths / sizes[:-1])) if len(lengths) else 0.0
    steps = np.append(np.minimum(lengths / sizes[:-1], 1.5 * usual), usual)
    place = np.arange(len(seconds)) - np.repeat(begins, sizes)
    result: Floats = seconds + place * np.repeat(steps, sizes)
    return result


def _holds_stamps(column: pa.ChunkedArray) -> bool:
    """True for text that looks like times; judged by the first cells."""
    if not is_text(column):
        return False
    first = [text for text in column[:FEWEST_TO_JUDGE].to_pylist() if text]
    return bool(first) and all(
        re.match(r"\s*(\d{1,4}[-./]\d{1,2}[-./]\d{1,4}[Tt ,]\s*)?\d{1,2}:\d{2}", text) for text in first
    )


def _unit_of_epoch(column: pa.ChunkedArray) -> str | None:
    """The unit of a clock that counts from 1970, told by its magnitude; None for any other."""
    first = float(column[0].as_py())
    return next((unit for least, unit in ((1e17, "ns"), (1e14, "us"), (1e11, "ms")) if first >= least), None)


def _name_and_unit(name: str) -> tuple[str, str | None]:
    """A column's name without its unit, as in CLOCK_NAMES, and the unit that it gives."""
    text = re.sub(r"[\s.\-]+", "_", name.strip().lower()).removesuffix("(txt)")
    if text in CLOCK_NAMES:
        return text, UNIT_OF_CLOCK.get(text)
    found = CLOCK_NAME.fullmatch(text)
    if found is None:
        return text, None
    return found["name"], UNIT_NAMES.get(found["bracketed"] or found["behind"] or "")


def counts(column: pa.ChunkedArray) -> bool:
    """True for the numbers of rows: 0, 1, 2, …"""
    return _is_number(column) and bool((np.diff(column.to_numpy()) == 1).all())
