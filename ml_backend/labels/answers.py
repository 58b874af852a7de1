"""What people say: the types of an answer and of a project's classes, and what several answers to a clip agree on.

An answer is about a stretch of a recording's video, whatever clips there are now, so that it outlives another
clustering and other clip lengths.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ml_backend.clusters import Clustering

UNLABELLED = -1
"""Class index of what has no label."""
CLIP, AUDIT, REVIEW, IMPORTED = "clip", "audit", "review", "imported"
"""Where an answer comes from: a clip that stands for its cluster, one that was drawn to audit the labels, a part of a
recording that somebody went through, or a file of labels that were given elsewhere."""
REJECTED, TIE = "rejected", "tie"
"""Verdicts on a clip that name no class."""
MOSTLY = 0.75
"""An answer that covers more than this of a clip answers it. A neighbour a stride of 1 s away in clips of 4 s is
just not answered: its change may be another."""


@dataclass(frozen=True)
class Classes:
    """A project's classes in order, and the choices (`mixed`) by which an annotator says that a clip shows none."""

    names: tuple[str, ...]
    mixed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Answer:
    """What somebody said of `[start_seconds, end_seconds)` of a recording's video: `choice` is None where it was
    skipped or nothing was chosen; `seconds` is how long it took; source is CLIP, AUDIT, REVIEW or
    IMPORTED; `at` is when it was
    given, in seconds since 1970; task: where, None outside Label Studio."""

    participant: str
    recording: str
    start_seconds: float
    end_seconds: float
    choice: str | None
    annotator: int | None = None
    seconds: float | None = None
    source: str = CLIP
    at: float = 0.0
    task: int | None = None


def answers_by_clip(clustering: Clustering, answers: Iterable[Answer]) -> dict[int, list[Answer]]:
    """Clip → what was said of it: every answer of the participant that covers more than MOSTLY of the clip; where one
    is of a review, the last such one alone; what was imported where nobody was asked."""
    found: dict[int, list[Answer]] = {}
    clips_of = {
        name: np.flatnonzero(clustering.recording_of_clip == i) for i, name in enumerate(clustering.recordings)
    }
    for answer in answers:
        own = clips_of.get(answer.recording)
        if answer.participant != clustering.participant or own is None:
            continue
        length, starts = clustering.clip_seconds, clustering.starts[own]
        # A clip at `s` shares more than MOSTLY of its length with the answer for s in (first, last).
        first = answer.start_seconds - (1 - MOSTLY) * length
        last = answer.end_seconds - MOSTLY * length
        for clip in own[np.searchsorted(starts, first + 1e-6) : np.searchsorted(starts, last - 1e-6)]:
            found.setdefault(int(clip), []).append(answer)
    heard = {clip: _heard(own) for clip, own in found.items()}
    return {clip: own for clip, own in heard.items() if own}


def _heard(answers: Sequence[Answer]) -> list[Answer]:
    """Those of the answers to a clip that count: who reviewed the recording saw what was said before, and who was
    asked about the clip looked at it anew."""
    reviews = [one for one in answers if one.source == REVIEW and one.choice is not None]
    if reviews:
        return [max(reviews, key=lambda one: one.at)]
    asked = [one for one in answers if one.source not in (REVIEW, IMPORTED)]
    imported = [one for one in answers if one.source == IMPORTED]
    return asked or ([max(imported, key=lambda one: one.at)] if imported else [])


def majority(answers: Sequence[str]) -> str | None:
    """The label most annotators of one clip gave; None on a tie or without an answer."""
    ranked = Counter(answers).most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def verdict(
    choices: Sequence[str | None], classes: Classes, decide: Callable[[], str | None] | None = None
) -> str | None:
    """What annotators say of one clip: a class, REJECTED (skipped or mixed), TIE, or None while unanswered. `decide`
    is asked where they disagree, in place of the majority."""
    given = [choice for choice in choices if choice is not None]
    if not given:
        return REJECTED if choices else None
    winner = majority(given) if decide is None or len(set(given)) == 1 else decide()
    if winner is None:
        return TIE
    return REJECTED if winner in classes.mixed else winner
