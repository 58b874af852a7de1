"""A clap or some jumps at the start, as people agree on before they record: where to look for an IMU's place.

Both motions are searched for bursts that stand alone: short, vigorous, with calm before and behind. Two that last
about as long may be the same one. That alone would suit anybody who begins by standing; so what follows must confirm
it: without the burst, the statistic of `likeness` must be higher there than nearly anywhere else. Of few places one
need not be as sure as of the best of all, so that shorter recordings, and calmer ones, can be placed.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ml_backend.recordings.likeness import RATE, Motion, between, curve_of

Floats = npt.NDArray[np.float64]
Burst = tuple[float, float]
"""Begin and end, in seconds since the motion's start."""

START_SECONDS = 25.0
"""So long a burst may keep one waiting."""
CALM_BEFORE, CALM_BEHIND, LONGEST, GAP = 1.0, 0.8, 6.0, 0.5
"""Seconds without vigour round a burst, of the longest, and within one."""
STANDS_OUT = 6.0
"""How many times as vigorous as calm a start must be at its most."""
MOST_BURSTS = 2
"""Of each motion, the most vigorous ones."""
AS_LONG, NEAR = 1.2, 0.3
"""Seconds by which bursts may differ in length, and their place from where the rest fits best."""
LEAST_REST = 12.0
"""Seconds behind the burst, to confirm it."""
MOST_AS_GOOD = 0.05
"""Of all other places, times the number of places that were looked at (`benchmarks/alignment.py`)."""


def placed_by_burst(one: Motion, other: Motion) -> tuple[float, float] | None:
    """The time of `other`'s start on the clock of `one` by a burst that both begin with, and the share of places
    where the rest of `other` fits as well, times the places looked at; None where nothing stands alone in both, or
    the rest does not confirm it."""
    pairs = [(a, b) for a in _bursts(one) for b in _bursts(other) if abs((a[1] - a[0]) - (b[1] - b[0])) <= AS_LONG]
    seen = one.features() if pairs else []
    found = []
    for (begin, end), (worn_begin, worn_end) in pairs:
        rest = other.behind(worn_end + GAP)
        if rest is None or np.ptp(rest.times) < LEAST_REST:
            continue
        lag = (begin + end - worn_begin - worn_end) / 2
        as_good = _as_good(*curve_of(seen, rest.features()), lag + rest.start - other.start)
        found.append((as_good * len(pairs), lag))
    if not found or min(found)[0] > MOST_AS_GOOD:
        return None
    as_good, lag = min(found)
    lags, curve = curve_of(seen, other.features())
    near = np.where(np.abs(lags - lag) <= NEAR, curve, np.nan)
    if np.isnan(near).all():
        return None
    peak = int(np.nanargmax(near))
    return float(lags[peak]) + between(curve, peak) / RATE + one.start, as_good


def _bursts(motion: Motion) -> list[Burst]:
    """Those that stand alone at the start, the most vigorous ones."""
    energy = motion.vigour()[: round(START_SECONDS * RATE)]
    calm, most = np.quantile(energy, (0.2, 0.98))
    if most < STANDS_OUT * calm:
        return []
    runs = list(_runs(energy > np.sqrt(calm * most)))
    ends, begins = [0.0, *(end for _, end in runs)], [*(begin for begin, _ in runs), len(energy) / RATE]
    alone = [
        run
        for run, before, behind in zip(runs, ends, begins[1:], strict=False)
        if run[0] - before >= CALM_BEFORE and behind - run[1] >= CALM_BEHIND and run[1] - run[0] <= LONGEST
    ]
    return sorted(alone, key=lambda run: -_most(energy, run))[:MOST_BURSTS]


def _most(energy: Floats, run: Burst) -> float:
    return float(energy[round(run[0] * RATE) : round(run[1] * RATE)].max())


def _runs(loud: npt.NDArray[np.bool_]) -> Iterator[Burst]:
    """Stretches that are loud, those with less than GAP between them as one."""
    edges = np.asarray(np.flatnonzero(np.diff(np.r_[0, loud.astype(int), 0])).reshape(-1, 2) / RATE)
    parted = np.flatnonzero(edges[1:, 0] - edges[:-1, 1] >= GAP) + 1
    for own in np.split(edges, parted):
        if len(own):
            yield float(own[0, 0]), float(own[-1, 1])


def _as_good(lags: Floats, curve: Floats, lag: float) -> float:
    """The share of places, half a second each, where the curve reaches as high as it does near `lag`."""
    near = curve[np.abs(lags - lag) <= NEAR]
    width = round(RATE / 2)
    places = np.pad(curve, (0, -len(curve) % width), constant_values=np.nan).reshape(-1, width)
    highest = np.nanmax(places[np.isfinite(places).any(axis=1)], axis=1)
    return float((highest >= np.nanmax(near)).mean()) if np.isfinite(near).any() and len(highest) else 1.0
