"""How long annotators and admins wait while everything happens at once: webhooks at 50 a second, the status page open
in eight browsers, and a job that embeds, with 20 participants of 2,400 clips each, on gunicorn as `weakhar serve`
starts it.

`webhook` p50 and p99, and the status page's while webhooks change it (`page`) and while nothing does (`page, warm`),
in ms; `health, idle` is what the web server itself takes at as many requests a second, in the same run.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np

from benchmarks import project_labels
from benchmarks.harness import Rows
from ml_backend.jobs import open_store
from ml_backend.jobs.queue import NICENESS
from ml_backend.sample import free_port, write_sample

Ask = Callable[[httpx.Client, np.random.Generator], httpx.Response]
SECONDS, A_SECOND, BROWSERS, REFRESH = 20.0, 50, 8, 3.0


def measure() -> Rows:
    """Rows of what was asked for, how often, and how long it took."""
    project_labels.prepare()
    folder = project_labels.settings().model_dir
    tasks = [task.id for task in open_store(project_labels.settings().database, folder).tasks(1)]
    with served(folder) as url, httpx.Client(base_url=url, timeout=60) as client:
        timed(lambda: client.get("/"))  # the first page is waited for
        idle, _ = at_once(url, lambda client, _random: client.get("/health"), browsers=0)
        warm = [timed(lambda: client.get("/")) for _ in range(20)]
        with embedding():
            webhooks, pages = at_once(url, partial(send_event, tasks), BROWSERS)
    took = {"health, idle": idle, "page, warm": warm, "webhook": webhooks, "page": pages}
    return [
        {
            "what": what,
            "requests": len(times),
            "p50 (ms)": round(1000 * float(np.percentile(times, 50)), 1),
            "p99 (ms)": round(1000 * float(np.percentile(times, 99)), 1),
            "p99, times an idle health's": round(float(np.percentile(times, 99) / np.percentile(idle, 99)), 1),
        }
        for what, times in took.items()
    ]


def at_once(url: str, ask: Ask, browsers: int) -> tuple[list[float], list[float]]:
    """Seconds that 50 requests a second, and pages in browsers meanwhile, were waited for."""
    until = time.monotonic() + SECONDS
    asked: list[float] = []
    pages: list[float] = []

    def browse(part: int) -> None:
        time.sleep(part * REFRESH / browsers)
        with httpx.Client(base_url=url, timeout=60) as client:
            while time.monotonic() < until:
                pages.append(timed(lambda: client.get("/")))
                time.sleep(REFRESH)

    def annotate(part: int) -> None:
        random = np.random.default_rng(part)
        with httpx.Client(base_url=url, timeout=60) as client:
            due = time.monotonic() + part / A_SECOND
            while due < until:
                time.sleep(max(0.0, due - time.monotonic()))
                asked.append(timed(lambda: ask(client, random)))
                due += ANNOTATORS / A_SECOND

    threads = [threading.Thread(target=browse, args=(part,)) for part in range(browsers)]
    threads += [threading.Thread(target=annotate, args=(part,)) for part in range(ANNOTATORS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return asked, pages


ANNOTATORS = 10
"""Connections that the webhooks come by."""


def send_event(tasks: list[int], client: httpx.Client, random: np.random.Generator) -> httpx.Response:
    """A webhook of an annotation of one of the tasks."""
    body = event(int(random.choice(tasks)), int(random.integers(project_labels.CLASSES)))
    return client.post("/webhook", json=body)


def event(task: int, choice: int) -> dict[str, Any]:
    """An annotation that was changed just now."""
    result = [{"type": "choices", "from_name": "a", "value": {"choices": [f"c{choice}"]}}]
    annotation = {"id": task, "task": task, "result": result, "updated_at": datetime.now(UTC).isoformat()}
    return {"action": "ANNOTATION_UPDATED", "project": {"id": 1}, "annotation": annotation}


def timed(request: Callable[[], httpx.Response]) -> float:
    """Seconds until an answer without a fault."""
    began = time.perf_counter()
    answer = request()
    took = time.perf_counter() - began
    answer.raise_for_status()
    return took


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The web server alone, as `weakhar serve` starts it."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--config", "python:ml_backend.web.server", "--threads"]
    command += [str(project_labels.settings().threads)]
    command += ["--bind", f"127.0.0.1:{port}", "--log-level", "warning", "ml_backend._wsgi:app"]
    process = subprocess.Popen(command, env={**os.environ, "MODEL_DIR": str(folder.absolute())})
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(600):
            with suppress(httpx.HTTPError):
                httpx.get(f"{url}/health")
                break
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()


@contextmanager
def embedding() -> Iterator[None]:
    """A worker's work: frames of sample recordings through the network, again and again."""
    with TemporaryDirectory() as folder:
        for _ in write_sample(Path(folder) / "data", participants=1, minutes=2):
            pass
        script = (
            "import sys, shutil; from ml_backend.cli import cli\n"
            "while True:\n"
            "    shutil.rmtree(sys.argv[1], ignore_errors=True)\n"
            "    cli(['ingest', sys.argv[2]], standalone_mode=False)\n"
        )
        model = str(Path(folder) / "model")
        process = subprocess.Popen(
            [sys.executable, "-c", script, f"{model}/vectors", str(Path(folder) / "data")],
            env={**os.environ, "MODEL_DIR": model},
            stdout=subprocess.DEVNULL,
            preexec_fn=partial(os.nice, NICENESS),  # as the worker
        )
        time.sleep(10)  # until the network is loaded
        try:
            yield
        finally:
            process.kill()
            process.wait()
