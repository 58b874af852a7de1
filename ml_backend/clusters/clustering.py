"""Cluster one participant's clips: the ways there are, behind one interface, and what a clustering is.

The paper's way is the Gaussian mixture (section 3). Clips come in order of time, and activities last: that is what
`segments` uses. docs/clustering.md compares them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ml_backend.clusters.features import Frames
from ml_backend.clusters.mixture import GaussianMixture
from ml_backend.clusters.ward import Ward
from ml_backend.recordings import Stretch, clip_key

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

METHODS = ("gmm", "ward", "segments")


class FittedClustering(Protocol):
    """`labels_ (n,)`, `centroids_ (C,)` clip indices or -1, `distances_ (n,)` to the own centroid clip, `log_density_
    (n,)`: the higher, the better a clip stands for its cluster."""

    labels_: Ints
    centroids_: Ints
    distances_: Floats
    log_density_: Floats


@dataclass(frozen=True)
class Clustering:
    """One participant's clips and clusters. Per clip `(n_clips,)`: index of its recording, start in seconds, cluster,
    distance to the centroid clip, log density in the cluster; `centroids (C,)` clip indices, -1 for empty;
    `principal_components (n_clips, m)` of the vectors, `principal_directions (m, dim)` in which they lie, and what
    the single frames show: None where an older version left none, or no backbone sees single frames; `videos` are the
    content keys of the recordings' files, empty where nobody asks for them."""

    participant: str
    recordings: tuple[str, ...]
    durations: Floats
    recording_of_clip: Ints
    starts: Floats
    clusters: Ints
    distances: Floats
    log_density: Floats
    centroids: Ints
    clip_seconds: float
    stride_seconds: float
    principal_components: npt.NDArray[np.floating] | None = None
    principal_directions: npt.NDArray[np.floating] | None = None
    frames: Frames | None = None
    videos: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        participant: str,
        recordings: Mapping[str, tuple[float, Floats]],
        found: FittedClustering,
        clip_seconds: float = 4.0,
        stride_seconds: float = 1.0,
    ) -> "Clustering":
        """Of a participant whose recordings have a duration and the starts `(n,)` of their clips, in seconds, and of
        what was fitted on the vectors of all these clips in order."""
        durations, starts = zip(*recordings.values(), strict=True)
        return cls(
            participant=participant,
            recordings=tuple(recordings),
            durations=np.array(durations),
            recording_of_clip=np.repeat(np.arange(len(starts)), [len(own) for own in starts]),
            starts=np.concatenate(starts),
            clusters=found.labels_,
            distances=found.distances_,
            log_density=found.log_density_,
            centroids=found.centroids_,
            clip_seconds=clip_seconds,
            stride_seconds=stride_seconds,
        )

    @property
    def sizes(self) -> Ints:
        """Clips in each cluster `(C,)`."""
        return np.bincount(self.clusters, minlength=len(self.centroids))

    @property
    def first_of_recordings(self) -> npt.NDArray[np.bool_]:
        """True for the first clip of each recording; `(n_clips,)`."""
        first: npt.NDArray[np.bool_] = np.ones(len(self.starts), dtype=bool)
        first[1:] = np.diff(self.recording_of_clip) != 0
        return first

    @property
    def begins(self) -> npt.NDArray[np.bool_]:
        """True for every clip that does not follow the one before in time: of another recording, or after a gap."""
        begins = self.first_of_recordings
        begins[1:] |= np.diff(self.starts) > 1.5 * self.stride_seconds
        return begins

    def stretch(self, clip: int) -> Stretch:
        """The part of a video that the clip is."""
        number, start = int(self.recording_of_clip[clip]), float(self.starts[clip])
        video = self.videos[number] if self.videos else ""
        return Stretch(self.recordings[number], start, start + self.clip_seconds, video)

    def key(self, clip: int) -> str:
        """The clip's key in tasks."""
        return clip_key(self.stretch(clip))

    def candidates(self, cluster: int) -> Iterator[int]:
        """The cluster's clips in the order in which they are offered: the centroid clip, then the densest that do not
        overlap an offered one, since overlapping clips show the same."""
        own = np.flatnonzero(self.clusters == cluster)
        ranked = own[np.argsort(-self.log_density[own], kind="stable")]
        offered: list[int] = []
        for clip in [int(self.centroids[cluster]), *map(int, ranked)] if len(own) else []:
            if not any(self._overlap(clip, other) for other in offered):
                offered.append(clip)
                yield clip

    def _overlap(self, one: int, other: int) -> bool:
        same = self.recording_of_clip[one] == self.recording_of_clip[other]
        return bool(same and abs(self.starts[one] - self.starts[other]) < self.clip_seconds - 1e-6)


def cluster(
    vectors: npt.ArrayLike, components: int, seed: int, method: str = "gmm", paper_exact: bool = False
) -> FittedClustering:
    """Cluster `vectors (n_clips, dim)`, which are in order of time; `seed` and `paper_exact` are of `gmm` alone."""
    check_method(method)
    if method == "gmm":
        return GaussianMixture(components, random_state=seed, paper_exact=paper_exact).fit(vectors)
    return Ward(components, in_time=method == "segments").fit(vectors)


def components_for(components: int | str, n_clips: int) -> int:
    """Clusters for a participant with `n_clips`: a count or a share, at least 1, never more than clips/2.

    ValueError quotes what is neither.
    """
    text = str(components).strip()
    try:
        wanted = float(text[:-1]) / 100 * n_clips if text.endswith("%") else int(text)
        if float(text.rstrip("%")) <= 0 or (text.endswith("%") and float(text[:-1]) > 100):
            raise ValueError
    except ValueError:
        raise ValueError(f"'{components}' is neither a count of at least 1 nor a share such as 10%") from None
    return max(1, min(round(wanted), n_clips // 2))


def check_components(components: int | str) -> None:
    """ValueError if it is neither a count nor a share."""
    components_for(components, 1)


def check_method(method: str) -> None:
    """ValueError if there is no such way to cluster."""
    if method not in METHODS:
        raise ValueError(f"'{method}' is not known; known are {', '.join(METHODS)}")
