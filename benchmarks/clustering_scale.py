"""How our mixture's time and memory grow with the clips of one participant: up to 20,000 (5.5 hours) of 1,792
dimensions, a component for every 100 clips. `power` is the growth since the row above: time ~ clips^power.
"""

from math import log

from benchmarks.clustering import ours, prepare
from benchmarks.harness import Rows, in_child

CLIPS = (1_250, 2_500, 5_000, 10_000, 20_000)
DIM = 1_792


def measure() -> Rows:
    rows: Rows = []
    before = None
    for clips in CLIPS:
        run = in_child(prepare, ours, clips, DIM, clips // 100)
        power = f"{log(run.seconds / before[1], clips / before[0]):.2f}" if before else ""
        before = clips, run.seconds
        rows.append(
            {
                "clips": clips,
                "components": clips // 100,
                "seconds": round(run.seconds, 2),
                "power": power,
                "peak memory": f"{run.peak_mb / 1000:.2f} GB",
            }
        )
    return rows
