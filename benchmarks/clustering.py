"""Our mixture against what the paper's code does (scikit-learn's full-covariance fit and predict, scipy's density of
every component for its centroid clip), in one run on the same data: time, and whether the results are equal.

The data has the statistics of a recording: segments of 5 to 40 clips, each about its own mean, with drift.
Run: python benchmarks/clustering.py [CLIPS DIM COMPONENTS]; the paper's size (2400 1792 100) takes about 4 minutes.
"""

import sys
import time

import numpy as np
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture as ScikitMixture

from ml_backend.mixture import GaussianMixture

DEFAULT_SIZES = ((2400, 768, 100), (2400, 1792, 100))


def recording_like(clips: int, dim: int, seed: int = 0) -> np.ndarray:
    """Vectors `(clips, dim)` with segments and drift."""
    random = np.random.default_rng(seed)
    means = random.normal(0, 1, (20, dim))
    vectors = []
    while len(vectors) < clips:
        centre = means[random.integers(20)] + random.normal(0, 0.3, dim)
        length = random.integers(5, 41)
        drift = np.cumsum(random.normal(0, 0.05, (length, dim)), axis=0)
        vectors.extend(centre + drift + random.normal(0, 0.1, (length, dim)))
    return np.array(vectors[:clips])


def peer(vectors: np.ndarray, components: int) -> tuple[np.ndarray, float]:
    """Labels and lower bound, with everything that the paper's code computes."""
    mixture = ScikitMixture(components, random_state=1).fit(vectors)
    labels = mixture.predict(vectors)
    centroids = []
    for mean, covariance in zip(mixture.means_, mixture.covariances_, strict=True):
        density = multivariate_normal(mean, covariance, allow_singular=True).logpdf(vectors)
        centroids.append(density.argmax())
    np.linalg.norm(vectors - vectors[np.array(centroids)[labels]], axis=1)
    return labels, float(mixture.lower_bound_)


def main(sizes: tuple[tuple[int, int, int], ...]) -> None:
    print("| clips × dimensions × components | scikit-learn + scipy | weakhar | ratio | same labels |")
    print("|---|---|---|---|---|")
    for clips, dim, components in sizes:
        vectors = recording_like(clips, dim)
        GaussianMixture(2, random_state=1).fit(vectors[:50])  # loads libraries
        began = time.perf_counter()
        ours = GaussianMixture(components, random_state=1).fit(vectors)
        ours_seconds = time.perf_counter() - began
        began = time.perf_counter()
        labels, _ = peer(vectors, components)
        peer_seconds = time.perf_counter() - began
        same = "yes" if (labels == ours.labels_).all() else "no"
        ratio = peer_seconds / ours_seconds
        size = f"{clips} × {dim} × {components}"
        print(f"| {size} | {peer_seconds:.1f} s | {ours_seconds:.2f} s | {ratio:.0f}× | {same} |", flush=True)


if __name__ == "__main__":
    given = tuple(int(value) for value in sys.argv[1:4])
    main(((given[0], given[1], given[2]),) if given else DEFAULT_SIZES)
