"""The mixture against scikit-learn's and scipy's, and at its edges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture as Reference

from ml_backend.clusters import cluster
from ml_backend.clusters.mixture import GaussianMixture
from ml_backend.errors import ConfigError


def segments(n: int, dim: int, seed: int, noise: float = 0.3) -> np.ndarray:
    """Clips in time order: segments of about 20 clips around one of 8 centres."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(8, dim))
    which = np.repeat(random.integers(8, size=n // 20 + 1), 20)[:n]
    return centres[which] + noise * random.normal(size=(n, dim))


@pytest.mark.parametrize(
    ("n", "dim", "components", "reg_covar"),
    [
        (300, 2, 5, 1e-6),
        (300, 64, 12, 1e-6),
        (400, 300, 40, 1e-6),
        (400, 20, 4, 1e-2),
        (200, 300, 10, 10.0),
        (50, 1, 2, 1e-3),
    ],
)
@pytest.mark.parametrize("seed", [1, 2])
def test_it_equals_scikit_learn(n: int, dim: int, components: int, reg_covar: float, seed: int) -> None:
    X = segments(n, dim, seed)
    reference = Reference(components, reg_covar=reg_covar, random_state=seed).fit(X)
    ours = GaussianMixture(components, reg_covar=reg_covar, random_state=seed).fit(X)
    np.testing.assert_array_equal(ours.labels_, reference.predict(X))
    assert ours.n_iter_ == reference.n_iter_
    assert ours.lower_bound_ == pytest.approx(reference.lower_bound_, rel=1e-6)
    for component in range(components):
        density = multivariate_normal(reference.means_[component], reference.covariances_[component]).logpdf(X)
        own = np.flatnonzero(ours.labels_ == component)
        if len(own):
            best = density[own].max()
            assert density[ours.centroids_[component]] == pytest.approx(best, rel=1e-6, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(1, 12), st.integers(0, 1000))
def test_every_clip_has_a_cluster_and_each_centroid_lies_in_its_own(n: int, dim: int, seed: int) -> None:
    X = np.random.default_rng(seed).normal(size=(n, dim))
    fitted = GaussianMixture(max(1, n // 2), reg_covar=1e-3, random_state=seed).fit(X)
    for component in np.unique(fitted.labels_):
        centroid = fitted.centroids_[component]
        assert fitted.labels_[centroid] == component
        assert fitted.distances_[centroid] == 0
    np.testing.assert_allclose(fitted.distances_, np.linalg.norm(X - X[fitted.centroids_[fitted.labels_]], axis=1))


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_duplicate_clips_leave_components_empty_and_without_a_centroid() -> None:
    X = np.repeat(np.eye(3), 10, axis=0)
    fitted = GaussianMixture(6, random_state=0).fit(X)
    assert len(np.unique(fitted.labels_)) == 3
    assert (fitted.centroids_ == -1).sum() == 3


@pytest.mark.parametrize("components", [3, 12])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_columns_made_on_demand_in_blocks_give_the_same(
    monkeypatch: pytest.MonkeyPatch, components: int, dtype: type
) -> None:
    """With more members than dimensions, and with fewer."""
    clips = segments(200, 24, 5).astype(dtype)
    before = clips.copy()
    stored = GaussianMixture(components, random_state=1).fit(clips)
    monkeypatch.setattr("ml_backend.clusters.mixture.STORED_GRAM_CLIPS", 10)
    monkeypatch.setattr("ml_backend.clusters.mixture.ROWS_AT_ONCE", 33)
    made = GaussianMixture(components, random_state=1).fit(clips)
    np.testing.assert_array_equal(made.labels_, stored.labels_)
    np.testing.assert_array_equal(made.centroids_, stored.centroids_)
    np.testing.assert_allclose(made.distances_, stored.distances_, atol=1e-9)
    np.testing.assert_allclose(made.log_density_, stored.log_density_, rtol=1e-6)
    np.testing.assert_array_equal(clips, before)  # and nobody's vectors are centred


def test_ward_of_a_day_is_refused_with_what_it_would_take() -> None:
    with pytest.raises(ConfigError, match=r'"clustering": ward .* for 86400 clips 30 GB; use gmm or segments'):
        cluster(np.zeros((86_400, 1)), 100, 1, "ward")


def test_the_papers_rule_annotates_the_own_clip_nearest_to_the_densest_of_all() -> None:
    X = segments(200, 30, 3)
    fitted = GaussianMixture(10, random_state=1, paper_exact=True).fit(X)
    assert all(fitted.labels_[c] == k for k, c in enumerate(fitted.centroids_) if c >= 0)


@pytest.mark.parametrize(
    ("X", "components", "message"),
    [
        (np.zeros((3, 2)), 4, "between 1 and the 3 clips"),
        (np.array([[np.nan, 1.0]]), 1, "NaN"),
        (np.zeros(3), 1, r"\(n_clips, dim\)"),
        (np.zeros((3, 0)), 1, r"\(n_clips, dim\)"),
    ],
)
def test_bad_input_is_refused_at_the_door(X: np.ndarray, components: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GaussianMixture(components).fit(X)


def test_no_regularisation_works_with_enough_clips_and_is_refused_with_a_remedy_otherwise() -> None:
    X = segments(300, 3, 0)
    reference = Reference(4, reg_covar=0, random_state=0).fit(X)
    ours = GaussianMixture(4, reg_covar=0, random_state=0).fit(X)
    np.testing.assert_array_equal(ours.labels_, reference.predict(X))
    with pytest.raises(ValueError, match="raise reg_covar"):
        GaussianMixture(2, reg_covar=0, random_state=0).fit(np.zeros((5, 20)))


def test_an_emptied_component_is_that_of_scikit_learn() -> None:
    """Its responsibilities vanish in EM: the mean goes to the origin, not to the data's centre."""
    random = np.random.default_rng(4)
    X = 5 + np.concatenate([random.normal(size=(40, 2)), 0.01 * random.normal(size=(40, 2))])
    for components in (2, 5, 20):
        reference = Reference(components, reg_covar=1e-3, random_state=0, max_iter=300).fit(X)
        ours = GaussianMixture(components, reg_covar=1e-3, random_state=0, max_iter=300).fit(X)
        np.testing.assert_array_equal(ours.labels_, reference.predict(X))
        assert ours.lower_bound_ == pytest.approx(reference.lower_bound_, rel=1e-6)


def test_members_with_equal_shares_are_ranked_as_scipy_ranks_them() -> None:
    """With fewer clips than dimensions all members lie almost equally far from their mean: digits decide."""
    random = np.random.default_rng(3)
    X = np.repeat(random.normal(size=(12, 400)), 10, axis=0)
    X += np.cumsum(0.05 * random.normal(size=X.shape), axis=0) + 0.1 * random.normal(size=X.shape)
    reference = Reference(12, random_state=1).fit(X)
    ours = GaussianMixture(12, random_state=1).fit(X)
    for component in range(12):
        own = np.flatnonzero(ours.labels_ == component)
        density = multivariate_normal(reference.means_[component], reference.covariances_[component]).logpdf(X[own])
        if len(own) > 2:  # two members lie equally far by symmetry
            assert ours.centroids_[component] == own[density.argmax()]


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.integers(6, 60), st.integers(1, 30), st.integers(2, 3), st.integers(0, 1000), st.sampled_from([1e-6, 1e-2, 10])
)
def test_small_data_of_any_shape_equals_scikit_learn(
    n: int, dim: int, components: int, seed: int, reg: float
) -> None:
    random = np.random.default_rng(seed)
    X = random.normal(size=(components, dim))[random.integers(components, size=n)] + 0.5 * random.normal(
        size=(n, dim)
    )
    reference = Reference(components, reg_covar=reg, random_state=seed, max_iter=20).fit(X)
    ours = GaussianMixture(components, reg_covar=reg, random_state=seed, max_iter=20).fit(X)
    np.testing.assert_array_equal(ours.labels_, reference.predict(X))
    assert ours.n_iter_ == reference.n_iter_
    assert ours.lower_bound_ == pytest.approx(reference.lower_bound_, rel=1e-6, abs=1e-6)
    for component in np.unique(ours.labels_):
        density = multivariate_normal(reference.means_[component], reference.covariances_[component]).logpdf(X)
        own = np.flatnonzero(ours.labels_ == component)
        assert np.atleast_1d(density)[ours.centroids_[component]] == pytest.approx(density[own].max(), abs=1e-6)
