"""What the camera itself measured: accelerometer and gyroscope in the video files of GoPro cameras."""

import re
import struct
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.stream import Discard

from ml_backend.errors import RecordingError, one_line
from ml_backend.storage import is_remote, local_copy, read_from, reading

Floats = npt.NDArray[np.float64]

CHANNELS = ("camera_acc_x", "camera_acc_y", "camera_acc_z", "camera_gyro_x", "camera_gyro_y", "camera_gyro_z")
FEWEST_SATELLITE_DIMENSIONS = 2
"""A fix in two dimensions or more is one; without it a camera states the time of its own clock."""
EPOCH_OF_GPS9 = 946_684_800
"""The year 2000, from which GPS9 counts days, in seconds since 1970."""


def has_telemetry(video: Path) -> bool:
    """True if the file holds a camera's accelerometer."""
    if not video.is_file():
        return False
    status = video.stat()
    return _has_telemetry(video, status.st_size, status.st_mtime_ns)


@lru_cache(1024)
def _has_telemetry(video: Path, size: int, modified: int) -> bool:  # noqa: ARG001 - a changed file is another key
    try:
        if is_remote(video):  # all of it would be copied
            with reading(video), read_from(video) as source, av.open(source, "r") as container:
                return any(stream.codec_tag == "gpmd" for stream in container.streams.data)
        camera_motion(video)
    except (RecordingError, av.FFmpegError):
        return False
    return True


def camera_motion(video: Path) -> tuple[Floats, Floats]:
    """Times `(n,)` in seconds on the video's clock, and acceleration (m/s²) and rotation (°/s) `(n, 6)`, as CHANNELS.

    RecordingError if the file holds none.
    """
    import telemetry_parser

    try:
        with local_copy(video) as local:
            samples = telemetry_parser.Parser(str(local)).normalized_imu()
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise RecordingError(f"{video}: holds no camera telemetry ({one_line(error)}); name an IMU file") from None
    clock = np.array([sample["timestamp_ms"] for sample in samples]) / 1000
    acceleration, rotation = (_stream(clock, samples, name) for name in ("accl", "gyro"))
    if acceleration is None or rotation is None:
        raise RecordingError(f"{video}: holds no accelerometer and gyroscope of the camera; name an IMU file")
    times, accelerations = acceleration
    turned = np.stack([np.interp(times, rotation[0], axis) for axis in rotation[1].T], axis=1)
    return times, np.concatenate([accelerations, turned], axis=1)


def gps_started(video: Path) -> float | None:
    """When the video started by the camera's GPS, in seconds since 1970 (UTC); None without a fix, or without a GPS.

    The time a packet of telemetry states, less where the packet lies in the video: the median over all packets.
    """
    options = {"protocol_whitelist": "file", "format_whitelist": "mov,mp4"}
    with read_from(video) as source, av.open(source, "r", options=options) as container:
        streams = container.streams.data
        for other in container.streams:
            if other not in streams:  # gigabytes of pictures, which need not be read
                other.discard = Discard.all
        stated = [
            time - float(packet.pts * packet.time_base)
            for packet in (container.demux(streams) if streams else ())
            if packet.pts is not None and packet.time_base is not None
            for time in [_gps_time(bytes(packet))]
            if time is not None
        ]
    return float(np.median(stated)) if stated else None


def _gps_time(packet: bytes) -> float | None:
    """Seconds since 1970 (UTC) of a packet's first sample, by GPSU or the newer GPS9; None without a fix."""
    if fixed := re.search(rb"GPSFL\x04\x00\x01(.{4})", packet, re.DOTALL):
        if int.from_bytes(fixed[1]) < FEWEST_SATELLITE_DIMENSIONS:
            return None
        stamp = re.search(rb"GPSU[cU](?:\x10\x00\x01|\x01\x00\x10)(\d{12}\.\d{3})", packet)
        if stamp is None:
            return None
        text = stamp[1].decode()
        return datetime.strptime(text, "%y%m%d%H%M%S.%f").replace(tzinfo=UTC).timestamp()
    sample = re.search(rb"GPS9\?\x20..(.{32})", packet, re.DOTALL)
    if sample is None:
        return None
    *_, days, milliseconds, _, fix = struct.unpack(">7i2H", sample[1])
    return EPOCH_OF_GPS9 + days * 86_400 + milliseconds / 1000 if fix >= FEWEST_SATELLITE_DIMENSIONS else None


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
