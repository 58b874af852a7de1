"""Trained models on disk: safetensors beside a JSON of labels, channels and window; and ONNX for other programs."""

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.errors import TrainingError
from training.loop import Trained
from training.models import build_model

WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"
SCHEMA_VERSION = 1


def save_model(trained: Trained, folder: Path, extra: dict[str, Any] | None = None) -> None:
    """Write a model to `folder`; each file is whole or absent."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.contiguous().cpu() for name, tensor in trained.model.state_dict().items()}
    temporary = folder / f".{WEIGHTS}"
    save_file(weights, temporary)
    temporary.replace(folder / WEIGHTS)
    write_text(
        folder / DESCRIPTION, json.dumps({**_description(trained), **(extra or {})}, indent=1, ensure_ascii=False)
    )


def load_model(folder: Path) -> Trained:
    """Read what `save_model` wrote; TrainingError if it is no model, of a newer version, or of another shape."""
    file = folder / DESCRIPTION
    if not file.is_file() or not (folder / WEIGHTS).is_file():
        raise TrainingError(f"{folder}: holds no model ({DESCRIPTION} and {WEIGHTS}); name a folder that train wrote")
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
        if about["schema_version"] > SCHEMA_VERSION:
            raise TrainingError(
                f"{file}: schema_version {about['schema_version']} is newer than this weakhar; update it"
            )
        channels, labels = tuple(about["channels"]), tuple(about["labels"])
        exact = bool(about["batch_recurrence"])
        model = build_model(about["model"], len(channels), len(labels), about["window"], exact)
        size = about["sampling_rate"], about["window"], about["step"]
        trained = Trained(model, about["model"], labels, channels, *size, exact, about["batch_size"])
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise TrainingError(f"{file}: is damaged ({type(error).__name__}: {error}); train again") from None
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except Exception as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise TrainingError(f"{folder / WEIGHTS}: does not fit {DESCRIPTION} ({reason}); train again") from None
    if about["mean"] is not None:
        trained.mean, trained.std = torch.tensor(about["mean"]), torch.tensor(about["std"])
    model.eval()
    return trained


class _Deployed(nn.Module):
    """The model with its normalisation inside, so that raw windows go in."""

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.trained = trained
        self.model = trained.model

    def forward(self, windows: Tensor) -> Tensor:
        scores: Tensor = self.model(self.trained.normalised(windows))
        return scores


def export_onnx(trained: Trained, file: Path) -> float:
    """Write `windows (batch, window, channels)` → `scores (batch, classes)` with labels, channels, window and
    normalisation in the file's metadata; returns the greatest difference of onnxruntime's scores to torch's, and
    refuses (TrainingError) to leave a file where that is above 1e-4."""
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise TrainingError(
            f"ONNX export needs the package {error.name}; pip install onnx onnxscript onnxruntime"
        ) from None
    if trained.batch_recurrence:
        raise TrainingError(
            "a model that recurs over its batch (paper_exact) has no answer for a single window to export"
        )
    deployed = _Deployed(trained).eval().cpu()
    windows = torch.randn(5, trained.window, len(trained.channels))
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}")
    batch = torch.export.Dim("batch", min=1)
    names: dict[str, Any] = {"input_names": ["windows"], "output_names": ["scores"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about its own exporter
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            deployed, (windows,), dynamo=True, dynamic_shapes=({0: batch},), verbose=False, **names
        )
    assert program is not None
    model = program.model_proto
    for key, value in _description(trained).items():
        model.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    onnx.save(model, temporary)
    session = onnxruntime.InferenceSession(temporary, providers=["CPUExecutionProvider"])
    difference = 0.0
    for count in (1, 3, 5):
        with torch.inference_mode():
            expected = deployed(windows[:count]).numpy()
        found = session.run(["scores"], {"windows": windows[:count].numpy()})[0]
        difference = max(difference, float(np.abs(found - expected).max()))
    if difference > 1e-4:
        temporary.unlink()
        raise TrainingError(f"{file}: onnxruntime's scores differ from torch's by {difference:.2g}; not written")
    temporary.replace(file)
    return difference


def write_text(file: Path, text: str) -> None:
    """Write a file that is whole or absent."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}")
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(file)


def _description(trained: Trained) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "model": trained.name,
        "labels": list(trained.labels),
        "channels": list(trained.channels),
        "sampling_rate": trained.sampling_rate,
        "window": trained.window,
        "step": trained.step,
        "batch_recurrence": trained.batch_recurrence,
        "batch_size": trained.batch_size,
        "mean": None if trained.mean is None else trained.mean.tolist(),
        "std": None if trained.std is None else trained.std.tolist(),
    }
