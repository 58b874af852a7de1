"""Backbones: frames in, vectors out. One file a backbone; this registry finds them by name.

A backbone has three members: `name`, `dim` and `encode(images) -> (n, dim) float32`.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ml_backend.errors import ConfigError

BACKBONES = {"efficientnet_lite0": "efficientnet_lite0", "clip": "clip"}


class Backbone(Protocol):
    """Turns frames into vectors."""

    name: str
    dim: int

    def encode(self, images: list[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """Vectors `(n, dim)` of `n` RGB images, each `(height, width, 3)`, all of one size."""
        ...


def load_backbone(name: str, weights: Path | None = None) -> Backbone:
    """The backbone called `name`, its weights from the hub or the folder `weights`; ConfigError if it is unknown."""
    if name not in BACKBONES:
        raise ConfigError(f"backbone '{name}' is not known; known are {', '.join(BACKBONES)}")
    from ml_backend.embeddings.torchvision_ops import declare_missing_operators

    declare_missing_operators()
    loader: Callable[[Path | None], Backbone] = import_module(f"ml_backend.embeddings.{BACKBONES[name]}").load
    return loader(weights)
