"""Units of work on a Ray cluster, where `WEAKHAR_RAY_ADDRESS` names one.

A unit is a plain function: run again, on whatever node, it makes the same, and what it leaves in the folder that all
nodes share it does not make twice. So a lost node costs the units that were on it, which others run, and a unit that
fails again and again is named, while the others go on.

Ray ends the process that speaks with it where the cluster is gone, so that is one of its own. It, and those on nodes,
load nothing of the house but what their units need.
"""

import logging
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import count, islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from traceback import print_exc
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from ml_backend import __version__
from ml_backend.errors import ConfigError, WeakHARError, one_line
from ml_backend.files import content_key, disk_errors, remember_content, remove, written_atomically
from ml_backend.storage import attach, fresh, kind_of, url_of

ATTEMPTS = 3
LOOK_SECONDS = 0.5
WAITING = 4
"""So many units are given to Ray beside one a core: more would only lie in memory."""
ENDING_SECONDS = 15.0
"""That the process which speaks with Ray has to take its leave."""

log = logging.getLogger(__name__)
Progress = Callable[[str, float, float], None]
"""Called with the step's name, and how much of what total is done."""
Ask = Callable[..., Any]
"""Has a function of this file run, with what is given it, in the process that speaks with Ray."""


@dataclass(frozen=True)
class Unit:
    """What is to be done, who or what it is about, and how much of its step's work it is."""

    name: str
    run: Callable[[], Any]
    amount: float = 1.0


@dataclass(frozen=True)
class Knowing:
    """A unit that brings along sizes and content keys of videos, which other processes would read whole to know."""

    contents: tuple[tuple[Path, int, str], ...]
    run: Callable[[], Any]

    @classmethod
    def of(cls, videos: Iterable[Path], run: Callable[[], Any]) -> "Knowing":
        """With those of the videos."""
        return cls(tuple((video, kind_of(video)[1], content_key(video)) for video in videos), run)

    def __call__(self) -> Any:
        for video, size, key in self.contents:
            if kind_of(video)[1] == size:
                remember_content(video, key)
        return self.run()


@dataclass(frozen=True)
class Ended:
    """A unit that ended: with a result, or after so many attempts with a reason why it has none."""

    unit: Unit
    result: Any = None
    why: str = ""


def on_ray(
    address: str, shared: Path, step: str, units: list[Unit], progress: Progress, gpus: float = 0.0
) -> list[Ended]:
    """Run all units on the cluster at `address`, as `ended` does, with their progress."""
    total, done, found = sum(unit.amount for unit in units), 0.0, list[Ended]()
    progress(step, 0, total)
    if not units:
        return []
    with closing(ended(address, shared, units, gpus)) as over:
        for one in over:
            if one is not None:
                done += one.unit.amount
                found.append(one)
            progress(step, done, total)
    return found


def failures(found: Iterable[Ended]) -> dict[str, str]:
    """Name → why, of the units that failed three times."""
    return {one.unit.name: one.why for one in found if one.why}


def ended(address: str, shared: Path, units: Iterable[Unit], gpus: float = 0.0) -> Generator[Ended | None]:
    """Run units on the cluster at `address`, each on a core; yields each when it ended, and None now and then.

    `units` are taken as the cluster gets room for them. `shared` is the folder that all nodes must see; `gpus`: how
    much of one each unit wants, where the cluster has any. Closed before its end, nothing stays at work. ConfigError
    where the cluster cannot be reached or is lost, or a node lacks weakhar or the folder.
    """
    with _speaking(address) as ask, _token(shared) as token:
        yield from _ended(ask, units, (token, shared, url_of(shared), __version__), gpus)


def cluster_in_words(address: str, shared: Path) -> str:
    """How large the cluster is, and that a unit runs on it; ConfigError as of `ended`."""
    nodes, cores, gpus = _size(address)
    if cores < 1:
        raise ConfigError(
            f"WEAKHAR_RAY_ADDRESS {address}: the cluster has no cores; `ray start --address` adds nodes"
        )
    if failed := failures(on_ray(address, shared, "trying", [Unit("trying", _nothing)], lambda *_: None)):
        raise ConfigError(f"WEAKHAR_RAY_ADDRESS {address}: a unit failed ({failed['trying']})")
    return f"{nodes} nodes with {cores:g} cores and {gpus:g} GPUs at {address}"


def _size(address: str) -> tuple[int, float, float]:
    with _speaking(address) as ask:
        found: tuple[int, float, float] = ask(_resources)
    return found


def _nothing() -> None:
    """A unit."""


def _ended(ask: Ask, units: Iterable[Unit], where: tuple[Any, ...], gpus: float) -> Generator[Ended | None]:
    following, numbers = iter(units), count()
    attempts, at_work, warned = Counter[int](), dict[int, Unit](), False
    while True:
        _, cores, _ = ask(_resources)
        if not int(cores) and not warned:
            log.warning("the Ray cluster has no cores: units wait until a node comes")
            warned = True
        for unit in islice(following, max(0, int(cores) + WAITING - len(at_work))):
            at_work[number := next(numbers)] = unit
            ask(_begin, number, unit.run, where, gpus)
        if not at_work:
            return
        for number, result, why in ask(_look):
            attempts[number] += 1
            if why and attempts[number] < ATTEMPTS:
                log.warning("%s: %s; tried again", at_work[number].name, why)
                ask(_begin, number, at_work[number].run, where, gpus)
            else:
                yield Ended(at_work.pop(number), result, why)
        yield None


@contextmanager
def _speaking(address: str) -> Iterator[Ask]:
    """The process that speaks with the cluster; ConfigError as of `ended`."""
    _check_reachable(address)
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_answer, args=(there,), daemon=True)
    process.start()
    there.close()

    def ask(what: Callable[..., Any], *given: Any) -> Any:
        try:
            here.send((what, given))
            answer, error = here.recv()
        except (EOFError, OSError):
            process.join(LOOK_SECONDS)
            killed = "the process that speaks with it was killed, perhaps for want of memory; "
            why = killed if process.exitcode == -signal.SIGKILL else "see that its head runs, then "
            raise ConfigError(
                f"WEAKHAR_RAY_ADDRESS {address}: the cluster was lost; {why}start again, what is done is kept"
            ) from None
        if error is not None:
            raise error
        return answer

    try:
        ask(_connect, address)
        yield ask
    finally:
        here.close()  # by which it knows
        process.join(ENDING_SECONDS)
        process.kill()


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


# What follows runs in the process that speaks with Ray, but `_run`: that on a node.

_at_work: dict[Any, int] = {}


def _answer(pipe: Connection) -> None:
    """Do what is asked, until whoever asks has gone, in whatever way."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who asks
    with suppress(EOFError, OSError):
        while True:
            what, given = pipe.recv()
            try:
                said: tuple[Any, WeakHARError | None] = what(*given), None
            except WeakHARError as error:
                said = None, error
            except ConnectionError:  # by ray://, which does not end this process
                break
            except Exception as error:
                print_exc()
                said = None, ConfigError(f"Ray: {one_line(error)}")
            pipe.send(said)
    if "ray" in sys.modules:
        _leave()


def _connect(address: str) -> None:
    """ConfigError if Ray is not installed, or there is no cluster."""
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise ConfigError(
            f"WEAKHAR_RAY_ADDRESS is {address}, and Ray is not installed; run `pip install ray`, or unset it"
        ) from None
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING, "namespace": "weakhar"}
    try:
        ray.init(address=address, include_dashboard=False if address == "local" else None, **quiet)
    except ImportError as error:
        raise ConfigError(f"WEAKHAR_RAY_ADDRESS {address}: {one_line(error)}; or name host:port") from None
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise ConfigError(
            f"WEAKHAR_RAY_ADDRESS {address}: no Ray cluster is found there ({one_line(error)}); start one by `ray "
            "start --head`, set RAY_AUTH_MODE=token where it wants the token in ~/.ray/auth_token, or unset this"
        ) from None


def _leave() -> None:
    import ray

    for reference in _at_work:
        with suppress(Exception):
            ray.cancel(reference, force=True)
    ray.shutdown()


def _resources() -> tuple[int, float, float]:
    """How many nodes, cores and GPUs there are."""
    import ray

    found = ray.cluster_resources()
    return sum(bool(node["Alive"]) for node in ray.nodes()), found.get("CPU", 0.0), found.get("GPU", 0.0)


def _begin(number: int, run: Callable[[], Any], where: tuple[Any, ...], gpus: float) -> None:
    """Give a unit to the cluster."""
    import ray

    cores, gpus = _share(gpus)
    threads = {"env_vars": dict.fromkeys(("OMP_NUM_THREADS", "LOKY_MAX_CPU_COUNT"), str(cores))}
    remote = ray.remote(_run).options(num_cpus=cores, num_gpus=gpus, max_retries=ATTEMPTS - 1, runtime_env=threads)
    _at_work[remote.remote(run, *where)] = number


def _share(gpus: float) -> tuple[int, float]:
    """Cores and GPUs of a unit: one core, but with a whole GPU all that come with it, since decoding must feed it."""
    import ray

    if not gpus:
        return 1, 0.0
    alive = (node["Resources"] for node in ray.nodes() if node["Alive"])
    with_gpu = [(found.get("CPU", 0.0), found["GPU"]) for found in alive if found.get("GPU")]
    if not with_gpu:
        return 1, 0.0
    return max(1, int(min(cores // count for cores, count in with_gpu))) if gpus >= 1 else 1, gpus


def _look() -> list[tuple[int, Any, str]]:
    """Number, result and why there is none, of the units that ended; waits a moment for one."""
    import ray

    over, _ = ray.wait(list(_at_work), num_returns=1, timeout=LOOK_SECONDS)
    return [(_at_work.pop(reference), *_outcome(reference)) for reference in over]


def _outcome(reference: Any) -> tuple[Any, str]:
    """A unit's result, and why there is none; ConfigError where all others would fail too."""
    import ray

    try:
        return ray.get(reference), ""
    except ray.exceptions.RayTaskError as error:
        cause = error.cause if isinstance(error.cause, Exception) else error
        if isinstance(cause, ConfigError):
            raise cause from None
        if isinstance(cause, ModuleNotFoundError):
            raise ConfigError(f"a Ray node cannot load weakhar ({cause}); install it on all nodes") from None
        return None, str(cause) if isinstance(cause, WeakHARError) else f"{type(cause).__name__}: {one_line(cause)}"
    except ray.exceptions.RuntimeEnvSetupError as error:
        raise ConfigError(f"a Ray node cannot start a unit ({one_line(error)})") from None
    except ray.exceptions.RayError as error:
        return None, one_line(error)


def _run(run: Callable[[], Any], token: Path, shared: Path, url: str, version: str) -> Any:
    """One unit, on a node; the shared folder may be the copy of what lies under a URL."""
    if url:
        attach(shared, url)
    node = f"Ray node {socket.gethostname()}"
    if version != __version__:
        raise ConfigError(f"{node} has weakhar {__version__}, the job {version}; install the same one")
    if not fresh(token).is_file():
        raise ConfigError(
            f"{node} does not see {url or token.parent}; "
            + ("give it the address and credentials" if url else "mount that folder there at the same path")
        )
    return run()
