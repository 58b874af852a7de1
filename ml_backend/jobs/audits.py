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
import numpy.typing as npt

from ml_backend.errors import ConfigError
from ml_backend.files import disk_errors, remove, safe_name, written_atomically
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
Ints = npt.NDArray[np.int64]
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
        before = _begin(folder, everything, classes, threshold)
    population = _population(folder, before)
    numbers = _numbers(folder, before, population)
    more = population.draw(
        max(0, count - len(before.drawn)), numbers[numbers >= 0], int(before.at) + len(before.drawn)
    )
    drawn = replace(before, drawn=(*before.drawn, *_clips(folder, before, population, more)))
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
    population = _population(folder, draw)
    said = draw.said if draw.closed is not None else _said(draw, held, classes)
    drawn, classes_drawn = _numbers(folder, draw, population), {name: n for n, name in enumerate(draw.classes)}
    named = np.array([classes_drawn.get(str(one), UNLABELLED) for one in said], dtype=np.int64)[drawn >= 0]
    return AuditFound(
        draw,
        int((named != UNLABELLED).sum()),
        sum(one is not None for one in said) - int((named != UNLABELLED).sum()),
        audited(population, drawn[drawn >= 0], named),
        _changed(folder, draw, population, everything),
        seconds if draw.closed is None else draw.seconds,
    )


def forget_in_audit(folder: Path, participant: str) -> None:
    """Leave a participant out of the audit."""
    draw = load_audit(folder)
    if draw is not None and draw.participants == (participant,):
        remove(folder / FOLDER)
    elif draw is not None and participant in draw.participants:
        _file(folder, participant).unlink(missing_ok=True)
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


def _begin(
    folder: Path, everything: Sequence[ParticipantLabels], classes: Classes, threshold: Threshold
) -> AuditDraw:
    """Write down the labels that are drawn from; ConfigError where there are none."""
    names, free = list[str](), 0
    with disk_errors(folder), written_atomically(folder / FOLDER) as temporary:
        temporary.mkdir(parents=True)
        for labels in everything:
            clustering, kept = labels.clustering, labels.clip_labels(threshold)
            names.append(clustering.participant)
            free += int(((kept != UNLABELLED) & ~labels.annotated).sum())
            posterior = labels.posterior
            if posterior is None:
                posterior = np.zeros((len(kept), len(classes.names)))
            beliefs = np.zeros((len(classes.names),) * 2)
            np.add.at(beliefs, kept[kept != UNLABELLED], posterior[kept != UNLABELLED])
            np.savez(
                temporary / f"{safe_name(clustering.participant)}.npz",
                labels=kept,
                confidence=labels.confidence,
                by_people=labels.annotated,
                beliefs=beliefs,
                keys=np.array([clustering.key(clip) for clip in range(len(kept))]),
            )
        if not free:
            raise ConfigError("audit: no clip has a label that nobody gave it; label some clips first")
        begun = AuditDraw(time.time(), str(threshold), classes.names, tuple(names), ())
        _save(temporary / FILE, begun)
    return begun


def _note(folder: Path, draw: AuditDraw) -> None:
    with disk_errors(folder), written_atomically(folder / FOLDER / FILE) as temporary:
        _save(temporary, draw)


def _save(file: Path, draw: AuditDraw) -> None:
    file.write_text(json.dumps(asdict(draw), ensure_ascii=False), encoding="utf-8")


def _population(folder: Path, draw: AuditDraw) -> Population:
    """The labels that were drawn from, participants one after another."""
    parts: list[dict[str, Any]] = []
    for name in draw.participants:
        with np.load(_file(folder, name)) as arrays:
            parts.append({key: arrays[key] for key in arrays.files if key != "keys"})
    kept = [part["labels"] != UNLABELLED for part in parts]

    def joined(name: str) -> Any:
        return np.concatenate([part[name][own] for part, own in zip(parts, kept, strict=True)])

    beliefs = sum(part["beliefs"] for part in parts)
    return Population(
        joined("labels"),
        joined("confidence"),
        np.repeat(np.arange(len(parts)), [int(own.sum()) for own in kept]),
        joined("by_people"),
        beliefs / np.maximum(beliefs.sum(axis=1, keepdims=True), 1e-9),
    )


def _file(folder: Path, participant: str) -> Path:
    return folder / FOLDER / f"{safe_name(participant)}.npz"


def _keys(folder: Path, participant: str) -> npt.NDArray[np.str_]:
    """Of the participant's clips in the population: read where they are wanted, since they need more room than all
    else."""
    with np.load(_file(folder, participant)) as arrays:
        keys: npt.NDArray[np.str_] = arrays["keys"][arrays["labels"] != UNLABELLED]
    return keys


def _numbers(folder: Path, draw: AuditDraw, population: Population) -> Ints:
    """Which clips of the population were drawn, -1 for those that are not in it any more; `(n_drawn,)`."""
    numbers, names = np.full(len(draw.drawn), -1), np.array([name for name, _ in draw.drawn], object)
    for number, name in enumerate(draw.participants):
        own = np.flatnonzero(names == name)
        if len(own):
            first = np.searchsorted(population.participants, number)
            places = {str(key): place for place, key in enumerate(_keys(folder, name))}
            found = np.array([places.get(draw.drawn[one][1], -1) for one in own])
            numbers[own] = np.where(found >= 0, first + found, -1)
    return numbers


def _clips(folder: Path, draw: AuditDraw, population: Population, numbers: Ints) -> list[tuple[str, str]]:
    """Participant and key of clips of the population."""
    clips, of = dict[int, tuple[str, str]](), population.participants[numbers]
    for number in np.unique(of):
        name, first = draw.participants[number], np.searchsorted(population.participants, number)
        keys = _keys(folder, name)
        clips |= {int(one): (name, str(keys[one - first])) for one in numbers[of == number]}
    return [clips[int(number)] for number in numbers]


def _changed(folder: Path, draw: AuditDraw, population: Population, everything: Sequence[ParticipantLabels]) -> float:
    """The share of labels that are others now, or of clips that there are no longer."""
    threshold, numbers = parse_threshold(draw.threshold), {name: n for n, name in enumerate(draw.participants)}
    same, total = 0, len(population.labels)
    for labels in everything:
        clustering = labels.clustering
        if (number := numbers.get(clustering.participant)) is None:
            continue
        first, last = np.searchsorted(population.participants, [number, number + 1])
        now = {clustering.key(clip): int(label) for clip, label in enumerate(labels.clip_labels(threshold))}
        before = zip(_keys(folder, clustering.participant), population.labels[first:last], strict=True)
        same += sum(now.get(str(key), UNLABELLED) == label for key, label in before)
    return (total - same) / total if total else 0.0
