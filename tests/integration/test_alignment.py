"""When a body-worn IMU was started, by what moves in the pictures of a camera that stands."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ml_backend.cli import cli
from ml_backend.errors import RecordingError
from ml_backend.recordings import Imu, ImuFormat, VideoWriter, alignment, read_imu
from ml_backend.recordings.alignment import by_motion, magnitudes_of
from ml_backend.recordings.bursts import placed_by_burst
from ml_backend.recordings.likeness import Motion, fit, of_imu, of_video
from ml_backend.recordings.motion import QUANTITIES, video_motion
from ml_backend.sample import write_sample


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two simulated people, a minute each."""
    root = tmp_path_factory.mktemp("filmed")
    for _ in write_sample(root, participants=2, minutes=1.0):
        pass
    return root


@pytest.fixture(scope="module")
def seen(filmed: Path) -> Motion:
    """What moves in the first one's video."""
    return of_video(*video_motion(filmed / "p01" / "session.mp4"))


def worn(filmed: Path, who: str = "p01", start: float = 0.0, drift: float = 0.0) -> Imu:
    """The IMU, begun `start` seconds after the video, on a clock that the video's is faster than by `drift`."""
    imu = read_imu(filmed / who / "session.csv", ImuFormat())
    own = imu.times >= start
    return replace(imu, times=(imu.times[own] - start) / (1 + drift), values=imu.values[own])


def test_what_moves_right_and_down_is_seen_to(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    texture = np.kron(random.integers(0, 255, (60, 80)), np.ones((4, 4))).astype(np.uint8)
    writer = VideoWriter(tmp_path / "v.mp4", 160, 120, 25)
    still = np.kron(random.integers(0, 255, (30, 40)), np.ones((4, 4))).astype(np.uint8)
    for number in range(50):
        grey = still.copy()
        grey[40:80, 50:100] = texture[60 - number : 100 - number, 80 - number : 130 - number]
        writer.write(np.repeat(grey[:, :, None], 3, axis=2), number / 25)
    writer.close()
    times, values = video_motion(tmp_path / "v.mp4")
    assert times[0] == pytest.approx(0.02)
    means = dict(zip(QUANTITIES, values.mean(axis=0), strict=True))
    assert means["right"] > 0.3
    assert means["down"] > 0.3
    assert means["speed"] > np.hypot(means["camera_right"], means["camera_down"])


@pytest.mark.parametrize(("start", "drift"), [(0.0, 0.0), (9.3, 150e-6)])
def test_the_offset_of_an_imu_is_found_in_the_pictures(
    filmed: Path, seen: Motion, start: float, drift: float
) -> None:
    imu = worn(filmed, start=start, drift=drift)
    found = by_motion(filmed, seen, of_imu(imu.times, magnitudes_of(imu)))
    assert found.offset_seconds == pytest.approx(start, abs=0.2)
    assert found.by == "pictures"
    assert found.confidence > 0.1


def test_an_imu_that_begins_before_the_video_has_a_negative_offset(filmed: Path) -> None:
    imu = worn(filmed)
    times, values = video_motion(filmed / "p01" / "session.mp4")
    late = times >= 12
    found = by_motion(filmed, of_video(times[late] - 12, values[late]), of_imu(imu.times, magnitudes_of(imu)))
    assert found.offset_seconds == pytest.approx(-12, abs=0.2)


def test_somebody_elses_imu_noise_and_stillness_are_refused(filmed: Path, seen: Motion) -> None:
    other = worn(filmed, "p02")
    noise = np.abs(np.random.default_rng(0).normal(9.8, 1, (6000, 2)))
    for times, magnitudes in (
        (other.times, magnitudes_of(other)),
        (np.arange(6000) / 50, noise),
        (np.arange(6000) / 50, np.full((6000, 1), 9.8)),
    ):
        with pytest.raises(RecordingError, match=r"matches what moves in the pictures .* by hand"):
            by_motion(filmed, seen, of_imu(times, magnitudes))
    with pytest.raises(RecordingError, match="shorter than 20 s"):
        by_motion(filmed, seen, of_imu(np.arange(500) / 50, noise[:500]))


def test_a_drift_is_found_in_a_long_recording_and_a_leap_of_a_clock_refused() -> None:
    random = np.random.default_rng(2)
    clock = np.arange(0, 400, 1 / 25)
    # Bursts, as people move: each sensor shares some of it, and has noise of its own.
    vigour = np.repeat(random.gamma(0.5, 1, len(clock) // 20 + 1), 20)[: len(clock)]
    moving = vigour * random.normal(0, 1, len(clock))
    video = np.abs(np.stack([moving + 0.3 * random.normal(0, 1, len(clock)) for _ in QUANTITIES], axis=1))
    imu = 9.8 + moving + 0.3 * random.normal(0, 1, len(clock))
    drift = 800e-6
    found = fit(of_video(clock, video), of_imu(clock / (1 + drift), imu[:, None]))
    assert found is not None
    assert found.drift == pytest.approx(drift, abs=200e-6)
    assert found.offset == pytest.approx(0, abs=0.1)
    leaping = np.where(clock > 200, clock + 1.5, clock)
    with pytest.raises(RecordingError, match=r"leap apart, by [01]\.\d s about (1[6-9]|2[0-4])\d s after"):
        by_motion(Path("v.mp4"), of_video(leaping, video), of_imu(clock, imu[:, None]))


def begun_with_jumps(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Times, and how somebody moves who stands, jumps from 4 to 7 s, stands, and does this and that, at 25 Hz."""
    random, times = np.random.default_rng(seed), np.arange(0, 40, 1 / 25)
    vigour = np.exp(np.convolve(random.normal(size=len(times)), np.ones(25) / 4, mode="same"))
    vigour[times < 9] = 0.02
    vigour[(times >= 4) & (times < 7)] = 5.0
    return times, vigour * np.convolve(random.normal(size=len(times)), np.ones(5) / 5, mode="same")


def seen_and_worn(seed: int, other: int, start: float) -> tuple[Motion, Motion]:
    """What is seen of one and was worn by another, whose IMU was started so many seconds later."""
    random = np.random.default_rng([seed, other])
    times, moved = begun_with_jumps(seed)
    moved_seen = moved[:, None] + random.normal(0, 0.05, (len(times), len(QUANTITIES)))
    moved_seen[:, [0, 1, 2, 5, 6, 7]] = np.abs(moved_seen[:, [0, 1, 2, 5, 6, 7]])
    clock, worn = begun_with_jumps(other)
    own = clock >= start
    magnitudes = 9.81 + worn[own, None] + random.normal(0, 0.05, (own.sum(), 1))
    return of_video(times, moved_seen), of_imu(clock[own] - start, magnitudes)


def test_jumps_at_the_start_tell_where_to_look_and_what_follows_whether_it_is_true() -> None:
    for seed in range(6):
        placed = placed_by_burst(*seen_and_worn(seed, seed, 1.3))
        assert placed is not None
        assert placed[0] == pytest.approx(1.3, abs=0.1)
        assert placed[1] <= 0.05
    strangers = [placed_by_burst(*seen_and_worn(seed, seed + 50, 1.3)) for seed in range(20)]
    assert sum(one is not None for one in strangers) <= 2


def test_an_alignment_by_jumps_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alignment, "CLEAR_OF_CHANCE", 1e9)  # as where the rest of a recording is too calm to be sure
    found = by_motion(Path("v.mp4"), *seen_and_worn(1, 1, 1.3))
    assert found.offset_seconds == pytest.approx(1.3, abs=0.1)
    assert "by a clap or jumps that both begin with: what follows fits as well at" in str(found)
    with pytest.raises(RecordingError, match="nowhere"):
        by_motion(Path("v.mp4"), *seen_and_worn(1, 77, 1.3))


def test_an_imu_of_a_whole_day_is_not_searched() -> None:
    day = of_imu(np.array([0.0, 86_400.0]), np.ones((2, 1)))
    with pytest.raises(RecordingError, match=r"v\.mp4: the IMU file holds 24\.0 h, and more than 4 are not searched"):
        by_motion(Path("v.mp4"), of_video(np.arange(2.0), np.ones((2, len(QUANTITIES)))), day)


def test_vectors_are_told_by_the_names_of_their_axes() -> None:
    names = (
        *("acc_x", "acc_y", "acc_z", "rotationRateX", "rotationRateY", "rotationRateZ", "mag_x", "mag_y", "mag_z"),
        *("Shimmer_Accel_LN_X_CAL", "Shimmer_Accel_LN_Y_CAL", "Shimmer_Accel_LN_Z_CAL", "battery"),
        *("Acceleration x (m/s^2)", "Acceleration y (m/s^2)", "Acceleration z (m/s^2)", "temperature"),
    )
    values = np.arange(len(names), dtype=float)[None] * np.ones((2, 1))
    found = magnitudes_of(Imu(np.arange(2.0), values, names, None, 1.0))
    expected = [np.sqrt(sum(n**2 for n in three)) for three in ((0, 1, 2), (3, 4, 5), (9, 10, 11), (13, 14, 15))]
    np.testing.assert_allclose(found, [expected, expected])


def test_weakhar_align_draws_what_it_compared(filmed: Path, tmp_path: Path) -> None:
    video, imu = filmed / "p02" / "session.mp4", filmed / "p02" / "session.csv"
    plot = tmp_path / "plot.png"
    result = CliRunner().invoke(cli, ["align", str(video), str(imu), "--plot", str(plot)], catch_exceptions=False)
    first, *_, last = result.output.splitlines()
    assert float(first.removeprefix("offset_seconds: ")) == pytest.approx(0, abs=0.2)
    assert "by what moves in the pictures" in result.output
    assert last
    assert plot.stat().st_size > 10_000
    with pytest.raises(Exception, match=r"--plot .*plot\.txt: name a file that ends in \.png"):
        CliRunner().invoke(
            cli, ["align", str(video), str(imu), "--plot", str(tmp_path / "plot.txt")], catch_exceptions=False
        )
