"""What people say of clips: the types of an answer and of a project's classes, and what several answers agree on."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

UNLABELLED = -1
"""Class index of what has no label."""
REJECTED, TIE = "rejected", "tie"
"""Verdicts on a clip that name no class."""


@dataclass(frozen=True)
class Classes:
    """A project's classes in order, and the choices (`mixed`) by which an annotator says that a clip shows none."""

    names: tuple[str, ...]
    mixed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Answer:
    """An annotation as Label Studio reports it; `choice` is None where nothing was chosen."""

    id: int
    task_id: int
    choice: str | None
    skipped: bool
    updated_at: float


def answers_by_clip(
    rows: Iterable[tuple[str, str, str | None, bool]],
) -> dict[str, dict[str, list[str | None]]]:
    """participant → clip key → choices, None for a skipped or empty answer; from rows of (participant, clip key,
    choice, skipped)."""
    answers: dict[str, dict[str, list[str | None]]] = defaultdict(lambda: defaultdict(list))
    for participant, clip, choice, skipped in rows:
        answers[participant][clip].append(None if skipped else choice)
    return answers


def majority(answers: Sequence[str]) -> str | None:
    """The label most annotators of one clip gave; None on a tie or without an answer."""
    ranked = Counter(answers).most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def verdict(choices: list[str | None], classes: Classes) -> str | None:
    """What annotators say of one clip: a class, REJECTED (skipped or mixed), TIE, or None while unanswered."""
    given = [choice for choice in choices if choice is not None]
    if not given:
        return REJECTED if choices else None
    winner = majority(given)
    if winner is None:
        return TIE
    # A class that is no longer in the config cannot be exported: its clip is asked again only by a person's edit.
    return REJECTED if winner in classes.mixed else winner
