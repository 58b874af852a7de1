"""The model of time: from clusters and answers to the probability of every class for every clip.

A discriminant, fitted on what clusters spread, says what each clip looks like; a hidden Markov model says that
activities last; the clips that people answered are what they said. Both are fitted again on their own outcome. What
other participants' labels say may stand beside it (`across.py`). How its constants were chosen, and what did not
help, is in docs/clustering.md.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml_backend.labels.discriminant import Moments

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

ROUNDS = 2
TEMPER = 0.3
"""Neighbouring clips share most of their frames, so that what each says counts for less than one piece of
evidence."""
STAY = 0.9
"""Probability that the next clip, a stride later, shows the same activity."""
ANSWER_WEIGHT = 3.0
"""An answered clip counts as so many that only a cluster speaks for."""
LEAST_LOG = -12.0
"""Log probability of a class that no other participant has: unlikely, not impossible."""
WARM_UP = 96
"""Clips are passed in chunks side by side, each warmed up on so many clips before it: a chain that stays with
probability 0.9 has forgotten all but 4·10⁻⁵ of its start by then."""


@dataclass(frozen=True)
class Prior:
    """What other participants' labels say of the clips: log_posterior `(n_clips, n_classes)`, -inf for classes that
    none of them has, and how much it counts beside the participant's own answers, from 0 to 1."""

    log_posterior: Floats
    weight: float

    @property
    def known(self) -> Ints:
        """The classes that others have."""
        return np.flatnonzero(np.isfinite(self.log_posterior[0])) if len(self.log_posterior) else np.zeros(0, int)


def clip_posterior(
    features: npt.NDArray[np.floating],
    clusters: Ints,
    begins: Bools,
    answered: Ints,
    said: Ints,
    n_classes: int,
    prior: Prior | None = None,
) -> Floats:
    """Probability of each class for each clip, `(n_clips, n_classes)`; zero everywhere where nothing is known.

    features: `(n_clips, m)` principal components of the clips' vectors, in order of time; clusters: `(n_clips,)`;
    begins: `(n_clips,)`, True where a clip does not follow the one before in time; answered: `(n_answers,)` clip
    indices, said: `(n_answers,)` their classes.
    """
    kept = np.ones((1, len(answered)), dtype=bool)
    result: Floats = clip_posteriors(features, clusters, begins, answered, said, n_classes, kept, prior)[:, 0]
    return result


def clip_posteriors(
    features: npt.NDArray[np.floating],
    clusters: Ints,
    begins: Bools,
    answered: Ints,
    said: Ints,
    n_classes: int,
    kept: Bools,
    prior: Prior | None = None,
) -> Floats:
    """As `clip_posterior`, several times at once, `(n_clips, v, n_classes)`: each with the answers that a row of
    `kept (v, n_answers)` keeps."""
    posteriors = np.zeros((len(features), len(kept), n_classes))
    weight = prior.weight if prior is not None else 0.0
    # A class that nobody has named yet cannot be told.
    known = np.union1d(said, prior.known) if prior is not None and weight > 0 else np.unique(said)
    if len(known) == 0:
        return posteriors
    values = np.asarray(features, dtype=np.float64)
    gram = values.T @ values
    columns = np.searchsorted(known, said)
    spread = np.stack([_spread(clusters, answered[own], columns[own], len(known)) for own in kept], axis=1)
    from_others: Floats = np.zeros((1, 1))
    if prior is not None and weight > 0:
        from_others = TEMPER * np.maximum(prior.log_posterior[:, known], LEAST_LOG)
        spread = _filled(spread, _smoothed(from_others[:, None], begins), weight)
    for _ in range(ROUNDS):
        log_likelihood = np.empty_like(spread)
        for variant, own in enumerate(kept):
            fitted = spread[:, variant].copy()
            fitted[answered[own]] *= ANSWER_WEIGHT
            log_likelihood[:, variant] = TEMPER * _scores(values, fitted, gram) + weight * from_others
            log_likelihood[answered[own], variant] = -np.inf
            log_likelihood[answered[own], variant, columns[own]] = 0.0
        spread = _smoothed(log_likelihood, begins)
    posteriors[:, :, known] = spread
    if weight == 0:
        posteriors[:, ~kept.any(axis=1)] = 0
    return posteriors


def _spread(clusters: Ints, answered: Ints, columns: Ints, n_known: int) -> Floats:
    """The share of a cluster's answers that each class has, for each of its clips, `(n_clips, n_known)`; zero where a
    cluster has none."""
    counts = np.zeros((int(clusters.max()) + 1, n_known))
    np.add.at(counts, (clusters[answered], columns), 1.0)
    total = counts.sum(axis=1, keepdims=True)
    shares: Floats = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)[clusters]
    return shares


def _filled(spread: Floats, from_others: Floats, weight: float) -> Floats:
    """What clusters spread `(n, v, K)`, joined by what others say `(n, 1, K)`: alone where a cluster has no
    answer."""
    said = spread.sum(axis=2, keepdims=True) > 0
    result: Floats = np.where(said, (1 - weight / 2) * spread + weight / 2 * from_others, from_others)
    return result


def _scores(values: Floats, weights: Floats, gram: Floats) -> Floats:
    """Log posterior `(n, K)`, up to a constant of each clip, of a linear discriminant fitted on `values (n, m)` with
    `weights (n, K)`, its prior the share of each class in the weights."""
    moments = Moments.of(values, weights, gram)
    if not moments.counts.any():  # no answer kept
        return np.zeros_like(weights)
    directions, offsets = moments.discriminant()
    with np.errstate(divide="ignore"):
        offsets = offsets + np.log(moments.counts)
    result: Floats = values @ directions + offsets
    return result


def _smoothed(log_likelihood: Floats, begins: Bools) -> Floats:
    """Posterior `(n, v, K)` of a chain that stays in its class or changes to any other alike, by forward–backward;
    begins: `(n,)`."""
    likelihood = np.exp(log_likelihood - log_likelihood.max(axis=2, keepdims=True))
    ends = np.append(begins[1:], True)
    forward, backward = _passed(likelihood, begins, ends)
    joint = forward * _seen_from_behind(backward, ends)
    joint /= joint.sum(axis=2, keepdims=True)
    return joint


def _passed(likelihood: Floats, begins: Bools, ends: Bools) -> tuple[Floats, Floats]:
    """Filtered probabilities from the clips before and from those behind, two `(n, v, K)`, each with the clip's own.

    Chunks of the chain, and both directions, go side by side: a step for all is one operation on an array.
    """
    count, variants, classes = likelihood.shape
    length = int(np.clip(count // 48, 48, 256))
    chunks = -(-count // length)
    rows = np.arange(-WARM_UP, length)[:, None] + np.arange(chunks) * length  # (steps, chunks)
    ahead = np.clip(rows, 0, count - 1)
    held = np.stack([ahead, count - 1 - ahead], axis=2)
    starts = np.stack([begins[held[:, :, 0]], ends[held[:, :, 1]]], axis=2) | (rows <= 0)[:, :, None]
    starts = starts[:, :, :, None, None]
    change = _change(classes)
    kept = np.where(starts, 0.0, 1 - classes * change)
    moved_in = np.where(starts, 1 / classes, change)
    state = np.full((chunks, 2, variants, classes), 1 / classes)
    passed = np.empty((length, *state.shape))
    for step in range(len(rows)):
        state *= kept[step]
        state += moved_in[step]
        state *= likelihood[held[step]]
        state /= np.add.reduce(state, axis=3, keepdims=True)
        if step >= WARM_UP:
            passed[step - WARM_UP] = state
    whole = passed.swapaxes(0, 1).reshape(-1, 2, variants, classes)[:count]
    return whole[:, 0], whole[::-1, 1]


def _change(classes: int) -> float:
    """Probability that the next clip shows a certain other class."""
    return (1 - STAY) / (classes - 1) if classes > 1 else 0.0


def _seen_from_behind(backward: Floats, ends: Bools) -> Floats:
    """What the clips after each one say of it, `(n, v, K)`; nothing where none follows. As changes are alike in both
    directions, the chain run backwards, moved by a stride, says it, without the clip's own likelihood."""
    following = np.concatenate([backward[1:], backward[-1:]])
    classes = backward.shape[2]
    change = _change(classes)
    result: Floats = np.where(ends[:, None, None], 1 / classes, (1 - classes * change) * following + change)
    return result
