"""A real Label Studio and a weakhar backend as processes on free local ports: for the demo and the tests."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from ml_backend.errors import LabelStudioError
from ml_backend.labelstudio import CONFIGS

USER = "admin@example.com"
START_SECONDS = 180
ACCESS_SECONDS = 120
"""After which what a personal access token was exchanged for is asked for anew; it is good for five minutes."""
DATABASE = "label_studio.sqlite3"


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
    """A real Label Studio with its data in `folder`, on a free local port. Its user's token is a personal access
    token, as a new installation has no other.

    Its database begins as the empty one that `make setup` left beside the program: to make one takes a minute.
    """

    def __init__(self, program: str, folder: Path) -> None:
        found = shutil.which(program)
        if found is None:
            raise LabelStudioError(f"{program}: no such program; `make setup` installs Label Studio")
        empty, database = Path(found).parents[1] / "new" / DATABASE, folder / DATABASE
        if empty.is_file() and not database.exists():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(empty, database)
        self.password = secrets.token_urlsafe(9)
        self._access = "", 0.0
        port = free_port()
        environment = {
            "LABEL_STUDIO_BASE_DATA_DIR": str(folder.absolute()),
            "LABEL_STUDIO_USERNAME": USER,
            "LABEL_STUDIO_PASSWORD": self.password,
            "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
            # Label Studio refuses backends and webhooks at local addresses unless told otherwise.
            **dict.fromkeys(("ML_BLOCK_LOCAL_IP", "SSRF_PROTECTION_ENABLED"), "false"),
            **dict.fromkeys(("COLLECT_ANALYTICS", "LATEST_VERSION_CHECK"), "false"),
            **dict.fromkeys(("SENTRY_DSN", "FRONTEND_SENTRY_DSN"), ""),
        }
        command = [program, "start", "--no-browser", "--port", str(port), "--internal-host", "127.0.0.1"]
        super().__init__(command, environment, folder / "label-studio.log", port)

    @cached_property
    def token(self) -> str:
        """A personal access token, made as its user does under Account & Settings; the server must be up."""
        with httpx.Client(base_url=self.url, timeout=60) as session:
            session.get("/user/login/")
            sent = {"email": USER, "password": self.password, "csrfmiddlewaretoken": session.cookies["csrftoken"]}
            session.post("/user/login/", data=sent, headers={"Referer": self.url})  # leads on to a page
            headers = {"X-CSRFToken": session.cookies["csrftoken"], "Referer": self.url}
            answer = session.post("/api/token/", headers=headers)
            answer.raise_for_status()
            return str(answer.json()["token"])

    @property
    def headers(self) -> dict[str, str]:
        """What lets its user in, for some minutes."""
        access, since = self._access
        if time.monotonic() - since > ACCESS_SECONDS or not access:
            answer = httpx.post(f"{self.url}/api/token/refresh/", json={"refresh": self.token}, timeout=60)
            answer.raise_for_status()
            access = str(answer.json()["access"])
            self._access = access, time.monotonic()
        return {"Authorization": f"Bearer {access}"}

    def api(self, method: str, path: str, **body: Any) -> Any:
        """A request as a user of Label Studio makes it."""
        answer = httpx.request(method, f"{self.url}/{path}", headers=self.headers, timeout=120, **body)
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
    """`weakhar serve` with its files in `folder`, on a free local port, for a Label Studio that is up."""

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

    def post(self, path: str, **fields: Any) -> httpx.Response:
        """Send a form of the status page."""
        auth = (self.user, self.password) if self.user else None
        return httpx.post(f"{self.url}/{path}", auth=auth, data=fields, timeout=120)

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
