"""Ward's agglomerative clustering of clips, which may be held together in time; docs/clustering.md compares it."""

import numpy as np
import numpy.typing as npt

from ml_backend.errors import ConfigError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST_CLIPS = 30_000
"""Of which the distances of all pairs take 3.6 GB."""


class Ward:
    """Ward's agglomerative clustering; with `in_time` only neighbours in time merge, so that clusters are segments.

    The centroid clip is the member nearest to the cluster's mean. Without `in_time` memory grows with the square of
    the number of clips (1.6 GB for 20,000).
    """

    def __init__(self, n_components: int, in_time: bool = False) -> None:
        self.n_components = n_components
        self.in_time = in_time

    def fit(self, X: npt.ArrayLike) -> "Ward":
        """Fit to `X (n_clips, dim)`, in order of time; ConfigError if there are too many clips without `in_time`."""
        from scipy.sparse import diags  # as in mixture.py
        from sklearn.cluster import AgglomerativeClustering

        clips = np.asarray(X, dtype=np.float64)
        if not self.in_time and len(clips) > MOST_CLIPS:
            raise ConfigError(
                f'"clustering": ward holds the distances of all pairs of clips, for {len(clips)} clips '
                f"{8 * len(clips) ** 2 / 2e9:.0f} GB; use gmm or segments, or a longer stride_seconds"
            )
        if self.n_components == 1:
            return self._finish(clips, np.zeros(len(clips), dtype=np.int64))
        chain = diags([1.0, 1.0], [-1, 1], shape=(len(clips), len(clips))) if self.in_time else None
        labels = AgglomerativeClustering(self.n_components, connectivity=chain).fit(clips).labels_
        return self._finish(clips, labels.astype(np.int64))

    def _finish(self, clips: Floats, labels: Ints) -> "Ward":
        self.labels_: Ints = labels
        self.centroids_: Ints = np.empty(self.n_components, dtype=np.int64)
        self.distances_: Floats = np.empty(len(clips))
        self.log_density_: Floats = np.empty(len(clips))
        for cluster in range(self.n_components):
            own = np.flatnonzero(self.labels_ == cluster)
            self.log_density_[own] = -np.linalg.norm(clips[own] - clips[own].mean(axis=0), axis=1)
            self.centroids_[cluster] = own[self.log_density_[own].argmax()]
            self.distances_[own] = np.linalg.norm(clips[own] - clips[self.centroids_[cluster]], axis=1)
        return self
