"""What the camera itself measured: accelerometer and gyroscope in the video files of GoPro cameras."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_backend.errors import RecordingError

Floats = npt.NDArray[np.float64]

CHANNELS = ("camera_acc_x", "camera_acc_y", "camera_acc_z", "camera_gyro_x", "camera_gyro_y", "camera_gyro_z")


def has_telemetry(video: Path) -> bool:
    """True if the file holds a camera's accelerometer."""
    if not video.is_file():
        return False
    status = video.stat()
    return _has_telemetry(video, status.st_size, status.st_mtime_ns)


@lru_cache(1024)
def _has_telemetry(video: Path, size: int, modified: int) -> bool:  # noqa: ARG001 - a changed file is another key
    try:
        camera_motion(video)
    except RecordingError:
        return False
    return True


def camera_motion(video: Path) -> tuple[Floats, Floats]:
    """Times `(n,)` in seconds on the video's clock, and acceleration (m/s²) and rotation (°/s) `(n, 6)`, as CHANNELS.

    RecordingError if the file holds none.
    """
    import telemetry_parser

    try:
        samples = telemetry_parser.Parser(str(video)).normalized_imu()
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise RecordingError(f"{video}: holds no camera telemetry ({reason}); name an IMU file") from None
    clock = np.array([sample["timestamp_ms"] for sample in samples]) / 1000
    acceleration, rotation = (_stream(clock, samples, name) for name in ("accl", "gyro"))
    if acceleration is None or rotation is None:
        raise RecordingError(f"{video}: holds no accelerometer and gyroscope of the camera; name an IMU file")
    times, accelerations = acceleration
    turned = np.stack([np.interp(times, rotation[0], axis) for axis in rotation[1].T], axis=1)
    return times, np.concatenate([accelerations, turned], axis=1)


def _stream(clock: Floats, samples: list[dict[str, Any]], name: str) -> tuple[Floats, Floats] | None:
    """Times `(n,)` and values `(n, 3)` of one sensor, None where there are fewer than two.

    A sensor with half the samples of another stands beside the first half of them in each packet of a second: its
    samples are spread evenly over the packet.
    """
    there = np.array([bool(sample.get(name)) for sample in samples])
    if there.sum() < 2:
        return None
    begins = np.flatnonzero(there & ~np.append(False, there[:-1]))
    ends = np.append(begins[1:], len(samples))
    step = float(np.median(np.diff(clock)))
    times = []
    for begin, end in zip(begins, ends, strict=True):
        count = int(there[begin:end].sum())
        times.append(clock[begin] + (clock[end - 1] + step - clock[begin]) / count * np.arange(count))
    values = np.array([sample[name] for sample, own in zip(samples, there, strict=True) if own], dtype=np.float64)
    found = np.concatenate(times)
    rising = np.append(True, np.diff(found) > 0)
    return found[rising], values[rising]
