"""Annotations from Label Studio to the store: one by webhook, all by reconciliation."""

import time
from datetime import datetime
from typing import Any

from ml_backend.jobs.store import Answer, Store
from ml_backend.labelstudio.client import Client
from ml_backend.labelstudio.config import MIXED
from ml_backend.labelstudio.tasks import clip_of_task

ANNOTATED = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_CREATED")
DELETED = "ANNOTATIONS_DELETED"
ACTIONS = (*ANNOTATED, DELETED, "TASKS_DELETED", "PROJECT_UPDATED", "PROJECT_DELETED")


def apply_webhook(store: Store, project_id: int, payload: dict[str, Any]) -> bool:
    """Upsert or remove what one webhook is about; True if the labels may have changed."""
    action, annotations = payload.get("action"), _annotations(payload)
    if action == DELETED:
        store.delete_annotations(project_id, [int(annotation["id"]) for annotation in annotations])
        return True
    if action in ANNOTATED:
        changed = [store.upsert_annotation(project_id, answer_of(annotation)) for annotation in annotations]
        return any(changed)
    return action == "TASKS_DELETED"


def asks_for_sync(payload: dict[str, Any]) -> bool:
    """True when an answer leaves its cluster without a label, so that another clip is due, or tasks went."""
    if payload.get("action") not in ANNOTATED:
        return payload.get("action") == "TASKS_DELETED"
    answers = [answer_of(annotation) for annotation in _annotations(payload)]
    return any(answer.skipped or (answer.choice or "").lower().startswith(MIXED) for answer in answers)


def reconcile(store: Store, client: Client, project_id: int) -> list[dict[str, Any]]:
    """Bring the store to exactly what Label Studio holds; returns our tasks as Label Studio has them."""
    asked_at = time.time()
    ours, tasks, answers = [], [], []
    for task in client.tasks(project_id):
        if (clip := clip_of_task(task)) is not None:
            ours.append(task)
            tasks.append((int(task["id"]), *clip))
            answers += [answer_of(annotation, task["id"]) for annotation in task.get("annotations", [])]
    project = client.project(project_id)
    store.save_project(project_id, title=project["title"], label_config=project["label_config"])
    store.reconcile(project_id, asked_at, tasks, answers)
    return ours


def answer_of(annotation: dict[str, Any], task_id: int | None = None) -> Answer:
    """What an annotation says. Only the first choice counts; several are no answer that could be spread."""
    choices = [
        choice
        for result in annotation.get("result") or []
        if result.get("type") == "choices"
        for choice in result.get("value", {}).get("choices", [])
    ]
    task = task_id if task_id is not None else annotation["task"]
    return Answer(
        id=int(annotation["id"]),
        task_id=int(task["id"] if isinstance(task, dict) else task),
        choice=choices[0] if len(choices) == 1 else None,
        skipped=bool(annotation.get("was_cancelled")),
        updated_at=_seconds(annotation.get("updated_at") or annotation.get("created_at")),
    )


def _annotations(payload: dict[str, Any]) -> list[dict[str, Any]]:
    """Label Studio sends one as `annotation`, several as `annotations`."""
    annotations = payload.get("annotations") or [payload.get("annotation")]
    return [annotation for annotation in annotations if annotation]


def _seconds(timestamp: str | None) -> float:
    return datetime.fromisoformat(timestamp).timestamp() if timestamp else 0.0
