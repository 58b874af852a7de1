"""Time windows of clips, and which IMU samples a clip labels. Pure numpy, seconds on the video's clock.

A clip k covers `[k * stride, k * stride + clip)`. Its label goes to the samples of its first stride;
the last clip's label fills up to the end of the recording, as in the paper's code.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TIME_TOLERANCE = 1e-6
"""Seconds; absorbs rounding of frame and sample times at a window's edge."""


def clip_starts(start: float, end: float, clip_seconds: float, stride_seconds: float) -> Floats:
    """Start times of all whole clips inside `[start, end]`; `(n_clips,)` seconds.

    The exact-fit clip at the end is kept; there is no partial clip.
    """
    if clip_seconds <= 0 or stride_seconds <= 0:
        raise ValueError(f"clip ({clip_seconds} s) and stride ({stride_seconds} s) must be positive")
    room = end - start - clip_seconds
    count = int(np.floor(room / stride_seconds + TIME_TOLERANCE)) + 1 if room >= -TIME_TOLERANCE else 0
    starts: Floats = start + stride_seconds * np.arange(count, dtype=np.float64)
    return starts


def clip_of_samples(times: Floats, starts: Floats, stride_seconds: float, end: float) -> Ints:
    """Index of the clip that labels each sample, -1 outside the recording; `(n_samples,)`.

    times: `(n_samples,)` seconds, starts: `(n_clips,)` seconds, end: the recording's end in seconds.
    """
    if len(starts) == 0:
        return np.full(len(times), -1, dtype=np.int64)
    index = np.floor((times - starts[0]) / stride_seconds + TIME_TOLERANCE).astype(np.int64)
    outside = (index < 0) | (times > end + TIME_TOLERANCE)
    return np.where(outside, -1, np.minimum(index, len(starts) - 1))


def last_sample_of_clips(times: Floats, starts: Floats, clip_seconds: float) -> Ints:
    """Index of the last sample inside each clip, -1 where a clip has none; `(n_clips,)`.

    The annotator whom the paper's code simulates answers with this sample's label.
    """
    last = np.searchsorted(times, starts + clip_seconds - TIME_TOLERANCE, side="left") - 1
    inside = (last >= 0) & (times[np.maximum(last, 0)] >= starts - TIME_TOLERANCE)
    return np.where(inside, last, -1).astype(np.int64)


def frames_of_clips(times: Floats, starts: Floats, clip_seconds: float) -> tuple[Ints, Ints]:
    """First and one-past-last frame of each clip among sampled frames at `times`; two `(n_clips,)`."""
    first = np.searchsorted(times, starts - TIME_TOLERANCE, side="left")
    last = np.searchsorted(times, starts + clip_seconds - TIME_TOLERANCE, side="left")
    return first.astype(np.int64), last.astype(np.int64)


def clip_key(recording: str, start_seconds: float, end_seconds: float) -> str:
    """Names a clip among those of its participant, whatever the clustering."""
    return f"{recording}|{start_seconds:.3f}|{end_seconds:.3f}"
