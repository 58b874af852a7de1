"""Backbones: frames in, vectors out. One file a backbone; this registry finds them by name.

A backbone has `name`, `dim`, `batch`, and two steps that run side by side, `prepare` and `encode`.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from ml_backend.errors import ConfigError

BACKBONES = {"efficientnet_lite0": "efficientnet_lite0", "clip": "clip"}
BFLOAT16_BACKBONES = {"clip"}
"""Those whose vectors in bfloat16 keep a cosine of 0.999 to the float32 ones; EfficientNet-Lite0's fall to 0.995."""

Precision = Literal["float32", "bfloat16"]


class Backbone(Protocol):
    """Turns frames into vectors, `batch` frames at a time."""

    name: str
    dim: int
    batch: int

    def prepare(self, images: list[npt.NDArray[np.uint8]]) -> Any:
        """The network's input for `n` RGB images, each `(height, width, 3)`, all of one size."""
        ...

    def encode(self, prepared: Any) -> npt.NDArray[np.float32]:
        """Vectors `(n, dim)` of what `prepare` made of `n` images."""
        ...


def choose_precision(backbone: str, wanted: Literal["auto"] | Precision) -> Precision:
    """`auto` is bfloat16 where both the backbone and the hardware are made for it, else float32."""
    if wanted != "auto":
        return wanted
    if backbone not in BFLOAT16_BACKBONES:
        return "float32"
    import torch

    fast = torch.cuda.is_bf16_supported(False) if torch.cuda.is_available() else torch.cpu._is_avx512_bf16_supported()
    return "bfloat16" if fast else "float32"


def load_backbone(name: str, weights: Path | None = None, precision: Precision = "float32") -> Backbone:
    """The backbone called `name`, its weights from the hub or the folder `weights`; ConfigError if it is unknown."""
    if name not in BACKBONES:
        raise ConfigError(f"backbone '{name}' is not known; known are {', '.join(BACKBONES)}")
    from ml_backend.embeddings.torchvision_ops import declare_missing_operators

    declare_missing_operators()
    loader: Callable[[Path | None, Precision], Backbone] = import_module(
        f"ml_backend.embeddings.{BACKBONES[name]}"
    ).load
    return loader(weights, precision)
