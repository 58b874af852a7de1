"""Clips asked for in rounds, the most useful first, until an audit shows that the labels are right enough."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_backend.jobs.answers import GivenAnswers
from ml_backend.jobs.audits import CLIPS, AuditFound
from ml_backend.jobs.projects import (
    begin_audit,
    end_audit,
    project_answers,
    project_audit,
    project_counts,
    project_labels,
    project_parameters,
)
from ml_backend.jobs.store import Project, Store
from ml_backend.labels import CLIP, UNLABELLED, ParticipantLabels, could_bring, expected_right, in_order_of_cover
from ml_backend.labelstudio import Offer, place_of
from ml_backend.settings import Parameters, Settings

CHANGED = 0.05
"""An audit of which more labels have changed since says nothing about whether one may stop."""


@dataclass(frozen=True)
class Standing:
    """How far a project is from its target: the share of clips whose label is `expected` to be right, by confidences
    that are `calibrated` for all participants; the `low` end of what an audit found, None where there is none that
    holds; and what as many answers as a round has could bring at most."""

    target: float
    round_clips: int
    expected: float
    calibrated: bool
    low: float | None
    could_bring: float

    @property
    def reached(self) -> bool:
        """True where one may stop."""
        return self.low is not None and self.low >= self.target

    def as_dict(self) -> dict[str, Any]:
        """For `/status`."""
        return {
            "target": self.target,
            "reached": self.reached,
            "expected": self.expected,
            "calibrated": self.calibrated,
            "at_least": self.low,
            "next_round_could_bring": self.could_bring,
        }

    def __str__(self) -> str:
        more = f"{self.round_clips} more answers would bring {self.could_bring:.1%} at most"
        if self.reached:
            return f"You can stop: at least {self.low:.0%} of the labels are right (target {self.target:.0%}); {more}"
        sure = "" if self.calibrated else " (too few answers to be sure of that)"
        text = f"Target {self.target:.0%}: {self.expected:.0%} of the labels are expected to be right{sure}"
        audit = f", at least {self.low:.0%} by the audit" if self.low is not None else ""
        return f"{text}{audit}; {more}"


def project_standing(store: Store, settings: Settings, project: Project, audit: AuditFound | None) -> Standing | None:
    """Where a project stands; None without a target."""
    parameters = project_parameters(settings, project)
    if parameters.target is None:
        return None
    everything = project_labels(store, settings, project.id)
    right, calibrated = 0.0, bool(everything)
    clips = labelled = by_people = guessed = 0
    gains: list[npt.NDArray[np.float64]] = [np.zeros(1)]
    for labels in everything:  # once: of many participants each is made anew
        right += float(expected_right(labels).sum())
        gains.append(could_bring(labels))
        clips += len(labels.said)
        has_label = labels.propagated != UNLABELLED
        labelled += int(has_label.sum())
        by_people += int(labels.annotated.sum())
        guessed += int((has_label & ~labels.annotated).sum())
        calibrated &= labels.temperature is not None
    low = None
    if clips and not guessed:
        low = by_people / clips  # nobody guessed anything
    elif audit is not None and audit.estimate is not None and audit.changed <= CHANGED:
        low = audit.estimate.share.low * labelled / max(1, clips)  # the audit knows of labels only
    most = np.sort(np.concatenate(gains))[::-1][: parameters.round_clips]
    return Standing(
        parameters.target,
        parameters.round_clips,
        right / max(1, clips),
        calibrated,
        low,
        float(most.sum()) / max(1, clips),
    )


def in_rounds(
    store: Store,
    settings: Settings,
    project_id: int,
    offers: Iterable[Offer],
    everything: Sequence[ParticipantLabels],
) -> list[Offer]:
    """Of all clips those that have a task or stand in for one that showed no class; and the next round, once half of
    the present one is answered, unless an audit is open or the target is reached. All of them without a target."""
    project, offers = store.project(project_id), list(offers)
    parameters = project_parameters(settings, project)
    if parameters.target is None:
        return offers
    there = {task.place for task in store.tasks(project_id)}
    answered = {task.place for task, _ in store.annotations(project_id)}
    kept = [offer for offer in offers if offer.next_best or offer.place in there]
    given = project_answers(store, settings, project_id)
    audit = project_audit(store, settings, project_id, given)
    standing = project_standing(store, settings, project, audit)
    waiting = sum(offer.place not in answered for offer in kept)
    is_open = audit is not None and audit.draw.closed is None
    if is_open or (standing is not None and standing.reached) or waiting > parameters.round_clips // 2:
        return kept
    missing = {
        (offer.participant, offer.key): offer for offer in offers if not (offer.next_best or offer.place in there)
    }
    ranked: list[tuple[float, str, str]] = []
    for labels in everything:
        clustering = labels.clustering
        keys = {clip: clustering.key(clip) for _, clip in labels.wanted}
        asked = [clip for clip, key in keys.items() if (clustering.participant, key) not in missing]
        due = [clip for clip, key in keys.items() if (clustering.participant, key) in missing]
        for clip, covers in in_order_of_cover(labels, asked, due):
            ranked.append((-covers / len(clustering.clusters), clustering.participant, keys[clip]))
    ranked.sort(key=lambda one: one[0])
    return [*kept, *(missing[name, key] for _, name, key in ranked[: parameters.round_clips])]


def follow_target(store: Store, settings: Settings, project_id: int) -> None:
    """Draw the audit that a target asks for, once the labels are expected to be right enough; close one that falls
    short, so that its answers count and one goes on, before the next with as many answers as it had, or with none
    where no clip is left to ask for."""
    project = store.project(project_id)
    parameters = project_parameters(settings, project)
    if parameters.target is None:
        return
    given = project_answers(store, settings, project_id)
    audit = project_audit(store, settings, project_id, given)
    standing = project_standing(store, settings, project, audit)
    if standing is None or standing.reached:
        return
    if audit is not None and audit.draw.closed is None:
        if audit.answered + audit.no_class >= len(audit.draw.drawn):
            end_audit(store, settings, project_id)
        return
    left = _are_left(store, project_id, project_labels(store, settings, project_id))
    enough = not left or (standing.calibrated and _new_answers(given, audit) >= (CLIPS if audit is not None else 1))
    if standing.expected >= standing.target and enough:
        begin_audit(store, settings, project_id, CLIPS)


def _are_left(store: Store, project_id: int, everything: Sequence[ParticipantLabels]) -> bool:
    """True where clips are still to be asked for."""
    there = {task.place for task in store.tasks(project_id)}
    return any(
        place_of(labels.clustering.participant, labels.clustering.stretch(clip)) not in there
        for labels in everything
        for _, clip in labels.wanted
    )


def round_is_due(store: Store, parameters: Parameters, project_id: int) -> bool:
    """True where so many clips are answered that the next ones are to be made ready; quick to find."""
    if parameters.target is None:
        return False
    counts = project_counts(store, project_id)
    return counts["tasks"] - counts["tasks_annotated"] <= parameters.round_clips // 2


def _new_answers(given: GivenAnswers, audit: AuditFound | None) -> int:
    """Answers to clips since the last audit was closed."""
    since = (audit.draw.closed or 0.0) if audit is not None else 0.0
    return sum(answer.source == CLIP and answer.at > since for answer in given.answers)
