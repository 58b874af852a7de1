"""Audits of a project's labels, as they lie on disk: what the labels were when clips were drawn, which clips these
are, and, once it is closed, what people said of them. While an audit is open its answers count for nothing else.

In a project's folder: `audit/audit.json`, and a file a participant with the labels.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ml_backend.errors import ConfigError
from ml_backend.files import disk_errors, safe_name, written_atomically
from ml_backend.labels import (
    UNLABELLED,
    Audit,
    Classes,
    ParticipantLabels,
    Population,
    Threshold,
    audited,
    parse_threshold,
    verdict,
)
from ml_backend.labelstudio import Place, place_of
from ml_backend.recordings import stretch_of_key
from ml_backend.storage import stored

FOLDER, FILE = "audit", "audit.json"
Held = Mapping[tuple[str, str], Sequence[str | None]]
"""What was answered to the clips (participant, key) of an open audit."""
CLIPS = 60
"""Clips that are drawn where nobody says how many."""
MOST_CLIPS = 5000


@dataclass(frozen=True)
class AuditDraw:
    """Clips (participant, key) that were drawn, in their order, from the labels with a threshold; at and closed are
    seconds since 1970; said: what people called each clip, and seconds: how long that took, once the audit is
    closed."""

    at: float
    threshold: str
    classes: tuple[str, ...]
    participants: tuple[str, ...]
    drawn: tuple[tuple[str, str], ...]
    closed: float | None = None
    said: tuple[str | None, ...] = ()
    seconds: float = 0.0

    @property
    def places(self) -> dict[Place, tuple[str, str]]:
        """Where the drawn clips are."""
        return {place_of(name, stretch_of_key(key)): (name, key) for name, key in self.drawn}


@dataclass(frozen=True)
class AuditFound:
    """An audit as it stands: of the drawn clips `answered` ones name a class, `no_class` none; estimate: None before
    the first answer; changed: the share of labels that are others now; seconds: how long people took."""

    draw: AuditDraw
    answered: int
    no_class: int
    estimate: Audit | None
    changed: float
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For `dataset.json` and `/status`: names in place of numbers."""
        found: dict[str, Any] = {
            "clips": len(self.draw.drawn),
            "answered": self.answered,
            "no_class": self.no_class,
            "closed": self.draw.closed is not None,
            "drawn_at": self.draw.at,
            "threshold": self.draw.threshold,
            "changed_since": self.changed,
            "seconds": round(self.seconds, 1),
        }
        if self.estimate is not None:
            found |= {"share": asdict(self.estimate.share), "macro_recall": asdict(self.estimate.macro_recall)}
            classes, participants = self.estimate.by_class.items(), self.estimate.by_participant.items()
            found["by_class"] = {self.draw.classes[number]: asdict(one) for number, one in classes}
            found["by_participant"] = {self.draw.participants[number]: asdict(one) for number, one in participants}
            found["by_confidence"] = [asdict(one) for one in self.estimate.by_confidence]
        return found

    def __str__(self) -> str:
        if self.estimate is None:
            return f"Audit: {len(self.draw.drawn)} clips drawn, none answered yet"
        share, recall = self.estimate.share, self.estimate.macro_recall
        text = (
            f"Labels are {share.value:.0%} right (95 % interval {share.low:.0%} to {share.high:.0%}; macro recall "
            f"{recall.value:.2f}, {recall.low:.2f} to {recall.high:.2f}; from {self.answered} audit clips"
        )
        text += f", {_minutes(self.seconds)}" if self.seconds else ""
        text += f", {self.no_class} more showed no class)" if self.no_class else ")"
        return f"{text}; {self.changed:.0%} of them have changed since" if self.changed else text


def load_audit(folder: Path) -> AuditDraw | None:
    """The project's last audit, whose clusters lie in `folder`."""
    file = folder / FOLDER / FILE
    if not file.is_file():
        return None
    known = json.loads(file.read_text(encoding="utf-8"))
    for name in ("classes", "participants", "said"):
        known[name] = tuple(known[name])
    return AuditDraw(**{**known, "drawn": tuple((name, key) for name, key in known["drawn"])})


def draw_audit(
    folder: Path, everything: Sequence[ParticipantLabels], classes: Classes, threshold: Threshold, count: int
) -> AuditDraw:
    """Draw up to `count` clips from the labels as they would be exported now. An open audit is drawn on, from the
    labels that it was begun with. ConfigError where nothing is labelled yet."""
    before = load_audit(folder)
    if before is None or before.closed is not None:
        if not any(
            ((labels.clip_labels(threshold) != UNLABELLED) & ~labels.annotated).any() for labels in everything
        ):
            raise ConfigError("audit: no clip has a label that nobody gave it; label some clips first")
        begun = AuditDraw(
            time.time(),
            str(threshold),
            classes.names,
            tuple(labels.clustering.participant for labels in everything),
            (),
        )
        _write(folder, begun, everything, threshold)
        before = begun
    population, keys = _population(folder, before)
    index = {pair: number for number, pair in enumerate(keys)}
    taken = np.array([index[pair] for pair in before.drawn if pair in index], dtype=np.int64)
    more = population.draw(max(0, count - len(before.drawn)), taken, int(before.at) + len(before.drawn))
    drawn = replace(before, drawn=(*before.drawn, *(keys[number] for number in more)))
    _note(folder, drawn)
    return drawn


def close_audit(folder: Path, held: Held, classes: Classes, seconds: float = 0.0) -> AuditDraw:
    """End the audit: what was said, and how long that took, is kept with it, and counts as any answer from now on."""
    draw = load_audit(folder)
    if draw is None or draw.closed is not None:
        raise ConfigError("audit: none is open")
    draw = replace(draw, said=_said(draw, held, classes), closed=time.time(), seconds=seconds)
    _note(folder, draw)
    return draw


def audit_found(
    folder: Path, held: Held, classes: Classes, everything: Sequence[ParticipantLabels], seconds: float = 0.0
) -> AuditFound | None:
    """What the last audit says; held: the answers to its clips, and how long they took, while it is open; everything:
    the labels now."""
    draw = load_audit(folder)
    if draw is None:
        return None
    population, keys = _population(folder, draw)
    said = draw.said if draw.closed is not None else _said(draw, held, classes)
    index, numbers = {pair: number for number, pair in enumerate(keys)}, {n: i for i, n in enumerate(draw.classes)}
    known = [number for number, pair in enumerate(draw.drawn) if pair in index]
    drawn = np.array([index[draw.drawn[number]] for number in known], dtype=np.int64)
    named = np.array([numbers.get(str(said[number]), UNLABELLED) for number in known], dtype=np.int64)
    return AuditFound(
        draw,
        int((named != UNLABELLED).sum()),
        sum(one is not None for one in said) - int((named != UNLABELLED).sum()),
        audited(population, drawn, named),
        _changed(draw, population, keys, everything),
        seconds if draw.closed is None else draw.seconds,
    )


def forget_in_audit(folder: Path, participant: str) -> None:
    """Leave a participant out of the audit."""
    draw = load_audit(folder)
    if draw is not None and participant in draw.participants:
        (folder / FOLDER / f"{safe_name(participant)}.npz").unlink(missing_ok=True)
        stored(folder / FOLDER)
        kept = [number for number, (name, _) in enumerate(draw.drawn) if name != participant]
        _note(
            folder,
            replace(
                draw,
                participants=tuple(name for name in draw.participants if name != participant),
                drawn=tuple(draw.drawn[number] for number in kept),
                said=tuple(draw.said[number] for number in kept) if draw.said else (),
            ),
        )


def _minutes(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return "1 minute" if minutes == 1 else f"{minutes} minutes"


def _said(draw: AuditDraw, held: Held, classes: Classes) -> tuple[str | None, ...]:
    """What people say of each drawn clip: a class, another verdict, or None where nobody has answered."""
    return tuple(verdict(held.get(pair, []), classes) for pair in draw.drawn)


def _write(folder: Path, draw: AuditDraw, everything: Sequence[ParticipantLabels], threshold: Threshold) -> None:
    with disk_errors(folder), written_atomically(folder / FOLDER) as temporary:
        temporary.mkdir(parents=True)
        for labels in everything:
            clustering, kept = labels.clustering, labels.clip_labels(threshold)
            posterior = labels.posterior if labels.posterior is not None else np.zeros((len(kept), len(draw.classes)))
            beliefs = np.zeros((len(draw.classes),) * 2)
            np.add.at(beliefs, kept[kept != UNLABELLED], posterior[kept != UNLABELLED])
            np.savez(
                temporary / f"{safe_name(clustering.participant)}.npz",
                labels=kept,
                confidence=labels.confidence,
                by_people=labels.annotated,
                beliefs=beliefs,
                keys=np.array([clustering.key(clip) for clip in range(len(kept))]),
            )
        _save(temporary / FILE, draw)


def _note(folder: Path, draw: AuditDraw) -> None:
    with disk_errors(folder), written_atomically(folder / FOLDER / FILE) as temporary:
        _save(temporary, draw)


def _save(file: Path, draw: AuditDraw) -> None:
    file.write_text(json.dumps(asdict(draw), ensure_ascii=False), encoding="utf-8")


def _population(folder: Path, draw: AuditDraw) -> tuple[Population, list[tuple[str, str]]]:
    """The labels that were drawn from, and of which participant and clip each is."""
    parts: list[dict[str, Any]] = []
    for name in draw.participants:
        with np.load(folder / FOLDER / f"{safe_name(name)}.npz") as arrays:
            parts.append({key: arrays[key] for key in arrays.files})
    kept = [part["labels"] != UNLABELLED for part in parts]

    def joined(name: str) -> Any:
        return np.concatenate([part[name][own] for part, own in zip(parts, kept, strict=True)])

    beliefs = sum(part["beliefs"] for part in parts)
    numbers = np.repeat(np.arange(len(parts)), [int(own.sum()) for own in kept])
    population = Population(
        joined("labels"),
        joined("confidence"),
        numbers,
        joined("by_people"),
        beliefs / np.maximum(beliefs.sum(axis=1, keepdims=True), 1e-9),
    )
    keys = [(draw.participants[number], str(key)) for number, key in zip(numbers, joined("keys"), strict=True)]
    return population, keys


def _changed(
    draw: AuditDraw,
    population: Population,
    keys: Sequence[tuple[str, str]],
    everything: Sequence[ParticipantLabels],
) -> float:
    """The share of labels that are others now, or of clips that there are no longer."""
    threshold, numbers = parse_threshold(draw.threshold), {name: n for n, name in enumerate(draw.participants)}
    same = 0
    for labels in everything:
        clustering = labels.clustering
        number = numbers.get(clustering.participant, len(numbers))
        first, last = np.searchsorted(population.participants, [number, number + 1])  # they lie one after another
        now = {clustering.key(clip): int(label) for clip, label in enumerate(labels.clip_labels(threshold))}
        before = zip(keys[first:last], population.labels[first:last], strict=True)
        same += sum(now.get(key, UNLABELLED) == label for (_, key), label in before)
    return (len(keys) - same) / len(keys) if keys else 0.0
