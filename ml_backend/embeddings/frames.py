"""Backbones that see single frames: the backbone's own preprocessing, vectorised over a batch, then its network."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import interpolate, pad

from ml_backend.embeddings.backbone import FrameBackbone, Images
from ml_backend.embeddings.device import Precision, has_gpu, place
from ml_backend.errors import ConfigError


@dataclass(frozen=True)
class Preprocessing:
    """Resize the shorter side to `resize` (or both, with `squash`), crop `crop`² at the centre, normalise. `floor` as
    in `centre_crop`."""

    resize: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    squash: bool = False
    floor: bool = False

    def __post_init__(self) -> None:
        if self.interpolation not in ("bicubic", "bilinear"):
            raise ConfigError(f"backbone: resizing by '{self.interpolation}' is not supported; choose another model")

    def __call__(self, images: Images) -> torch.Tensor:
        """Images → `(n, 3, crop, crop)` float32."""
        batch = resized(images, self.resize, self.interpolation, self.squash)
        batch = centre_crop(batch, self.crop, self.floor)
        mean = torch.tensor(self.mean).view(3, 1, 1) * 255
        std = torch.tensor(self.std).view(3, 1, 1) * 255
        return (batch.float() - mean) / std


def resized(images: Images, shorter: int, interpolation: str, squash: bool = False) -> torch.Tensor:
    """Images with their shorter side at `shorter`, or `shorter`² with `squash`; `(n, 3, height, width)` uint8."""
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    height, width = batch.shape[2:]
    short = min(height, width)
    size = (shorter, shorter) if squash else (int(shorter * height / short), int(shorter * width / short))
    if size == (height, width):
        return batch
    # On uint8 torch rounds exactly as Pillow does, which the backbones were trained with.
    return interpolate(batch, size=size, mode=interpolation, antialias=True)


def centre_crop(batch: torch.Tensor, crop: int, floor: bool = False) -> torch.Tensor:
    """The middle `crop`² of `(…, height, width)`, with black around it if that is smaller.

    Of an odd margin torchvision, and with it open_clip and timm, rounds the half; with `floor` the larger part is
    cut off at the end, as transformers and video_features do, by which the paper's vectors were made.
    """
    missing = [max(0, crop - side) for side in batch.shape[-2:]]
    if any(missing):
        down, right = missing
        batch = pad(batch, (right // 2, right - right // 2, down // 2, down - down // 2))
    top, left = ((side - crop) // 2 if floor else round((side - crop) / 2) for side in batch.shape[-2:])
    return batch[..., top : top + crop, left : left + crop]


class NetworkOnFrames(FrameBackbone):
    """A network on single frames, run in inference mode on the GPU where there is one.

    In bfloat16 weights and activations are; half the bits are twice the arithmetic on processors made for it.
    """

    def __init__(
        self,
        name: str,
        network: torch.nn.Module,
        preprocessing: Callable[[Images], torch.Tensor],
        precision: Precision,
    ) -> None:
        self.name = name
        # On a CPU freed activations of larger batches go back to the system and are paged in again each time.
        self.batch = 64 if has_gpu() else 4
        self._preprocessing = preprocessing
        self._place = place(precision)
        self._network = network.eval().to(*self._place)
        self.dim = self.encode(self.prepare([np.zeros((32, 32, 3), np.uint8)])).shape[1]

    def prepare(self, images: Images) -> torch.Tensor:
        """The network's input, on the CPU."""
        return self._preprocessing(images)

    def encode(self, prepared: torch.Tensor) -> npt.NDArray[np.float32]:
        """Vectors `(n, dim)` of `n` prepared images."""
        with torch.inference_mode():
            vectors = self._network(prepared.to(*self._place))
        result: npt.NDArray[np.float32] = vectors.float().cpu().numpy()
        return result
