"""Time windows of clips, and which IMU samples a clip labels. Pure numpy, seconds on the video's clock.

A clip k covers `[k * stride, k * stride + clip)`. A person says what a clip mostly shows, so its label belongs to the
time round its centre: a sample takes the label of the clip whose centre is nearest. The paper's code gives a clip's
label to the samples of its first stride instead; with `paper_exact` so do we.
"""

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TIME_TOLERANCE = 1e-6
"""Seconds; absorbs rounding of frame and sample times at a window's edge."""
VIDEO_KEY = re.compile(r"[0-9a-f]{32}")


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


def nearest_clip_of_samples(times: Floats, starts: Floats, clip_seconds: float, end: float) -> Ints:
    """Index of the clip whose centre is nearest to each sample, -1 outside the recording; `(n_samples,)`.

    times: `(n_samples,)` seconds, starts: `(n_clips,)` seconds, in order; end: the recording's end in seconds. The
    samples before the first clip's centre, and after the last one's up to the end, are theirs.
    """
    if len(starts) == 0:
        return np.full(len(times), -1, dtype=np.int64)
    centres = starts + clip_seconds / 2
    nearest = np.searchsorted((centres[1:] + centres[:-1]) / 2, times, side="right")
    outside = (times < starts[0] - TIME_TOLERANCE) | (times > end + TIME_TOLERANCE)
    return np.where(outside, -1, nearest).astype(np.int64)


def clip_of_samples_by_borders(times: Floats, borders: Floats, end: float) -> Ints:
    """Index of the clip that labels each sample, -1 outside the recording; `(n_samples,)`.

    borders: `(n_clips,)` seconds from which on each clip labels, rising; end: the recording's end in seconds.
    """
    found = np.searchsorted(borders, times + TIME_TOLERANCE, side="right") - 1
    return np.where(times > end + TIME_TOLERANCE, -1, found).astype(np.int64)


def clip_of_samples(times: Floats, starts: Floats, stride_seconds: float, end: float) -> Ints:
    """Index of the clip that labels each sample by the paper's rule, -1 outside the recording; `(n_samples,)`.

    A clip's label goes to its first stride, and the last clip's up to the end of the recording (section 4).
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


def mostly_in_clips(times: Floats, classes: Ints, starts: Floats, clip_seconds: float) -> Ints:
    """The class that most samples of each clip have, `(n_clips,)`, -1 where a clip has no sample; the lower on a tie.

    times, classes: `(n_samples,)`. It is what an annotator says who is asked what the clip mostly shows.
    """
    first, last = frames_of_clips(times, starts, clip_seconds)
    found = [np.bincount(classes[a:b]).argmax() if b > a else -1 for a, b in zip(first, last, strict=True)]
    return np.array(found, dtype=np.int64)


def frames_of_clips(times: Floats, starts: Floats, clip_seconds: float) -> tuple[Ints, Ints]:
    """First and one-past-last frame of each clip among sampled frames at `times`; two `(n_clips,)`."""
    first = np.searchsorted(times, starts - TIME_TOLERANCE, side="left")
    last = np.searchsorted(times, starts + clip_seconds - TIME_TOLERANCE, side="left")
    return first.astype(np.int64), last.astype(np.int64)


class Stretch(NamedTuple):
    """A part of a recording's video. `video` is the key of the file's content; empty where an older version named the
    stretch, which did not know it."""

    recording: str
    start_seconds: float
    end_seconds: float
    video: str = ""

    def __str__(self) -> str:
        return f"{self.recording}, {self.start_seconds:.1f} to {self.end_seconds:.1f} s"


def clip_key(stretch: Stretch) -> str:
    """Names a clip among those of its participant, whatever the clustering."""
    key = f"{stretch.recording}|{stretch.start_seconds:.3f}|{stretch.end_seconds:.3f}"
    return f"{key}|{stretch.video}" if stretch.video else key


def stretch_of_key(key: str) -> Stretch:
    """The stretch that a clip's key names; ValueError if it names none."""
    rest, video = key, ""
    if VIDEO_KEY.fullmatch(key.rpartition("|")[2]):
        rest, _, video = key.rpartition("|")
    recording, start, end = rest.rsplit("|", 2)
    stretch = Stretch(recording, float(start), float(end), video)
    if not np.isfinite(stretch[1:3]).all():
        raise ValueError(f"'{key}' is no clip's key")
    return stretch
