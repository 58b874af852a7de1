"""Compose the recordings of UTD-MHAD that the other benchmarks read from its original download.

UTD-MHAD (Chen, Jafari, Kehtarnavaz, ICIP 2015) comes as short trials: `Depth/a1_s1_t1_depth.mat` and
`Inertial/a1_s1_t1_inertial.mat`. A participant's recording is all its trials one after another, the trials of an
action together and the actions in random order, the depth as a grey video of 320×240 at 15 frames a second, its
frames stretched evenly over the trial's IMU, which is written beside it at 50 Hz with the action as label.

Run: python -m benchmarks.compose_utd_mhad DOWNLOAD OUT
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from scipy.io import loadmat

from ml_backend.recordings.video import VideoWriter

ACTIONS = (
    *("swipe_left", "swipe_right", "wave", "clap", "throw", "cross_arms", "basketball_shoot", "draw_x"),
    *("draw_circle_cw", "draw_circle_ccw", "draw_triangle", "bowling", "boxing", "baseball_swing", "tennis_swing"),
    *("arm_curl", "tennis_serve", "push", "knock", "catch", "pickup_throw", "jog", "walk", "sit_to_stand"),
    *("stand_to_sit", "lunge", "squat"),
)
TRIAL = re.compile(r"a(\d+)_s(\d+)_t(\d+)_depth\.mat")
FRAMES_A_SECOND, SAMPLES_A_SECOND = 15, 50
FARTHEST_MM = 4000
CHANNELS = ("acc_x", "acc_y", "acc_z", "gyr_x", "gyr_y", "gyr_z")


def compose(download: Path, target: Path) -> list[str]:
    """Write `target/s<n>/session.mp4` and `.csv` for every participant of the download; returns their names."""
    trials: dict[int, dict[int, list[tuple[int, Path]]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted((download / "Depth").glob("*.mat")):
        if found := TRIAL.fullmatch(path.name):
            action, subject, trial = map(int, found.groups())
            trials[subject][action].append((trial, path))
    if not trials:
        sys.exit(
            f"error: {download}/Depth: no a1_s1_t1_depth.mat or the like; unpack UTD-MHAD's Depth and Inertial there"
        )
    for subject, actions in sorted(trials.items()):
        order = np.random.default_rng(subject).permutation(sorted(actions))
        own = [(int(action), path) for action in order for _, path in sorted(actions[int(action)])]
        compose_one(own, download / "Inertial", target / f"s{subject}")
    return [f"s{subject}" for subject in sorted(trials)]


def compose_one(trials: list[tuple[int, Path]], inertial: Path, folder: Path) -> None:
    """One participant's recording from its trials in order."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, labels, shown = [], [], 0
    with VideoWriter(folder / "session.mp4", 320, 240, FRAMES_A_SECOND) as writer:
        for action, path in trials:
            samples = loadmat(inertial / path.name.replace("depth", "inertial"))["d_iner"]
            depth = loadmat(path)["d_depth"]
            begin, rows = sum(map(len, rows)) / SAMPLES_A_SECOND, [*rows, samples]
            labels += [ACTIONS[action - 1]] * len(samples)
            until = begin + len(samples) / SAMPLES_A_SECOND
            while (now := shown / FRAMES_A_SECOND) < until:
                number = int((now - begin) / (until - begin) * depth.shape[2])
                writer.write(grey(depth[:, :, min(max(number, 0), depth.shape[2] - 1)]), now)
                shown += 1
    values = np.concatenate(rows)
    columns = {"time": np.arange(len(values)) / SAMPLES_A_SECOND}
    columns |= dict(zip(CHANNELS, values.T.round(5).copy(), strict=True))
    pa.csv.write_csv(pa.table({**columns, "label": labels}), folder / "session.csv")


def grey(depth: np.ndarray) -> np.ndarray:
    """Depth `(240, 320)` in mm as a picture `(240, 320, 3)`, the near bright."""
    near = 255 * (1 - np.clip(depth.astype(float), 0, FARTHEST_MM) / FARTHEST_MM)
    return np.repeat(np.where(depth > 0, near, 0).astype(np.uint8)[:, :, None], 3, axis=2)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m benchmarks.compose_utd_mhad DOWNLOAD OUT")
    print(f"composed {', '.join(compose(Path(sys.argv[1]), Path(sys.argv[2])))} in {sys.argv[2]}")
