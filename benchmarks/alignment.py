"""Is the offset of a body-worn IMU found by what moves in the pictures? Parts of videos and of their IMUs, cut out at
random, with a clock that drifts by up to 200 ppm; and each IMU with a video of somebody else who does the same.

`accepted`: share of pairs that belong together; of these `within 200 ms` (at the worse of both ends of the IMU), and
`off by 1 s` or more; `strangers accepted`: share of the pairs that do not belong together.

`sample, jumps first`: recordings of people who stand and jump three times first, cut within the second before.

`GoPro`: its video and what a sensor on the same body, turned otherwise, would have measured: the camera's own
accelerometer, with noise. Run: python -m benchmarks alignment; a quarter of an hour on two cores."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scipy.stats import special_ortho_group

from benchmarks.harness import SHARED_DATA, Rows
from ml_backend.errors import RecordingError
from ml_backend.recordings import Imu, ImuFormat, align, read_imu
from ml_backend.recordings.alignment import by_motion, magnitudes_of
from ml_backend.recordings.gopro import camera_motion
from ml_backend.recordings.likeness import of_imu, of_video
from ml_backend.recordings.motion import video_motion
from ml_backend.sample import write_sample

TRIALS = 10
"""Pairs a recording and length that belong together, and as many that do not."""
LENGTHS, SHORT = (60, 120, 240), (30, 45, 60)
DRIFT = 200e-6
UTD_MHAD, GOPRO = SHARED_DATA / "utd_mhad", SHARED_DATA / "gopro" / "karma.mp4"

Series = tuple[np.ndarray, np.ndarray]


def measure() -> Rows:
    rows = []
    with TemporaryDirectory() as folder:
        sample = Path(folder) / "sample"
        for _ in write_sample(sample, 4, 6.0, 0):
            pass
        for data, root in (("sample", sample), ("UTD-MHAD", UTD_MHAD)):
            people = [_series(path) for path in sorted(root.glob("*/session.mp4"))]
            rows += [{"data": data, "seconds": length, **_trials(people, length)} for length in LENGTHS]
        jumping = Path(folder) / "jumping"
        for _ in write_sample(jumping, 6, 1.5, 11, jumps=True):
            pass
        people = [_series(path) for path in sorted(jumping.glob("*/session.mp4"))]
        for length in SHORT:
            found = _trials(people, length, from_start=True)
            rows.append({"data": "sample, jumps first", "seconds": length, **found})
    rows.append({"data": "GoPro", "seconds": "5 to 12", **_told(_gopro(), [])})
    return rows


def _series(video: Path) -> tuple[Series, Series]:
    imu = read_imu(video.with_suffix(".csv"), ImuFormat())
    return video_motion(video), (imu.times, magnitudes_of(imu))


def _trials(people: list[tuple[Series, Series]], length: int, from_start: bool = False) -> dict[str, str]:
    random = np.random.default_rng(length)
    own = [_error(random, video, imu, length, from_start) for video, imu in people for _ in range(TRIALS)]
    others = [
        _error(
            random,
            people[number][0],
            people[(number + 1 + trial % (len(people) - 1)) % len(people)][1],
            length,
            from_start,
        )
        for number in range(len(people))
        for trial in range(TRIALS)
    ]
    return _told(own, others)


def _error(random: np.random.Generator, video: Series, imu: Series, length: int, from_start: bool) -> float | None:
    """By how much the found times are off at the worse end; None where it is refused. Cut out anywhere, or shortly
    behind the start."""
    if from_start:
        begin, start = random.uniform(0, 1, 2)
    else:
        begin = random.uniform(0, max(0.0, min(video[0][-1], imu[0][-1]) - length))
        start = max(0.0, begin + random.uniform(-0.4, 0.4) * length)
    shown = (video[0] >= begin) & (video[0] < begin + length)
    worn = (imu[0] >= start) & (imu[0] < start + length)
    drift, first = random.uniform(-DRIFT, DRIFT), imu[0][worn][0]
    times = (imu[0][worn] - first) / (1 + drift)
    try:
        found = by_motion(Path("video"), of_video(video[0][shown], video[1][shown]), of_imu(times, imu[1][worn]))
    except RecordingError:
        return None
    ends = np.array([0.0, times[-1]])
    off = found.offset_seconds + ends * found.drift_ppm * 1e-6 - (first + ends * drift)
    return float(np.abs(off).max())


def _gopro() -> Iterator[float | None]:
    random = np.random.default_rng(0)
    times, values = camera_motion(GOPRO)
    for trial in range(2 * TRIALS):
        start = random.uniform(-4, 6)
        grid = start + np.arange(0, random.uniform(6, 12), 1 / 50)
        turned = special_ortho_group(3, seed=trial).rvs().T
        worn = np.stack([np.interp(grid, times, one) for one in values[:, :3].T], axis=1) @ turned
        worn += random.normal(0, 0.3, worn.shape)
        drift = random.uniform(-DRIFT, DRIFT)
        names = ("acc_x", "acc_y", "acc_z")
        try:
            found = align(GOPRO, Imu((grid - grid[0]) / (1 + drift), worn, names, None, 50.0))
        except RecordingError:
            yield None
        else:
            yield abs(found.offset_seconds - start)


def _told(own: Iterator[float | None] | list[float | None], others: list[float | None]) -> dict[str, str]:
    found = list(own)
    errors = np.array([error for error in found if error is not None])

    def share(of: np.ndarray) -> str:
        return f"{100 * of.mean():.0f} %" if len(of) else ""

    return {
        "pairs": f"{len(found)}",
        "accepted": f"{100 * len(errors) / len(found):.0f} %",
        "within 200 ms": share(errors <= 0.2),
        "off by 1 s": share(errors >= 1),
        "strangers accepted": share(np.array([error is not None for error in others])),
    }
