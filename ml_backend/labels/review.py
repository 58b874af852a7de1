"""What people who looked at whole parts of a recording say of them: stretches that override its labels exactly.

A reviewed part is told as answers of the source REVIEW that lie side by side and fill it; one without a choice says
that there is no class, and that the labels made otherwise do not count there either.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from ml_backend.labels.answers import UNLABELLED, Answer, Classes

T = TypeVar("T")

NOT_REVIEWED = -2
"""In place of a class, of what nobody reviewed."""
SLIVER = 0.2
"""Seconds; shorter gaps between two regions come from drawing, and belong to the one before."""


@dataclass(frozen=True)
class Painted(Generic[T]):
    """`[start_seconds, end_seconds)` of a recording's video, and what it holds."""

    start_seconds: float
    end_seconds: float
    holds: T


def painted(stretches: Iterable[Painted[T]]) -> list[Painted[T]]:
    """Stretches in order of time that do not overlap: where some do, the later one of `stretches` is on top."""
    kept: list[Painted[T]] = []
    for top in stretches:
        if not top.start_seconds < top.end_seconds:
            continue
        below = (
            piece
            for one in kept
            for piece in (
                Painted(one.start_seconds, min(one.end_seconds, top.start_seconds), one.holds),
                Painted(max(one.start_seconds, top.end_seconds), one.end_seconds, one.holds),
            )
        )
        kept = [piece for piece in below if piece.start_seconds < piece.end_seconds]
        kept.append(top)
    return sorted(kept, key=lambda one: one.start_seconds)


def filled(
    regions: Iterable[Painted[str | None]], start_seconds: float, end_seconds: float
) -> list[Painted[str | None]]:
    """The part from `start_seconds` to `end_seconds` as its regions leave it, the later ones on top: None where there
    is none, but for slivers."""
    whole = Painted[str | None](start_seconds, end_seconds, None)
    inside = (
        Painted(max(one.start_seconds, start_seconds), min(one.end_seconds, end_seconds), one.holds)
        for one in regions
    )
    found = painted([whole, *inside])
    kept: list[Painted[str | None]] = []
    for number, one in enumerate(found):
        between = 0 < number < len(found) - 1
        if kept and between and one.holds is None and one.end_seconds - one.start_seconds < SLIVER:
            one = Painted(one.start_seconds, one.end_seconds, kept[-1].holds)
        if kept and kept[-1].holds == one.holds:
            one = Painted(kept.pop().start_seconds, one.end_seconds, one.holds)
        kept.append(one)
    return kept


def stretches_of(
    source: str, participant: str, answers: Iterable[Answer], classes: Classes
) -> dict[str, list[Painted[int]]]:
    """Recording → what was reviewed, or imported, of it, in order of time: class indices, or UNLABELLED; where there
    is more than one, what was said last."""
    index = {name: number for number, name in enumerate(classes.names)}
    own = (one for one in answers if one.source == source and one.participant == participant)
    found: dict[str, list[Painted[int]]] = {}
    for one in sorted(own, key=lambda answer: answer.at):
        piece = Painted(one.start_seconds, one.end_seconds, index.get(str(one.choice), UNLABELLED))
        found.setdefault(one.recording, []).append(piece)
    return {name: painted(pieces) for name, pieces in found.items()}


def reviewed_at(
    times: npt.NDArray[np.float64], recording: str, reviewed: Mapping[str, list[Painted[int]]]
) -> npt.NDArray[np.int64]:
    """Class index that a review gave each moment, UNLABELLED for no class, NOT_REVIEWED; `(n,)`."""
    found = np.full(len(times), NOT_REVIEWED, dtype=np.int64)
    for one in reviewed.get(recording, ()):
        found[(times >= one.start_seconds) & (times < one.end_seconds)] = one.holds
    return found
