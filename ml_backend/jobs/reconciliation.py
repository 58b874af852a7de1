"""Answers from Label Studio to the store: one by webhook, all by reconciliation. Label Studio owns them."""

from typing import Any

from ml_backend.jobs.store import Store
from ml_backend.labelstudio import (
    TASKS_DELETED,
    Client,
    Snapshot,
    answers_of_event,
    deleted_by_event,
    read_project,
)


def apply_webhook(store: Store, project_id: int, payload: dict[str, Any]) -> bool:
    """Upsert or remove what one webhook is about; True if the labels may have changed."""
    if deleted := deleted_by_event(payload):
        store.delete_annotations(project_id, deleted)
        return True
    changed = [store.upsert_annotation(project_id, answer) for answer in answers_of_event(payload)]
    return any(changed) or payload.get("action") == TASKS_DELETED


def reconcile(store: Store, client: Client, project_id: int) -> Snapshot:
    """Bring the store to exactly what Label Studio holds; returns what that is."""
    found = read_project(client, project_id)
    store.save_project(project_id, title=found.title, label_config=found.label_config)
    store.reconcile(project_id, found.asked_at, found.clips, found.answers)
    return found
