"""Where the motion that a body-worn IMU measured fits into the motion that a video shows.

Both become features at 25 Hz: how vigorous the motion is, over fractions of a second and over seconds, in bands of
frequency (the dominant frequency over time), and its course. The statistic is, for every shift, the overlap times the
sum of squared canonical correlations (both sets whitened over the whole), at three scales: without what changes
slower than 8, 4 and 2 s, since a sequence of activities may resemble another's, and single movements do not.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

RATE = 25.0
"""Hz."""
SCALES = (8.0, 4.0, 2.0)
BANDS = ((0.5, 1.2), (1.2, 2.4), (2.4, 5.0))
"""Hz: slow movements, steps, and what shakes."""
LEAST_OVERLAP, LEAST_SECONDS = 0.5, 20.0
APART_SECONDS = 0.3
"""Peaks nearer to each other are one."""
KEPT = 0.99
"""Of the variance of the features; the rest is noise that whitening would blow up."""
STILL = 1e-6
"""What varies less is rounding: features are logarithms, and courses of vigour 1."""
COPIES = 20
PIECE_SECONDS, STEP_SECONDS, REACH_SECONDS = 40.0, 20.0, 2.0
SHARP = 1.1
"""A piece has a place of its own if its best shift is so much better than the others."""
FEWEST_PIECES = 5
LEAST_SECONDS_OF_DRIFT = 180.0
DRIFT_STEP, DRIFT_STEPS = 0.06, 4
"""Drifts are tried in steps that move the end by so many seconds, and so many steps to each side."""
LEAST_GAIN = 1.015
"""A drift that makes the likeness no greater than that is none."""
LEAST_PARTING = 0.4
"""Seconds by which a piece must lie off the line of all to be a leap of a clock."""


@dataclass(frozen=True)
class Motion:
    """times `(n,)` in seconds; values `(n, …)`, each column one signal; `make`: the features of such values on a grid
    of 25 Hz, `(m, features)`; energy: how vigorous such values are, `(m,)`."""

    times: Floats
    values: Floats
    make: Callable[[Floats], Iterator[Floats]]
    energy: Callable[[Floats], Floats]

    @property
    def start(self) -> float:
        """Time of the first value."""
        return float(self.times[0])

    def vigour(self) -> Floats:
        """Over 0.4 s, on a grid of 25 Hz, `(m,)`."""
        return _smooth(self.energy(_on_grid(self.times, self.values)), 0.4)

    def behind(self, seconds: float) -> "Motion | None":
        """What lies more than so many seconds behind the start; None where nothing does."""
        own = self.times > self.times[0] + seconds
        return replace(self, times=self.times[own], values=self.values[own]) if own.sum() > 1 else None

    def features(self, drift: float = 0.0) -> list[Floats]:
        """At each scale, whitened; on a clock that runs faster by `drift`."""
        times = self.times[0] + (self.times - self.times[0]) * (1 + drift)
        columns = list(self.make(_on_grid(times, self.values)))
        return [_white(np.stack([one - _smooth(one, scale) for one in columns], axis=1)) for scale in SCALES]


@dataclass(frozen=True)
class Fit:
    """offset: the time of the second motion's start on the first one's clock, in seconds; drift: by how much the
    first clock runs faster; best, runner_up and by_chance: the statistic there, the highest elsewhere, and the
    highest of any copy with random phases, all over its median; offsets and curve: the statistic at every offset;
    pieces `(k, 2)`: time since the second motion's start, and offset, of each piece that has a place of its own;
    parted: how many lie off the line through all."""

    offset: float
    drift: float
    best: float
    runner_up: float
    by_chance: float
    offsets: Floats
    curve: Floats
    pieces: Floats
    parted: int


def of_video(times: Floats, values: Floats) -> Motion:
    """The motion that `video_motion` found."""
    return Motion(times, values, _video_features, lambda rows: rows[:, 0])


def of_imu(times: Floats, magnitudes: Floats) -> Motion:
    """Magnitudes `(n, sensors)`: the length of each sensor's vector."""
    return Motion(times, magnitudes, _imu_features, _shaken)


def fit(one: Motion, other: Motion) -> Fit | None:
    """Where `other` fits into `one` best; None where either is too short."""
    if min(np.ptp(one.times), np.ptp(other.times)) < LEAST_SECONDS:
        return None
    first = one.features()
    lags, curve = curve_of(first, other.features())
    offset = float(lags[np.nanargmax(curve)])
    pieces = _pieces(first, other.features(), offset)
    slope, parted = _line(pieces)
    drift = _drift(first, other, slope)
    second = other.features(drift)
    lags, curve = curve_of(first, second)
    peak = int(np.nanargmax(curve))
    away = np.abs(lags - lags[peak]) > APART_SECONDS
    tops = np.flatnonzero((curve[1:-1] > curve[:-2]) & (curve[1:-1] >= curve[2:])) + 1
    return Fit(
        offset=float(lags[peak]) + between(curve, peak) / RATE + one.start,
        drift=drift,
        best=float(curve[peak]),
        runner_up=max((float(curve[top]) for top in tops if away[top]), default=0.0),
        by_chance=_by_chance(first, second),
        offsets=lags + one.start,
        curve=curve,
        pieces=pieces + np.array([0.0, one.start]),
        parted=parted,
    )


def _on_grid(times: Floats, values: Floats) -> Floats:
    from scipy.ndimage import uniform_filter1d

    grid = np.arange(times[0], times[-1], 1 / RATE)
    rate = (len(times) - 1) / (times[-1] - times[0])
    averaged = uniform_filter1d(values, max(1, round(rate / RATE)), axis=0, mode="nearest")
    return np.stack([np.interp(grid, times, column) for column in averaged.T], axis=1)


def _smooth(signal: Floats, seconds: float) -> Floats:
    from scipy.ndimage import uniform_filter1d

    found: Floats = uniform_filter1d(signal, max(1, round(seconds * RATE)), mode="nearest")
    return found


def _log(energy: Floats) -> Floats:
    found: Floats = np.log(energy + 0.02 * energy.mean() + 1e-9)
    return found


def _in_band(signal: Floats, low: float, high: float) -> Floats:
    from scipy.signal import butter, sosfiltfilt

    found: Floats = sosfiltfilt(butter(2, [low, high], btype="band", fs=RATE, output="sos"), signal)
    return found


def _vigour(energy: Floats) -> Iterator[Floats]:
    yield _log(_smooth(energy, 0.2))
    yield _log(_smooth(energy, 1.0))


def _bands(signal: Floats) -> Iterator[Floats]:
    for band in BANDS:
        yield _log(_smooth(np.abs(_in_band(signal, *band)), 0.8))


def _course(signal: Floats) -> Floats:
    """The signal, as vigorous everywhere."""
    return signal / (_smooth(np.abs(signal), 4.0) + 1e-6)


def _video_features(values: Floats) -> Iterator[Floats]:
    speed, across, along, right, down, upper, lower, change, camera_right, camera_down = values.T
    for energy in (speed, across, along, upper, lower, change, np.hypot(camera_right, camera_down)):
        yield from _vigour(energy)
    for signal in (right, down):
        yield from _bands(signal)
        yield _course(_in_band(signal, 0.4, 6.0))
        yield _course(np.gradient(_smooth(signal, 0.1)))


def _imu_features(values: Floats) -> Iterator[Floats]:
    for magnitude in values.T:
        moving = magnitude - _smooth(magnitude, 4.0)
        yield from _vigour(np.abs(moving))
        yield from _bands(moving)
        yield _course(_in_band(moving, 0.4, 6.0))


def _shaken(values: Floats) -> Floats:
    """How far magnitudes lie from their mean over a second, on average."""
    found: Floats = np.mean([np.abs(one - _smooth(one, 1.0)) for one in values.T], axis=0)
    return found


def _white(features: Floats) -> Floats:
    """Uncorrelated and of unit variance, `(n, k)`; what is far out counts as less far."""
    features = features[:, features.std(axis=0) > STILL]
    if features.shape[1] == 0:
        return np.zeros((len(features), 1))
    scaled = np.clip((features - features.mean(axis=0)) / features.std(axis=0), -4, 4)
    variances, axes = np.linalg.eigh(scaled.T @ scaled / len(scaled))
    variances, axes = variances[::-1], axes[:, ::-1]
    kept = int(np.searchsorted(np.cumsum(variances) / variances.sum(), KEPT)) + 1
    found: Floats = scaled @ (axes[:, :kept] / np.sqrt(variances[:kept] + 0.02 * variances[0]))
    return found


def curve_of(one: list[Floats], other: list[Floats]) -> tuple[Floats, Floats]:
    """Every shift of `other` along `one` in seconds, and the statistic there, over its median at each scale; NaN
    where too little overlaps."""
    from scipy.fft import irfft, next_fast_len, rfft

    n, m = len(one[0]), len(other[0])
    size = next_fast_len(n + m, real=True)
    lags = np.arange(-(m - 1), n)
    overlap = np.minimum(n, lags + m) - np.maximum(0, lags)
    enough = overlap >= max(LEAST_OVERLAP * min(n, m), LEAST_SECONDS * RATE / 2)
    total = np.zeros(len(lags))
    for first, second in zip(one, other, strict=True):
        spectra, others = rfft(first, size, axis=0), np.conj(rfft(second, size, axis=0))
        found = np.zeros(len(lags))
        for column in spectra.T:
            shared = irfft(column[:, None] * others, size, axis=0)
            found += (shared[lags % size] ** 2).sum(axis=1)
        found /= overlap
        total += found / max(float(np.median(found[enough])), 1e-12)  # of what stands still nothing is alike
    total[~enough] = np.nan
    return lags / RATE, total / len(one)


def _by_chance(one: list[Floats], other: list[Floats]) -> float:
    """The highest anywhere among copies of `other` with the same spectra and random phases."""
    from scipy.fft import irfft, rfft

    random, n = np.random.default_rng(0), len(other[0])
    spectra = [rfft(features, axis=0) for features in other]
    highest = 0.0
    for _ in range(COPIES):
        turns = np.exp(2j * np.pi * random.random(len(spectra[0])))[:, None]
        turns[0] = 1
        copies = [irfft(spectrum * turns, n, axis=0) for spectrum in spectra]
        highest = max(highest, float(np.nanmax(curve_of(one, copies)[1])))
    return highest


def between(curve: Floats, peak: int) -> float:
    """The top of a parabola through the peak and its neighbours, in samples from the peak."""
    if not 0 < peak < len(curve) - 1 or not np.isfinite(curve[peak - 1 : peak + 2]).all():
        return 0.0
    before, top, after = curve[peak - 1 : peak + 2]
    bend = before - 2 * top + after
    return float((before - after) / (2 * bend)) if bend < 0 else 0.0


def _pieces(one: list[Floats], other: list[Floats], offset: float) -> Floats:
    """The offset of each piece of `other` that has a place of its own near `offset`: its time, from the start, and
    offset, `(k, 2)`."""
    length, reach = round(PIECE_SECONDS * RATE), round(REACH_SECONDS * RATE)
    found = []
    for begin in range(0, len(other[0]) - length + 1, round(STEP_SECONDS * RATE)):
        first = begin + round(offset * RATE) - reach
        if first < 0 or first + length + 2 * reach > len(one[0]):
            continue
        curve = np.zeros(2 * reach + 1)
        for left, right in zip(one, other, strict=True):
            piece = right[begin : begin + length]
            own = [((left[at : at + length].T @ piece) ** 2).sum() for at in range(first, first + 2 * reach + 1)]
            curve += np.array(own) / max(float(np.median(own)), 1e-12)
        peak = int(curve.argmax())
        away = np.abs(np.arange(len(curve)) - peak) > APART_SECONDS * RATE
        if 0 < peak < 2 * reach and curve[peak] > SHARP * curve[away].max():
            shift = (peak - reach + between(curve, peak)) / RATE
            found.append(((begin + length / 2) / RATE, round(offset * RATE) / RATE + shift))
    return np.array(found).reshape(-1, 2)


def _line(pieces: Floats) -> tuple[float, int]:
    """The slope of Theil and Sen's line through the pieces, and how many lie off it."""
    from scipy.stats import theilslopes

    if len(pieces) < FEWEST_PIECES:
        return 0.0, 0
    slope, start, *_ = theilslopes(pieces[:, 1], pieces[:, 0])
    return float(slope), int((np.abs(pieces[:, 1] - start - slope * pieces[:, 0]) > LEAST_PARTING).sum())


def _drift(first: list[Floats], other: Motion, slope: float) -> float:
    """By how much the first clock runs faster: where, round 0 and the pieces' slope, the statistic is highest."""
    length = float(np.ptp(other.times))
    if length < LEAST_SECONDS_OF_DRIFT:
        return 0.0
    step = DRIFT_STEP / length
    tried = step * np.arange(
        round(min(0.0, slope) / step) - DRIFT_STEPS, round(max(0.0, slope) / step) + DRIFT_STEPS + 1
    )
    found = np.array([np.nanmax(curve_of(first, other.features(drift))[1]) for drift in tried])
    best = int(found.argmax())
    if found[best] < LEAST_GAIN * found[int(np.abs(tried).argmin())]:
        return 0.0
    return float(tried[best] + between(found, best) * step)
