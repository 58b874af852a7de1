"""How far each annotator can be relied on, judged by clips that several answered, and what they then say together.

The model is that of Dawid and Skene (Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm,
Applied Statistics 28, 1979) with one number a person: somebody names the right choice with that probability, and each
other choice alike. A few answers say little of a person, so beforehand all are taken for good ones.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ml_backend.labels.answers import REVIEW, Answer

ENOUGH = 20
"""Clips that several people answered; of fewer nobody is judged."""
RIGHT, WRONG = 8.0, 2.0
"""Answers of each person that are taken to be right and wrong beforehand."""
SURE = 0.6
"""What is said together counts where it is right with at least this probability."""
ROUNDS = 50


def reliabilities(answers: Iterable[Answer]) -> dict[int, float]:
    """The probability that each annotator names the right choice of a clip; empty where too few clips were answered
    by several."""
    votes: dict[int, dict[int, str]] = defaultdict(dict)
    for one in answers:
        if one.choice is not None and one.annotator is not None and one.task is not None and one.source != REVIEW:
            votes[one.task][one.annotator] = one.choice
    several = [own for own in votes.values() if len(own) > 1]
    if len(several) < ENOUGH:
        return {}
    people = sorted({person for own in several for person in own})
    known = dict.fromkeys(people, RIGHT / (RIGHT + WRONG))
    choices = len({choice for own in several for choice in own.values()})
    for _ in range(ROUNDS):
        right, given = dict.fromkeys(people, RIGHT), dict.fromkeys(people, RIGHT + WRONG)
        for own in several:
            probable = _probable(list(own.values()), [known[person] for person in own], choices)
            for person, choice in own.items():
                right[person] += probable[choice]
                given[person] += 1
        before, known = known, {person: right[person] / given[person] for person in people}
        if max(abs(known[person] - before[person]) for person in people) < 1e-6:
            break
    return known


def said_together(answers: Sequence[Answer], known: Mapping[int, float], choices: int) -> str | None:
    """What several answers to a clip say, each weighted by how far its annotator can be relied on; None where that is
    not sure. choices: how many there are to choose from."""
    given = [answer for answer in answers if answer.choice is not None]
    usual = RIGHT / (RIGHT + WRONG)
    trust = [usual if answer.annotator is None else known.get(answer.annotator, usual) for answer in given]
    probable = _probable([str(answer.choice) for answer in given], trust, choices)
    best = max(probable, key=lambda choice: probable[choice], default=None)
    return best if best is not None and probable[best] >= SURE else None


def _probable(said: Sequence[str], trust: Sequence[float], choices: int) -> dict[str, float]:
    """How probable each of the choices that were named is, all alike beforehand."""
    named = list(dict.fromkeys(said))
    others = max(1, choices - 1)
    scores = np.zeros(len(named) + 1)  # the last: any one that nobody named
    for choice, right in zip(said, trust, strict=True):
        likely, unlikely = np.log(right), np.log((1 - right) / others)
        scores += unlikely
        scores[named.index(choice)] += likely - unlikely
    shares = np.exp(scores - scores.max())
    shares[-1] *= max(0, choices - len(named))
    return dict(zip(named, (shares / shares.sum())[:-1].tolist(), strict=True))
