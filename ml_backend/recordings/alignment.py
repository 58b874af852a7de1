"""When a body-worn IMU was started, on the clock of a video.

Where the camera measured its own motion (a GoPro that is worn too), magnitudes of acceleration are compared, and how
vigorous they are, since the two are turned against each other; else what moves in the pictures, with the IMU's.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ml_backend.errors import RecordingError
from ml_backend.recordings.bursts import placed_by_burst
from ml_backend.recordings.gopro import camera_motion, has_telemetry
from ml_backend.recordings.imu import Imu
from ml_backend.recordings.likeness import LEAST_SECONDS as SHORTEST
from ml_backend.recordings.likeness import Motion, between, fit, of_imu, of_video
from ml_backend.recordings.motion import video_motion

Floats = npt.NDArray[np.float64]

RATE = 50.0
"""Samples a second at which motions are compared."""
SMOOTHING_SECONDS = 0.2
LEAST_OVERLAP = 0.5
"""Of the shorter signal: with less in common any two motions look alike somewhere."""
LEAST_SECONDS = 5.0
LEAST_CORRELATION, LEAST_MARGIN = 0.35, 0.1
COPIES = 40
"""By chance alone one of so many is as good as the original once in 41 times; the margin makes it rarer."""
APART_SECONDS = 0.5
"""Peaks nearer to each other are one."""
CLEAR_OF_CHANCE, CLEAR_OF_OTHERS = 1.25, 1.1
"""By how much the likeness with what moves in the pictures must exceed the others (`benchmarks/alignment.py`)."""
MOST_PARTED = 0.25
MOST_HOURS = 4.0
"""Of an IMU: every shift is looked at, which takes minutes and a gigabyte for so many."""
SHOWN_NEAR = 5.0
"""Seconds to each side of the offset that the second picture of the plot shows."""
COMPARED = {
    "camera": "what the camera measured",
    "pictures": "what moves in the pictures",
    "burst": "a clap or jumps that both begin with",
}
AXIS = re.compile(r"(?P<before>.*)[xyzXYZ](?P<behind>[^a-zA-Z].*)?")
"""The name of an axis of a vector, with its unit or kind behind."""


@dataclass(frozen=True)
class Alignment:
    """`offset_seconds` is when, on the video's clock, the IMU's first sample was taken; how alike the motions are
    there (a correlation where the camera's was measured, else see `likeness`), the most anywhere else, and the most
    that motions of the same spectrum reach by chance; drift_ppm: how much faster the video's clock runs; offsets and
    curve: how alike they are at every offset; pieces `(k, 2)`: time and offset of parts that have a place of their
    own; by: what was compared with, `camera`, `pictures`, or of these a clap or jumps at the start, `burst`; as_good:
    share of other places where what follows the burst fits as well, times the places looked at."""

    offset_seconds: float
    alike: float
    runner_up: float
    by_chance: float
    drift_ppm: float = 0.0
    offsets: Floats = field(default_factory=lambda: np.zeros(0))
    curve: Floats = field(default_factory=lambda: np.zeros(0))
    pieces: Floats = field(default_factory=lambda: np.zeros((0, 2)))
    by: str = "camera"
    as_good: float = 0.0

    @property
    def confidence(self) -> float:
        """By what share of it the peak exceeds the next one and chance, 0 … 1."""
        other = max(0.0, self.runner_up, self.by_chance)
        return max(0.0, 1 - other / self.alike) if self.alike > 0 else 0.0

    def __str__(self) -> str:
        if self.by == "burst":
            return f"by {COMPARED[self.by]}: what follows fits as well at {self.as_good:.1%} of other places"
        return (
            f"by {COMPARED[self.by]}: alike {self.alike:.2f}, elsewhere at most {self.runner_up:.2f}, by chance "
            f"{self.by_chance:.2f}; confidence {self.confidence:.0%}"
        )


def align(video: Path, imu: Imu) -> Alignment:
    """When a body-worn IMU was started; its times are since its first sample, its orientation does not matter.

    RecordingError if the motions do not match anywhere, or at two places alike, or are too short to tell.
    """
    refused = None
    if has_telemetry(video):
        try:
            return _by_camera(video, imu)
        except RecordingError as error:  # it may stand, and film who wears the IMU
            refused = error
    try:
        return _by_pictures(video, imu)
    except RecordingError as error:
        raise refused or error from None


def _by_camera(video: Path, imu: Imu) -> Alignment:
    camera_times, camera = camera_motion(video)
    one = _features(camera_times, np.linalg.norm(camera[:, :3], axis=1)[:, None])
    if min(camera_times[-1] - camera_times[0], imu.times[-1] - imu.times[0]) < LEAST_SECONDS:
        raise RecordingError(
            f"{video}: video or IMU are shorter than {LEAST_SECONDS:g} s, too short to compare their motion; set "
            "offset_seconds by hand"
        )
    other = _features(imu.times, _magnitudes(imu, _is_acceleration))
    found = best_offset(one, other)
    start = float(camera_times[0] - imu.times[0])
    found = replace(found, offset_seconds=found.offset_seconds + start, offsets=found.offsets + start)
    place = f"{found.offset_seconds:.2f} s"
    if found.alike < LEAST_CORRELATION or found.by_chance > (1 - LEAST_MARGIN) * found.alike:
        raise RecordingError(
            f"{video}: the IMU's motion matches the camera's nowhere (correlation {found.alike:.2f} at best, "
            f"at {place}; {found.by_chance:.2f} by chance); is it of this recording? Set offset_seconds by hand"
        )
    if found.confidence < LEAST_MARGIN:
        raise RecordingError(
            f"{video}: the IMU's motion matches the camera's at several places alike (correlation "
            f"{found.alike:.2f} at {place}, {found.runner_up:.2f} elsewhere); set offset_seconds by hand"
        )
    return found


def _by_pictures(video: Path, imu: Imu) -> Alignment:
    times, values = video_motion(video)
    if len(times) < 2:
        raise RecordingError(f"{video}: has fewer than three frames; set offset_seconds by hand")
    return by_motion(video, of_video(times, values), of_imu(imu.times, magnitudes_of(imu)))


def magnitudes_of(imu: Imu) -> Floats:
    """Length of each accelerometer's and gyroscope's vector, `(n, vectors)`."""
    return _magnitudes(imu, _is_motion)


def by_motion(video: Path, pictures: Motion, worn: Motion) -> Alignment:
    """The same of what `video_motion` found in a video, and a worn sensor measured."""
    hours = float(np.ptp(worn.times)) / 3600
    if hours > MOST_HOURS:
        raise RecordingError(
            f"{video}: the IMU file holds {hours:.1f} h, and more than {MOST_HOURS:g} are not searched; cut out the "
            "hours round the video, or set offset_seconds by hand"
        )
    found = fit(pictures, worn)
    if found is None:
        raise RecordingError(
            f"{video}: video or IMU are shorter than {SHORTEST:g} s, too short to compare their motion; set "
            "offset_seconds by hand"
        )
    result = Alignment(
        offset_seconds=found.offset - worn.start,
        alike=found.best,
        runner_up=found.runner_up,
        by_chance=found.by_chance,
        drift_ppm=1e6 * found.drift,
        offsets=found.offsets - worn.start,
        curve=found.curve,
        pieces=found.pieces - np.array([0.0, worn.start]),
        by="pictures",
    )
    place = f"{result.offset_seconds:.2f} s"
    by_chance = found.best <= CLEAR_OF_CHANCE * found.by_chance
    elsewhere = found.best <= CLEAR_OF_OTHERS * found.runner_up
    if (by_chance or elsewhere) and (placed := placed_by_burst(pictures, worn)) is not None:
        offset = placed[0] - worn.start
        return replace(result, offset_seconds=offset, drift_ppm=0.0, as_good=placed[1], by="burst")
    if by_chance:
        raise RecordingError(
            f"{video}: the IMU's motion matches what moves in the pictures nowhere (likeness {found.best:.1f} at "
            f"best, at {place}; {found.by_chance:.1f} by chance); is it of this recording? Set offset_seconds by hand"
        )
    if elsewhere:
        raise RecordingError(
            f"{video}: the IMU's motion matches what moves in the pictures at several places alike (likeness "
            f"{found.best:.1f} at {place}, {found.runner_up:.1f} elsewhere); set offset_seconds by hand"
        )
    if found.parted > MOST_PARTED * len(found.pieces):
        leap = int(np.abs(np.diff(found.pieces[:, 1])).argmax())
        raise RecordingError(
            f"{video}: the clocks of video and IMU leap apart, by {np.diff(found.pieces[:, 1])[leap]:.1f} s about "
            f"{found.pieces[leap : leap + 2, 0].mean():.0f} s after the IMU's start; cut the recording there, or set "
            "offset_seconds by hand"
        )
    return result


def plot_alignment(found: Alignment, video: Path, imu: Path, target: Path) -> None:
    """Draw how alike the motions are at every offset, and where the parts of the recording lie."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (whole, near, parts) = plt.subplots(3, 1, figsize=(9, 8), layout="constrained")
    for axes, shown in ((whole, np.ones(len(found.offsets), dtype=bool)), (near, _near(found))):
        axes.plot(found.offsets[shown], found.curve[shown], linewidth=0.8)
        axes.axhline(found.by_chance, color="grey", linestyle="--", label="by chance")
        axes.axvline(found.offset_seconds, color="tab:red", label=f"{found.offset_seconds:.2f} s")
        axes.set(xlabel="offset_seconds", ylabel="how alike")
        axes.legend(loc="upper right")
    whole.set_title(f"{imu.name} in {video.name}, by {COMPARED[found.by]}")
    if len(found.pieces):
        times = found.pieces[:, 0]
        parts.plot(times, found.pieces[:, 1], "o", label="parts of the recording")
        parts.plot(times, found.offset_seconds + 1e-6 * found.drift_ppm * times, label=f"{found.drift_ppm:.0f} ppm")
        parts.legend(loc="upper right")
    else:
        parts.text(0.5, 0.5, "no part of the recording has a place of its own", ha="center")
    low, high = min(found.pieces[:, 1], default=found.offset_seconds), max(found.pieces[:, 1], default=0.0)
    middle, reach = (low + max(low, high)) / 2, max(0.5, max(low, high) - low)
    parts.set(xlabel="seconds since the IMU's start", ylabel="offset, s", ylim=(middle - reach, middle + reach))
    figure.savefig(target, dpi=110)
    plt.close(figure)


def _near(found: Alignment) -> npt.NDArray[np.bool_]:
    near: npt.NDArray[np.bool_] = np.abs(found.offsets - found.offset_seconds) < SHOWN_NEAR
    return near


def best_offset(one: list[Floats], other: list[Floats]) -> Alignment:
    """Where the signals of `other` fit best into those of `one`, pair by pair `(n,)` and `(m,)` at 50 Hz."""
    curves = [_correlations(first, second) for first, second in zip(one, other, strict=True)]
    curve = np.mean(curves, axis=0)
    lags = np.arange(len(curve)) - (len(other[0]) - 1)
    peak = int(np.nanargmax(curve))
    near = np.abs(np.arange(len(curve)) - peak) <= APART_SECONDS * RATE
    # Another peak is a rise of its own, not the slope of this one.
    tops = np.flatnonzero((curve[1:-1] > curve[:-2]) & (curve[1:-1] >= curve[2:])) + 1
    others = [float(curve[top]) for top in tops if not near[top]]
    offset = (lags[peak] + between(curve, peak)) / RATE
    return Alignment(
        offset,
        float(curve[peak]),
        max(others, default=0.0),
        _by_chance(one, other),
        offsets=lags / RATE,
        curve=curve,
    )


def _by_chance(one: list[Floats], other: list[Floats]) -> float:
    """The highest correlation anywhere among copies of `other` with the same spectra and random phases.

    How high chance gets depends on how long the overlap is and how slowly both change; copies have both.
    """
    random = np.random.default_rng(0)
    spectra = [np.fft.rfft(signal) for signal in other]
    highest = 0.0
    for _ in range(COPIES):
        turns = np.exp(2j * np.pi * random.random(len(spectra[0])))
        turns[0] = 1
        copies = [np.fft.irfft(spectrum * turns, len(other[0])) for spectrum in spectra]
        curves = [_correlations(first, second) for first, second in zip(one, copies, strict=True)]
        highest = max(highest, float(np.nanmax(np.mean(curves, axis=0))))
    return highest


def _correlations(one: Floats, other: Floats) -> Floats:
    """Pearson's correlation of what overlaps, for every shift of `other` along `one`; NaN where too little does."""
    from scipy.signal import correlate  # takes a second and 60 MB, and few recordings need it

    ones = [np.ones(len(one)), np.ones(len(other))]
    count = np.rint(correlate(ones[0], ones[1], method="fft"))
    with np.errstate(all="ignore"):
        first, second = correlate(one, ones[1], method="fft") / count, correlate(ones[0], other, method="fft") / count
        first_square = correlate(one**2, ones[1], method="fft") / count
        second_square = correlate(ones[0], other**2, method="fft") / count
        shared = correlate(one, other, method="fft") / count - first * second
        spread = np.sqrt(np.maximum((first_square - first**2) * (second_square - second**2), 0))
        curve = np.where(spread > 1e-9, shared / np.maximum(spread, 1e-9), 0.0)
    curve[count < max(LEAST_OVERLAP * min(len(one), len(other)), LEAST_SECONDS * RATE)] = np.nan
    return curve


def _features(times: Floats, magnitudes: Floats) -> list[Floats]:
    """At 50 Hz: the mean magnitude `(n,)`, smoothed, and the logarithm of how much it changes in half a second."""
    from scipy.ndimage import uniform_filter1d

    grid = np.arange(times[0], times[-1], 1 / RATE)
    width = max(1, round(SMOOTHING_SECONDS * RATE))
    rate = (len(times) - 1) / (times[-1] - times[0])
    # A camera samples faster than 50 Hz: average first, so that vibration does not alias.
    averaged = uniform_filter1d(magnitudes, max(1, round(rate / RATE)), axis=0)
    resampled = np.stack([np.interp(grid, times, column) for column in averaged.T], axis=1)
    moving = resampled - uniform_filter1d(resampled, round(RATE), axis=0)
    energy = np.sqrt(uniform_filter1d(moving**2, round(RATE / 2), axis=0)).mean(axis=1)
    return [uniform_filter1d(moving.mean(axis=1), width), np.log(energy + 0.01 * energy.mean() + 1e-9)]


def _magnitudes(imu: Imu, of_interest: Callable[[str], bool]) -> Floats:
    """Length of each vector of interest, `(n, vectors)`; of all channels where no name tells them."""
    groups: dict[str, list[int]] = {}
    for number, name in enumerate(imu.channels):
        axis = AXIS.fullmatch(name.strip())
        if axis and of_interest(name.lower()):
            groups.setdefault(axis["before"] + (axis["behind"] or ""), []).append(number)
    triples = [numbers for numbers in groups.values() if len(numbers) == 3] or [list(range(len(imu.channels)))]
    return np.stack([np.linalg.norm(imu.values[:, numbers], axis=1) for numbers in triples], axis=1)


def _is_acceleration(name: str) -> bool:
    return _is_motion(name) and not re.search("gyr|rotation|rate|ang", name)


def _is_motion(name: str) -> bool:
    return not re.search("mag|quat|grav|euler|orient", name)
