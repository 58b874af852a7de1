"""Backbones that see single frames: the backbone's own preprocessing, vectorised over a batch, then its network."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import interpolate


@dataclass(frozen=True)
class Preprocessing:
    """Resize the shorter side to `resize` (bicubic, antialiased), crop `crop`² at the centre, normalise."""

    resize: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, images: list[npt.NDArray[np.uint8]]) -> torch.Tensor:
        """Images `(height, width, 3)` of one size → `(n, 3, crop, crop)` float32."""
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        height, width = batch.shape[2:]
        short = min(height, width)
        size = (int(self.resize * height / short), int(self.resize * width / short))
        if size != (height, width):
            # On uint8 torch rounds exactly as Pillow does, which the backbones were trained with.
            batch = interpolate(batch, size=size, mode="bicubic", antialias=True)
        top, left = round((size[0] - self.crop) / 2), round((size[1] - self.crop) / 2)
        batch = batch[:, :, top : top + self.crop, left : left + self.crop]
        mean = torch.tensor(self.mean).view(3, 1, 1) * 255
        std = torch.tensor(self.std).view(3, 1, 1) * 255
        return (batch.float() - mean) / std


class FrameBackbone:
    """A network on single frames, run in inference mode on the GPU where there is one."""

    def __init__(
        self, name: str, dim: int, network: Callable[[torch.Tensor], torch.Tensor], preprocessing: Preprocessing
    ) -> None:
        self.name = name
        self.dim = dim
        self.preprocessing = preprocessing
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network = network

    def encode(self, images: list[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """Vectors `(n, dim)` of `n` RGB images, each `(height, width, 3)`, all of one size."""
        with torch.inference_mode():
            vectors = self._network(self.preprocessing(images).to(self._device))
        result: npt.NDArray[np.float32] = vectors.float().cpu().numpy()
        return result
