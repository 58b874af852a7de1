"""What goes wrong beside the job, on a real Label Studio: lost answers, outages, stopped workers; and people who
leave."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
from commands import weakhar

from ml_backend.sample import BackendServer, LabelStudioServer, free_port, wait_for

RunJob = Callable[..., int]
AnswerAll = Callable[[int], dict[int, int]]
StartBackend = Callable[..., BackendServer]


@contextmanager
def proxy(program: str, port: int, label_studio: LabelStudioServer) -> Iterator[None]:
    """One of the proxies beside this file, between the backend and Label Studio."""
    command = [sys.executable, str(Path(__file__).with_name(program)), str(port), str(label_studio.port)]
    process = subprocess.Popen(command)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def stand_still(process: psutil.Process, database: Path) -> None:
    """Suspend it, but not in the middle of a write: for SQLite one that stands still there holds up all others."""
    with closing(sqlite3.connect(database, timeout=1, isolation_level=None)) as connection:
        while True:
            process.suspend()
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
                return
            except sqlite3.OperationalError:
                process.resume()
                time.sleep(0.05)


def started(label_studio: LabelStudioServer, backend: BackendServer, title: str, components: int) -> tuple[int, int]:
    """A project whose job was just started; its number and its model's."""
    project = label_studio.create_project(title)
    model = label_studio.connect(project, backend, {"dataset": "study", "components": components})
    label_studio.start_training(model)
    return project, model


def clips(label_studio: LabelStudioServer, project: int) -> list[tuple[str, str]]:
    return [tuple(task["meta"]["weakhar"].values()) for task in label_studio.tasks(project)]


def uploads(label_studio: LabelStudioServer, project: int) -> list[dict[str, Any]]:
    return list(label_studio.api("GET", f"api/projects/{project}/file-uploads", params={"all": "true"}))


def test_answers_that_are_lost_make_no_second_task_or_upload(
    start_backend: StartBackend, label_studio: LabelStudioServer
) -> None:
    port = free_port()
    with proxy("lossy.py", port, label_studio):
        backend = start_backend(LABEL_STUDIO_URL=f"http://127.0.0.1:{port}")
        project, _ = started(label_studio, backend, "lost answers", 6)
        backend.wait_for_job(project, 400)
    found = clips(label_studio, project)
    assert len(found) == len(set(found)) == 12
    assert len(uploads(label_studio, project)) == 24  # clips, and the pictures beside them


def test_a_job_waits_for_a_label_studio_that_is_away_and_says_so(
    start_backend: StartBackend, label_studio: LabelStudioServer
) -> None:
    """Label Studio itself must stay up for the other tests, so a relay to it is what goes away."""
    port = free_port()
    with proxy("relay.py", port, label_studio):
        backend = start_backend(LABEL_STUDIO_URL=f"http://127.0.0.1:{port}")
        project, _ = started(label_studio, backend, "away for a while", 8)
        wait_for(lambda: len(label_studio.tasks(project)) >= 2, 120, "the first tasks")
    wait_for(lambda: "waiting for Label Studio" in backend.status(project)["message"], 90, "the message")
    assert "waiting for Label Studio" in backend.get("").text
    with proxy("relay.py", port, label_studio):
        backend.wait_for_job(project, 300)
    found = clips(label_studio, project)
    assert len(found) == len(set(found)) == 16


def test_a_worker_that_stood_still_creates_nothing_when_it_comes_back(
    start_backend: StartBackend, label_studio: LabelStudioServer
) -> None:
    backend = start_backend()
    project, _ = started(label_studio, backend, "stood still", 15)
    wait_for(lambda: len(label_studio.tasks(project)) >= 2, 120, "the first tasks")
    assert backend.process is not None
    children = psutil.Process(backend.process.pid).children()
    (worker,) = [child for child in children if child.cmdline()[-1] == "worker"]
    stand_still(worker, Path(backend.environment["MODEL_DIR"]) / "weakhar.db")
    other = subprocess.Popen(
        [sys.executable, "-m", "ml_backend.cli", "worker"], env={**os.environ, **backend.environment}
    )
    try:
        backend.wait_for_job(project, 300)
        worker.resume()
        time.sleep(8)
        found = clips(label_studio, project)
        assert len(found) == len(set(found)) == 30
        assert backend.status(project)["state"] == "done"
    finally:
        other.terminate()
        other.wait()


def test_a_participant_who_withdraws_is_gone_everywhere_and_a_backup_brings_a_project_back(
    start_backend: StartBackend, run_job: RunJob, answer_all: AnswerAll, label_studio: LabelStudioServer, tmp_path:
    Path, dataset: Path,
) -> None:  # fmt: skip
    backend = start_backend()
    project = run_job(backend, "withdrawal")
    answer_all(project)
    wait_for(lambda: backend.status(project)["annotations"] == 10, 30, "the webhooks")
    ready = weakhar(backend, "review", "--project", str(project))
    assert "2 of 2 parts were made ready" in ready.stdout, ready.stderr
    target = tmp_path / "export"
    assert weakhar(backend, "export", str(target), "--project", str(project)).returncode == 0
    archive = tmp_path / "backup.tar.gz"
    done = weakhar(backend, "backup", str(archive))
    assert done.returncode == 0, done.stderr
    assert archive.stat().st_mode & 0o077 == 0

    media = Path(label_studio.environment["LABEL_STUDIO_BASE_DATA_DIR"]) / "media"
    forget = ("forget", "--project", str(project), "--participant", "p01", "--yes", "--media", str(media))
    assert "is no media folder" in weakhar(backend, *forget[:-1], str(tmp_path)).stderr
    assert len(clips(label_studio, project)) == 10  # nothing was begun
    done = weakhar(backend, *forget)
    assert done.returncode == 0, done.stderr
    assert "6 tasks with their answers in Label Studio" in done.stdout
    assert "12 uploaded clips and pictures in Label Studio" in done.stdout
    assert {participant for participant, _ in clips(label_studio, project)} == {"p02"}
    assert len(uploads(label_studio, project)) == 12
    assert len(list((media / "upload" / str(project)).iterdir())) == 12
    assert backend.status(project)["annotations"] == 5
    assert set(json.loads((target / "dataset.json").read_text())["participants"]) == {"p02"}
    assert not list((target / "samples").glob("p01*"))
    model = Path(backend.environment["MODEL_DIR"])
    assert len(list((model / "vectors").iterdir())) == 1
    assert not list((model / "projects" / str(project)).glob("p01"))
    again = weakhar(backend, "run", str(dataset), "--project", str(project))
    assert "withdrew and was forgotten" in again.stdout, again.stderr
    assert {participant for participant, _ in clips(label_studio, project)} == {"p02"}

    done = weakhar(backend, "restore", str(archive))
    assert "is not empty" in done.stderr
    elsewhere = {"MODEL_DIR": str(tmp_path / "restored")}
    done = weakhar(backend, "restore", str(archive), **elsewhere)
    assert done.returncode == 0, done.stderr
    restored = weakhar(backend, "export", str(tmp_path / "again"), "--project", str(project), **elsewhere)
    assert restored.returncode == 0, restored.stderr
    assert set(json.loads((tmp_path / "again" / "dataset.json").read_text())["participants"]) == {"p01", "p02"}


def test_a_job_is_cancelled_and_goes_on_later_and_a_killed_server_takes_its_children_along(
    start_backend: StartBackend, label_studio: LabelStudioServer
) -> None:
    backend = start_backend()
    project, model = started(label_studio, backend, "cancelled", 12)
    wait_for(lambda: len(label_studio.tasks(project)) >= 1, 120, "the first task")
    assert weakhar(backend, "cancel", "--project", str(project)).returncode == 0
    wait_for(lambda: backend.status(project)["state"] == "cancelled", 30, "the end of the job")
    assert len(label_studio.tasks(project)) < 24
    label_studio.start_training(model)
    backend.wait_for_job(project)
    assert len(clips(label_studio, project)) == len(set(clips(label_studio, project))) == 24
    taken = weakhar(backend, "serve", "--port", str(backend.port))
    assert "is another weakhar running?" in taken.stderr
    assert backend.process is not None
    children = psutil.Process(backend.process.pid).children(recursive=True)
    assert len(children) >= 3
    os.kill(backend.process.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []


def test_a_deleted_project_is_said_to_be_gone_and_forgotten_on_request(
    start_backend: StartBackend, run_job: RunJob, label_studio: LabelStudioServer
) -> None:
    """Label Studio sends nothing when it deletes a project, since it deletes the webhook first."""
    backend = start_backend()
    project = run_job(backend, "deleted")
    folder = Path(backend.environment["MODEL_DIR"])
    assert (folder / "projects" / str(project)).is_dir()
    label_studio.api("DELETE", f"api/projects/{project}/")
    assert "has no such project" in weakhar(backend, "sync", "--project", str(project)).stderr
    done = weakhar(backend, "forget", "--project", str(project), "--yes")
    assert done.returncode == 0, done.stderr
    assert not (folder / "projects" / str(project)).exists()
    assert not any((folder / "vectors").iterdir())
    assert backend.get(f"status/{project}").status_code == 400
