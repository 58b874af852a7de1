"""How our mixture's time and memory grow with the clips of one participant: up to a day (86,400) of 1,792 dimensions,
a component for every 100 clips up to 20,000 clips, and 100 components for the day. `power` is the growth since the
row above, where components grow too: time ~ clips^power.
"""

from math import log

import numpy as np

from benchmarks.clustering import ours, recording_like
from benchmarks.harness import Rows, in_child

CLIPS = ((1_250, 12), (2_500, 25), (5_000, 50), (10_000, 100), (20_000, 200), (20_000, 100), (86_400, 100))
DIM = 1_792


def prepare(clips: int, components: int) -> tuple[np.ndarray, int]:
    """Vectors as they are stored."""
    ours((recording_like(50, DIM), 2))  # loads libraries
    return recording_like(clips, DIM).astype(np.float32), components


def measure() -> Rows:
    rows: Rows = []
    before = None
    for clips, components in CLIPS:
        run = in_child(prepare, ours, clips, components)
        power = f"{log(run.seconds / before[1], clips / before[0]):.2f}" if before and clips > before[0] else ""
        before = clips, run.seconds
        rows.append(
            {
                "clips": clips,
                "components": components,
                "seconds": round(run.seconds, 2),
                "power": power,
                "peak memory": f"{run.peak_mb / 1000:.2f} GB",
            }
        )
    return rows
