"""Commands that serve: `serve`, `worker`, and the `demo`."""

import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ml_backend.cli.shared import err, opened, out
from ml_backend.errors import ConfigError

MOST_DEATHS, LONG_ENOUGH = 5, 30.0
"""Processes that end so often in a row, each within so many seconds, are not started again."""


def serve(
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on; others than this machine's want BASIC_AUTH_USER and BASIC_AUTH_PASS"
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, envvar="PORT")] = 9090,
    insecure: Annotated[bool, typer.Option(help="Answer other machines without user and password")] = False,
) -> None:
    """Start the web server and the worker together; one that dies is started again."""
    if insecure:
        os.environ["WEAKHAR_INSECURE"] = "1"
    settings, _ = opened()
    _check_free(host, port)
    gunicorn = ("--config", "python:ml_backend.web.server", "--bind", f"{host}:{port}", "ml_backend._wsgi:app")
    size = ("--workers", settings.workers, "--threads", settings.threads)
    start_web = partial(_child, "gunicorn", *size, *gunicorn)
    start_worker = partial(_child, "ml_backend.cli", "worker")
    children = {start_web: start_web(), start_worker: start_worker()}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    out.print(f"weakhar at http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}", highlight=False)
    deaths = 0
    try:
        while deaths < MOST_DEATHS:
            began = time.monotonic()
            while all(child.poll() is None for child in children.values()):
                time.sleep(0.5)
            deaths = 0 if time.monotonic() - began > LONG_ENOUGH else deaths + 1
            for start, child in children.items():
                if child.poll() is not None:
                    what = "web server" if start is start_web else "worker"
                    err.print(f"the {what} ended ({child.returncode}) and is started again", highlight=False)
                    children[start] = start()
        raise ConfigError(f"weakhar's processes ended {deaths} times at once; see the messages above")
    finally:
        for child in children.values():
            child.terminate()
        for child in children.values():
            child.wait()


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
    """A process that ends with this one, however this one ends."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.Popen(command, env=os.environ, preexec_fn=_end_with_parent)


def _end_with_parent() -> None:
    """Linux tells a child so; on other systems the child of a killed parent goes on, and is found by its port."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _check_free(host: str, port: int) -> None:
    """ConfigError if the address cannot be listened at."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            remedy = "is another weakhar running? Stop it, or take another --port" if taken else "take another --host"
            raise ConfigError(f"{host}:{port}: {error.strerror}; {remedy}") from None
