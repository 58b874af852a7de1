"""CLIP ViT-L/14 on single frames: image features after the visual projection, not normalised (SPEC 2)."""

from pathlib import Path
from typing import Any

import open_clip

from ml_backend.embeddings import Precision
from ml_backend.embeddings.frames import FrameBackbone, Preprocessing
from ml_backend.errors import ConfigError

MODEL = "ViT-L-14-quickgelu"  # the architecture that OpenAI's weights were trained with
TAG = "openai"
HUB = "timm/vit_large_patch14_clip_224.openai"
DIM = 768
WEIGHTS_FILE = "clip-vit-large-patch14.safetensors"


def load(weights: Path | None, precision: Precision) -> FrameBackbone:
    """Features `(768,)`; from `weights`/clip-vit-large-patch14.safetensors if given, else from the hub."""
    local = weights / WEIGHTS_FILE if weights else None
    try:
        if local and local.is_file():
            model = open_clip.create_model(MODEL, pretrained=str(local))
        else:
            model = open_clip.create_model(MODEL, pretrained=TAG)
    except Exception as error:
        raise ConfigError(
            f"backbone clip: its weights cannot be loaded ({type(error).__name__}); where the hub cannot be reached, "
            f"save open_clip_model.safetensors of {HUB} as {WEIGHTS_FILE} in a folder, name it in WEAKHAR_WEIGHTS, "
            "or use backbone efficientnet_lite0"
        ) from error
    return from_model(model, precision)


def from_model(model: Any, precision: Precision) -> FrameBackbone:
    """The backbone around an open_clip model; its text tower is dropped."""
    visual = model.visual
    size = visual.image_size[0]
    preprocessing = Preprocessing(size, size, visual.image_mean, visual.image_std)
    return FrameBackbone("clip", visual.output_dim, visual, preprocessing, precision)
