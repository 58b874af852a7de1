"""Vectors on disk, one set a video, backbone and way of sampling; a clip's vector is found in it or the mean of some.

Vectors are appended as they are made, so that a killed run goes on where it stopped, and become a `.npy` (vectors),
a `.times.npy` (seconds of the frame, or of the clip's start) and a `.json` (what made them) when the video is done.
"""

import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ml_backend.embeddings import Backbone, ClipBackbone, FrameBackbone, Precision, is_of_clips
from ml_backend.errors import RecordingError
from ml_backend.files import content_key, disk_errors, locked, safe_name, written_atomically
from ml_backend.recordings.clips import clip_starts, frames_of_clips, mean_of_frames
from ml_backend.recordings.video import TIME_TOLERANCE, probe, sample_frames

Item = TypeVar("Item")
Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]
Batches = Iterator[tuple[list[float], Vectors]]

ROWS_AT_ONCE = 4096
"""What is copied from file to file goes in such pieces: memory does not grow with the length of a video."""


@dataclass(frozen=True)
class Embedder:
    """One backbone's vectors of videos, each made at most once; `load` is called only if some must be made.

    `weights` tells the user's own weights from others (`Weights.key`).
    """

    folder: Path
    backbone: str
    weights: str
    precision: Precision
    frames_per_second: float | None
    clip_seconds: float
    stride_seconds: float
    load: Callable[[], Backbone]

    def make(self, videos: list[Path], progress: Callable[[int, float], None]) -> None:
        """Make what is missing; `progress` gets the number of the video (from 0) and its seconds that are done."""
        once = replace(self, load=cache(self.load))
        for number, video in enumerate(videos):
            once.stored(video, partial(progress, number))

    def of_clips(self, video: Path, starts: Floats) -> Vectors:
        """Vectors `(n_clips, dim)` of the clips that start at `starts`, which are multiples of the stride."""
        times, vectors, whole_clips = self.stored(video)
        if not whole_clips:
            return clip_vectors(times, vectors, starts, self.clip_seconds)
        rows = np.rint(starts / self.stride_seconds).astype(np.int64)
        return np.asarray(vectors[rows], dtype=np.float32)

    def stored(self, video: Path, progress: Callable[[float], None] = lambda _: None) -> tuple[Floats, Vectors, bool]:
        """Times `(n,)` seconds, vectors `(n, dim)`, and whether they are of clips rather than of frames.

        That is known from what is on disk, or from the loaded backbone. `progress` gets the seconds of video done.
        """
        name = f"{safe_name(self.backbone)}-{self.weights}" if self.weights else safe_name(self.backbone)
        stem = self.folder / content_key(video) / name
        clip_stem = _stem(stem, f"{self.clip_seconds:g}s-{self.stride_seconds:g}s", self.precision)
        frame_stem = _stem(stem, _rate_name(self.frames_per_second), self.precision)
        for found, of_clips in ((frame_stem, False), (clip_stem, True)):
            if _is_made(found):
                return *_made(found), of_clips
        backbone = self.load()
        if is_of_clips(backbone):
            make = clip_batches(video, self.clip_seconds, self.stride_seconds, backbone)
            _make_once(clip_stem, video, backbone, make, progress)
            return *_made(clip_stem), True
        _make_once(frame_stem, video, backbone, frame_batches(video, self.frames_per_second, backbone), progress)
        return *_made(frame_stem), False


def frame_batches(video: Path, per_second: float | None, backbone: FrameBackbone) -> Callable[[float], Batches]:
    """Makes `(times, vectors)` of the frames later than a time, a batch at a time."""

    def batches(after: float) -> Batches:
        for times, prepared in _prepared(video, per_second, after, backbone):
            yield times, backbone.encode(prepared)

    return batches


def clip_batches(
    video: Path, clip_seconds: float, stride_seconds: float, backbone: ClipBackbone
) -> Callable[[float], Batches]:
    """Makes `(starts, vectors)` of the clips that start later than a time, a few at a time.

    Every frame is decoded, and its part of a clip made, once.
    """
    frames = backbone.frames_of_clip(clip_seconds)
    every = clip_seconds / frames

    def batches(after: float) -> Batches:
        import torch

        starts = clip_starts(0.0, probe(video).duration, clip_seconds, stride_seconds)
        starts = starts[starts > after + TIME_TOLERANCE]
        if len(starts) == 0:
            return
        contents = backbone.contents(_prepared(video, 1 / every, _before(video, 1 / every, starts[0]), backbone))
        stacks = _clip_stacks(contents, starts, frames, every)
        while batch := list(islice(stacks, backbone.clips)):
            yield [start for start, _ in batch], backbone.encode(torch.stack([stack for _, stack in batch]))

    return batches


def _before(video: Path, per_second: float, start: float) -> float:
    """A time after which the first sampled frame is one that is shown at `start` or earlier."""
    for earlier in (1.0, 10.0, 100.0):
        first = next(sample_frames(video, per_second, start - earlier), None)
        if first is not None and first[0] <= start + TIME_TOLERANCE:
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
        while not held or held[-1][0] < moments[-1] - TIME_TOLERANCE:
            following = next(contents, None)
            if following is None:
                break
            held.append(following)
            _drop_before(start, held)
        _drop_before(start, held)
        times = np.array([time for time, _ in held])
        nearest = np.searchsorted((times[1:] + times[:-1]) / 2, moments - TIME_TOLERANCE)
        yield float(start), torch.stack([held[index][1] for index in nearest])


def _drop_before(start: float, held: deque[tuple[float, Any]]) -> None:
    """Frames that a later one replaces before `start`."""
    while len(held) > 1 and held[1][0] <= start + TIME_TOLERANCE:
        held.popleft()


def clip_vectors(
    times: npt.NDArray[np.float64],
    vectors: npt.NDArray[np.float32],
    starts: npt.NDArray[np.float64],
    clip_seconds: float,
) -> npt.NDArray[np.float32]:
    """Mean of each clip's frame vectors, `(n_clips, dim)`; a clip without a frame shows the last one before it."""
    first, last = frames_of_clips(times, starts, clip_seconds)
    first = np.where(last > first, first, np.clip(first - 1, 0, len(times) - 1))
    return mean_of_frames(vectors, first, np.maximum(last, first + 1))


def read_array(path: Path) -> npt.NDArray[Any]:
    """A user's `.npy` of numbers, memory-mapped; RecordingError if it is none."""
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise RecordingError(f"{path}: cannot be read as a .npy array ({error}); copy it again") from None
    if not isinstance(rows, np.ndarray) or not np.issubdtype(rows.dtype, np.number):
        raise RecordingError(f"{path}: is no .npy array of numbers; save it with numpy.save")
    return rows


def unit_spread(block: Vectors) -> Vectors:
    """The vectors `(n_clips, dim)` divided by the root of their mean squared distance to their mean."""
    spread = float(np.sqrt(block.var(axis=0, dtype=np.float64).sum()))
    return block / np.float32(spread or 1)


def precomputed_clip_vectors(
    path: Path, starts: npt.NDArray[np.float64], stride_seconds: float, clips_of_video: int
) -> npt.NDArray[np.float32]:
    """Rows of a user's `.npy (n_clips, dim)`, row k for the clip that starts at k·stride; as the paper's files.

    RecordingError if it has not about a row for each of the video's clips: it is then of another stride or video.
    """
    rows = read_array(path)
    wanted = np.rint(starts / stride_seconds).astype(np.int64)
    if rows.ndim != 2 or abs(len(rows) - clips_of_video) > 2:
        expected = f"expected (clips, dim) with {clips_of_video} clips of this video"
        raise RecordingError(f"{path}: has shape {rows.shape}, {expected}; check clip_seconds and stride_seconds")
    # The paper's files may lack a clip at the very end: the last row then serves (SPEC 1).
    vectors = np.asarray(rows[np.minimum(wanted, len(rows) - 1)], dtype=np.float32)
    if not np.isfinite(vectors).all():
        raise RecordingError(f"{path}: holds NaN or infinite values; compute the vectors again")
    return vectors


def _rate_name(frames_per_second: float | None) -> str:
    return "allfps" if frames_per_second is None else f"{frames_per_second:g}fps"


def _stem(stem: Path, sampling: str, precision: Precision) -> Path:
    suffix = "" if precision == "float32" else f"-{precision}"
    return stem.with_name(f"{stem.name}-{sampling}{suffix}")


def _is_made(stem: Path) -> bool:
    return stem.with_name(f"{stem.name}.json").is_file()


def _made(stem: Path) -> tuple[Floats, Vectors]:
    vectors = np.load(stem.with_name(f"{stem.name}.npy"), mmap_mode="r")
    return np.load(stem.with_name(f"{stem.name}.times.npy")), vectors


def _make_once(
    stem: Path,
    video: Path,
    backbone: Backbone,
    batches: Callable[[float], Batches],
    progress: Callable[[float], None],
) -> None:
    with locked(stem.with_name(f"{stem.name}.lock")):
        # Another job on the same video may have made them meanwhile.
        if _is_made(stem):
            return
        row = np.dtype([("time", "<f8"), ("vector", "<f4", (backbone.dim,))])
        partial = stem.with_name(f"{stem.name}.partial")
        _complete(partial, row, batches, progress)
        made_of = {"video": video.name, "backbone": backbone.name, "dim": backbone.dim}
        _finish(stem, partial, row, made_of)


def _finish(stem: Path, partial: Path, row: np.dtype[np.void], made_of: dict[str, Any]) -> None:
    _write_column(stem.with_name(f"{stem.name}.npy"), partial, row, "vector")
    _write_column(stem.with_name(f"{stem.name}.times.npy"), partial, row, "time")
    made_of["vectors"] = partial.stat().st_size // row.itemsize
    with written_atomically(stem.with_name(f"{stem.name}.json")) as temporary:
        temporary.write_text(json.dumps(made_of, indent=1))
    partial.unlink()


def _complete(
    partial: Path,
    row: np.dtype[np.void],
    batches: Callable[[float], Batches],
    progress: Callable[[float], None],
) -> None:
    """Append to `partial` what it lacks, batch by batch: a kill loses no more than a batch."""
    whole = partial.stat().st_size // row.itemsize if partial.is_file() else 0
    after = float(np.fromfile(partial, row, 1, offset=(whole - 1) * row.itemsize)["time"][0]) if whole else -1.0
    with disk_errors(partial):
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
    with disk_errors(partial), partial.open("r+b") as stream:
        stream.truncate(whole * row.itemsize)  # a row cut short by a kill
        stream.seek(0, os.SEEK_END)
        for times, vectors in batches(after):
            rows = np.empty(len(times), row)
            rows["time"] = times
            rows["vector"] = vectors
            stream.write(rows.tobytes())
            stream.flush()
            progress(times[-1])


def _prepared(
    video: Path, per_second: float | None, after: float, backbone: Backbone
) -> Iterator[tuple[list[float], Any]]:
    """Times and prepared frames later than `after`, batch by batch, each made while the one before is in use."""
    frames = sample_frames(video, per_second, after)

    def batches() -> Iterator[tuple[list[float], Any]]:
        while batch := list(islice(frames, backbone.batch)):
            yield [time for time, _ in batch], backbone.prepare([image for _, image in batch])

    return _one_ahead(batches())


def _one_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each made in a thread while the caller works on the one before."""
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, items, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, items, None)
            yield item


def _write_column(path: Path, partial: Path, row: np.dtype[np.void], column: str) -> None:
    """One column of the rows in `partial` as a `.npy`, without having all of them in memory."""
    count = partial.stat().st_size // row.itemsize
    header = {"descr": row[column].base.str, "fortran_order": False, "shape": (count, *row[column].shape)}
    with written_atomically(path) as temporary, temporary.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for begin in range(0, count, ROWS_AT_ONCE):
            rows = np.fromfile(partial, row, ROWS_AT_ONCE, offset=begin * row.itemsize)
            stream.write(rows[column].tobytes())
