"""Backbones that see single frames: the backbone's own preprocessing, vectorised over a batch, then its network."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import interpolate

from ml_backend.embeddings import Precision


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
    """A network on single frames, run in inference mode on the GPU where there is one.

    In bfloat16 weights and activations are; half the bits are twice the arithmetic on processors made for it.
    """

    def __init__(
        self, name: str, dim: int, network: torch.nn.Module, preprocessing: Preprocessing, precision: Precision
    ) -> None:
        gpu = torch.cuda.is_available()
        self.name = name
        self.dim = dim
        # On a CPU freed activations of larger batches go back to the system and are paged in again each time.
        self.batch = 64 if gpu else 4
        self.preprocessing = preprocessing
        self._place = torch.device("cuda" if gpu else "cpu"), getattr(torch, precision)
        self._network = network.eval().to(*self._place)

    def prepare(self, images: list[npt.NDArray[np.uint8]]) -> torch.Tensor:
        """The network's input `(n, 3, crop, crop)` for `n` RGB images, each `(height, width, 3)`, all of one size."""
        return self.preprocessing(images)

    def encode(self, prepared: torch.Tensor) -> npt.NDArray[np.float32]:
        """Vectors `(n, dim)` of `n` prepared images."""
        with torch.inference_mode():
            vectors = self._network(prepared.to(*self._place))
        result: npt.NDArray[np.float32] = vectors.float().cpu().numpy()
        return result
