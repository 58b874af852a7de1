"""The model of time: from clusters and answers to the probability of every class for every clip.

A discriminant, fitted on what clusters spread, says what each clip looks like; a hidden Markov model says that
activities last; the clips that people answered are what they said. Both are fitted again on their own outcome. How
its constants were chosen, and what did not help, is in docs/clustering.md.
"""

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from scipy.special import logsumexp

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

ROUNDS = 2
SHRINKAGE = 0.3
"""Of the discriminant's covariance towards a sphere."""
TEMPER = 0.3
"""Neighbouring clips share most of their frames, so that what each says counts for less than one piece of
evidence."""
STAY = 0.9
"""Probability that the next clip, a stride later, shows the same activity."""
ANSWER_WEIGHT = 3.0
"""An answered clip counts as so many that only a cluster speaks for."""
CHUNK, WARM_UP = 256, 192
"""Clips are passed in so many chunks side by side, each warmed up on those before it: a chain that stays with
probability 0.9 has forgotten all but 2·10⁻⁹ of its start by then."""


def clip_posterior(
    features: npt.NDArray[np.floating], clusters: Ints, begins: Bools, answered: Ints, said: Ints, n_classes: int
) -> Floats:
    """Probability of each class for each clip, `(n_clips, n_classes)`; zero everywhere where nobody has answered.

    features: `(n_clips, m)` principal components of the clips' vectors, in order of time; clusters: `(n_clips,)`;
    begins: `(n_clips,)`, True where a clip does not follow the one before in time; answered: `(n_answers,)` clip
    indices, said: `(n_answers,)` their classes.
    """
    shares = np.zeros((len(features), n_classes))
    if len(answered) == 0:
        return shares
    known = np.unique(said)  # a class that nobody has named yet cannot be told
    spread = np.zeros((int(clusters.max()) + 1, len(known)))
    columns = np.searchsorted(known, said)
    np.add.at(spread, (clusters[answered], columns), 1.0)
    total = spread.sum(axis=1, keepdims=True)
    weights = np.divide(spread, total, out=np.zeros_like(spread), where=total > 0)[clusters]
    values = np.asarray(features, dtype=np.float64)
    for _ in range(ROUNDS):
        fitted = weights.copy()
        fitted[answered] *= ANSWER_WEIGHT
        log_likelihood = TEMPER * _log_discriminant(values, fitted)
        log_likelihood[answered] = -np.inf
        log_likelihood[answered, columns] = 0.0
        weights = _smoothed(log_likelihood, begins)
    shares[:, known] = weights
    return shares


def _log_discriminant(values: Floats, weights: Floats) -> Floats:
    """Log posterior `(n, K)` of a linear discriminant fitted on `values (n, m)` with `weights (n, K)`, its prior the
    share of each class in the weights."""
    of_class = weights.sum(axis=0)
    means = (weights.T @ values) / of_class[:, None]
    scatter = (values * weights.sum(axis=1, keepdims=True)).T @ values
    covariance = (scatter - (means * of_class[:, None]).T @ means) / of_class.sum()
    dimensions = len(covariance)
    sphere = max(float(np.trace(covariance)) / dimensions, 1e-9)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * sphere * np.eye(dimensions)
    directions = cho_solve(cho_factor(covariance), means.T)
    scores = values @ directions - 0.5 * (means.T * directions).sum(axis=0) + np.log(of_class / of_class.sum())
    result: Floats = scores - logsumexp(scores, axis=1, keepdims=True)
    return result


def _smoothed(log_likelihood: Floats, begins: Bools) -> Floats:
    """Posterior `(n, K)` of a chain that stays in its class or changes to any other alike, by forward–backward."""
    likelihood = np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True))
    forward = _passed(likelihood, begins)
    ends = np.append(begins[1:], True)
    backward = _passed(likelihood[::-1], ends[::-1])[::-1]
    joint = forward * _seen_from_behind(backward, ends)
    posterior: Floats = joint / joint.sum(axis=1, keepdims=True)
    return posterior


def _passed(likelihood: Floats, begins: Bools) -> Floats:
    """Filtered probabilities `(n, K)` in the order given, chunks of the chain side by side."""
    count, classes = likelihood.shape
    chunks = -(-count // CHUNK)
    rows = np.arange(chunks)[:, None] * CHUNK + np.arange(-WARM_UP, CHUNK)
    inside = (rows >= 0) & (rows < count)
    held = np.clip(rows, 0, count - 1)
    starts = begins[held] | ~inside
    own = np.where(inside[:, :, None], likelihood[held], 1.0)
    state = np.full((chunks, classes), 1 / classes)
    passed = np.empty((chunks, CHUNK, classes))
    for step in range(WARM_UP + CHUNK):
        state = np.where(starts[:, step, None], 1 / classes, _moved(state)) * own[:, step]
        state /= state.sum(axis=1, keepdims=True)
        if step >= WARM_UP:
            passed[:, step - WARM_UP] = state
    return passed.reshape(-1, classes)[:count]


def _moved(state: Floats) -> Floats:
    """One stride later; rows sum to 1."""
    classes = state.shape[-1]
    if classes == 1:
        return state
    change = (1 - STAY) / (classes - 1)
    moved: Floats = (STAY - change) * state + change
    return moved


def _seen_from_behind(backward: Floats, ends: Bools) -> Floats:
    """What the clips after each one say of it, `(n, K)`; nothing where none follows. As changes are alike in both
    directions, the chain run backwards, moved by a stride, says it, without the clip's own likelihood."""
    following = np.vstack([backward[1:], backward[-1:]])
    result: Floats = np.where(ends[:, None], 1 / backward.shape[1], _moved(following))
    return result
