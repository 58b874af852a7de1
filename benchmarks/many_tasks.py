"""A project of 20,000 tasks in a real Label Studio: how long tasks take to be made, one by one and a hundred at a
time, to be read back as a whole, and to be read back by what changed, after an answer.
"""

import time
from pathlib import Path
from shutil import rmtree
from typing import Any

from benchmarks.harness import Rows
from ml_backend.jobs import open_store
from ml_backend.jobs.reconciliation import LATE_SECONDS, reconcile, reconcile_changes
from ml_backend.labelstudio import Client, Place, import_tasks, place_of, task_meta
from ml_backend.recordings import Stretch, clip_key, stretch_of_key
from ml_backend.sample import LabelStudioServer

FOLDER, PROGRAM = Path("build/benchmarks/many_tasks"), ".venv-label-studio/bin/label-studio"
TASKS, AT_ONCE, ALONE = 20_000, 100, 50


def task(number: int) -> tuple[dict[str, Any], Place]:
    """As the job makes it, of a clip that nobody can play."""
    key = clip_key(Stretch("session", float(number), number + 4.0, "a" * 32))
    player = '<video src="/data/upload/1/clip.mp4" autoplay loop muted playsinline controls></video>' * 3
    data = {"html": player, "video": "/data/upload/1/clip.mp4", "participant": "p", "recording": "session"}
    return {"data": data, "meta": task_meta("p", key)}, place_of("p", stretch_of_key(key))


def measure() -> Rows:
    rmtree(FOLDER, ignore_errors=True)
    store = open_store(f"sqlite:///{FOLDER.absolute() / 'store.db'}", FOLDER)
    rows: Rows = []

    def add(what: str, tasks: int, began: float) -> None:
        seconds = time.perf_counter() - began
        each = round(1e3 * seconds / tasks, 1)
        rows.append({"what": what, "tasks": tasks, "seconds": round(seconds, 2), "ms a task": each})

    with LabelStudioServer(PROGRAM, FOLDER / "label-studio") as server:
        server.wait_until_up()
        client = Client(server.url, server.token)
        project = server.create_project("Many")
        store.save_project(project, title="Many")
        began = time.perf_counter()
        for number in range(ALONE):
            import_tasks(client, project, [task(number)])
        add("made one by one", ALONE, began)
        began = time.perf_counter()
        for begin in range(ALONE, TASKS, AT_ONCE):
            import_tasks(client, project, [task(number) for number in range(begin, min(begin + AT_ONCE, TASKS))])
        add("made a hundred at a time", TASKS - ALONE, began)
        began = time.perf_counter()
        everything = reconcile(store, client, project).tasks
        add("read back as a whole", len(everything), began)
        time.sleep(LATE_SECONDS + 1)  # what changed so shortly before the last change is read again
        server.annotate(everything[0]["id"], "walking")
        reconcile_changes(store, client, project)
        server.annotate(everything[1]["id"], "walking")
        began = time.perf_counter()
        changed = reconcile_changes(store, client, project).tasks
        add("read back after an answer", len(changed), began)
    return rows
