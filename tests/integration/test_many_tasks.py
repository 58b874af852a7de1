"""Projects of many tasks: made at once, and read back by what changed, in a real Label Studio."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ml_backend.jobs import Store, open_store, reconciliation
from ml_backend.jobs.projects import project_stamp
from ml_backend.jobs.reconciliation import reconcile, reconcile_changes
from ml_backend.labelstudio import Client, import_tasks, place_of, task_meta
from ml_backend.recordings import Stretch, clip_key, stretch_of_key
from ml_backend.sample import LabelStudioServer
from ml_backend.settings import Settings

TASKS = 40


@pytest.fixture
def client(label_studio: LabelStudioServer) -> Client:
    return Client(label_studio.url, label_studio.token)


@pytest.fixture
def project(label_studio: LabelStudioServer, client: Client, store: Store) -> int:
    """With tasks of ours and one of another, all read back."""
    project = label_studio.create_project("Many")
    tasks = [task(number) for number in range(TASKS)]
    made = import_tasks(client, project, tasks)
    store.add_tasks(project, [(one, "p", clip(number)) for number, one in enumerate(made)])
    client.create_tasks(project, [{"data": {"html": "another's", "video": "/v"}}])
    store.save_project(project, title="Many")
    reconcile(store, client, project)
    return project


def clip(number: int) -> str:
    return clip_key(Stretch("session", float(number), number + 4.0, "a" * 32))


def task(number: int) -> tuple[dict[str, Any], Any]:
    data = {"html": f"clip {number}", "video": "/v", "start_seconds": number, "end_seconds": number + 4}
    return {"data": data, "meta": task_meta("p", clip(number))}, place_of("p", stretch_of_key(clip(number)))


def held(store: Store, project: int) -> tuple[list[Any], list[Any]]:
    tasks = [(task.id, task.participant, task.clip) for task in store.tasks(project)]
    answers = [(one.id, one.task_id, one.given, one.skipped) for _, one in store.annotations(project)]
    return tasks, answers


def test_what_changed_is_read_and_all_where_that_does_not_account_for_it(
    label_studio: LabelStudioServer,
    client: Client,
    store: Store,
    settings: Settings,
    project: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reconciliation, "LATE_SECONDS", 0.01)
    other = open_store(f"sqlite:///{tmp_path / 'other.db'}", tmp_path)
    other.save_project(project, title="Many")
    ours = [task.id for task in store.tasks(project)]
    assert len(ours) == TASKS

    def read_after(change: Callable[[], object], most: int) -> None:
        """What is held is what Label Studio holds, and no more tasks were read."""
        time.sleep(0.05)
        change()
        found = reconcile_changes(store, client, project)
        reconcile(other, client, project)
        assert held(store, project) == held(other, project)
        assert len(found.tasks) <= most

    before = project_stamp(store, settings, store.project(project))
    reconcile(store, client, project)
    assert project_stamp(store, settings, store.project(project)) == before  # pages need not be made anew
    read_after(lambda: None, 1)  # the task that changed last
    first = label_studio.annotate(ours[0], "walking")
    read_after(lambda: [label_studio.annotate(ours[number], "walking") for number in (1, 2)], 4)
    read_after(lambda: label_studio.annotate(ours[3], None), 2)
    read_after(lambda: label_studio.api("DELETE", f"api/annotations/{first}/"), 2)
    selected = {"selectedItems": {"all": False, "included": ours[1:2]}}
    at_once = f"api/dm/actions?id=delete_tasks_annotations&project={project}"
    read_after(lambda: label_studio.api("POST", at_once, json=selected), 2)
    read_after(lambda: import_tasks(client, project, [task(TASKS)]), 2)
    read_after(lambda: label_studio.annotate(max(ours) + 1, "running"), TASKS + 1)  # of another's task: all is read
    read_after(lambda: client.delete_task(ours[5]), TASKS)  # which no change tells: all is read
    read_after(lambda: label_studio.annotate(ours[6], "walking"), 2)
    assert [one.task_id for _, one in store.annotations(project)] == [ours[2], ours[3], ours[6]]


def test_all_is_read_after_hours_and_where_nothing_is_known(client: Client, store: Store, project: int) -> None:
    known = store.project(project).sync_found
    store.save_project(project, sync_found=known.replace('"at": 1', '"at": '))  # long ago
    assert len(reconcile_changes(store, client, project).tasks) == TASKS
    store.save_project(project, sync_found="{}")
    assert len(reconcile_changes(store, client, project).tasks) == TASKS


def test_tasks_are_made_once_where_the_answer_is_lost(
    client: Client, label_studio: LabelStudioServer, project: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ml_backend.labelstudio import tasks as room
    from ml_backend.labelstudio.client import AwayError

    made = type(client).create_tasks

    def lost(self: Client, number: int, tasks: list[dict[str, Any]]) -> list[int]:
        made(self, number, tasks)
        raise AwayError("the answer was lost")

    monkeypatch.setattr(room, "WAITS", (0.0,))
    monkeypatch.setattr(Client, "create_tasks", lost)
    more = [task(number) for number in range(100, 120)]
    numbers = import_tasks(client.patient(lambda _: None), project, more)
    there = {one["id"]: one["data"]["html"] for one in label_studio.tasks(project)}
    assert [there[number] for number in numbers] == [f"clip {number}" for number in range(100, 120)]
    assert len(there) == TASKS + 1 + 20
