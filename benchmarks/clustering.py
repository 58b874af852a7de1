"""Our mixture against what the paper's code does (scikit-learn's full-covariance fit and predict, scipy's density of
every component for its centroid clip), in one run on the same data: time, peak memory, and whether results are equal.

The data has the statistics of a recording: segments of 5 to 40 clips, each about its own mean, with drift. Each
contender has a process of its own; its peak memory counts the libraries too.
"""

import numpy as np
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture as ScikitMixture

from benchmarks.harness import Rows, in_child
from ml_backend.clusters.mixture import GaussianMixture

SIZES = ((2400, 768, 100), (2400, 1792, 100))

Contestants = tuple[np.ndarray, np.ndarray, float]
"""Labels, centroid clips, lower bound."""


def recording_like(clips: int, dim: int, seed: int = 0) -> np.ndarray:
    """Vectors `(clips, dim)` with segments and drift."""
    random = np.random.default_rng(seed)
    means = random.normal(0, 1, (20, dim))
    vectors = np.empty((clips, dim))
    begin = 0
    while begin < clips:
        length = min(int(random.integers(5, 41)), clips - begin)
        centre = means[random.integers(20)] + random.normal(0, 0.3, dim)
        drift = np.cumsum(random.normal(0, 0.05, (length, dim)), axis=0)
        vectors[begin : begin + length] = centre + drift + random.normal(0, 0.1, (length, dim))
        begin += length
    return vectors


def prepare(clips: int, dim: int, components: int) -> tuple[np.ndarray, int]:
    vectors = recording_like(clips, dim)
    ours((vectors[:50], 2))  # loads libraries
    return vectors, components


def ours(task: tuple[np.ndarray, int]) -> Contestants:
    vectors, components = task
    mixture = GaussianMixture(components, random_state=1, paper_exact=True).fit(vectors)
    return mixture.labels_, mixture.centroids_, mixture.lower_bound_


def peer(task: tuple[np.ndarray, int]) -> Contestants:
    """Everything that the paper's code computes."""
    vectors, components = task
    mixture = ScikitMixture(components, random_state=1).fit(vectors)
    labels = mixture.predict(vectors)
    nearest = np.empty(components, dtype=int)
    for component, (mean, covariance) in enumerate(zip(mixture.means_, mixture.covariances_, strict=True)):
        densest = multivariate_normal(mean, covariance, allow_singular=True).logpdf(vectors).argmax()
        distances = np.linalg.norm(vectors - vectors[densest], axis=1)
        own = np.flatnonzero(labels == component)
        nearest[component] = own[distances[own].argmin()]
    return labels, nearest, float(mixture.lower_bound_)


def measure() -> Rows:
    rows = []
    for size in SIZES:
        fast, slow = in_child(prepare, ours, *size), in_child(prepare, peer, *size)
        labels, centroids, bound = (np.array_equal(a, b) for a, b in zip(fast.result, slow.result, strict=True))
        bound = abs(fast.result[2] / slow.result[2] - 1) < 1e-6
        rows.append(
            {
                "clips × dimensions × components": " × ".join(map(str, size)),
                "scikit-learn + scipy": f"{slow.seconds:.1f} s, {slow.peak_mb / 1000:.2f} GB",
                "weakhar": f"{fast.seconds:.2f} s, {fast.peak_mb / 1000:.2f} GB",
                "times faster": round(slow.seconds / fast.seconds),
                "same labels, centroid clips, bound": "yes" if labels and centroids and bound else "no",
            }
        )
    return rows
