"""The mixture against scikit-learn and scipy over a grid of sizes, regularisations and kinds of data.

The paper's own sizes, minutes of scikit-learn each, are compared in `benchmarks/clustering.py`.
"""

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture as Reference
from threadpoolctl import threadpool_limits

from ml_backend.clusters.mixture import GaussianMixture

CLIPS, DIMS, COMPONENTS = (50, 300, 1000, 3000), (2, 64, 768, 1792), (2, 20, 100)
REG_COVARS = (1e-6, 1e-2, 10.0)
SEED = 1
AFFORDABLE = 1.2e10  # multiplications of scikit-learn's maximisation; about half a second an iteration
COSTLY = 1e9
Data = Callable[[int, int], np.ndarray]


def clustered(n: int, dim: int) -> np.ndarray:
    random = np.random.default_rng(n + dim)
    return random.normal(size=(12, dim))[random.integers(12, size=n)] + 0.3 * random.normal(size=(n, dim))


def correlated(n: int, dim: int) -> np.ndarray:
    random = np.random.default_rng(n + dim)
    centres = np.repeat(random.normal(size=(n // 20 + 1, dim)), 20, axis=0)[:n]
    return centres + np.cumsum(0.05 * random.normal(size=(n, dim)), axis=0) + 0.1 * random.normal(size=(n, dim))


def unstructured(n: int, dim: int) -> np.ndarray:
    return np.random.default_rng(n + dim).normal(size=(n, dim))


def cells() -> list[tuple[Data, int, int, int]]:
    """Every size that is affordable with every kind of data; the costly ones with one kind each, in turn."""
    sizes = product(CLIPS, DIMS, COMPONENTS)
    found = [(n, dim, c) for n, dim, c in sizes if 2 * c <= n and c * dim**2 * (n + dim) <= AFFORDABLE]
    costly = [(n, dim, c) for n, dim, c in found if c * dim**2 * (n + dim) > COSTLY or n * c >= 100_000]
    kinds = [clustered, correlated, unstructured]
    return [
        (kind, *size)
        for size in found
        for number, kind in enumerate(kinds)
        if size not in costly or costly.index(size) % len(kinds) == number
    ]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Scikit-learn's many small products wait for each other's threads where the processor is shared: ten times."""
    with threadpool_limits(1):
        yield


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
@pytest.mark.parametrize(("data", "n", "dim", "components"), cells())
def test_it_equals_scikit_learn_and_scipy(data: Data, n: int, dim: int, components: int) -> None:
    clips = data(n, dim)
    for reg_covar in REG_COVARS:
        reference = Reference(components, reg_covar=reg_covar, random_state=SEED, max_iter=10).fit(clips)
        ours = GaussianMixture(components, reg_covar=reg_covar, random_state=SEED, max_iter=10).fit(clips)
        np.testing.assert_array_equal(ours.labels_, reference.predict(clips))
        assert (ours.n_iter_, ours.converged_) == (reference.n_iter_, reference.converged_)
        assert ours.lower_bound_ == pytest.approx(reference.lower_bound_, rel=1e-6)
        for component in np.unique(ours.labels_):
            normal = multivariate_normal(reference.means_[component], reference.covariances_[component])
            own = np.flatnonzero(ours.labels_ == component)
            density = np.atleast_1d(normal.logpdf(clips[own]))
            centroid = density[own == ours.centroids_[component]]
            assert centroid == pytest.approx(density.max(), rel=1e-9, abs=1e-6), "another centroid clip"
