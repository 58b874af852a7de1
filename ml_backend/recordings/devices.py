"""Files of devices that are no tables of text → the same tables, with `time` and the units that the formats have.

Axivity's `.cwa` (cwa-reader-rs, by Mobilise-D), ActiGraph's `.gt3x` (pygt3x, ActiGraph's own), Xsens' `.mvnx` (XML,
as the MVN user manual describes it). The clocks of the first two show the local time of who set them up, without a
zone, so that they do not say when, in UTC, a recording was taken.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from defusedxml.ElementTree import iterparse

from ml_backend.errors import RecordingError, WeakHARError, one_line
from ml_backend.recordings.tables import SampleTable
from ml_backend.storage import local_copy

Floats = npt.NDArray[np.float64]

XYZ, WXYZ = ("x", "y", "z"), ("w", "x", "y", "z")
SENSOR_QUANTITIES = {
    "sensorFreeAcceleration": ("free_acc", XYZ, "m/s^2"),
    "sensorAcceleration": ("acc", XYZ, "m/s^2"),
    "sensorAngularVelocity": ("gyr", XYZ, "rad/s"),
    "sensorMagneticField": ("mag", XYZ, "a.u."),
    "sensorOrientation": ("quat", WXYZ, "1"),
}
SEGMENT_QUANTITIES = {
    "acceleration": ("acc", XYZ, "m/s^2"),
    "angularVelocity": ("gyr", XYZ, "rad/s"),
    "orientation": ("quat", WXYZ, "1"),
}
"""What Xsens measures a sensor, and what it computes a segment of the body: name, axes and unit of the channels."""
STRETCHED = 1.25
"""Times the usual step: so far no clock of a device drifts."""
EPOCH_FROM = 946_684_800_000.0
"""The year 2000 in milliseconds since 1970: what is less is no date."""


def read_device(path: Path) -> SampleTable:
    """All samples of a device's file; RecordingError where it is not one, is damaged, or holds no samples."""
    kind = path.suffix.lower()
    try:
        with local_copy(path) as local:
            found = READERS[kind](local)
    except WeakHARError:
        raise
    except Exception as error:  # of three libraries, each with its own for a damaged file
        raise RecordingError(
            f"{path}: cannot be read as {NAMES[kind]} ({one_line(error)}); copy it from the device again, or export "
            "CSV with its maker's program"
        ) from None
    if found.samples.num_rows == 0:
        raise RecordingError(f"{path}: holds no samples of motion; was the device recording?")
    return found


def _axivity(path: Path) -> SampleTable:
    import cwa_reader_rs

    frame = cwa_reader_rs.read_cwa_file(str(path))
    aside = [name for name in frame.columns if not name.startswith(("acc_", "gyro_", "mag_"))]
    units = {"acc": "g", "gyro": "deg/s", "mag": "uT"}
    found = _from_frame(frame.drop(columns=aside), frame.index.to_numpy().astype("datetime64[ns]"), units, aside)
    seconds = pa.array(_not_stretched(found.samples["time"].to_numpy()))
    return replace(found, samples=found.samples.set_column(0, "time", seconds))


def _not_stretched(seconds: Floats) -> Floats:
    """Times `(n,)`, of which the reader spreads those of a sector evenly from the end of the one before, also where
    sectors between the two are lost: they lie as far apart as all others, and the gap before them."""
    steps = np.diff(seconds)
    usual = float(np.median(steps)) if len(steps) else 0.0
    wide = np.flatnonzero(steps > STRETCHED * usual)
    if len(wide) == 0:
        return seconds
    found = seconds.copy()
    for run in np.split(wide, np.flatnonzero(np.diff(wide) > 1) + 1):
        if len(run) > 1:  # a step alone is a gap as it should be
            found[run] = seconds[run[-1] + 1] - usual * np.arange(len(run), 0, -1)
    return found


def _actigraph(path: Path) -> SampleTable:
    from pygt3x.reader import FileReader

    logging.getLogger("pygt3x").setLevel(logging.ERROR)  # what it warns of are gaps, which the clock shows too
    with warnings.catch_warnings(), FileReader(str(path)) as reader:
        warnings.simplefilter("ignore")  # of pandas, about how it is called there
        frame = reader.to_pandas()
    frame = frame[~frame.pop("IdleSleepMode")]  # nothing was measured there: the last value, again and again
    seconds = frame.index.to_numpy(dtype=np.float64)
    frame.columns = [f"acc_{name.lower()}" for name in frame.columns]
    return _from_frame(frame, (1e9 * seconds).round().astype("datetime64[ns]"), {"acc": "g"}, [])


def _from_frame(frame: Any, stamps: npt.NDArray[Any], units: Mapping[str, str], aside: list[str]) -> SampleTable:
    """Of a data frame; stamps `(n,)`, local times without a zone, of which only the differences are kept."""
    seconds = (stamps - stamps[0]) / np.timedelta64(1, "s") if len(stamps) else np.zeros(0)
    columns = {str(name): frame[name].to_numpy(dtype=np.float64) for name in frame.columns}
    named = {name: units[name.split("_")[0]] for name in columns}
    return SampleTable(pa.table({"time": seconds, **columns}), {"time": "s", **named}, aside=tuple(aside))


def _xsens(path: Path) -> SampleTable:
    """The frames of type normal, at their index over the frame rate; of the sensors where the file has what they
    measured, else of the segments of the body."""
    labels: dict[str, list[str]] = {"sensor": [], "segment": []}
    subject: Mapping[str, str] = {}
    indices, stamps, rows = list[int](), list[float](), dict[str, list[Floats]]()
    aside: dict[str, None] = {}
    for event, element in _elements(path):
        name = element.tag.rpartition("}")[2]
        if event == "start":
            subject = dict(element.attrib) if name == "subject" else subject
        elif name in labels and "label" in element.attrib:
            labels[name].append(element.attrib["label"])
        elif name == "frame":
            if element.get("type", "normal") == "normal":
                indices.append(int(element.get("index") or len(indices)))
                stamps.append(float(element.get("ms") or "nan"))
                for part in element:
                    _take(path, part, indices[-1], rows, aside)
            element.clear()  # else all of the file is in memory
    wanted = SENSOR_QUANTITIES if SENSOR_QUANTITIES.keys() & rows.keys() else SEGMENT_QUANTITIES
    whose = labels["sensor" if wanted is SENSOR_QUANTITIES else "segment"]
    columns, units = dict[str, Any](), {"time": "s"}
    for quantity, values in rows.items():
        if quantity not in wanted:
            aside[quantity] = None
            continue
        short, axes, unit = wanted[quantity]
        for number, channel in enumerate(f"{label}_{short}_{axis}" for label in whose for axis in axes):
            columns[channel], units[channel] = _column(path, quantity, values, number, len(indices)), unit
        if len(values[0]) != len(whose) * len(axes):
            raise RecordingError(
                f"{path}: <{quantity}> has {len(values[0])} numbers for {len(whose)} sensors or segments of "
                f"{len(axes)}; export it again"
            )
    if not columns:
        raise RecordingError(f"{path}: holds no <{'>, <'.join(SENSOR_QUANTITIES)}>; export MVNX with sensor data")
    rate = float(subject.get("frameRate") or 0)
    if rate <= 0:
        raise RecordingError(f"{path}: its <subject> has no frameRate; export it again")
    seconds = np.array(indices) / rate
    if stamps[0] > EPOCH_FROM:
        seconds = seconds - seconds[0] + stamps[0] / 1000
    return SampleTable(pa.table({"time": seconds, **columns}), units, aside=tuple(aside))


def _elements(path: Path) -> Iterator[tuple[str, Any]]:
    with path.open("rb") as stream:
        yield from iterparse(stream, events=("start", "end"))


def _take(path: Path, part: Any, index: int, rows: dict[str, list[Floats]], aside: dict[str, None]) -> None:
    """One element of a frame: numbers in a row."""
    quantity = part.tag.rpartition("}")[2]
    if quantity not in SENSOR_QUANTITIES and quantity not in SEGMENT_QUANTITIES:
        aside[quantity] = None
        return
    try:
        numbers = np.array((part.text or "").split(), dtype=np.float64)
    except ValueError:
        raise RecordingError(
            f"{path}: frame {index}: <{quantity}> holds what is no number; export it again"
        ) from None
    rows.setdefault(quantity, []).append(numbers)


def _column(path: Path, quantity: str, values: list[Floats], number: int, frames: int) -> Floats:
    """One of the numbers of every frame, `(frames,)`."""
    if len(values) != frames or len({len(one) for one in values}) > 1 or number >= len(values[0]):
        raise RecordingError(f"{path}: <{quantity}> is not the same in every frame; export it again")
    return np.array([one[number] for one in values])


READERS: dict[str, Callable[[Path], SampleTable]] = {".cwa": _axivity, ".gt3x": _actigraph, ".mvnx": _xsens}
NAMES = {".cwa": "Axivity's CWA", ".gt3x": "ActiGraph's GT3X", ".mvnx": "Xsens' MVNX"}
DEVICE_SUFFIXES = tuple(READERS)
