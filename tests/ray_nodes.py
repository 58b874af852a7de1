"""A real Ray cluster, each node with processes of its own, on loopback; and units that its nodes can load."""

import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
from joblib import cpu_count

from ml_backend.errors import ConfigError
from ml_backend.sample.servers import free_port, wait_for
from ml_backend.spread import cluster_in_words

# As where a cluster asks for a token, whatever lies in this user's home.
os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"] = "token", secrets.token_hex(32)
LOOPBACK = "127.0.0.2"
"""Ray takes 127.0.0.1 for the machine's other address."""


class Cluster:
    """Nodes of one core each, as `ray start` makes them; the head may have others."""

    def __init__(self, cores: int = 1, gpus: int = 0) -> None:
        self.address = f"{LOOPBACK}:{free_port()}"
        head = ("--head", "--port", self.address.rpartition(":")[2], "--include-dashboard", "false")
        self._nodes = [self._started(cores, *head, "--num-gpus", str(gpus))]

    def add_node(self) -> None:
        self._nodes.append(self._started(1, "--address", self.address))

    def lose_node(self) -> None:
        self._end(self._nodes.pop())

    def lose_head(self) -> None:
        """All that knows of the cluster; its nodes find out some time later."""
        children = psutil.Process(self._nodes[0].pid).children()
        (gcs,) = [child for child in children if child.name() == "gcs_server"]
        gcs.kill()

    def shutdown(self) -> None:
        while self._nodes:
            self.lose_node()

    @staticmethod
    def _started(cores: int, *options: str) -> subprocess.Popen[bytes]:
        command = [str(Path(sys.executable).with_name("ray")), "start", *options, "--node-ip-address", LOOPBACK]
        command += ["--num-cpus", str(cores), "--ray-client-server-port", str(free_port())]
        command += ["--disable-usage-stats", "--block"]
        knowing = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}  # the units below
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True, env=knowing)

    @staticmethod
    def _end(node: subprocess.Popen[bytes]) -> None:
        """As a machine that loses its power."""
        os.killpg(node.pid, signal.SIGKILL)
        node.wait()


def started(nodes: int, folder: Path, cores: int = 1, gpus: int = 0) -> Cluster:
    found = Cluster(cores, gpus)
    wait_for(lambda: says(found, folder).startswith("1 node"), 120, "the head")
    for _ in range(nodes - 1):
        found.add_node()
    wait_for(lambda: says(found, folder).startswith(f"{nodes} nodes"), 120, "the nodes")
    return found


def says(cluster: Cluster, folder: Path) -> str:
    try:
        return cluster_in_words(cluster.address, folder)
    except ConfigError as error:
        return str(error)


def go_on(file: Path) -> None:
    """A unit that writes a line again and again."""
    while True:
        with file.open("a") as stream:
            stream.write("at work\n")
        time.sleep(0.1)


def say(number: int) -> int:
    """A unit with a result."""
    return number


def take_away(folder: Path) -> None:
    """A unit after which no node sees the folder."""
    for token in folder.glob("ray-*"):
        token.unlink()


def what_is_given() -> tuple[str | None, int]:
    """A unit that says which GPU it sees, and how many cores."""
    return os.environ.get("CUDA_VISIBLE_DEVICES"), cpu_count()


def fail_of(kind: type[Exception]) -> None:
    """A fold that says why it cannot run."""
    raise kind("approach: leaves no window; label more")
