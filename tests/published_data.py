"""A synthetic dataset in exactly the layout of the authors' downloads."""

import json
from pathlib import Path

import numpy as np

LABELS = ("jogging", "push-ups", "lunges (complex)")
SECONDS = 90
DIMS = {"conv3d": 16, "raft": 12, "dino": 20, "clip": 8}


def write_published(root: Path, participants: int = 3, clip_seconds: tuple[int, ...] = (1, 2, 4)) -> None:
    """A dataset in the authors' layout: classes of some 10 s, vectors that show the class of the clip's middle."""
    random = np.random.default_rng(0)
    (root / "raw" / "inertial").mkdir(parents=True)
    (root / "annotations").mkdir()
    names = [f"sbj_{number}" for number in range(participants)]
    for number, name in enumerate(names):
        truth = np.repeat(random.permutation(np.arange(9) % 4), 10)
        rows = ["sbj_id,right_arm_acc_x,right_arm_acc_y,label"]
        for sample in range(SECONDS * 50):
            label = ("", *LABELS)[truth[sample // 50]]
            x = "" if sample == 7 else f"{random.normal(truth[sample // 50]):.3f}"
            rows.append(f"{number},{x},{random.normal():.3f},{label}")
        (root / "raw" / "inertial" / f"{name}.csv").write_text("\n".join(rows) + "\n")
        for feature, dim in DIMS.items():
            centres = np.random.default_rng(dim).normal(0, 3, (4, dim))
            for seconds in clip_seconds:
                pooled = "_avg_pool" if feature in ("dino", "clip") else ""
                folder = root / "processed" / f"{feature}_features" / f"{12 * seconds}_frames_12_stride{pooled}"
                folder.mkdir(parents=True, exist_ok=True)
                count = SECONDS - seconds + 1 - (feature == "raft")
                middle = truth[np.arange(count) + seconds // 2]
                vectors = centres[middle] + random.normal(0, 1, (count, dim))
                np.save(folder / f"{name}.npy", vectors)
    for held_out in names:
        database = {
            name: {"subset": "Validation" if name == held_out else "Training", "duration": SECONDS, "fps": 12.0}
            for name in names
        }
        content = {"database": database, "label_dict": {label: number for number, label in enumerate(LABELS)}}
        (root / "annotations" / f"loso_{held_out}.json").write_text(json.dumps(content))
