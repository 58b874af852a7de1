"""Where one clip's label ends and the next one's begins: half-way between their centres, or where frames say so.

A clip of 4 s knows when an activity changes only roughly. Its frames know it better: between two clips with different
labels a discriminant of the two classes, fitted on all clips, judges every frame, and the change is put where the
frames before it speak most for the one and those behind it for the other.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ml_backend.clusters import Clustering, Frames
from ml_backend.labels.answers import UNLABELLED
from ml_backend.labels.discriminant import Moments

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def halfway_borders(clustering: Clustering) -> Floats:
    """From when on each clip labels samples, in seconds on its recording's clock, `(n_clips,)`: half-way from the
    centre of the clip before; the first clip of a recording from its start."""
    borders = clustering.starts.astype(np.float64)
    borders[1:] = (clustering.starts[1:] + clustering.starts[:-1] + clustering.clip_seconds) / 2
    first = clustering.first_of_recordings
    borders[first] = clustering.starts[first]
    return borders


def borders_by_frames(clustering: Clustering, labels: Ints, posterior: Floats) -> Floats:
    """As `halfway_borders`, with every change between two labels where the frames put it, at most half a clip away.

    labels: `(n_clips,)` class indices or -1; posterior: `(n_clips, n_classes)`, zero where a clip is not to count.
    """
    borders = halfway_borders(clustering)
    frames = clustering.frames
    if frames is None:
        return borders
    moments = Moments.of(np.asarray(frames.of_clips, dtype=np.float64), posterior)
    directions, offsets = moments.discriminant()
    reach, first = clustering.clip_seconds / 2, clustering.first_of_recordings
    for clip, earliest, latest in _changes(clustering, labels, borders, reach):
        before, after = labels[clip - 1], labels[clip]
        own = _frames_between(frames, int(clustering.recording_of_clip[clip]), earliest, latest)
        direction, offset = directions[:, before] - directions[:, after], offsets[before] - offsets[after]
        change = _best_change(frames.times[own], frames.components[own] @ direction + offset, earliest, latest)
        if change is not None:
            _move(borders, clip, change, first)
    return borders


def _changes(
    clustering: Clustering, labels: Ints, borders: Floats, reach: float
) -> Iterator[tuple[int, float, float]]:
    """Each clip whose label differs from that of the clip a stride before, and between which times its change may be:
    not nearer to another change than that is to it."""
    differs = np.zeros(len(labels), dtype=bool)
    differs[1:] = labels[1:] != labels[:-1]
    changes = np.flatnonzero(differs & ~clustering.begins)
    at = borders[changes]
    recordings = clustering.recording_of_clip[changes]
    for number, clip in enumerate(changes):
        if UNLABELLED in (labels[clip - 1], labels[clip]):
            continue
        earliest, latest = at[number] - reach, at[number] + reach
        if number and recordings[number - 1] == recordings[number]:
            earliest = max(earliest, (at[number - 1] + at[number]) / 2)
        if number + 1 < len(changes) and recordings[number + 1] == recordings[number]:
            latest = min(latest, (at[number + 1] + at[number]) / 2)
        yield int(clip), float(earliest), float(latest)


def _frames_between(frames: Frames, recording: int, earliest: float, latest: float) -> slice:
    first, last = np.searchsorted(frames.recording, [recording, recording + 1])
    begin, end = first + np.searchsorted(frames.times[first:last], [earliest, latest])
    return slice(int(begin), int(end))


def _best_change(times: Floats, favour: Floats, earliest: float, latest: float) -> float | None:
    """The time before which frames favour the one label most, and behind it the other; `favour (n,)`: log ratio of
    the two. None where there are too few frames to tell."""
    if len(times) < 2 or not np.isfinite(favour).all():
        return None
    number = int(np.r_[0.0, np.cumsum(favour)].argmax())
    if number in (0, len(times)):
        return earliest if number == 0 else latest
    return float((times[number - 1] + times[number]) / 2)


def _move(borders: Floats, clip: int, change: float, first: npt.NDArray[np.bool_]) -> None:
    """Put the border of a clip where its label begins; clips on either side keep theirs on their side of it."""
    borders[clip] = change
    before = clip - 1
    while not first[before] and borders[before] > change:
        borders[before] = change
        before -= 1
    after = clip + 1
    while after < len(borders) and not first[after] and borders[after] < change:
        borders[after] = change
        after += 1
