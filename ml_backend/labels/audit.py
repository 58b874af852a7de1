"""How right are the labels? An estimate with an interval, from clips drawn at random that people label unasked-for.

Clips whose label people gave themselves are taken to be right; of the others every one is as likely to be drawn, so
that the share of right ones among those drawn is that of all. Its interval is a confidence sequence by betting, for
draws without replacement (Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, JRSS-B
2024, sections 4 and 5): it holds whenever one looks, after every answer, whatever the labels are like.

Macro recall rests on few draws a class. What is known of one class says something of the others, and the model's own
confidence says where errors are, as far as the draws confirm it: a hierarchical model of the share of right labels in
groups of one class and like confidence, and of what the others really are. Its interval holds in simulation
(`benchmarks/audit.py`), looked at again and again, not by proof.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betaln, expit, logit

from ml_backend.labels.answers import UNLABELLED

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

LEVEL = 0.05
"""How often an interval may be wrong."""
LOOKS = 0.015
"""The same of an interval by the hierarchical model at one look: looked at often, it is wrong more often."""
ERRING = 0.05
"""The share of clips at which annotators may be wrong themselves: what they call wrong may be right, so that the
upper end of an interval lies higher. The lower one does not: who errs makes labels look worse."""
GRID = 1000
LARGEST_BET = 0.75
USUAL = 60
"""Draws for which bets are chosen; the interval holds at any number."""
PARTS = 3
"""Groups of like confidence in each class."""
INTERCEPTS, SLOPES, STRENGTHS = np.linspace(-4, 6, 31), np.array([0, 0.5, 1, 1.5]), np.array([2, 5, 15, 50, 150.0])
"""Of the share of right labels in a group: its logit is a line in that of the confidence; and how many draws that is
worth."""
BELIEF, UNFORESEEN = 5.0, 3.0
"""Draws that the model's belief is worth, of what a wrong label really is, and that any class is."""
SIMULATED = 1000
FEWEST = 10
"""Answers about a participant, or a class, below which nothing is said of them alone."""


@dataclass(frozen=True)
class Estimate:
    """A share with its interval; answers: how many it rests on."""

    value: float
    low: float
    high: float
    answers: int


@dataclass(frozen=True)
class Population:
    """The labels that are audited, of N clips: labels `(N,)` class indices; confidence `(N,)`, NaN where not known;
    participants `(N,)` their numbers; by_people `(N,)` True where people gave the label; beliefs `(K, K)`: in row j
    the mean probabilities of all classes over the clips labelled j."""

    labels: Ints
    confidence: Floats
    participants: Ints
    by_people: Bools
    beliefs: Floats

    def draw(self, count: int, taken: Ints, seed: int) -> Ints:
        """Up to `count` clips that are not `taken` yet, in random order; `(n,)`."""
        free = np.setdiff1d(np.flatnonzero(~self.by_people), taken)
        drawn: Ints = np.random.default_rng(seed).permutation(free)[:count]
        return drawn


@dataclass(frozen=True)
class Audit:
    """What an audit found. share: of clips with the right label; macro_recall: mean over classes of the share of a
    class's clips that have its label; by_class and by_participant: of the clips labelled so, and of a participant's,
    where there are FEWEST answers or more; by_confidence: of the least, the middle and the most certain third."""

    share: Estimate
    macro_recall: Estimate
    by_class: dict[int, Estimate]
    by_participant: dict[int, Estimate]
    by_confidence: list[Estimate]


def audited(population: Population, drawn: Ints, said: Ints) -> Audit | None:
    """The estimate from the clips `drawn` `(n,)` in their order and what people `said` of each, `(n,)` class indices
    or UNLABELLED, where they have not answered or found no class; None without any answer."""
    drawn, said = drawn[said != UNLABELLED], said[said != UNLABELLED]
    if len(drawn) == 0:
        return None
    right = population.labels[drawn] == said

    def of(own: Bools, among: Bools) -> Estimate:
        return _share(
            right[own], int((among & ~population.by_people).sum()), float(population.by_people[among].mean())
        )

    def of_each(values: Ints, fewest: int) -> dict[int, Estimate]:
        own = values[drawn]
        found = np.unique(values)
        return {int(one): of(own == one, values == one) for one in found if (own == one).sum() >= fewest}

    return Audit(
        share=of(np.ones(len(drawn), dtype=bool), np.ones(len(population.labels), dtype=bool)),
        macro_recall=_quantiles(_recalls(population, drawn, said), len(drawn)),
        by_class=of_each(population.labels, FEWEST),
        by_participant=of_each(population.participants, FEWEST),
        by_confidence=list(of_each(_parts(population.confidence), 0).values()),
    )


def _share(right: Bools, among: int, known: float) -> Estimate:
    """The share of right labels, of which a share `known` is right anyway; right: `(n,)` of those drawn, in order,
    `among` so many."""
    low, high = betting_interval(right, among)
    mean = float(right.mean()) if len(right) else 0.5
    # What was seen lies in it, also the one time in twenty that the interval has lost it.
    value, low, high = (known + (1 - known) * share for share in (mean, min(low, mean), max(high, mean)))
    return _estimate(value, low, high, len(right))


def _estimate(value: float, low: float, high: float, answers: int, erring: float = ERRING) -> Estimate:
    """With what annotators may be wrong at themselves allowed for."""
    return Estimate(float(value), float(low), min(1.0, float(high) / (1 - erring)), answers)


def betting_interval(right: Bools, among: int, level: float = LEVEL) -> tuple[float, float]:
    """The interval in which the share of right ones among `among` lies, from those drawn without replacement, in
    their order: at any number of draws, for ever, with probability 1 - level."""
    count = max(among, 1)
    shares = np.linspace(0, 1, min(GRID, count) + 1)  # every share that there can be, or as finely as is needed
    up, down, held = np.zeros(len(shares)), np.zeros(len(shares)), np.ones(len(shares), dtype=bool)
    seen, variance = 0.0, 0.25
    for number, one in enumerate(right.astype(float)):
        mean = (count * shares - seen) / (count - number)  # of what is left, if the share were this
        held &= (mean >= -1e-9) & (mean <= 1 + 1e-9)
        mean = np.clip(mean, 1e-9, 1 - 1e-9)
        bet = np.sqrt(2 * np.log(2 / level) / (variance / (number + 1) * max(USUAL, number + 1)))
        up += np.log1p(np.minimum(bet, LARGEST_BET / mean) * (one - mean))
        down += np.log1p(-np.minimum(bet, LARGEST_BET / (1 - mean)) * (one - mean))
        held &= np.maximum(up, down) < np.log(2 / level)
        seen += one
        variance += (one - (0.5 + seen) / (number + 2)) ** 2
    kept, step = shares[held], float(shares[1])
    if len(kept) == 0:  # between two shares that were looked at
        kept = right.mean(keepdims=True)
    return max(0.0, float(kept[0]) - step), min(1.0, float(kept[-1]) + step)


def _groups(population: Population) -> Ints:
    """The group of each clip: its class, and which part of that by confidence; `(N,)`."""
    groups = population.labels * PARTS
    for number in np.unique(population.labels):
        own = population.labels == number
        groups[own] += _parts(population.confidence[own])
    return groups


def _parts(confidence: Floats) -> Ints:
    """Which of PARTS equal parts each clip is in, from the least to the most certain; `(n,)`."""
    parts = np.empty(len(confidence), dtype=np.int64)
    parts[np.argsort(np.nan_to_num(confidence), kind="stable")] = (
        np.arange(len(confidence)) * PARTS // len(confidence)
    )
    return parts


def _recalls(population: Population, drawn: Ints, said: Ints) -> Floats:
    """Macro recall as it may be, `(SIMULATED,)`, by the hierarchical model."""
    n_classes, random = len(population.beliefs), np.random.default_rng(0)
    groups = np.where(population.by_people, -1, _groups(population))
    size = np.bincount(groups[groups >= 0], minlength=n_classes * PARTS)
    known = np.bincount(population.labels[population.by_people], minlength=n_classes)
    own, right = groups[drawn], population.labels[drawn] == said
    hits = np.bincount(own[right], minlength=len(size))
    misses = np.bincount(own[~right], minlength=len(size))
    shares = _shares(size, _mean_confidence(population, groups, size), hits, misses, random)
    correct = known + (size * shares).reshape(SIMULATED, n_classes, PARTS).sum(axis=2)
    wrong = (size * (1 - shares)).reshape(SIMULATED, n_classes, PARTS).sum(axis=2)
    really = population.beliefs * (1 - np.eye(n_classes))
    really = BELIEF * really / np.maximum(really.sum(axis=1, keepdims=True), 1e-9)
    really += UNFORESEEN * (1 - np.eye(n_classes)) / n_classes + 1e-9
    np.add.at(really, (population.labels[drawn[~right]], said[~right]), 1.0)
    goes = random.gamma(really, size=(SIMULATED, n_classes, n_classes))
    others = np.einsum("sj,sjc->sc", wrong, goes / goes.sum(axis=2, keepdims=True))
    there = np.isin(np.arange(n_classes), np.concatenate([population.labels, said]))
    recalls = (correct / np.maximum(correct + others, 1e-9))[:, there]
    found: Floats = recalls.mean(axis=1)
    return found


def _mean_confidence(population: Population, groups: Ints, size: Ints) -> Floats:
    free = groups >= 0
    sure = np.nan_to_num(population.confidence[free], nan=0.5)
    mean: Floats = np.bincount(groups[free], sure, minlength=len(size)) / np.maximum(size, 1)
    return mean


def _shares(size: Ints, confidence: Floats, hits: Ints, misses: Ints, random: np.random.Generator) -> Floats:
    """The share of right labels in each group as it may be, `(SIMULATED, groups)`: beta-binomial, round a mean that
    its confidence foretells as well as the draws bear out."""
    sure = logit(np.clip(confidence, 0.02, 0.98))
    mean = expit(INTERCEPTS[:, None, None] + SLOPES[:, None] * sure)  # (intercepts, slopes, groups)
    right, wrong = (STRENGTHS[:, None] * part[:, :, None] for part in (mean, 1 - mean))
    seen = (hits + misses) > 0
    likely = (betaln(right + hits, wrong + misses) - betaln(right, wrong))[..., seen].sum(axis=-1)
    overall = (mean * size).sum(axis=-1) / max(size.sum(), 1)
    likely += np.log(np.maximum(np.gradient(overall, axis=0), 1e-12))[..., None]  # any share is as likely before
    weights = np.exp(likely - likely.max()).ravel()
    taken = np.unravel_index(random.choice(len(weights), SIMULATED, p=weights / weights.sum()), likely.shape)
    found: Floats = random.beta(right[taken] + hits, wrong[taken] + misses)
    return found


def _quantiles(values: Floats, answers: int) -> Estimate:
    low, high = np.quantile(values, [LOOKS / 2, 1 - LOOKS / 2])
    # Who errs takes a right clip from its class, and gives one that was missed to the class that is named: twice.
    return _estimate(values.mean(), low, high, answers, 2 * ERRING)
