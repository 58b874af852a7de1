"""A recording's IMU as a person looks at it beside the video: a few signals, at a rate that a browser draws."""

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from ml_backend.recordings.imu import Imu

Floats = npt.NDArray[np.float64]

MOST_SIGNALS, MOST_HERTZ = 6, 50.0
AXIS = re.compile(r"^(.*?)[ _.\-]?\(?([xyz])\)?$", re.IGNORECASE)
"""A channel that is one axis of a sensor with three."""
NO_NAME = re.compile(r"[^\w\-.]+")
"""What the header of a plain CSV cannot hold; Label Studio takes all of it for lower case."""


def signals_of(imu: Imu) -> dict[str, Floats]:
    """Signals that tell movements apart at a glance: of each sensor with three axes the length of its vector, and the
    other channels as they are; `(n_samples,)` each, in the file's units, the first MOST_SIGNALS of them."""
    sensors: dict[str, dict[str, int]] = {}
    for number, name in enumerate(imu.channels):
        found = AXIS.match(name)
        axis = (found[1], found[2].lower()) if found else (name, "")
        sensors.setdefault(axis[0], {})[axis[1]] = number
    signals: dict[str, Floats] = {}
    for name, axes in sensors.items():
        if set(axes) == {"x", "y", "z"}:
            signals[name or "length"] = np.linalg.norm(imu.values[:, list(axes.values())], axis=1)
        else:
            signals |= {imu.channels[number]: imu.values[:, number] for number in axes.values()}
    return {NO_NAME.sub("_", name).lower(): values for name, values in list(signals.items())[:MOST_SIGNALS]}


def write_signals(imu: Imu, names: tuple[str, ...], start: float, end: float, target: Path) -> None:
    """A CSV of the signals `names` from `start` to `end` on the video's clock, at most MOST_HERTZ a second, whose
    `time` begins at 0; where there is no sample, and of signals that the recording lacks, 0."""
    rate = min(imu.sampling_rate, MOST_HERTZ)
    times = np.arange(round((end - start) * rate) + 1) / rate
    signals = signals_of(imu)
    nothing = np.zeros(len(imu.times))
    columns = {
        name: np.interp(start + times, imu.times, signals.get(name, nothing), left=0.0, right=0.0).round(4)
        for name in names
    }
    # Label Studio takes quotes for a part of the names.
    plain = pa.csv.WriteOptions(quoting_style="none", include_header=False)
    with target.open("wb") as file:
        file.write((",".join(["time", *names]) + "\n").encode())
        pa.csv.write_csv(pa.table({"time": times.round(4), **columns}), file, plain)
