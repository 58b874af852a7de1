"""Commands that serve: `serve`, `worker`, and the `demo`."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from ml_backend.cli.shared import err, opened, out
from ml_backend.errors import ConfigError


def serve(
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on; others than this machine's want BASIC_AUTH_USER and BASIC_AUTH_PASS"
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 9090,
) -> None:
    """Start the web server and the worker together; the worker is started again if it dies."""
    settings, _ = opened()
    web = _child("gunicorn", "--bind", f"{host}:{port}", "--workers", settings.workers, "--threads", settings.threads,
                 "--timeout", 120, "ml_backend._wsgi:app")  # fmt: skip
    worker = _child("ml_backend.cli", "worker")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    out.print(f"weakhar at http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}", highlight=False)
    try:
        while web.poll() is None:
            if worker.poll() is not None:
                err.print(f"the worker ended ({worker.returncode}) and is started again", highlight=False)
                worker = _child("ml_backend.cli", "worker")
            time.sleep(1)
        raise ConfigError(f"the web server ended ({web.returncode}); is port {port} taken?")
    finally:
        for process in (worker, web):
            process.terminate()
        for process in (worker, web):
            process.wait()


def worker() -> None:
    """Start a worker alone, as docker-compose does; `serve` starts one too."""
    from ml_backend.jobs import runtime

    runtime()[2].work()


def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for everything the demo makes")] = Path(
        "demo"
    ),
    label_studio: Annotated[str, typer.Option(help="The label-studio program")] = "label-studio",
    keep: Annotated[bool, typer.Option(help="Leave both servers running")] = False,
    participants: Annotated[int, typer.Option(min=1)] = 4,
    minutes: Annotated[float, typer.Option(min=0.5)] = 4.0,
    components: Annotated[int, typer.Option(min=1, help="Clusters a participant")] = 40,
) -> None:
    """The main job on sample recordings, with a real Label Studio and a simulated annotator."""
    from ml_backend.sample import run_demo

    run_demo(folder, label_studio, keep, participants, minutes, components, out)


def _child(module: str, *arguments: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", module, *map(str, arguments)], env=os.environ)
