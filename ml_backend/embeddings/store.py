"""Vectors on disk, one set a video, backbone and way of sampling.

Vectors are appended as they are made, so that a killed run goes on where it stopped, and become a `.npy` (vectors),
a `.times.npy` (seconds of the frame, or of the clip's start) and a `.json` (what made them) when the video is done.
"""

import glob
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_backend.embeddings.backbone import (
    CLIPS,
    FRAMES,
    KEY_FRAMES,
    Backbone,
    Batches,
    Floats,
    Rows,
    Sampling,
    Vectors,
)
from ml_backend.embeddings.device import Precision
from ml_backend.errors import RecordingError
from ml_backend.files import content_key, disk_errors, locked, remove, safe_name, written_atomically
from ml_backend.recordings import CLOCK_TOLERANCE
from ml_backend.storage import fresh, is_remote, reading

CLOCK_ROUNDED, EQUAL_VECTORS, SHARE_ALIKE = 0.05, 1e-3, 0.75
"""Seconds by which containers may round a frame's time otherwise; how far vectors of the same picture lie apart at
most, as a share of their length; and how many of a clip's rows must be equal."""
ROWS = (FRAMES, KEY_FRAMES, CLIPS)
"""What rows may stand for. Older versions took no key frames: vectors of theirs are used as they are."""
PIECE = ".piece-"
"""In the name of a piece's file, before its bounds."""
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
    sampling: Sampling
    load: Callable[[], Backbone]

    def of_clips(self, video: Path, starts: Floats) -> Vectors:
        """Vectors `(n_clips, dim)` of the clips that start at `starts`, which are multiples of the stride."""
        rows, times, vectors = self.stored(video)
        return rows.of_clips(times, vectors, starts, self.sampling)

    def stored(self, video: Path, progress: Callable[[float], None] = lambda _: None) -> tuple[Rows, Floats, Vectors]:
        """What the rows stand for, their times `(n,)` in seconds, and vectors `(n, dim)`; made if they are missing.

        `progress` gets the seconds of video done.
        """
        if (rows := self.made(video)) is not None:
            return rows, *_made(self._stem(video, rows))
        return self._make(video, self.sampling, progress)

    def rows_of(self, video: Path) -> Rows:
        """What the rows will stand for."""
        return self.load().rows_of(video, self.sampling)

    def make_piece(self, video: Path, rows: Rows, start: float, end: float) -> None:
        """Make the rows later than `start`, up to `end`, for `join`: of a long video several machines make them."""
        piece = _piece(self._stem(video, rows), start, end)
        if self.made(video) is not None or piece.is_file():
            return
        backbone = self.load()
        found: list[npt.NDArray[np.void]] = [np.empty(0, _row(backbone.dim))]
        for times, vectors in backbone.vectors_of(video, _as_chosen(self.sampling, rows), start):
            batch = np.empty(len(times), _row(backbone.dim))
            batch["time"], batch["vector"] = times, vectors
            found.append(batch[batch["time"] <= end + CLOCK_TOLERANCE])
            if len(found[-1]) < len(batch):
                break
        with disk_errors(piece):
            piece.parent.mkdir(parents=True, exist_ok=True)
        with written_atomically(piece) as temporary, temporary.open("wb") as stream:
            np.save(stream, np.concatenate(found))

    def join(self, video: Path, rows: Rows, cut: list[tuple[float, float]]) -> None:
        """Make of all pieces, each between two seconds, what `stored` gives."""
        stem = self._stem(video, rows)
        fresh(stem.parent, now=True)
        with locked(stem.with_name(f"{stem.name}.lock")):
            if self.made(video) is not None:  # by another job
                for other in ROWS:
                    _drop_pieces(self._stem(video, other))
                return
            pieces = [np.load(_piece(stem, *pair), mmap_mode="r") for pair in cut]
            joined = stem.with_name(f"{stem.name}.partial")
            with disk_errors(joined), joined.open("wb") as stream:
                for piece in pieces:
                    stream.write(piece.tobytes())
            made_of = {"video": video.name, "backbone": self.backbone, "dim": pieces[0].dtype["vector"].shape[0]}
            _finish(stem, joined, pieces[0].dtype, made_of)

    def made(self, video: Path) -> Rows | None:
        """What the rows stand for, where they are made; else None."""
        fresh(self.folder / content_key(video))
        return next((rows for rows in ROWS if _is_made(self._stem(video, rows))), None)

    def shows_the_same(self, former: str, video: Path, start: float, end: float) -> bool:
        """True if the file whose content had the key `former` showed in `[start, end)` seconds what `video` shows
        there: the vectors of both are at hand and equal, up to the frames at which clocks are rounded otherwise."""
        for content in (former, content_key(video)):
            fresh(self.folder / content)
        for rows in ROWS:
            before, now = self._stem_of(former, rows), self._stem(video, rows)
            if rows == FRAMES and _is_made(before) and not _is_made(now):  # an older version took no key frames
                self._make(video, replace(self.sampling, key_frames=False))
            if _is_made(before) and _is_made(now):
                return _alike(_made(before), _made(now), start, end)
        return False

    def _make(
        self, video: Path, sampling: Sampling, progress: Callable[[float], None] = lambda _: None
    ) -> tuple[Rows, Floats, Vectors]:
        backbone = self.load()
        rows = backbone.rows_of(video, sampling)
        stem = self._stem(video, rows)
        batches = partial(backbone.vectors_of, video, _as_chosen(sampling, rows))
        _make_once(stem, video, backbone, batches, progress)
        return rows, *_made(stem)

    def _stem(self, video: Path, rows: Rows) -> Path:
        return self._stem_of(content_key(video), rows)

    def _stem_of(self, content: str, rows: Rows) -> Path:
        parts = [safe_name(self.backbone), self.weights, rows.key(self.sampling)]
        parts.append("" if self.precision == "float32" else self.precision)
        return self.folder / content / "-".join(part for part in parts if part)


def read_array(path: Path) -> npt.NDArray[Any]:
    """A user's `.npy` of numbers, memory-mapped where it is no URL; RecordingError if it is none."""
    try:
        if is_remote(path):
            with reading(path), path.open("rb") as stream:
                rows = np.load(stream, allow_pickle=False)
        else:
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
    # The paper's files may lack a clip at the very end: the last row then serves.
    vectors = np.asarray(rows[np.minimum(wanted, len(rows) - 1)], dtype=np.float32)
    if not np.isfinite(vectors).all():
        raise RecordingError(f"{path}: holds NaN or infinite values; compute the vectors again")
    return vectors


def _alike(before: tuple[Floats, Vectors], now: tuple[Floats, Vectors], start: float, end: float) -> bool:
    """True if the rows with times in `[start, end)` are equal, all but a few."""
    (times, vectors), (other_times, others) = before, now
    own = np.flatnonzero((times >= start - CLOCK_ROUNDED) & (times < end - CLOCK_ROUNDED))
    if len(own) == 0 or len(other_times) == 0:
        return False
    nearest = np.abs(other_times[None, :] - times[own, None]).argmin(axis=1)
    in_time = np.abs(other_times[nearest] - times[own]) < CLOCK_ROUNDED
    apart = np.linalg.norm(others[nearest] - vectors[own], axis=1)
    equal = in_time & (apart < EQUAL_VECTORS * np.linalg.norm(vectors[own], axis=1))
    return bool(equal.mean() >= SHARE_ALIKE)


def _is_made(stem: Path) -> bool:
    return stem.with_name(f"{stem.name}.json").is_file()


def _made(stem: Path) -> tuple[Floats, Vectors]:
    vectors = np.load(stem.with_name(f"{stem.name}.npy"), mmap_mode="r")
    return np.load(stem.with_name(f"{stem.name}.times.npy")), vectors


def _as_chosen(sampling: Sampling, rows: Rows) -> Sampling:
    """The sampling that gives such rows."""
    return replace(sampling, key_frames=rows == KEY_FRAMES)


def _row(dim: int) -> np.dtype[np.void]:
    return np.dtype([("time", "<f8"), ("vector", "<f4", (dim,))])


def _piece(stem: Path, start: float, end: float) -> Path:
    return stem.with_name(f"{stem.name}{PIECE}{start:.3f}-{end:.3f}.npy")


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
        row = _row(backbone.dim)
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
    _drop_pieces(stem)


def _drop_pieces(stem: Path) -> None:
    for piece in stem.parent.glob(f"{glob.escape(stem.name + PIECE)}*.npy"):
        remove(piece)


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


def _write_column(path: Path, partial: Path, row: np.dtype[np.void], column: str) -> None:
    """One column of the rows in `partial` as a `.npy`, without having all of them in memory."""
    count = partial.stat().st_size // row.itemsize
    header = {"descr": row[column].base.str, "fortran_order": False, "shape": (count, *row[column].shape)}
    with written_atomically(path) as temporary, temporary.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for begin in range(0, count, ROWS_AT_ONCE):
            rows = np.fromfile(partial, row, ROWS_AT_ONCE, offset=begin * row.itemsize)
            stream.write(rows[column].tobytes())
