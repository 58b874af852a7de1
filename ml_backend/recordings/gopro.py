"""What the camera itself measured: accelerometer and gyroscope in the video files of GoPro cameras."""

from functools import lru_cache
from pathlib import Path

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
    whole = [sample for sample in samples if sample.get("accl") and sample.get("gyro")]
    if len(whole) < 2:
        raise RecordingError(f"{video}: holds no accelerometer and gyroscope of the camera; name an IMU file")
    times = np.array([sample["timestamp_ms"] for sample in whole]) / 1000
    values = np.array([[*sample["accl"], *sample["gyro"]] for sample in whole], dtype=np.float64)
    kept = np.concatenate([[True], np.diff(times) > 0])
    return times[kept], values[kept]
