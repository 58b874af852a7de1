"""The main job on sample recordings, from nothing to an exported dataset, with a real Label Studio.

`LabelStudioServer` and `BackendServer` also serve the integration tests.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from ml_backend.errors import LabelStudioError
from ml_backend.export.dataset import threshold_table
from ml_backend.jobs.store import Store
from ml_backend.recordings.clips import last_sample_of_clips
from ml_backend.recordings.imu import ImuFormat, read_imu
from ml_backend.sample.simulate import CLASSES, write_sample
from ml_backend.settings import load_settings
from ml_backend.web.report import project_report, render_report

CONFIGS = Path(__file__).parents[2] / "label_studio_config"
USER = "admin@example.com"
START_SECONDS = 180


class _Server:
    """A server process; stopped by its process id."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path, port: int) -> None:
        self.command, self.environment, self.log, self.port = command, environment, log, port
        self.url = f"http://127.0.0.1:{port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; `wait_until_up` waits for it."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as stream:
            environment = {**os.environ, **self.environment}
            self.process = subprocess.Popen(
                self.command, env=environment, stdout=stream, stderr=stream, start_new_session=True
            )

    def wait_until_up(self) -> None:
        """Wait for `/health`; LabelStudioError with the log's name if it does not come up."""

        def up() -> bool:
            if self.process is not None and self.process.poll() is not None:
                raise LabelStudioError(f"{self.command[0]} ended at its start; see {self.log}")
            try:
                return httpx.get(f"{self.url}/health", timeout=2).status_code == 200
            except httpx.HTTPError:
                return False

        wait_for(up, START_SECONDS, f"{self.url} to answer (see {self.log})")

    def stop(self) -> None:
        """End the process and wait for it."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def __enter__(self) -> "_Server":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.stop()


class LabelStudioServer(_Server):
    """A real Label Studio with its data in `folder`, on a free local port, with an API token."""

    def __init__(self, program: str, folder: Path) -> None:
        if shutil.which(program) is None:
            raise LabelStudioError(f"{program}: no such program; `make setup` installs Label Studio")
        self.token, self.password = secrets.token_hex(20), secrets.token_urlsafe(9)
        port = free_port()
        environment = {
            "LABEL_STUDIO_BASE_DATA_DIR": str(folder.absolute()),
            "LABEL_STUDIO_USERNAME": USER,
            "LABEL_STUDIO_PASSWORD": self.password,
            "LABEL_STUDIO_USER_TOKEN": self.token,
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
            "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
            # Label Studio refuses backends and webhooks at local addresses unless told otherwise.
            **dict.fromkeys(("ML_BLOCK_LOCAL_IP", "SSRF_PROTECTION_ENABLED"), "false"),
            **dict.fromkeys(("COLLECT_ANALYTICS", "LATEST_VERSION_CHECK"), "false"),
            **dict.fromkeys(("SENTRY_DSN", "FRONTEND_SENTRY_DSN"), ""),
        }
        command = [program, "start", "--no-browser", "--port", str(port), "--internal-host", "127.0.0.1"]
        super().__init__(command, environment, folder / "label-studio.log", port)

    def api(self, method: str, path: str, **body: Any) -> Any:
        """A request as a user of Label Studio makes it."""
        headers = {"Authorization": f"Token {self.token}"}
        answer = httpx.request(method, f"{self.url}/{path}", headers=headers, timeout=120, **body)
        if answer.status_code >= 400:
            raise LabelStudioError(f"{method} {path} failed ({answer.status_code}): {answer.text[:300]}")
        return answer.json() if answer.content else None

    def create_project(self, title: str, config: str | None = None) -> int:
        """A project with our default labelling config."""
        config = config or (CONFIGS / "looping_clip.xml").read_text()
        return int(self.api("POST", "api/projects/", json={"title": title, "label_config": config})["id"])

    def connect(self, project_id: int, backend: "BackendServer", extra_params: dict[str, Any]) -> int:
        """Add the backend to a project, as the Model page does."""
        body: dict[str, Any] = {
            "project": project_id,
            "url": backend.url,
            "title": "weakhar",
            "extra_params": extra_params,
        }
        if backend.user:
            auth = {"auth_method": "BASIC_AUTH", "basic_auth_user": backend.user, "basic_auth_pass": backend.password}
            body |= auth
        return int(self.api("POST", "api/ml", json=body)["id"])

    def start_training(self, model_id: int) -> None:
        """Press Start Training."""
        self.api("POST", f"api/ml/{model_id}/train", json={})

    def tasks(self, project_id: int) -> list[dict[str, Any]]:
        """All tasks of a project with their annotations."""
        params = {"project": project_id, "fields": "all", "page_size": 10_000}
        return list(self.api("GET", "api/tasks", params=params)["tasks"])

    def annotate(self, task_id: int, choice: str | None, **fields: Any) -> int:
        """Submit a label as an annotator does; None skips the task."""
        value = {"from_name": "activity", "to_name": "clip", "type": "choices", "value": {"choices": [choice]}}
        body = {"result": [value] if choice else [], "was_cancelled": choice is None, **fields}
        return int(self.api("POST", f"api/tasks/{task_id}/annotations/", json=body)["id"])


class BackendServer(_Server):
    """`weakhar serve` with its files in `folder`, on a free local port."""

    def __init__(self, folder: Path, data_dir: Path, label_studio: LabelStudioServer, auth: bool = False) -> None:
        port = free_port()
        self.user, self.password = ("weakhar", secrets.token_urlsafe(9)) if auth else ("", "")
        environment = {
            "MODEL_DIR": str(folder.absolute()),
            "WEAKHAR_DATA_DIR": str(data_dir.absolute()),
            "LABEL_STUDIO_URL": label_studio.url,
            "LABEL_STUDIO_API_KEY": label_studio.token,
            "BASIC_AUTH_USER": self.user,
            "BASIC_AUTH_PASS": self.password,
            "WEAKHAR_SYNC_MINUTES": "60",
        }
        command = [sys.executable, "-m", "ml_backend.cli", "serve", "--host", "127.0.0.1", "--port", str(port)]
        super().__init__(command, environment, folder / "serve.log", port)

    def get(self, path: str, **params: Any) -> httpx.Response:
        """A request with the right user and password."""
        auth = (self.user, self.password) if self.user else None
        return httpx.get(f"{self.url}/{path}", auth=auth, params=params, timeout=120)

    def status(self, project_id: int) -> dict[str, Any]:
        """`/status/<project>`."""
        answer = self.get(f"status/{project_id}")
        answer.raise_for_status()
        status: dict[str, Any] = answer.json()
        return status

    def wait_for_job(self, project_id: int, seconds: float = 900) -> dict[str, Any]:
        """Wait until the job is done; LabelStudioError with its message if it failed."""
        wait_for(lambda: self.status(project_id)["state"] in ("done", "failed"), seconds, "the job")
        status = self.status(project_id)
        if status["state"] == "failed":
            raise LabelStudioError(status["message"])
        return status


def run_demo(
    folder: Path, label_studio: str, keep: bool, participants: int, minutes: float, components: int, console: Console
) -> None:
    """Everything from sample recordings to `report.json`; see the module."""
    began = time.monotonic()
    for name in ("recordings", "label-studio", "model", "export", "report.json", "report.html"):
        path = folder / name
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    server = LabelStudioServer(label_studio, folder / "label-studio")
    backend = BackendServer(folder / "model", folder, server, auth=True)
    with ExitStack() as stack:
        with _step(console, "Label Studio and the backend start; the sample recordings are rendered"):
            stack.enter_context(server)
            stack.enter_context(backend)
            for _ in write_sample(folder / "recordings", participants, minutes):
                pass
            server.wait_until_up()
            backend.wait_until_up()
        with _step(console, "a project is created, the backend connected, Start Training pressed"):
            project = server.create_project("weakhar demo")
            model = server.connect(project, backend, {"dataset": "recordings", "components": components})
            server.start_training(model)
        with _step(console, "recordings are embedded and clustered, centroid clips become tasks"):
            backend.wait_for_job(project)
        with _step(console, "an annotator who knows the ground truth answers"):
            tasks = server.tasks(project)
            for task, label in zip(tasks, true_labels(folder / "recordings", tasks), strict=True):
                server.annotate(task["id"], label)
            wait_for(lambda: backend.status(project)["annotations"] == len(tasks), 60, "the webhooks")
        with _step(console, "the dataset is exported"):
            _fetch_export(backend, project, folder / "export")
            report = _report(folder, backend, project, len(tasks), time.monotonic() - began)
        _print_report(console, report, folder)
        if keep:
            _print_addresses(console, server, backend, project)
            stack.pop_all()


def true_labels(root: Path, tasks: list[dict[str, Any]]) -> list[str]:
    """What an annotator who knows the ground truth answers: the label of the clip's last sample (SPEC 4)."""
    labels = []
    for task in tasks:
        data = task["data"]
        imu = read_imu(root / data["participant"] / f"{data['recording']}.csv", ImuFormat())
        length = data["end_seconds"] - data["start_seconds"]
        last = last_sample_of_clips(imu.times, np.array([data["start_seconds"]]), length)[0]
        labels.append(str(imu.labels[last]) if imu.labels is not None else "")
    return labels


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Poll until `condition`; LabelStudioError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise LabelStudioError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(0.2)


def free_port() -> int:
    """A local port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _step(console: Console, what: str) -> Iterator[None]:
    began = time.monotonic()
    with console.status(what):
        yield
    console.print(f"{time.monotonic() - began:6.1f} s  {what}", highlight=False)


def _fetch_export(backend: BackendServer, project: int, target: Path) -> None:
    answer = backend.get(f"export/{project}")
    answer.raise_for_status()
    archive = target.with_suffix(".zip")
    archive.write_bytes(answer.content)
    with zipfile.ZipFile(archive) as bundle:
        bundle.extractall(target)
    archive.unlink()


def _report(folder: Path, backend: BackendServer, project: int, created: int, seconds: float) -> dict[str, Any]:
    settings = load_settings(model_dir=folder / "model", data_dir=folder)
    store = Store(settings.database)
    table = threshold_table(store, settings, project)
    page = render_report(project_report(store, settings, store.project(project)), table)
    (folder / "report.html").write_text(page, encoding="utf-8")
    description = json.loads((folder / "export" / "dataset.json").read_text(encoding="utf-8"))
    counts = description["participants"].values()
    report = {
        "participants": len(counts),
        "clips": sum(entry["clips"] for entry in counts),
        "clusters": sum(entry["clusters"] for entry in counts),
        "tasks_created": created,
        "annotations_received": backend.status(project)["annotations"],
        "labelling_accuracy": table[0]["accuracy"],
        "coverage": table[0]["coverage"],
        "threshold_table": table,
        "export_dir": str(folder / "export"),
        "classes": list(CLASSES),
        "seconds": round(seconds, 1),
    }
    (folder / "report.json").write_text(json.dumps(report, indent=1))
    return report


def _print_report(console: Console, report: dict[str, Any], folder: Path) -> None:
    table = Table("threshold", "coverage", "labelling accuracy", title="threshold: share of clips kept")
    for row in report["threshold_table"]:
        accuracy = "-" if row["accuracy"] is None else f"{row['accuracy']:.3f} ± {row['accuracy_std']:.3f}"
        table.add_row(row["threshold"], f"{row['coverage']:.1%}", accuracy)
    console.print(table)
    console.print(
        f"{report['participants']} participants, {report['clips']} clips, {report['clusters']} clusters, "
        f"{report['tasks_created']} tasks, {report['annotations_received']} annotations, {report['seconds']:.0f} s\n"
        f"{folder / 'report.html'}, {folder / 'report.json'}, {report['export_dir']}",
        highlight=False,
        soft_wrap=True,
    )


def _print_addresses(console: Console, server: LabelStudioServer, backend: BackendServer, project: int) -> None:
    pids = " ".join(str(entry.process.pid) for entry in (server, backend) if entry.process)
    console.print(
        f"Label Studio  {server.url}/projects/{project}  user {USER}  password {server.password}\n"
        f"backend       {backend.url}  user {backend.user}  password {backend.password}\n"
        f"stop them with: kill {pids}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
