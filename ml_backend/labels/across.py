"""What the labels of a project's other participants say of a newcomer's clips.

The vectors of each participant are taken about their mean, since cameras and rooms differ between people more than
activities do, and in directions that all share. A discriminant fitted on all others' labelled clips then stands
beside the participant's own answers, the less the more of those there are, and only where it foretells them: people
whose activities look alike help each other, others are left alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

from ml_backend.clusters import Clustering
from ml_backend.labels.discriminant import Moments
from ml_backend.labels.temporal import TEMPER, Prior

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DIRECTIONS, MOST_IN_BASIS, LEADING = 50, 20, 20
"""So many common directions, from the leading ones of so many participants."""
ANSWERS_ALIKE = 27
"""With so many answers of one's own, others' labels count half."""
LEAST_SHARE = 1e-3
"""Of what others foretell: one answer they did not expect is no proof that they know nothing."""


def common_basis(clusterings: Iterable[Clustering]) -> Floats | None:
    """Directions `(dim, m)` in which the first participants' vectors vary most, together; None where clusterings are
    of an older version, or their vectors of several backbones."""
    found = []
    for clustering in clusterings:
        if clustering.principal_directions is None or clustering.principal_components is None:
            continue
        spread = np.sqrt((np.asarray(clustering.principal_components, dtype=np.float64) ** 2).mean(axis=0))
        found.append((clustering.principal_directions * spread[:, None])[:LEADING])
        if len(found) == MOST_IN_BASIS:
            break
    if not found or len({len(directions[0]) for directions in found}) > 1:
        return None
    rows = np.concatenate(found).astype(np.float64)
    # The eigenvectors of the small matrix of products give the singular vectors of the wide one.
    squares, left = np.linalg.eigh(rows @ rows.T)
    leading = np.flatnonzero(squares > 1e-9 * squares[-1])[::-1][:DIRECTIONS]
    result: Floats = rows.T @ (left[:, leading] / np.sqrt(squares[leading]))
    return result


@dataclass(frozen=True)
class Labelled:
    """One participant as the others see it: moments of its labelled clips in the common directions, and the values
    `(n_answers, m)` of those that people answered, with what they said."""

    moments: Moments
    answered: Floats
    said: Ints


class Others:
    """All participants' labelled clips, of which each one sees the others'."""

    def __init__(self, basis: Floats, labelled: dict[str, Labelled]) -> None:
        self._basis, self._labelled = basis, labelled
        self._total: Moments | None = None
        for one in labelled.values():
            self._total = one.moments if self._total is None else self._total + one.moments

    def prior(self, clustering: Clustering, answered: Ints, said: Ints) -> Prior | None:
        """What the others say of a participant's clips; None where no other is labelled, or is comparable."""
        moments, values = self._without(clustering.participant), in_common(clustering, self._basis)
        if moments is None or values is None:
            return None
        log_posterior = _log_posterior(moments, values)
        trust = _trust(moments, log_posterior[answered], said) if len(answered) else self._usual_trust(clustering)
        fading = ANSWERS_ALIKE / (ANSWERS_ALIKE + len(answered))
        return Prior(log_posterior, fading * trust if trust >= 0.5 else 0.0)

    def _without(self, participant: str) -> Moments | None:
        own = self._labelled.get(participant)
        if self._total is None or len(self._labelled) - (own is not None) == 0:
            return None
        return self._total if own is None else self._total - own.moments

    def _usual_trust(self, clustering: Clustering) -> float:
        """Before the first answer: how well the others foretell one another; a half for the first two."""
        found = []
        for name, one in self._labelled.items():
            moments = self._without(name)
            if name != clustering.participant and moments is not None and len(one.said):
                found.append(_trust(moments, _log_posterior(moments, one.answered), one.said))
        return float(np.mean(found)) if found else 0.5


def in_common(clustering: Clustering, basis: Floats) -> Floats | None:
    """A participant's clips in the common directions, about their mean, `(n_clips, m)`; None where its vectors are
    not those of the others."""
    own, directions = clustering.principal_components, clustering.principal_directions
    if own is None or directions is None or directions.shape[1] != len(basis):
        return None
    values: Floats = np.asarray(own, dtype=np.float64) @ (directions @ basis)
    return values


def _log_posterior(moments: Moments, values: Floats) -> Floats:
    """`(n, K)`, all classes alike beforehand; -inf for those that nobody has."""
    directions, offsets = moments.discriminant()
    result: Floats = log_softmax(values @ directions + offsets, axis=1)
    return result


def _trust(moments: Moments, log_posterior: Floats, said: Ints) -> float:
    """Probability that what others say is worth more than how often they do each activity, judged by the answers
    `said (n_answers,)`, each foretold by a row of `log_posterior`; a half beforehand."""
    known = moments.counts > 1e-9
    judged = known[said]
    foretold = np.exp(TEMPER * log_posterior[judged])
    foretold /= foretold.sum(axis=1, keepdims=True)
    share = moments.counts / moments.counts.sum()
    of_said = np.maximum(foretold[np.arange(judged.sum()), said[judged]], LEAST_SHARE)
    evidence = float((np.log(of_said) - np.log(share[said[judged]])).sum())
    return float(1 / (1 + np.exp(-np.clip(evidence, -50, 50))))
