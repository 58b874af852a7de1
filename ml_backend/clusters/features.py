"""What labels look at besides clusters: the directions in which a participant's clips differ most, and the single
frames in them, which say more exactly than a clip when an activity changes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from sklearn.decomposition import PCA

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]
FramesOfRecording = tuple[Floats, list[npt.NDArray[np.float32]]]
"""Times `(n,)` in seconds, and for each backbone the vectors `(n, dim)` of the frames at these times."""

DIMENSIONS = 50
"""Principal components that are kept of a participant's vectors: with as many dimensions as clips, whatever is fitted
on them would only repeat what it was told."""
FRAMES_A_SECOND = 10
"""More would not place a change better than people do."""
ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Frames:
    """A participant's frames in order: of which recording and at which time in seconds, two `(n_frames,)`; their
    components `(n_frames, m)`, and in the same directions those of the clips' means `(n_clips, m)`."""

    recording: Ints
    times: Floats
    components: Vectors
    of_clips: Vectors


def principal(vectors: npt.NDArray[np.floating]) -> tuple[Vectors, Vectors]:
    """The first 50 principal components of `vectors (n_clips, dim)`, fewer where there are fewer; and their
    directions: `(n_clips, m)` and `(m, dim)`."""
    pca, components = _fitted(vectors)
    return components, np.asarray(pca.components_, dtype=np.float32)


def reduced(vectors: npt.NDArray[np.floating]) -> Vectors:
    """The principal components alone, `(n_clips, m)`."""
    return principal(vectors)[0]


def frames_in_directions_of_clips(recordings: Iterable[FramesOfRecording], clip_means: Vectors) -> Frames:
    """The frames of each recording, in the directions in which the means `clip_means (n_clips, dim)` over each clip's
    frames differ most."""
    pca, of_clips = _fitted(clip_means)
    numbers, times, components = [], [], []
    for number, (own, blocks) in enumerate(recordings):
        kept = _thinned(own)
        numbers.append(np.full(len(kept), number))
        times.append(own[kept])
        for begin in range(0, len(kept), ROWS_AT_ONCE):
            rows = kept[begin : begin + ROWS_AT_ONCE]
            frames = np.concatenate([np.asarray(block[rows], dtype=np.float32) for block in blocks], axis=1)
            components.append(np.asarray(pca.transform(frames), dtype=np.float32))
    return Frames(np.concatenate(numbers), np.concatenate(times), np.concatenate(components), of_clips)


def _fitted(vectors: npt.NDArray[np.floating]) -> tuple["PCA", Vectors]:
    from sklearn.decomposition import PCA  # as in mixture.py

    dimensions = min(DIMENSIONS, *vectors.shape)
    pca = PCA(dimensions, svd_solver="randomized", random_state=0)
    return pca, np.asarray(pca.fit_transform(np.asarray(vectors, dtype=np.float32)), dtype=np.float32)


def _thinned(times: Floats) -> Ints:
    """Indices of at most FRAMES_A_SECOND frames a second."""
    if len(times) == 0:
        return np.zeros(0, dtype=np.int64)
    slots = np.floor(times * FRAMES_A_SECOND + 1e-6)
    return np.flatnonzero(np.r_[True, slots[1:] != slots[:-1]])
