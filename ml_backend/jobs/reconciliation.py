"""Answers from Label Studio to the store: one by webhook, all by reconciliation. Label Studio owns them."""

import json
import logging
import time
from dataclasses import replace
from typing import Any

from ml_backend.errors import ConfigError
from ml_backend.jobs.answers import project_config
from ml_backend.jobs.store import Store
from ml_backend.labelstudio import (
    NAMED,
    TASKS_DELETED,
    Client,
    GoneError,
    Snapshot,
    answers_of_event,
    deleted_by_event,
    place_of,
    read_project,
)
from ml_backend.recordings import stretch_of_key

log = logging.getLogger(__name__)

WHOLE_SECONDS = 6 * 3600
"""After which all is read back, whatever changed."""
LATE_SECONDS = 120
"""By which a change may be older than another that was seen before it."""


def apply_webhook(store: Store, project_id: int, payload: dict[str, Any]) -> bool:
    """Upsert or remove what one webhook is about; True if the labels may have changed."""
    if deleted := deleted_by_event(payload):
        store.delete_annotations(project_id, deleted)
        return True
    changed = [store.upsert_annotation(project_id, answer) for answer in answers_of_event(payload)]
    return any(changed) or payload.get("action") == TASKS_DELETED


def note_classes(store: Store, project_id: int) -> None:
    """Remember which classes there are, and which came when people had begun to answer."""
    project = store.project(project_id)
    try:
        names = list(project_config(project).classes.names)
    except ConfigError:
        return
    seen = json.loads(project.classes_seen)
    if seen.get("names") == names:
        return
    former = seen.get("names")
    begun = former is not None and bool(store.annotations(project_id))
    meant = set(json.loads(project.meanings).values())
    new = [name for name in names if name not in (former or []) and name not in meant] if begun else []
    added = [name for name in dict.fromkeys([*seen.get("added", []), *new]) if name in names]
    store.change_project(project_id, classes_seen=json.dumps({"names": names, "added": added}, ensure_ascii=False))


def reconcile(store: Store, client: Client, project_id: int) -> Snapshot:
    """Bring the store to exactly what Label Studio holds; returns what that is."""
    found = _taken_over(store, project_id, read_project(client, project_id))
    ours = store.counted(project_id)
    known = {
        "latest": found.latest,
        "others": [max(0, there - here) for there, here in zip(found.counted, ours, strict=True)],
        "at": found.asked_at,
    }
    store.change_project(project_id, sync_found=json.dumps(known))
    _follow_review(store, client, project_id)
    return found


def reconcile_changes(store: Store, client: Client, project_id: int) -> Snapshot:
    """The same, by what changed since the last time, where that accounts for all that Label Studio counts; returns
    the tasks that changed, or all."""
    known = json.loads(store.project(project_id).sync_found)
    if not known.get("latest") or time.time() - known["at"] > WHOLE_SECONDS:
        return reconcile(store, client, project_id)
    for _ in range(2):  # answers may come in between
        changed = read_project(client, project_id, known["latest"] - LATE_SECONDS)
        found = _taken_over(store, project_id, changed, whole=False)
        tasks, annotations = map(sum, zip(store.counted(project_id), known["others"], strict=True))
        if (tasks, annotations) == found.counted:
            known["latest"] = max(known["latest"], found.latest)
            store.change_project(project_id, sync_found=json.dumps(known))
            _follow_review(store, client, project_id)
            return found
    return reconcile(store, client, project_id)


def _taken_over(store: Store, project_id: int, read: Snapshot, whole: bool = True) -> Snapshot:
    found = _named(store, project_id, read)
    store.change_project(project_id, title=found.title, label_config=found.label_config)
    note_classes(store, project_id)
    store.reconcile(project_id, found.asked_at, found.clips, found.answers, whole)
    return found


def _follow_review(store: Store, client: Client, project_id: int) -> None:
    review = store.project(project_id).review_project
    if review is not None:
        _reconcile_review(store, client, project_id, review)


def _reconcile_review(store: Store, client: Client, project_id: int, review: int) -> None:
    try:
        found = _named(store, review, read_project(client, review))
        store.reconcile(review, found.asked_at, found.clips, found.answers)
    except GoneError as error:
        log.warning("project %s: what was reviewed stays as it was last read: %s", project_id, error)


def _named(store: Store, project_id: int, found: Snapshot) -> Snapshot:
    """The same, with participants and recordings of tasks that do not name them, as far as they are known here."""
    known = {task.place: (task.participant, task.clip) for task in store.tasks(project_id)}
    clips = []
    for task, (number, participant, key) in zip(found.tasks, found.clips, strict=True):
        task[NAMED] = (participant, key) if participant else known.get(place_of("", stretch_of_key(key)), ("", key))
        clips.append((number, *task[NAMED]))
    return replace(found, clips=clips)
