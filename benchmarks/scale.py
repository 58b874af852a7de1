"""How well a job's units fill a Ray cluster: nodes of one core each, with processes of their own, on this machine.

A unit waits as long as embedding a recording might take (simulated: it computes nothing, so that a machine with few
cores can play a cluster of many). `efficiency`: the time on one node over the time on so many times their number.
`units run again`: where a node is killed when half is done, how many units ran that had run or were running before.
Run: python -m benchmarks scale; 36 minutes.
"""

import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from ray.cluster_utils import Cluster

from benchmarks.harness import Rows
from ml_backend.spread import Unit, failures, on_ray

UNITS, SECONDS, NODES = 64, 15.0, (1, 2, 4, 8)
LOOPBACK = "127.0.0.2"
"""Ray takes 127.0.0.1 for the machine's other address."""


def wait(record: Path, seconds: float) -> None:
    """A unit; it writes down that it was begun."""
    with record.open("a") as stream:
        stream.write("begun\n")
    time.sleep(seconds)


def run(nodes: int, kill: bool = False) -> tuple[float, int]:
    """Seconds, and how many units were begun more than once."""
    head = {"num_cpus": 0, "include_dashboard": False, "node_ip_address": LOOPBACK}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    workers = [cluster.add_node(num_cpus=1, node_ip_address=LOOPBACK) for _ in range(nodes)]
    left = [workers[0]] if kill else []

    def tell(_step: str, done: float, total: float) -> None:
        if left and done >= total / 2:
            cluster.remove_node(left.pop(), allow_graceful=False)

    with TemporaryDirectory() as name:
        record = Path(name) / "begun"
        units = [Unit(str(number), partial(wait, record, SECONDS)) for number in range(UNITS)]
        began = time.perf_counter()
        ended = on_ray(cluster.address, Path(name), "waiting", units, tell)
        seconds = time.perf_counter() - began
        begun = record.read_text().count("begun")
    cluster.shutdown()
    assert failures(ended) == {}
    return seconds, begun - UNITS


def measure() -> Rows:
    runs = {nodes: run(nodes) for nodes in sorted(NODES, reverse=True)}  # those that start most processes first
    alone, _ = runs[1]
    rows: Rows = [
        {"nodes": nodes, "killed": "", **_told(runs[nodes][0], alone / (nodes * runs[nodes][0]), runs[nodes][1])}
        for nodes in NODES
    ]
    seconds, again = run(4, kill=True)
    rows.append({"nodes": 4, "killed": "one, half-way", **_told(seconds, alone / (3.5 * seconds), again)})
    return rows


def _told(seconds: float, efficiency: float, again: int) -> dict[str, str]:
    return {"seconds": f"{seconds:.0f}", "efficiency": f"{efficiency:.2f}", "units run again": str(again)}
