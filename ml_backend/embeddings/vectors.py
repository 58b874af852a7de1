"""Frame vectors on disk, one set a video, backbone and sampling rate; clip vectors are means of them.

Vectors are appended as they are made, so that a killed run goes on where it stopped, and become a `.npy` (vectors),
a `.times.npy` (seconds) and a `.json` (what made them) when the video is done.
"""

import json
import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ml_backend.clips import frames_of_clips, mean_of_frames
from ml_backend.embeddings import Backbone
from ml_backend.errors import RecordingError
from ml_backend.files import content_key, disk_errors, locked, written_atomically
from ml_backend.video import sample_frames

BATCH = 8
"""Larger ones are slower on a CPU: their activations go back to the system and are paged in again each time."""


def frame_vectors(
    folder: Path,
    video: Path,
    backbone_name: str,
    frames_per_second: float | None,
    load: Callable[[], Backbone],
    progress: Callable[[float], None],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Times `(n_frames,)` seconds and vectors `(n_frames, dim)` of a video's sampled frames, computed at most once.

    `load` is called only if something must be computed; `progress` gets the seconds of video done.
    """
    rate = "all" if frames_per_second is None else f"{frames_per_second:g}"
    stem = folder / content_key(video) / f"{backbone_name}-{rate}fps"
    done, times = stem.with_name(f"{stem.name}.npy"), stem.with_name(f"{stem.name}.times.npy")
    made = stem.with_name(f"{stem.name}.json")
    if not made.is_file():
        with locked(stem.with_name(f"{stem.name}.lock")):
            # Another job on the same video may have made them meanwhile.
            if not made.is_file():
                _make(stem, video, backbone_name, frames_per_second, load(), progress)
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
    path: Path, starts: npt.NDArray[np.float64], stride_seconds: float
) -> npt.NDArray[np.float32]:
    """Rows of a user's `.npy (n_clips, dim)`, row k for the clip that starts at k·stride; as the paper's files."""
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise RecordingError(f"{path}: cannot be read as a .npy array ({error})") from None
    wanted = np.rint(starts / stride_seconds).astype(np.int64)
    if rows.ndim != 2 or len(rows) + 2 < wanted[-1] + 1:
        expected = f"expected (clips, dim) with {wanted[-1] + 1} clips of this video"
        raise RecordingError(f"{path}: has shape {rows.shape}, {expected}; check clip_seconds and stride_seconds")
    # The paper's files may lack a clip at the very end: the last row then serves (SPEC 1).
    vectors = np.asarray(rows[np.minimum(wanted, len(rows) - 1)], dtype=np.float32)
    if not np.isfinite(vectors).all():
        raise RecordingError(f"{path}: holds NaN or infinite values; compute the vectors again")
    return vectors


def _make(
    stem: Path,
    video: Path,
    backbone_name: str,
    frames_per_second: float | None,
    backbone: Backbone,
    progress: Callable[[float], None],
) -> None:
    partial = stem.with_name(f"{stem.name}.partial")
    rows = _complete(partial, video, frames_per_second, backbone, progress)
    for suffix, column in ((".npy", "vector"), (".times.npy", "time")):
        path = stem.with_name(stem.name + suffix)
        with written_atomically(path) as temporary, temporary.open("wb") as stream:
            np.save(stream, rows[column])
    made_of: dict[str, object] = {"video": video.name, "backbone": backbone_name}
    made_of |= {"frames_per_second": frames_per_second or "all"}
    made_of |= {"frames": len(rows), "dim": int(rows["vector"].shape[1])}
    with written_atomically(stem.with_name(f"{stem.name}.json")) as temporary:
        temporary.write_text(json.dumps(made_of, indent=1))
    partial.unlink()


def _complete(
    partial: Path, video: Path, per_second: float | None, backbone: Backbone, progress: Callable[[float], None]
) -> npt.NDArray[np.void]:
    """Encode the frames that `partial` lacks, append each batch to it, and return all rows."""
    row = np.dtype([("time", "<f8"), ("vector", "<f4", (backbone.dim,))])
    whole = partial.stat().st_size // row.itemsize if partial.is_file() else 0
    after = float(np.fromfile(partial, row, whole)["time"][-1]) if whole else -1.0
    frame_stream = sample_frames(video, per_second, after)
    with disk_errors(partial):
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
    with disk_errors(partial), partial.open("r+b") as stream:
        stream.truncate(whole * row.itemsize)  # a row cut short by a kill
        stream.seek(0, os.SEEK_END)
        while frames := list(islice(frame_stream, BATCH)):
            rows = np.empty(len(frames), row)
            rows["time"] = [time for time, _ in frames]
            rows["vector"] = backbone.encode([image for _, image in frames])
            stream.write(rows.tobytes())
            stream.flush()
            progress(float(rows["time"][-1]))
    return np.fromfile(partial, row)
