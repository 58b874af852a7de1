"""When a body-worn IMU was started, on the clock of a video whose camera measured its own motion.

Compared are the magnitudes of acceleration and how vigorous they are, since the two are turned against each other.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ml_backend.errors import RecordingError
from ml_backend.recordings.gopro import camera_motion

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


@dataclass(frozen=True)
class Alignment:
    """`offset_seconds` is when, on the video's clock, the IMU's first sample was taken; correlation of the motions
    there, the highest anywhere else, and the highest that motions of the same spectrum reach by chance."""

    offset_seconds: float
    correlation: float
    runner_up: float
    by_chance: float

    @property
    def confidence(self) -> float:
        """By what share of it the peak exceeds the next one and chance, 0 … 1."""
        other = max(0.0, self.runner_up, self.by_chance)
        return max(0.0, 1 - other / self.correlation) if self.correlation > 0 else 0.0


def align(video: Path, times: Floats, values: Floats, channels: tuple[str, ...]) -> Alignment:
    """When the body-worn IMU with `times (n,)` since its first sample and `values (n, channels)` was started.

    Orientation does not matter: compared are the magnitudes of acceleration and how vigorous they are. RecordingError
    if the motions do not match anywhere, or at two places alike.
    """
    camera_times, camera = camera_motion(video)
    one = _features(camera_times, np.linalg.norm(camera[:, :3], axis=1)[:, None])
    if min(camera_times[-1] - camera_times[0], times[-1] - times[0]) < LEAST_SECONDS:
        raise RecordingError(
            f"{video}: video or IMU are shorter than {LEAST_SECONDS:g} s, too short to compare their motion; set "
            "offset_seconds by hand"
        )
    other = _features(times, _magnitudes(values, channels))
    found = best_offset(one, other)
    found = replace(found, offset_seconds=found.offset_seconds + float(camera_times[0] - times[0]))
    place = f"{found.offset_seconds:.2f} s"
    if found.correlation < LEAST_CORRELATION or found.by_chance > (1 - LEAST_MARGIN) * found.correlation:
        raise RecordingError(
            f"{video}: the IMU's motion matches the camera's nowhere (correlation {found.correlation:.2f} at best, "
            f"at {place}; {found.by_chance:.2f} by chance); is it of this recording? Set offset_seconds by hand"
        )
    if found.confidence < LEAST_MARGIN:
        raise RecordingError(
            f"{video}: the IMU's motion matches the camera's at several places alike (correlation "
            f"{found.correlation:.2f} at {place}, {found.runner_up:.2f} elsewhere); set offset_seconds by hand"
        )
    return found


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
    offset = (lags[peak] + _between(curve, peak)) / RATE
    return Alignment(offset, float(curve[peak]), max(others, default=0.0), _by_chance(one, other))


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


def _between(curve: Floats, peak: int) -> float:
    """The top of a parabola through the peak and its neighbours, in samples from the peak."""
    if not 0 < peak < len(curve) - 1 or not np.isfinite(curve[peak - 1 : peak + 2]).all():
        return 0.0
    before, top, after = curve[peak - 1 : peak + 2]
    bend = before - 2 * top + after
    return float((before - after) / (2 * bend)) if bend < 0 else 0.0


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


def _magnitudes(values: Floats, channels: tuple[str, ...]) -> Floats:
    """Length of each accelerometer's vector, `(n, accelerometers)`; of all channels where no name tells them."""
    groups: dict[str, list[int]] = {}
    for number, name in enumerate(channels):
        if name.lower()[-1:] in "xyz" and "gyr" not in name.lower() and "mag" not in name.lower():
            groups.setdefault(name[:-1], []).append(number)
    triples = [numbers for numbers in groups.values() if len(numbers) == 3] or [list(range(len(channels)))]
    return np.stack([np.linalg.norm(values[:, numbers], axis=1) for numbers in triples], axis=1)
