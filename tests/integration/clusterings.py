"""What several tests ask of clusters that were made in another way."""

from pathlib import Path

import numpy as np

from ml_backend.clusters import load_clustering, load_vectors, participants_of


def assert_same(folder: Path, alone: Path) -> None:
    """Vectors within rounding, the same clusters, centroid clips and videos."""
    assert participants_of(folder) == participants_of(alone) != []
    for name in participants_of(alone):
        np.testing.assert_allclose(load_vectors(folder, name), load_vectors(alone, name), atol=1e-4, rtol=1e-5)
        one, other = load_clustering(folder, name), load_clustering(alone, name)
        np.testing.assert_array_equal(one.clusters, other.clusters)
        np.testing.assert_array_equal(one.centroids, other.centroids)
        assert one.videos == other.videos
