"""Exports that training reads, made without the backend."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

RATE = 50
LABELS = ["null", "walking", "jümping jacks"]


def write_export(folder: Path, participants: int = 3, clips: int = 60, truth: bool = True) -> Path:
    """An export with `clips` strides of 1 s a participant: 10 s blocks of a class, each class its own oscillation;
    cluster = block, distance grows from the block's middle, whose clip is annotated; one block in six is wrong."""
    folder.mkdir(parents=True)
    names = [f"p {number} ä" for number in range(participants)]
    for number in range(participants):
        random = np.random.default_rng(number)
        clip = np.repeat(np.arange(clips), RATE)
        block = clip // 10
        classes = (block + number) % len(LABELS)
        times = np.arange(len(clip)) / RATE
        wave = np.sin(2 * np.pi * (0.5 + 2 * classes) * times)
        distance = np.abs(clip % 10 - 5) + 0.001 * clip
        distance[clip % 10 == 5] = 0
        weak = np.where(block % 6 == 5, (classes + 1) % len(LABELS), classes)
        columns = {
            "recording": pa.array(["one"] * len(clip)).dictionary_encode(),
            "time": times,
            "acc_x": wave + 0.1 * random.normal(size=len(clip)),
            "acc_y": wave * classes + 0.1 * random.normal(size=len(clip)),
            "label": pa.array(np.array(LABELS, dtype=object)[weak]),
            "source": np.where(clip % 10 == 5, "annotated", "propagated"),
            "cluster": block.astype(np.int32),
            "distance": distance,
        }
        if truth:
            columns["ground_truth"] = pa.array(np.array(LABELS, dtype=object)[classes])
        pa.parquet.write_table(pa.table(columns), folder / f"{number}.parquet")
    description = {
        "schema_version": 1,
        "format": "parquet",
        "labels": LABELS,
        "channels": ["acc_x", "acc_y"],
        "sampling_rate": float(RATE),
        "clip_seconds": 4.0,
        "stride_seconds": 1.0,
        "participants": {name: {"file": f"{number}.parquet"} for number, name in enumerate(names)},
    }
    (folder / "dataset.json").write_text(json.dumps(description), encoding="utf-8")
    return folder
