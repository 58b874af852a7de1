"""The grid's jobs on a Ray cluster, where WEAKHAR_RAY_ADDRESS names one.

A job's results lie in the run's folder, which all nodes must see: run again, on whatever node, it writes the same. So
Ray itself runs again what was on a node that was lost.
"""

import logging
import os
import socket
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from training.errors import TrainingError

J = TypeVar("J")

VARIABLE = "WEAKHAR_RAY_ADDRESS"
ATTEMPTS, LOOK_SECONDS, REACH_SECONDS = 3, 1.0, 5.0
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""Of a job: Ray gives a core to each."""


def ray_address() -> str:
    """The cluster that is to be used; empty: none."""
    return os.environ.get(VARIABLE, "").strip()


def on_ray(address: str, run: Callable[[J], None], jobs: Sequence[J], shared: Path) -> Generator[J]:
    """Run all jobs on the cluster at `address`, each on a core, and on a GPU where there are any; yields them as they
    are done.

    TrainingError if the cluster cannot be reached, a node does not see the file `shared` or has another version, or a
    job says that it cannot run.
    """
    ray = _connected(address)
    waiting: dict[Any, J] = {}
    try:
        gpus = 1 if ray.cluster_resources().get("GPU") else 0
        how = {"num_cpus": 1, "num_gpus": gpus, "max_retries": ATTEMPTS - 1, "runtime_env": {"env_vars": ONE_THREAD}}
        remote = ray.remote(_run).options(**how)
        waiting |= {remote.remote(run, job, shared, _version()): job for job in jobs}
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1, timeout=LOOK_SECONDS)
            for reference in ready:
                _check(ray, reference)
                yield waiting.pop(reference)
    finally:
        for reference in waiting:
            with suppress(ray.exceptions.RayError):
                ray.cancel(reference, force=True)
        ray.shutdown()


def _run(run: Callable[[J], None], job: J, shared: Path, expected: str) -> None:
    """One job, on a node."""
    node = f"Ray node {socket.gethostname()}"
    if _version() != expected:
        raise TrainingError(f"{node} has weakhar {_version()}, the run {expected}; install the same one")
    if not shared.is_file():
        raise TrainingError(f"{node} does not see {shared.parent}; name a folder with --out that all nodes share")
    run(job)


def _version() -> str:
    try:
        return version("weakhar")
    except PackageNotFoundError:  # training alone, out of a folder
        return ""


def _connected(address: str) -> Any:
    if ":" in address:
        _check_reachable(address)
    try:
        import ray
        import ray.exceptions

        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING, namespace="weakhar")
    except ImportError as error:
        raise TrainingError(f"{VARIABLE} is {address}: {error}; run `pip install ray`, or unset it") from None
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise TrainingError(
            f"{VARIABLE} {address}: no Ray cluster is found there ({_one_line(error)}); start one by "
            "`ray start --head`, or unset it"
        ) from None
    return ray


def _check_reachable(address: str) -> None:
    """TrainingError if nothing listens at `host:port`: Ray itself goes on trying for minutes."""
    place = urlsplit(address if "://" in address else f"ray://{address}")
    try:
        socket.create_connection((place.hostname or "", place.port or 10_001), timeout=REACH_SECONDS).close()
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{VARIABLE} {address}: nothing answers there ({error}); correct it, or unset it"
        ) from None


def _check(ray: Any, reference: Any) -> None:
    """TrainingError where a job failed."""
    try:
        ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause if isinstance(error.cause, Exception) else error
        if isinstance(cause, TrainingError):
            raise cause from None
        if isinstance(cause, ModuleNotFoundError):
            raise TrainingError(f"a Ray node cannot load weakhar ({cause}); install it on all nodes") from None
        raise TrainingError(
            f"a job failed on a Ray node ({type(cause).__name__}: {_one_line(cause)}); what is done is kept"
        ) from None
    except ray.exceptions.RuntimeEnvSetupError as error:
        raise TrainingError(f"a Ray node cannot start a job ({_one_line(error)})") from None
    except ray.exceptions.RayError as error:
        raise TrainingError(
            f"a job was lost {ATTEMPTS} times, perhaps for want of memory ({_one_line(error)}); run again, what is "
            "done is kept"
        ) from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
