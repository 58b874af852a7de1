"""Frame vectors on disk, one set a video, backbone and sampling rate; clip vectors are means of them.

Vectors are appended as they are made, so that a killed run goes on where it stopped, and become a `.npy` (vectors),
a `.times.npy` (seconds) and a `.json` (what made them) when the video is done.
"""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ml_backend.clips import frames_of_clips, mean_of_frames
from ml_backend.embeddings import Backbone, Precision
from ml_backend.errors import RecordingError
from ml_backend.files import content_key, disk_errors, locked, written_atomically
from ml_backend.video import sample_frames

Item = TypeVar("Item")

ROWS_AT_ONCE = 4096
"""What is copied from file to file goes in such pieces: memory does not grow with the length of a video."""


def frame_vectors(
    folder: Path,
    backbone_name: str,
    precision: Precision,
    frames_per_second: float | None,
    load: Callable[[], Backbone],
    video: Path,
    progress: Callable[[float], None],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Times `(n_frames,)` seconds and vectors `(n_frames, dim)` of a video's sampled frames, computed at most once.

    `load` is called only if something must be computed; `progress` gets the seconds of video done.
    """
    rate = "all" if frames_per_second is None else f"{frames_per_second:g}"
    suffix = "" if precision == "float32" else f"-{precision}"
    stem = folder / content_key(video) / f"{backbone_name}-{rate}fps{suffix}"
    done, times = stem.with_name(f"{stem.name}.npy"), stem.with_name(f"{stem.name}.times.npy")
    made = stem.with_name(f"{stem.name}.json")
    if not made.is_file():
        with locked(stem.with_name(f"{stem.name}.lock")):
            # Another job on the same video may have made them meanwhile.
            if not made.is_file():
                _make(stem, video, frames_per_second, load(), progress)
    return np.load(times), np.load(done, mmap_mode="r")


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


def precomputed_clip_vectors(
    path: Path, starts: npt.NDArray[np.float64], stride_seconds: float, clips_of_video: int
) -> npt.NDArray[np.float32]:
    """Rows of a user's `.npy (n_clips, dim)`, row k for the clip that starts at k·stride; as the paper's files.

    RecordingError if it has not about a row for each of the video's clips: it is then of another stride or video.
    """
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise RecordingError(f"{path}: cannot be read as a .npy array ({error})") from None
    wanted = np.rint(starts / stride_seconds).astype(np.int64)
    if rows.ndim != 2 or abs(len(rows) - clips_of_video) > 2:
        expected = f"expected (clips, dim) with {clips_of_video} clips of this video"
        raise RecordingError(f"{path}: has shape {rows.shape}, {expected}; check clip_seconds and stride_seconds")
    # The paper's files may lack a clip at the very end: the last row then serves (SPEC 1).
    vectors = np.asarray(rows[np.minimum(wanted, len(rows) - 1)], dtype=np.float32)
    if not np.isfinite(vectors).all():
        raise RecordingError(f"{path}: holds NaN or infinite values; compute the vectors again")
    return vectors


def _make(
    stem: Path, video: Path, frames_per_second: float | None, backbone: Backbone, progress: Callable[[float], None]
) -> None:
    partial = stem.with_name(f"{stem.name}.partial")
    row = np.dtype([("time", "<f8"), ("vector", "<f4", (backbone.dim,))])
    _complete(partial, row, video, frames_per_second, backbone, progress)
    _write_column(stem.with_name(f"{stem.name}.npy"), partial, row, "vector")
    _write_column(stem.with_name(f"{stem.name}.times.npy"), partial, row, "time")
    made_of = {
        "video": video.name,
        "backbone": backbone.name,
        "frames_per_second": frames_per_second or "all",
        "frames": partial.stat().st_size // row.itemsize,
        "dim": backbone.dim,
    }
    with written_atomically(stem.with_name(f"{stem.name}.json")) as temporary:
        temporary.write_text(json.dumps(made_of, indent=1))
    partial.unlink()


def _complete(
    partial: Path,
    row: np.dtype[np.void],
    video: Path,
    per_second: float | None,
    backbone: Backbone,
    progress: Callable[[float], None],
) -> None:
    """Encode the frames that `partial` lacks and append each batch to it: a kill loses no more than a batch."""
    whole = partial.stat().st_size // row.itemsize if partial.is_file() else 0
    after = float(np.fromfile(partial, row, 1, offset=(whole - 1) * row.itemsize)["time"][0]) if whole else -1.0
    with disk_errors(partial):
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
    with disk_errors(partial), partial.open("r+b") as stream:
        stream.truncate(whole * row.itemsize)  # a row cut short by a kill
        stream.seek(0, os.SEEK_END)
        for times, prepared in _one_ahead(_prepared(video, per_second, after, backbone)):
            rows = np.empty(len(times), row)
            rows["time"] = times
            rows["vector"] = backbone.encode(prepared)
            stream.write(rows.tobytes())
            stream.flush()
            progress(times[-1])


def _prepared(
    video: Path, per_second: float | None, after: float, backbone: Backbone
) -> Iterator[tuple[list[float], Any]]:
    """Times and network inputs of the frames later than `after`, batch by batch."""
    frames = sample_frames(video, per_second, after)
    while batch := list(islice(frames, backbone.batch)):
        yield [time for time, _ in batch], backbone.prepare([image for _, image in batch])


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
