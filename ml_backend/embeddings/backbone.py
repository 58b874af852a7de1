"""What a backbone is: a video in, vectors out, batch by batch, with its own way of looking at a clip.

`FrameBackbone` sees single frames, and a clip's vector is the mean over its frames' (section 3 of the paper);
`ClipBackbone` sees the frames of a whole clip. Callers need not know which one they hold.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from joblib import cpu_count

from ml_backend.recordings import (
    CLOCK_TOLERANCE,
    Part,
    clip_starts,
    frames_of_clips,
    key_frames_are_dense,
    probe,
    sample_frames,
    sampled_parts,
)

Item = TypeVar("Item")
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]
Images = list[npt.NDArray[np.uint8]]
"""RGB pictures, each `(height, width, 3)`, all of one size."""
Batches = Iterator[tuple[list[float], Vectors]]
"""`(times, vectors (n, dim))`, a few rows at a time; times in seconds."""

ITEMS_AHEAD = 64
"""Frames of each part of a video that are decoded and prepared before they are asked for."""
LIKE_EXACT = 0.995
"""Cosine between clips' vectors by key frames and by exact sampling, from which on they are taken for the same."""
MOST_COMPARED, SECONDS_COMPARED = 8, 30.0
"""Clips that are compared: one in so many seconds of video. A video too short for two is sampled exactly."""
PICTURES_AT_ONCE = 8
"""Whole pictures that each core holds."""
CLIPS_AT_ONCE = 256
"""Sums over frames are made for so many clips at a time, to bound memory."""


@dataclass(frozen=True)
class Sampling:
    """How clips are cut, in seconds, how many frames a second are embedded (None: all), and whether key frames may
    stand for these where there are as many."""

    clip_seconds: float
    stride_seconds: float
    frames_per_second: float | None
    key_frames: bool = False


class Rows(Protocol):
    """What a row of stored vectors stands for."""

    def key(self, sampling: Sampling) -> str:
        """What of the sampling the rows depend on, for a file's name."""
        ...

    def of_clips(self, times: Floats, vectors: Vectors, starts: Floats, sampling: Sampling) -> Vectors:
        """Vectors `(n_clips, dim)` of the clips at `starts`, from rows with `times (n,)` and `vectors (n, dim)`."""
        ...


@dataclass(frozen=True)
class FrameRows:
    """A row a frame."""

    def key(self, sampling: Sampling) -> str:
        """Frames a second."""
        return "allfps" if sampling.frames_per_second is None else f"{sampling.frames_per_second:g}fps"

    def of_clips(self, times: Floats, vectors: Vectors, starts: Floats, sampling: Sampling) -> Vectors:
        """Means over each clip's frames."""
        return clip_vectors(times, vectors, starts, sampling.clip_seconds)


@dataclass(frozen=True)
class ClipRows:
    """A row a clip."""

    def key(self, sampling: Sampling) -> str:
        """Length and stride of the clips."""
        return f"{sampling.clip_seconds:g}s-{sampling.stride_seconds:g}s"

    def of_clips(self, times: Floats, vectors: Vectors, starts: Floats, sampling: Sampling) -> Vectors:  # noqa: ARG002
        """The clips' own rows."""
        rows = np.rint(starts / sampling.stride_seconds).astype(np.int64)
        return np.asarray(vectors[rows], dtype=np.float32)


class KeyFrameRows(FrameRows):
    """A row a key frame: about as many as would be sampled, each at its own time."""

    def key(self, sampling: Sampling) -> str:
        """Frames a second, of key frames."""
        return f"{super().key(sampling)}-keys"


FRAMES, KEY_FRAMES, CLIPS = FrameRows(), KeyFrameRows(), ClipRows()


class Backbone(Protocol):
    """Turns a video into rows of vectors, and says what a row stands for."""

    name: str
    dim: int

    def rows_of(self, video: Path, sampling: Sampling) -> Rows:
        """What a row of a video's vectors will stand for."""
        ...

    def vectors_of(self, video: Path, sampling: Sampling, after: float) -> Batches:
        """The rows later than the time `after`, in order."""
        ...


class FrameBackbone(ABC):
    """Turns frames into vectors, `batch` frames at a time."""

    name: str
    dim: int
    batch: int

    @abstractmethod
    def prepare(self, images: Images) -> Any:
        """The network's input for `n` images, a tensor with a row for each; runs in the decoding threads."""

    @abstractmethod
    def encode(self, prepared: Any) -> Vectors:
        """Vectors `(n, dim)` of what `prepare` made of `n` images."""

    def rows_of(self, video: Path, sampling: Sampling) -> Rows:
        """Of key frames, where these lie as densely as frames are wanted, and clips all over the video look to the
        network as they do by exact sampling."""
        if not sampling.key_frames or not key_frames_are_dense(video, sampling.frames_per_second):
            return FRAMES
        duration = probe(video).duration
        count = min(MOST_COMPARED, int(duration // SECONDS_COMPARED))
        starts = np.linspace(0.0, duration - sampling.clip_seconds, count)
        same = count > 1 and all(self._likeness(video, sampling, start) >= LIKE_EXACT for start in starts)
        return KEY_FRAMES if same else FRAMES

    def vectors_of(self, video: Path, sampling: Sampling, after: float) -> Batches:
        """One row a frame."""
        for times, prepared in _prepared(video, sampling.frames_per_second, after, self, sampling.key_frames):
            yield times, self.encode(prepared)

    def _likeness(self, video: Path, sampling: Sampling, start: float) -> float:
        """Cosine between a clip's vector by exact sampling and by key frames."""
        exact, other = (self._clip(video, replace(sampling, key_frames=way), start) for way in (False, True))
        return float(exact @ other / np.linalg.norm(exact) / np.linalg.norm(other))

    def _clip(self, video: Path, sampling: Sampling, start: float) -> Vectors:
        """The vector `(dim,)` of the clip that starts there."""
        frames = sample_frames(video, sampling.frames_per_second, start - 2 * CLOCK_TOLERANCE, sampling.key_frames)
        end = start + sampling.clip_seconds
        shown = (image for _, image in takewhile(lambda frame: frame[0] < end, frames))
        batches = iter(lambda: list(islice(shown, self.batch)), [])
        vectors: Vectors = np.concatenate([self.encode(self.prepare(batch)) for batch in batches])
        return vectors.mean(axis=0)


class ClipBackbone(ABC):
    """Turns clips into vectors; what a frame contributes is made once and shared by the clips that overlap there."""

    name: str
    dim: int
    batch: int
    clips: int

    @abstractmethod
    def frames_of_clip(self, clip_seconds: float) -> int:
        """How many frames, evenly spaced, the network sees of a clip; ConfigError if it cannot with such clips."""

    @abstractmethod
    def prepare(self, images: Images) -> Any:
        """What is done to `n` images at once, a tensor with a row for each; runs in the decoding threads."""

    def contents(self, batches: Iterator[tuple[list[float], Any]]) -> Iterator[tuple[float, Any]]:
        """`(time, tensor)` of every frame in order: the frame's part of a clip; as prepared, if not overridden."""
        for times, prepared in batches:
            yield from zip(times, prepared, strict=True)

    @abstractmethod
    def encode(self, stacks: Any) -> Vectors:
        """Vectors `(n, dim)` of `n` clips, `clips` at a time, each the stack of its frames' tensors."""

    def rows_of(self, video: Path, sampling: Sampling) -> Rows:  # noqa: ARG002
        """Of clips, always."""
        return CLIPS

    def vectors_of(self, video: Path, sampling: Sampling, after: float) -> Batches:
        """One row a clip. Every frame is decoded, and its part of a clip made, once."""
        import torch

        frames = self.frames_of_clip(sampling.clip_seconds)
        every = sampling.clip_seconds / frames
        starts = clip_starts(0.0, probe(video).duration, sampling.clip_seconds, sampling.stride_seconds)
        starts = starts[starts > after + CLOCK_TOLERANCE]
        if len(starts) == 0:
            return
        contents = self.contents(_prepared(video, 1 / every, _before(video, 1 / every, starts[0]), self))
        stacks = _clip_stacks(contents, starts, frames, every)
        while batch := list(islice(stacks, self.clips)):
            yield [start for start, _ in batch], self.encode(torch.stack([stack for _, stack in batch]))


def clip_vectors(
    times: Floats,
    vectors: Vectors,
    starts: Floats,
    clip_seconds: float,
) -> Vectors:
    """Mean of each clip's frame vectors, `(n_clips, dim)`; a clip without a frame shows the last one before it."""
    first, last = frames_of_clips(times, starts, clip_seconds)
    first = np.where(last > first, first, np.clip(first - 1, 0, len(times) - 1))
    return mean_of_frames(vectors, first, np.maximum(last, first + 1))


def mean_of_frames(vectors: npt.NDArray[np.floating], first: Ints, last: Ints) -> Vectors:
    """Clip vectors as means of frame vectors.

    vectors: `(n_frames, dim)`, may be memory-mapped; first, last: `(n_clips,)` half-open ranges in order, none empty.
    Returns `(n_clips, dim)`.
    """
    means = np.empty((len(first), vectors.shape[1]), dtype=np.float32)
    for block in range(0, len(first), CLIPS_AT_ONCE):
        begin, end = first[block : block + CLIPS_AT_ONCE], last[block : block + CLIPS_AT_ONCE]
        frames = vectors[begin[0] : end[-1]]
        total = np.vstack([np.zeros((1, vectors.shape[1])), np.cumsum(frames, axis=0, dtype=np.float64)])
        sums = total[end - begin[0]] - total[begin - begin[0]]
        means[block : block + CLIPS_AT_ONCE] = sums / (end - begin)[:, None]
    return means


def _before(video: Path, per_second: float, start: float) -> float:
    """A time after which the first sampled frame is one that is shown at `start` or earlier."""
    for earlier in (1.0, 10.0, 100.0):
        first = next(sample_frames(video, per_second, start - earlier), None)
        if first is not None and first[0] <= start + CLOCK_TOLERANCE:
            return start - earlier
    return -1.0


def _clip_stacks(
    contents: Iterator[tuple[float, Any]], starts: Floats, frames: int, every: float
) -> Iterator[tuple[float, Any]]:
    """`(start, stack (frames, …))` of each clip: the frames nearest to `frames` moments, `every` seconds apart."""
    import torch

    held: deque[tuple[float, Any]] = deque()
    for start in starts:
        moments = start + every * np.arange(frames)
        while not held or held[-1][0] < moments[-1] - CLOCK_TOLERANCE:
            following = next(contents, None)
            if following is None:
                break
            held.append(following)
            _drop_before(start, held)
        _drop_before(start, held)
        times = np.array([time for time, _ in held])
        nearest = np.searchsorted((times[1:] + times[:-1]) / 2, moments - CLOCK_TOLERANCE)
        yield float(start), torch.stack([held[index][1] for index in nearest])


def _drop_before(start: float, held: deque[tuple[float, Any]]) -> None:
    """Frames that a later one replaces before `start`."""
    while len(held) > 1 and held[1][0] <= start + CLOCK_TOLERANCE:
        held.popleft()


def _prepared(
    video: Path,
    per_second: float | None,
    after: float,
    backbone: FrameBackbone | ClipBackbone,
    key_frames: bool = False,
) -> Iterator[tuple[list[float], Any]]:
    """Times and prepared frames later than `after`, `backbone.batch` at a time; parts of the video are decoded and
    prepared on all cores while the caller works on those before."""
    import torch

    def prepared(part: Part) -> Iterator[tuple[float, Any]]:
        shown = part()
        while several := list(islice(shown, min(backbone.batch, PICTURES_AT_ONCE))):
            rows = backbone.prepare([image for _, image in several]).split(1)
            yield from zip((time for time, _ in several), rows, strict=True)

    parts = sampled_parts(video, per_second, after, key_frames)
    frames = in_order([partial(prepared, part) for part in parts])
    while batch := list(islice(frames, backbone.batch)):
        yield [time for time, _ in batch], torch.cat([one for _, one in batch])


def in_order(parts: Iterable[Callable[[], Iterator[Item]]]) -> Iterator[Item]:
    """What all parts give, in order: a part a core is under way in a thread, and so many items of it made ahead."""
    waiting, following = deque[tuple[Iterator[Item], Future[list[Item]]]](), iter(parts)

    def ahead(items: Iterator[Item]) -> tuple[Iterator[Item], Future[list[Item]]]:
        return items, threads.submit(lambda: list(islice(items, ITEMS_AHEAD)))

    with ThreadPoolExecutor(cores := cpu_count()) as threads:
        waiting.extend(ahead(part()) for part in islice(following, cores))
        while waiting:
            items, future = waiting.popleft()
            made = future.result()
            if len(made) == ITEMS_AHEAD:
                waiting.appendleft(ahead(items))
            else:
                waiting.extend(ahead(part()) for part in islice(following, 1))
            yield from made
