"""Training the grid (leave one subject out on the 10 participants of `../shared/data/hawthorne`) against the textbook
way: a Dataset that returns one window, a DataLoader, batches of 100, float32, torch's default threads, one fold after
another. Both train the same windows for the same epochs with one seed, in one run; recall is macro recall.

The last row reads 100 hours of 12 channels at 50 Hz and trains on the annotated clips, to see the memory it takes.
"""

import json
import resource
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch
from sklearn.metrics import recall_score
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from benchmarks.harness import SHARED_DATA, Rows, in_child
from training.approaches import Approach
from training.dataset import Dataset, read_dataset, window_starts
from training.evaluate import make_jobs, run_grid, scores
from training.loop import Settings, train
from training.losses import WeightedCrossEntropy, class_weights
from training.models import MODELS, build_model

SETTINGS = Settings(epochs=6)
WINDOW, STEP = 50, 25
HOURS = 100


class OneWindow(TorchDataset[tuple[np.ndarray, int]]):
    """As in every tutorial."""

    def __init__(self, values: np.ndarray, starts: np.ndarray, labels: np.ndarray) -> None:
        self.values, self.starts, self.labels = values, starts, labels

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        start = self.starts[index]
        return self.values[start : start + WINDOW], self.labels[index]


def textbook(model_name: str, dataset: Dataset) -> float:
    truths, predictions = [], []
    windows = {}
    for participant in dataset.participants:
        assert participant.truth is not None
        starts = window_starts(participant.segment, participant.truth >= 0, WINDOW, STEP)
        labels = participant.truth[starts + WINDOW - 1]
        windows[participant.name] = participant.begin + starts, labels
    for held_out in windows:
        torch.manual_seed(1)
        starts, labels = (
            np.concatenate([part[side] for name, part in windows.items() if name != held_out]) for side in (0, 1)
        )
        training = DataLoader(OneWindow(dataset.values, starts, labels), batch_size=100, shuffle=True)
        testing = DataLoader(OneWindow(dataset.values, *windows[held_out]), batch_size=100)
        model = build_model(model_name, len(dataset.channels), len(dataset.labels), WINDOW)
        loss_of = WeightedCrossEntropy(class_weights(torch.from_numpy(labels), len(dataset.labels)))
        optimiser = torch.optim.Adam(
            model.parameters(), lr=SETTINGS.learning_rate, weight_decay=SETTINGS.weight_decay
        )
        schedule = torch.optim.lr_scheduler.StepLR(optimiser, SETTINGS.decay_every, SETTINGS.decay)
        for _ in range(SETTINGS.epochs):
            model.train()
            for inputs, target in training:
                optimiser.zero_grad()
                loss_of(model(inputs), target).backward()
                optimiser.step()
            schedule.step()
        model.eval()
        with torch.no_grad():
            for inputs, target in testing:
                truths.append(target.numpy())
                predictions.append(model(inputs).argmax(dim=1).numpy())
    return 100 * float(recall_score(np.concatenate(truths), np.concatenate(predictions), average="macro"))


def read_hawthorne(folder: Path) -> Dataset:
    return read_dataset(folder, sampling_rate=50.0)


def ours(model_name: str, settings: Settings, dataset: Dataset) -> float:
    jobs = make_jobs(dataset, [model_name], [Approach("full")], [1], [])
    with TemporaryDirectory() as folder:
        run_grid(dataset, jobs, settings, Path(folder), lambda *_: None)
        return scores(dataset, jobs, Path(folder))[0].macro_recall[0]


def write_long_export(folder: Path) -> None:
    """Ten participants of ten hours each."""
    samples = HOURS * 3600 * 50 // 10
    clip = np.arange(samples) // 50
    labels = pa.array(np.array(["walking", "sitting"], dtype=object)[clip // 600 % 2]).dictionary_encode()
    annotated = np.where(clip % 600 == 300, "annotated", "propagated")
    names = [f"acc_{number}" for number in range(12)]
    for number in range(10):
        random = np.random.default_rng(number)
        columns: dict[str, Any] = {
            "recording": pa.array(["long"] * samples).dictionary_encode(),
            "time": np.arange(samples) / 50,
            **{name: random.normal(size=samples) for name in names},
            "label": labels.cast(pa.string()),
            "source": annotated,
            "cluster": (clip // 600).astype(np.int32),
            "distance": np.abs(clip % 600 - 300.0),
            "ground_truth": labels.cast(pa.string()),
        }
        pa.parquet.write_table(pa.table(columns), folder / f"{number}.parquet")
    description = {"schema_version": 1, "labels": ["walking", "sitting"], "channels": names, "sampling_rate": 50.0}
    description |= {"clip_seconds": 4.0, "stride_seconds": 1.0}
    description["participants"] = {f"p{number}": {"file": f"{number}.parquet"} for number in range(10)}
    (folder / "dataset.json").write_text(json.dumps(description))


def long_training(folder: Path) -> float:
    """Peak memory in MB."""
    dataset = read_dataset(folder)
    train(dataset, list(dataset.participants[1:]), "tinyhar", Approach("few-shot-ce"), 1, replace(SETTINGS, epochs=1))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure() -> Rows:
    rows: Rows = []
    for model in MODELS:
        slow = in_child(read_hawthorne, partial(textbook, model), SHARED_DATA / "hawthorne")
        for precision in ("float32", "auto"):
            settings = replace(SETTINGS, precision=precision)
            fast = in_child(read_hawthorne, partial(ours, model, settings), SHARED_DATA / "hawthorne")
            rows.append(
                {
                    "model, precision": f"{model}, {precision}",
                    "textbook": f"{slow.seconds:.0f} s, recall {slow.result:.1f}",
                    "weakhar": f"{fast.seconds:.0f} s, recall {fast.result:.1f}",
                    "times faster": f"{slow.seconds / fast.seconds:.1f}",
                }
            )
    with TemporaryDirectory() as folder:
        write_long_export(Path(folder))
        run = in_child(Path, long_training, folder)
    measured = f"{run.seconds:.0f} s, {run.result / 1000:.1f} GB"
    rows.append(
        {"model, precision": f"{HOURS} h × 12 channels", "textbook": "", "weakhar": measured, "times faster": ""}
    )
    return rows
