"""Any model of timm on single frames: features after its global pool."""

import difflib
from typing import Any

import timm

from ml_backend.embeddings.device import Precision
from ml_backend.embeddings.frames import NetworkOnFrames, Preprocessing
from ml_backend.embeddings.registry import Weights, local_names, weights_error
from ml_backend.errors import ConfigError


def load(name: str, weights: Weights, precision: Precision) -> NetworkOnFrames:
    """The model `name`, as `timm.list_models(pretrained=True)` has it; ConfigError with near names if unknown."""
    if not timm.is_model(name.partition(".")[0]):
        near = ", ".join(difflib.get_close_matches(name, timm.list_models(), 3, 0.3))
        raise ConfigError(f"backbone timm:{name} is not known; near are {near}")
    (file,) = local_names(f"timm:{name}")
    local = weights.find(file)
    overlay = {"file": str(local)} if local else None
    try:
        model = timm.create_model(name, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay)
    except Exception as error:
        raise weights_error(f"timm:{name}", error, local, f"model.safetensors of timm/{name} as {file}") from error
    return NetworkOnFrames(f"timm:{name}", model, preprocessing_of(model), precision)


def preprocessing_of(model: Any) -> Preprocessing:
    """The preprocessing that a timm model was evaluated with."""
    config = timm.data.config.resolve_data_config({}, model=model)
    _, height, size = config["input_size"]
    if height != size:
        raise ConfigError(
            f"backbone: {height}×{size} pictures, not square ones, are not supported; take another model"
        )
    squash = config["crop_mode"] == "squash"
    resize = int(size / config["crop_pct"])
    return Preprocessing(resize, size, config["mean"], config["std"], config["interpolation"], squash)
