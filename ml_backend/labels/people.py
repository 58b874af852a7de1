"""What labelling costs people, and how far they agree where several answered the same clip."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from ml_backend.labels.answers import Answer

LONGEST = 5.0
"""Times the median of a person's answers, beyond which an answer was a break: people drink coffee."""


@dataclass(frozen=True)
class Work:
    """`answers` took `seconds` in all, `median` each; annotators: how many people gave them."""

    answers: int
    seconds: float
    median: float
    annotators: int


@dataclass(frozen=True)
class Agreement:
    """Of the `clips` that several people answered: Fleiss' kappa over all; Cohen's kappa and number of clips by pair
    of annotators; Fleiss' kappa of each class against the rest; which two classes are confused most, and how
    often."""

    clips: int
    kappa: float
    by_pair: Mapping[tuple[int, int], tuple[float, int]]
    by_class: Mapping[str, float]
    confused: tuple[str, str, int] | None


def work_of(answers: Iterable[Answer]) -> Work | None:
    """What the answers cost, those of which the time is known; None where that is none."""
    by_person: dict[int | None, list[float]] = defaultdict(list)
    for answer in _each_once(answers):
        if answer.seconds:
            by_person[answer.annotator].append(answer.seconds)
    if not by_person:
        return None
    capped = [without_breaks(own) for own in by_person.values()]
    every = np.concatenate(capped)
    return Work(len(every), float(every.sum()), float(np.median(every)), len(by_person))


def without_breaks(seconds: Sequence[float]) -> npt.NDArray[np.float64]:
    """What answers took of one person, `(n,)` seconds, without coffee."""
    return np.minimum(seconds, LONGEST * np.median(seconds)) if len(seconds) else np.zeros(0)


def agreement_of(answers: Iterable[Answer]) -> Agreement | None:
    """How far people agree; None where no clip has several answers."""
    said: dict[int, dict[int, str]] = defaultdict(dict)
    for answer in _each_once(answers):
        if answer.choice is not None and answer.annotator is not None and answer.task is not None:
            said[answer.task][answer.annotator] = answer.choice
    several = [own for own in said.values() if len(own) > 1]
    if not several:
        return None
    pairs: dict[tuple[int, int], list[tuple[str, str]]] = defaultdict(list)
    for own in several:
        for one, other in combinations(sorted(own), 2):
            pairs[one, other].append((own[one], own[other]))
    given = [list(own.values()) for own in several]
    mistaken = Counter(tuple(sorted(two)) for found in pairs.values() for two in found if two[0] != two[1])
    most = sorted(mistaken.items(), key=lambda entry: (-entry[1], entry[0]))
    return Agreement(
        clips=len(several),
        kappa=fleiss_kappa(given),
        by_pair={pair: (cohen_kappa(found), len(found)) for pair, found in sorted(pairs.items())},
        by_class={
            name: fleiss_kappa([[str(choice == name) for choice in own] for own in given])
            for name in sorted({choice for own in given for choice in own})
        },
        confused=(*most[0][0], most[0][1]) if most else None,  # type: ignore[arg-type]
    )


def cohen_kappa(pairs: Sequence[tuple[str, str]]) -> float:
    """Agreement of two people beyond chance (Cohen, 1960); 1 where there is nothing to disagree on."""
    alike = float(np.mean([one == other for one, other in pairs]))
    first, second = (Counter(pair[side] for pair in pairs) for side in (0, 1))
    chance = sum(first[name] * second[name] for name in first) / len(pairs) ** 2
    return 1.0 if chance >= 1 else (alike - chance) / (1 - chance)


def fleiss_kappa(given: Sequence[Sequence[str]]) -> float:
    """Agreement of any two of those who answered a clip, beyond chance (Fleiss, 1971), for two or more answers each;
    1 where there is nothing to disagree on."""
    counts = [Counter(own) for own in given]
    alike = np.mean([sum(n * (n - 1) for n in own.values()) / (own.total() * (own.total() - 1)) for own in counts])
    every = sum(counts, Counter[str]())
    chance = sum((n / every.total()) ** 2 for n in every.values())
    return 1.0 if chance >= 1 else float((alike - chance) / (1 - chance))


def _each_once(answers: Iterable[Answer]) -> Iterable[Answer]:
    """A video that two recordings show has each answer twice."""
    return {(answer.task, answer.annotator, answer.at): answer for answer in answers}.values()
