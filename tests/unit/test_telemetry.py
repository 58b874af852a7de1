"""A GoPro's own IMU: read from its video, used as a recording's, and compared with a body-worn one."""

import re
import struct
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from scipy.stats import special_ortho_group
from typer.testing import CliRunner

from ml_backend.cli import cli
from ml_backend.errors import RecordingError
from ml_backend.recordings import Imu, ImuFormat, alignment, check_dataset, find_recordings, read_imu
from ml_backend.recordings.alignment import align, best_offset
from ml_backend.recordings.gopro import CHANNELS, camera_motion, has_telemetry
from ml_backend.recordings.video import created_at
from ml_backend.settings import Parameters

WORN = ("wrist_acc_x", "wrist_acc_y", "wrist_acc_z")


@pytest.fixture(scope="module")
def gopro(shared_data: Path) -> Path:
    return shared_data / "gopro" / "karma.mp4"


def imu_of(times: np.ndarray, values: np.ndarray) -> Imu:
    return Imu(times, values, WORN, None, 50.0)


def worn_imu(gopro: Path, start: float, end: float, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """What a sensor on the same body, turned otherwise, at 50 Hz, would have measured from `start` to `end`."""
    random = np.random.default_rng(0)
    times, values = camera_motion(gopro)
    grid = np.arange(start, end, 1 / 50)
    inside = (grid >= 0) & (grid <= times[-1])
    smooth = np.stack([np.convolve(column, np.ones(4) / 4, "same") for column in values[:, :3].T])
    acceleration = np.stack([np.interp(grid, times, column) for column in smooth], axis=1)
    acceleration[~inside] = [9.8, 0, 0]
    turned = acceleration @ special_ortho_group(3, seed=1).rvs().T
    return grid - grid[0], turned + random.normal(0, noise, turned.shape)


def test_a_gopros_accelerometer_and_gyroscope_are_read_on_the_videos_clock(gopro: Path) -> None:
    imu = read_imu(gopro, ImuFormat(offset_seconds=1.0))
    assert imu.channels == CHANNELS
    assert imu.labels is None
    assert imu.start == pytest.approx(1.0)
    assert imu.end == pytest.approx(13.0, abs=0.3)
    assert imu.sampling_rate == pytest.approx(200, abs=3)
    assert np.linalg.norm(imu.values[:, :3], axis=1).mean() == pytest.approx(9.8, abs=1.5)
    one = read_imu(gopro, ImuFormat(columns=("camera_acc_y",)))
    np.testing.assert_array_equal(one.values[:, 0], imu.values[:, 1])
    with pytest.raises(RecordingError, match=r"no channel 'acc_x'; it has camera_acc_x"):
        read_imu(gopro, ImuFormat(columns=("acc_x",)))


def test_a_gopro_video_alone_is_a_recording(gopro: Path, tmp_path: Path) -> None:
    (tmp_path / "p01").mkdir()
    (tmp_path / "p01" / "ride ä.mp4").symlink_to(gopro)
    checked, problems = check_dataset(tmp_path, Parameters(components="50%"))
    assert not problems
    assert checked[0].imu is not None
    assert checked[0].n_clips == 9


def klv(key: bytes, kind: bytes, size: int, payload: bytes) -> bytes:
    """An entry of a GoPro's telemetry."""
    return (
        key + kind + bytes([size]) + struct.pack(">H", len(payload) // size) + payload + b"\0" * (-len(payload) % 4)
    )


def with_gps(gopro: Path, target: Path, older: bool, fix: int = 3) -> Path:
    """The video with a GPS in place of another stream; it says that the video started at 18:32:10.5."""
    data = gopro.read_bytes()
    written = bytearray(data)
    for number, place in enumerate(match.start() for match in re.finditer(rb"CYTS\?", data)):
        head = data.rfind(b"STRM\0", 0, place)
        size = int.from_bytes(data[head + 6 : head + 8]) * data[head + 5]
        if older:
            stamp = f"1704181832{10 + number}.500".encode()
            stream = klv(b"GPSF", b"L", 4, struct.pack(">L", fix)) + klv(b"GPSU", b"U", 16, stamp)
        else:
            day, time = 6317, ((18 * 60 + 32) * 60 + 10 + number) * 1000 + 500
            stream = klv(b"GPS9", b"?", 32, struct.pack(">7i2H", 0, 0, 0, 0, 0, day, time, 100, fix))
        stream += klv(b"EMPT", b"c", 1, bytes(size - len(stream) - 8))
        written[head + 8 : head + 8 + size] = stream
    target.write_bytes(written)
    return target


@pytest.mark.parametrize("older", [True, False])
def test_a_gopros_gps_says_when_its_video_started(gopro: Path, tmp_path: Path, older: bool) -> None:
    started = datetime(2017, 4, 18, 18, 32, 10, 500_000, tzinfo=UTC).timestamp()
    own = datetime(2017, 4, 17, 19, 27, 57, tzinfo=UTC).timestamp()
    assert created_at(with_gps(gopro, tmp_path / "gps.mp4", older)) == pytest.approx(started, abs=0.1)
    assert created_at(with_gps(gopro, tmp_path / "indoors.mp4", older, fix=0)) == own
    assert created_at(gopro) == own


def test_a_video_without_telemetry_still_needs_an_imu_file(shared_data: Path, tmp_path: Path) -> None:
    video = shared_data / "video" / "skeleton.mp4"
    assert not has_telemetry(video)
    with pytest.raises(RecordingError, match=r"skeleton\.mp4: holds no .*; name an IMU file"):
        camera_motion(video)
    (tmp_path / "p01").mkdir()
    (tmp_path / "p01" / "ride.mp4").symlink_to(video)
    assert "has no IMU file of the same name" in find_recordings(tmp_path, Parameters())[1][0].message


@pytest.mark.parametrize(("start", "end"), [(0.0, 12.0), (2.37, 11.0), (-3.2, 9.5), (3.0, 18.0)])
def test_the_offset_of_a_body_worn_imu_is_found_whatever_its_orientation(
    gopro: Path, start: float, end: float
) -> None:
    found = align(gopro, imu_of(*worn_imu(gopro, start, end)))
    assert found.offset_seconds == pytest.approx(start, abs=0.04)
    assert found.alike > 0.5
    assert found.confidence > 0.15


def test_a_motion_that_is_not_the_cameras_is_refused(gopro: Path) -> None:
    values = np.random.default_rng(3).normal([0, 0, 9.8], 1, (500, 3))
    with pytest.raises(RecordingError, match=r"matches the camera's (nowhere|at several places alike) .*by hand"):
        align(gopro, imu_of(np.arange(500) / 50, values))


def test_other_peoples_motions_and_noise_of_any_length_are_refused(gopro: Path, shared_data: Path) -> None:
    refused = 0
    for number, seconds in enumerate((6, 10, 40, 120)):
        noise = np.random.default_rng(number).normal([0, 0, 9.8], 1, (seconds * 50, 3))
        other = read_imu(shared_data / "hawthorne" / f"sbj_{number}.csv", ImuFormat(sampling_rate=50))
        for values in (noise, other.values[: seconds * 50]):
            with pytest.raises(RecordingError, match="by hand"):
                align(gopro, imu_of(np.arange(len(values)) / 50, values))
            refused += 1
    assert refused == 8
    with pytest.raises(RecordingError, match="too short to compare"):
        align(gopro, imu_of(np.arange(100) / 50, np.ones((100, 3))))
    with pytest.raises(RecordingError, match="nowhere"):
        align(gopro, imu_of(np.arange(600) / 50, np.ones((600, 3))))


def test_the_offset_is_on_the_videos_clock_also_where_the_camera_starts_late(
    gopro: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times, values = worn_imu(gopro, 3.0, 12.0)
    camera_times, camera = camera_motion(gopro)
    late = camera_times >= 2.0
    monkeypatch.setattr(alignment, "camera_motion", lambda _: (camera_times[late], camera[late]))
    assert align(gopro, imu_of(times, values)).offset_seconds == pytest.approx(3.0, abs=0.04)


def test_a_motion_that_repeats_itself_is_ambiguous() -> None:
    times = np.arange(0, 60, 0.02)
    wave = np.sin(2 * np.pi * times)
    assert best_offset([wave], [wave[:1000]]).confidence < 0.01


def test_weakhar_align_prints_the_line_for_the_manifest(gopro: Path, tmp_path: Path) -> None:
    times, values = worn_imu(gopro, 2.0, 11.5)
    columns = {"time": times, **dict(zip(WORN, values.T.copy(), strict=True))}
    pa.csv.write_csv(pa.table(columns), tmp_path / "wrist.csv")
    result = CliRunner().invoke(cli, ["align", str(gopro), str(tmp_path / "wrist.csv")], catch_exceptions=False)
    first = result.output.splitlines()[0]
    assert first.startswith("offset_seconds: ")
    assert float(first.split(": ")[1]) == pytest.approx(2.0, abs=0.04)
