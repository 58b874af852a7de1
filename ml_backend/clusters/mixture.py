"""Full-covariance Gaussian mixture with one centroid clip a component. Pure numpy/scipy.

The estimator gives what `sklearn.mixture.GaussianMixture(covariance_type="full")` gives, exactly, but where a
component has fewer clips than dimensions its covariance is low-rank plus `reg_covar`·I, so that everything
follows from inner products of clips: no matrix of dim × dim is ever made.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.linalg import cholesky, solve_triangular
from scipy.special import logsumexp

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

STORED_GRAM_CLIPS = 10_000
"""Up to this many clips the Gram matrix is kept (800 MB); above, its columns are made as they are needed."""
ROWS_AT_ONCE = 8_192
"""And for so many clips at a time, so that a day of them (86,400) fits into 4 GB."""


class GaussianMixture:
    """Gaussian mixture with full covariances, fitted by EM from a k-means start.

    Parameters are those of scikit-learn's `GaussianMixture`. `paper_exact` takes a component's centroid
    over all clips and then the cluster's clip nearest to it, as the paper's code does, instead of
    the densest of the component's own clips.

    After `fit`: `labels_ (n,)`, `centroids_ (C,)` clip indices (-1 for an empty component),
    `distances_ (n,)` Euclidean to the own centroid clip, `log_density_ (n,)` in the own component,
    `lower_bound_`, `n_iter_`, `converged_`.
    """

    def __init__(
        self,
        n_components: int,
        reg_covar: float = 1e-6,
        tol: float = 1e-3,
        max_iter: int = 100,
        random_state: int | None = None,
        paper_exact: bool = False,
    ) -> None:
        self.n_components = n_components
        self.reg_covar = reg_covar
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state
        self.paper_exact = paper_exact

    def fit(self, X: npt.ArrayLike) -> "GaussianMixture":
        """Fit to `X (n_clips, dim)`; ValueError if it is not a finite matrix with n_components clips or more."""
        clips = self._checked(X)
        responsibilities = self._kmeans_start(clips)  # before the Gram matrix: k-means needs a copy of the clips
        components = _Components(_Gram(clips), self.n_components, self.reg_covar)
        previous = -np.inf
        self.converged_ = False
        for iteration in range(1, self.max_iter + 1):
            log_joint = components.log_joint(responsibilities)
            log_evidence = logsumexp(log_joint, axis=1)
            self.lower_bound_ = float(log_evidence.mean())
            self.n_iter_ = iteration
            responsibilities = np.exp(log_joint - log_evidence[:, None])
            if abs(self.lower_bound_ - previous) < self.tol:
                self.converged_ = True
                break
            previous = self.lower_bound_
        # scikit-learn ends with one more expectation under the last maximisation; labels come from that one.
        log_joint = components.log_joint(responsibilities)
        log_density = components.log_density
        self.labels_: Ints = log_joint.argmax(axis=1)
        self.log_density_: Floats = log_density[np.arange(len(clips)), self.labels_]
        self.centroids_: Ints = self._centroids(clips, log_density)
        self.distances_: Floats = np.empty(len(clips))
        for component in np.unique(self.labels_):
            own = self.labels_ == component
            centroid_clip = clips[self.centroids_[component]]
            self.distances_[own] = np.linalg.norm(clips[own] - centroid_clip, axis=1)
        return self

    def _checked(self, X: npt.ArrayLike) -> Floats:
        clips = np.array(X, dtype=np.float64)  # a copy: see _Gram
        if clips.ndim != 2 or clips.shape[1] == 0:
            raise ValueError(f"expected a matrix (n_clips, dim), got shape {clips.shape}")
        if not np.isfinite(clips).all():
            raise ValueError("the vectors hold NaN or infinite values")
        if not 1 <= self.n_components <= len(clips):
            raise ValueError(f"n_components={self.n_components} must be between 1 and the {len(clips)} clips")
        if self.reg_covar < 0:
            raise ValueError(f"reg_covar={self.reg_covar} must not be negative")
        return clips

    def _kmeans_start(self, clips: Floats) -> Floats:
        from sklearn.cluster import KMeans  # takes a second and 60 MB, which readers of clusters need not wait for
        from sklearn.utils import check_random_state

        random, few = check_random_state(self.random_state), len(clips) <= STORED_GRAM_CLIPS
        # Of many it centres our own copy, and puts it back but for the last digit.
        labels = KMeans(self.n_components, n_init=1, random_state=random, copy_x=few).fit(clips).labels_
        start: Floats = np.eye(self.n_components)[labels]
        return start

    def _centroids(self, clips: Floats, log_density: Floats) -> Ints:
        centroids = np.full(self.n_components, -1, dtype=np.int64)
        for component in np.unique(self.labels_):
            own = np.flatnonzero(self.labels_ == component)
            if self.paper_exact:
                densest = log_density[:, component].argmax()
                nearest = np.linalg.norm(clips[own] - clips[densest], axis=1).argmin()
                centroids[component] = own[nearest]
            else:
                centroids[component] = own[log_density[own, component].argmax()]
        return centroids


class _Components:
    """Log density of every component at every clip, computed anew only where its responsibilities changed.

    With fewer clips than dimensions responsibilities are 0 or 1 and soon stay as they are, so that most
    iterations cost nothing.
    """

    def __init__(self, gram: "_Gram", n_components: int, reg_covar: float) -> None:
        self._gram = gram
        self._reg_covar = reg_covar
        self._responsibilities: Floats = np.full((len(gram.clips), n_components), np.nan)
        self.log_density: Floats = np.empty((len(gram.clips), n_components))

    def log_joint(self, responsibilities: Floats) -> Floats:
        """M-step for `responsibilities (n, C)`, then log(weight·density), `(n, C)`."""
        counts = responsibilities.sum(axis=0) + 10 * np.finfo(np.float64).eps
        for component in np.flatnonzero((responsibilities != self._responsibilities).any(axis=0)):
            members = np.flatnonzero(responsibilities[:, component] > 0)
            shares = responsibilities[members, component] / counts[component]
            low_rank = len(members) < self._gram.clips.shape[1]
            density = _low_rank_log_density if low_rank else _dense_log_density
            self.log_density[:, component] = density(self._gram, members, shares, self._reg_covar)
        self._responsibilities = responsibilities
        log_joint: Floats = self.log_density + np.log(counts / counts.sum())
        return log_joint


class _Gram:
    """Inner products of centred clips, stored where they fit and made by columns where they do not.

    `clips` are then themselves centred: a second copy of many would not fit, and their distances are the same.
    """

    def __init__(self, clips: Floats) -> None:
        self.from_origin: Floats = np.einsum("ij,ij->i", clips, clips)
        mean, stored = clips.mean(axis=0), len(clips) <= STORED_GRAM_CLIPS
        # Centred, inner products lose fewer digits.
        self.clips: Floats = np.subtract(clips, mean, out=None if stored else clips)
        self.squares: Floats = np.einsum("ij,ij->i", self.clips, self.clips)
        self._all = self.clips @ self.clips.T if stored else None

    def columns(self, members: Ints) -> Floats | None:
        """`(n_clips, len(members))` where the Gram matrix is stored."""
        return self._all[:, members] if self._all is not None else None

    def blocks(self) -> Iterator[slice]:
        """All clips; in blocks where the Gram matrix is not stored."""
        step = len(self.clips) if self._all is not None else ROWS_AT_ONCE
        for begin in range(0, len(self.clips), step):
            yield slice(begin, begin + step)


def _low_rank_log_density(gram: _Gram, members: Ints, shares: Floats, reg_covar: float) -> Floats:
    """Log density of one component at all clips, from its `members (m,)` and their weights."""
    dim = gram.clips.shape[1]
    if len(members) == 0:  # an emptied component has mean 0 and covariance reg_covar·I, as in scikit-learn
        return _log_normal(dim, dim * np.log(reg_covar), gram.from_origin / reg_covar)
    products, own = gram.columns(members), gram.clips[members]
    with_mean: Floats = products @ shares if products is not None else gram.clips @ (shares @ own)
    mean_square = float(shares @ with_mean[members])
    root = np.sqrt(shares)

    def projected(products: Floats, with_mean_of_rows: Floats) -> Floats:
        found: Floats = (products - with_mean_of_rows[:, None] - with_mean[members] + mean_square) * root
        return found

    core = projected(products[members] if products is not None else own @ own.T, with_mean[members]) * root[:, None]
    core[np.diag_indices_from(core)] += reg_covar
    factor = _cholesky(core)
    explained: Floats = np.empty(len(gram.clips))
    for rows in gram.blocks():
        block = projected(products if products is not None else gram.clips[rows] @ own.T, with_mean[rows])
        whitened = solve_triangular(factor, block.T, lower=True, check_finite=False)
        explained[rows] = np.einsum("ij,ij->j", whitened, whitened)
    off_centre = gram.squares - 2 * with_mean + mean_square
    mahalanobis = (off_centre - explained) / reg_covar
    # That difference loses digits, and members with equal shares differ only by the last: for those it has a form
    # without it, from the diagonal of core⁻¹. Its error grows with 1/share, the other's with off_centre/reg_covar.
    inverse_root = solve_triangular(factor, np.eye(len(members)), lower=True, check_finite=False)
    exact = (1 - reg_covar * np.einsum("ij,ij->j", inverse_root, inverse_root)) / shares
    better = shares * off_centre[members] > reg_covar
    mahalanobis[members[better]] = exact[better]
    log_det = (dim - len(members)) * np.log(reg_covar) + 2 * np.log(np.diag(factor)).sum()
    return _log_normal(dim, log_det, np.maximum(mahalanobis, 0))


def _dense_log_density(gram: _Gram, members: Ints, shares: Floats, reg_covar: float) -> Floats:
    """The same by the Cholesky factor of the covariance, cheaper with more members than dimensions."""
    mean = shares @ gram.clips[members]
    own = gram.clips[members] - mean
    covariance = (shares * own.T) @ own
    covariance[np.diag_indices_from(covariance)] += reg_covar
    factor = _cholesky(covariance)
    mahalanobis: Floats = np.empty(len(gram.clips))
    for rows in gram.blocks():
        whitened = solve_triangular(factor, (gram.clips[rows] - mean).T, lower=True, check_finite=False)
        mahalanobis[rows] = np.einsum("ij,ij->j", whitened, whitened)
    log_det = 2 * np.log(np.diag(factor)).sum()
    return _log_normal(gram.clips.shape[1], log_det, mahalanobis)


def _cholesky(matrix: Floats) -> Floats:
    try:
        factor: Floats = cholesky(matrix, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        raise ValueError("a component's covariance is not positive definite: raise reg_covar") from None
    return factor


def _log_normal(dim: int, log_det: float, mahalanobis: Floats) -> Floats:
    log_density: Floats = -0.5 * (dim * np.log(2 * np.pi) + log_det + mahalanobis)
    return log_density
