"""What annotators said, as Label Studio tells it: one answer by webhook, all of a project when asked."""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ml_backend.labelstudio.client import Client
from ml_backend.labelstudio.config import Given, LabelConfig
from ml_backend.labelstudio.review import Region, regions_of
from ml_backend.labelstudio.tasks import clip_of_task

ANNOTATED = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_CREATED")
DELETED = "ANNOTATIONS_DELETED"
TASKS_DELETED = "TASKS_DELETED"
ACTIONS = (*ANNOTATED, DELETED, TASKS_DELETED, "PROJECT_UPDATED", "PROJECT_DELETED")


@dataclass(frozen=True)
class TaskAnswer:
    """An annotation as Label Studio reports it: what was given in each control, or which regions of time were drawn,
    those on top last; by which user, and the seconds that it took."""

    id: int
    task_id: int
    given: Given
    skipped: bool
    updated_at: float
    annotator: int | None = None
    seconds: float | None = None
    regions: tuple[Region, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """What a project in Label Studio held when it was asked: title, labelling config, our tasks as they are there, or
    those that changed; (task id, participant, clip key) of each, and every answer to them. counted: tasks and
    annotations of the project, also those that are not ours; latest: when a task last changed, by its clock, in
    seconds since 1970, 0 where none did."""

    asked_at: float
    title: str
    label_config: str
    tasks: list[dict[str, Any]]
    clips: list[tuple[int, str, str]]
    answers: list[TaskAnswer]
    counted: tuple[int, int]
    latest: float


def read_project(client: Client, project_id: int, since: float | None = None) -> Snapshot:
    """Everything of ours in a project, or all of the tasks in which something changed after `since`."""
    asked_at, latest = time.time(), 0.0
    # Before the tasks: what comes meanwhile is then seen to be too much, and not missed.
    project = client.project(project_id)
    ours, clips, answers = [], [], []
    for task in client.tasks(project_id, since):
        latest = max(latest, seconds_of(str(task.get("updated_at") or "")))
        if (clip := clip_of_task(task)) is not None:
            ours.append(task)
            clips.append((int(task["id"]), *clip))
            answers += [answer_of(annotation, task["id"]) for annotation in task.get("annotations", [])]
    annotations = (project.get(name) or 0 for name in ("total_annotations_number", "skipped_annotations_number"))
    counted = int(project.get("task_number") or 0), sum(map(int, annotations))
    return Snapshot(asked_at, project["title"], project["label_config"], ours, clips, answers, counted, latest)


def answers_of_event(payload: dict[str, Any]) -> list[TaskAnswer]:
    """The answers that a webhook brings; none if it is about something else."""
    if payload.get("action") not in ANNOTATED:
        return []
    return [answer_of(annotation) for annotation in annotations_of(payload) if annotation]


def deleted_by_event(payload: dict[str, Any]) -> list[int]:
    """Ids of the annotations that a webhook says were deleted."""
    if payload.get("action") != DELETED:
        return []
    return [int(annotation["id"]) for annotation in annotations_of(payload) if annotation]


def asks_for_sync(payload: dict[str, Any], config: LabelConfig) -> bool:
    """True when an answer leaves its cluster without a label, so that another clip is due, or tasks went."""
    if payload.get("action") == TASKS_DELETED:
        return True
    answers = answers_of_event(payload)
    return any(answer.skipped or config.understood(answer.given)[0] in config.classes.mixed for answer in answers)


def answer_of(annotation: dict[str, Any], task_id: int | None = None) -> TaskAnswer:
    """What an annotation says."""
    given = tuple(
        (str(result.get("from_name") or ""), tuple(_path(choice) for choice in result["value"].get("choices") or []))
        for result in annotation.get("result") or []
        if isinstance(result, dict) and result.get("type") == "choices" and isinstance(result.get("value"), dict)
    )
    task = task_id if task_id is not None else annotation["task"]
    return TaskAnswer(
        id=int(annotation["id"]),
        task_id=int(task["id"] if isinstance(task, dict) else task),
        given=given,
        skipped=bool(annotation.get("was_cancelled")),
        updated_at=seconds_of(annotation.get("updated_at") or annotation.get("created_at")),
        annotator=_user(annotation.get("completed_by")),
        seconds=annotation.get("lead_time"),
        regions=regions_of(annotation.get("result") or []),
    )


def annotations_of(payload: dict[str, Any]) -> list[Any]:
    """What a webhook is about; Label Studio sends one as `annotation`, several as `annotations`."""
    if payload.get("action") not in (*ANNOTATED, DELETED):
        return []
    several, one = payload.get("annotations"), payload.get("annotation")
    return several if isinstance(several, list) else [] if one is None else [one]


def _path(choice: Any) -> tuple[str, ...]:
    """Label Studio stores a choice as text, or one that is nested as the way to it."""
    return tuple(map(str, choice)) if isinstance(choice, list) else (str(choice),)


def _user(completed_by: Any) -> int | None:
    """Label Studio sends a user's number, or the user."""
    number = completed_by.get("id") if isinstance(completed_by, dict) else completed_by
    return number if isinstance(number, int) else None


def seconds_of(timestamp: str | None) -> float:
    """Seconds since 1970 of a stamp of Label Studio's; ValueError if it is none."""
    try:
        return datetime.fromisoformat(timestamp).timestamp() if timestamp else 0.0
    except OverflowError:
        raise ValueError(f"'{timestamp}' is no time") from None
