"""A job's units on a Ray cluster, where `WEAKHAR_RAY_ADDRESS` names one: a recording's vectors by a backbone, a
participant's clusters.

A unit is a plain function whose output lies in MODEL_DIR, which all nodes share, under all that it is made of: run
again, on whatever node, it does only what is missing. So a lost node costs the units that were on it, which others
run, and a unit that fails again and again is left out and named, while the others go on.
"""

import logging
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from ml_backend import __version__
from ml_backend.embeddings import Progress
from ml_backend.errors import ConfigError, WeakHARError, one_line
from ml_backend.files import disk_errors, remove, written_atomically
from ml_backend.storage import attach, fresh, url_of

ATTEMPTS = 3
LOOK_SECONDS = 0.5
ONE_THREAD = {"OMP_NUM_THREADS": "1", "LOKY_MAX_CPU_COUNT": "1"}
"""Of a unit: Ray gives a core to each."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unit:
    """What is to be done, who or what it is about, and how much of its step's work it is."""

    name: str
    run: Callable[[], Any]
    amount: float = 1.0


def on_ray(
    address: str, shared: Path, step: str, units: Sequence[Unit], progress: Progress, gpu: bool = False
) -> dict[str, str]:
    """Run all units on the cluster at `address`; name → why, of those that failed three times.

    `shared` is the folder that all nodes must see; `gpu`: each unit wants one, where the cluster has any. ConfigError
    where the cluster cannot be reached, or a node lacks weakhar or the folder.
    """
    total, done = sum(unit.amount for unit in units), 0.0
    progress(step, 0, total)
    failed, attempts, waiting = dict[str, str](), Counter[str](), dict[Any, Unit]()
    with _cluster(address) as ray, _token(shared) as token:
        gpus = 1 if gpu and ray.cluster_resources().get("GPU") else 0
        remote = ray.remote(_run).options(num_cpus=1, num_gpus=gpus, runtime_env={"env_vars": ONE_THREAD})
        where = token, shared, url_of(shared), __version__
        waiting |= {remote.remote(unit.run, *where): unit for unit in units}
        try:
            while waiting:
                ready, _ = ray.wait(list(waiting), num_returns=1, timeout=LOOK_SECONDS)
                for reference in ready:
                    unit = waiting.pop(reference)
                    attempts[unit.name] += 1
                    why = _why(ray, reference)
                    if why and attempts[unit.name] < ATTEMPTS:
                        log.warning("%s: %s; tried again", unit.name, why)
                        waiting[remote.remote(unit.run, *where)] = unit
                        continue
                    failed |= {unit.name: why} if why else {}
                    done += unit.amount
                progress(step, done, total)
        finally:
            for reference in waiting:
                with suppress(ray.exceptions.RayError):
                    ray.cancel(reference, force=True)
    return failed


def cluster_in_words(address: str, shared: Path) -> str:
    """How large the cluster is, and that a unit runs on it; ConfigError as of `on_ray`."""
    with _cluster(address) as ray:
        nodes = sum(bool(node["Alive"]) for node in ray.nodes())
        found = ray.cluster_resources()
        if failed := on_ray(address, shared, "trying", [Unit("trying", _nothing)], lambda *_: None):
            raise ConfigError(f"WEAKHAR_RAY_ADDRESS {address}: a unit failed ({failed['trying']})")
    return f"{nodes} nodes with {found.get('CPU', 0):g} cores and {found.get('GPU', 0):g} GPUs at {address}"


def _nothing() -> None:
    """A unit."""


def _run(run: Callable[[], Any], token: Path, shared: Path, url: str, version: str) -> None:
    """One unit, on a node; the shared folder may be the copy of what lies under a URL."""
    if url:
        attach(shared, url)
    if version != __version__:
        raise ConfigError(
            f"Ray node {socket.gethostname()} has weakhar {__version__}, the job {version}; install the same one"
        )
    if not fresh(token).is_file():
        raise ConfigError(
            f"Ray node {socket.gethostname()} does not see {url or token.parent}, the MODEL_DIR of the job; "
            + ("give it the address and credentials" if url else "mount that folder there at the same path")
        )
    run()


def _why(ray: ModuleType, reference: Any) -> str:
    """Why a unit failed, empty if it did not; ConfigError where all others would too."""
    try:
        ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause if isinstance(error.cause, Exception) else error
        if isinstance(cause, ConfigError):
            raise cause from None
        if isinstance(cause, ModuleNotFoundError):
            raise ConfigError(f"a Ray node cannot load weakhar ({cause}); install it on all nodes") from None
        return str(cause) if isinstance(cause, WeakHARError) else f"{type(cause).__name__}: {cause}"
    except ray.exceptions.RuntimeEnvSetupError as error:
        raise ConfigError(f"a Ray node cannot start a unit ({one_line(error)})") from None
    except ray.exceptions.RayError as error:
        return one_line(error)
    return ""


@contextmanager
def _cluster(address: str) -> Iterator[ModuleType]:
    """Connected to Ray; ConfigError if it is not installed, or there is no cluster."""
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise ConfigError(
            f"WEAKHAR_RAY_ADDRESS is {address}, and Ray is not installed; run `pip install ray`, or unset it"
        ) from None
    own = not ray.is_initialized()
    if own:
        _check_reachable(address)
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING, "namespace": "weakhar"}
        try:
            ray.init(address=address, include_dashboard=False if address == "local" else None, **quiet)
        except ImportError as error:
            raise ConfigError(f"WEAKHAR_RAY_ADDRESS {address}: {one_line(error)}; or name host:port") from None
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise ConfigError(
                f"WEAKHAR_RAY_ADDRESS {address}: no Ray cluster is found there ({one_line(error)}); start one by "
                "`ray start --head`, or unset it"
            ) from None
    try:
        yield ray
    finally:
        if own:
            ray.shutdown()


def _check_reachable(address: str) -> None:
    """ConfigError if nothing listens at `host:port`: Ray itself goes on trying for minutes."""
    place = urlsplit(address if "://" in address else f"ray://{address}")
    if ":" not in address:
        return
    try:
        with socket.create_connection((place.hostname or "", place.port or 10_001), timeout=5):
            pass
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"WEAKHAR_RAY_ADDRESS {address}: nothing answers there ({one_line(error)}); start a cluster by "
            "`ray start --head`, correct the address, or unset it"
        ) from None


@contextmanager
def _token(shared: Path) -> Iterator[Path]:
    """A file in the shared folder while units run, by which a node knows it."""
    with disk_errors(shared):
        shared.mkdir(parents=True, exist_ok=True)
        token = shared / f"ray-{uuid4().hex}"
        with written_atomically(token) as temporary:
            temporary.touch()
    try:
        yield token
    finally:
        remove(token)
