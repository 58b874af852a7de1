"""CLIP ViT-L/14 on single frames: image features after the visual projection, not normalised, as in the paper; and by
the same path every other model of open_clip."""

import difflib
from pathlib import Path
from typing import Any

import open_clip

from ml_backend.embeddings.device import Precision
from ml_backend.embeddings.frames import NetworkOnFrames, Preprocessing
from ml_backend.embeddings.registry import Weights, local_names, weights_error
from ml_backend.errors import ConfigError

MODEL = "ViT-L-14-quickgelu"  # the architecture that OpenAI's weights were trained with
TAG = "openai"
HUB = "timm/vit_large_patch14_clip_224.openai"


def load(_: str, weights: Weights, precision: Precision) -> NetworkOnFrames:
    """Features `(768,)`."""
    (file,) = local_names("clip")
    remedy = f"open_clip_model.safetensors of {HUB} as {file}"
    return _load("clip", MODEL, TAG, weights.find(file), remedy, precision, as_transformers=True)


def load_any(name: str, weights: Weights, precision: Precision) -> NetworkOnFrames:
    """The model `ARCHITECTURE/TAG` of open_clip; ConfigError with the nearest names if there is no such."""
    known = [f"{model}/{tag}" for model, tag in open_clip.list_pretrained()]
    if name not in known:
        near = ", ".join(difflib.get_close_matches(name, known, 3, 0.3)) or "those of open_clip.list_pretrained()"
        raise ConfigError(f"backbone open_clip:{name} is not known, expected ARCHITECTURE/TAG; near are {near}")
    model, tag = name.split("/")
    (file,) = local_names(f"open_clip:{name}")
    return _load(f"open_clip:{name}", model, tag, weights.find(file), f"its weights as {file}", precision)


def _load(
    name: str,
    model: str,
    tag: str,
    local: Path | None,
    remedy: str,
    precision: Precision,
    as_transformers: bool = False,
) -> NetworkOnFrames:
    try:
        loaded = open_clip.create_model(model, pretrained=str(local or tag))
    except Exception as error:
        raise weights_error(name, error, local, remedy) from error
    return from_model(loaded, precision, name, open_clip.get_pretrained_cfg(model, tag), as_transformers)


def from_model(
    model: Any,
    precision: Precision,
    name: str = "clip",
    config: dict[str, Any] | None = None,
    as_transformers: bool = True,
) -> NetworkOnFrames:
    """The backbone around an open_clip model; its text tower is dropped. `config` is open_clip's of those weights.

    `as_transformers`: crop as transformers' CLIP does, by which the paper's vectors were made.
    """
    visual, config = model.visual, config or {}
    size = visual.image_size[0] if isinstance(visual.image_size, tuple) else visual.image_size
    preprocessing = Preprocessing(
        size,
        size,
        config.get("mean") or visual.image_mean,
        config.get("std") or visual.image_std,
        config.get("interpolation") or "bicubic",
        config.get("resize_mode") == "squash",
        floor=as_transformers,
    )
    return NetworkOnFrames(name, visual, preprocessing, precision)
