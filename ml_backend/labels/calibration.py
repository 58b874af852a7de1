"""How sure may the model of time be? Its temperature, by leaving out answers: never by a truth that a user has not.

The model is fitted on its own outcome, so that it is surer than it should be. Answers are left out in five folds,
and the temperature found at which the probabilities that the others give to what was said are highest (Guo et al.,
On Calibration of Modern Neural Networks, ICML 2017). A clip that was left out lies in a cluster without an answer,
where the model knows less than elsewhere; so the answers only correct what the share of frames that neighbouring
clips have in common suggests.
"""

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from ml_backend.labels.temporal import TEMPER, clip_posteriors

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

FOLDS = 5
EXPECTED, SPREAD = 1 / TEMPER, 0.25
"""Temperature before any answer is left out, and the standard deviation of its logarithm."""
ENOUGH, ENOUGH_SHARE = 12, 0.8
"""Answers whose class was named more than once: so many, and this share of all, are enough to judge by."""
LEAST = 1e-9


def temperature(
    features: npt.NDArray[np.floating], clusters: Ints, begins: Bools, answered: Ints, said: Ints, n_classes: int
) -> float | None:
    """The temperature of `clip_posterior` with the same arguments; None where answers are too few to tell."""
    if not enough(said):
        return None
    fold = _folds(said)
    kept = np.stack([fold != number for number in range(FOLDS)])
    posteriors = clip_posteriors(features, clusters, begins, answered, said, n_classes, kept)
    given = posteriors[answered, fold]  # what the model says of each answered clip without its answer
    repeated = np.bincount(said)[said] > 1
    log_given, own = np.log(np.maximum(given[repeated], LEAST)), said[repeated]

    def loss(log_temperature: float) -> float:
        scaled = log_given / np.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        log_share = scaled[np.arange(len(own)), own] - np.log(np.exp(scaled).sum(axis=1))
        return float(-log_share.sum() + 0.5 * ((log_temperature - np.log(EXPECTED)) / SPREAD) ** 2)

    found = minimize_scalar(loss, bounds=(np.log(EXPECTED) - 2, np.log(EXPECTED) + 2), method="bounded")
    return float(np.exp(found.x))


def enough(said: Ints) -> bool:
    """True if enough answers name a class that was named before, so that leaving one out says something."""
    repeated = int((np.bincount(said)[said] > 1).sum()) if len(said) else 0
    return repeated >= ENOUGH and repeated >= ENOUGH_SHARE * len(said)


def tempered(posterior: Floats, temperature: float) -> Floats:
    """The probabilities `(n, K)` at a temperature; rows of zeros stay so."""
    scaled = np.power(posterior, 1 / temperature)
    total = scaled.sum(axis=1, keepdims=True)
    result: Floats = np.divide(scaled, total, out=np.zeros_like(scaled), where=total > 0)
    return result


def _folds(said: Ints) -> Ints:
    """The fold of each answer `(n_answers,)`: those of a class go to different folds, in order of time."""
    fold = np.empty(len(said), dtype=np.int64)
    order = np.argsort(said, kind="stable")
    fold[order] = np.arange(len(said)) % FOLDS
    return fold
