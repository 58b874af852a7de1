"""Any vision model of transformers: the paper's DINOv2 and what came after it; models of video see whole clips.

Its own processor prepares the pictures. A frame's vector is, in this order: the model's image features (CLIP,
SigLIP), its pooled output (DINOv2: the class token after the last norm), or its first token where the published
weights bring no pooling. A clip's vector is the mean over the tokens of a video model (V-JEPA 2, VideoMAE).
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers

from ml_backend.embeddings.backbone import ClipBackbone, Images
from ml_backend.embeddings.device import Precision, has_gpu, place
from ml_backend.embeddings.frames import NetworkOnFrames
from ml_backend.embeddings.registry import Weights, local_names, weights_error
from ml_backend.errors import ConfigError

DINOV2 = "facebook/dinov2-large"


def load_dinov2(_: str, weights: Weights, precision: Precision) -> NetworkOnFrames:
    """DINOv2-large: class token after the last norm, `(1024,)`, as in the paper."""
    backbone = load(DINOV2, weights, precision, "dinov2")
    assert isinstance(backbone, NetworkOnFrames)
    return backbone


def load(
    name: str, weights: Weights, precision: Precision, called: str | None = None
) -> "NetworkOnFrames | NetworkOnVideo":
    """The model `OWNER/NAME` of the hub, or from the folder `OWNER--NAME` of the user's weights."""
    called = called or f"hf:{name}"
    (folder,) = local_names(f"hf:{name}")
    local = weights.find(folder)
    source = str(local or name)
    try:
        model, info = transformers.AutoModel.from_pretrained(source, output_loading_info=True)
        frames = getattr(model.config, "frames_per_clip", None) or getattr(model.config, "num_frames", None)
        kind = transformers.AutoVideoProcessor if frames else transformers.AutoImageProcessor
        processor = kind.from_pretrained(source)
    except Exception as error:
        raise weights_error(called, error, local, f"all files of {name} as {folder}/") from error
    if frames:
        return NetworkOnVideo(called, model, processor, frames, precision)
    has_pooling = not any("pooler" in key for key in info["missing_keys"])
    return NetworkOnFrames(called, ImageFeatures(model, has_pooling), images_through(processor), precision)


def images_through(processor: Any) -> Any:
    def prepare(images: Images) -> torch.Tensor:
        pixels: torch.Tensor = processor(images=images, return_tensors="pt")["pixel_values"]
        return pixels

    return prepare


class ImageFeatures(torch.nn.Module):
    """What the docstring of this file says, `(n, dim)` from pixels."""

    def __init__(self, model: Any, has_pooling: bool) -> None:
        super().__init__()
        self.model, self.has_pooling = model, has_pooling

    def forward(self, pixels: torch.Tensor) -> Any:
        if hasattr(self.model, "get_image_features"):
            found = self.model.get_image_features(pixel_values=pixels)
            return found if isinstance(found, torch.Tensor) else found.pooler_output
        found = self.model(pixel_values=pixels)
        if self.has_pooling and getattr(found, "pooler_output", None) is not None:
            return found.pooler_output.flatten(1)
        return found.last_hidden_state[:, 0]


class NetworkOnVideo(ClipBackbone):
    """A model of video that was trained on `frames` frames a clip."""

    def __init__(self, name: str, model: Any, processor: Any, frames: int, precision: Precision) -> None:
        self.name = name
        self.batch = 16
        self.clips = 8 if has_gpu() else 1
        self._frames = frames
        self._processor = processor
        self._place = place(precision)
        self._model = model.eval().to(*self._place)
        self.dim = int(model.config.hidden_size)

    def frames_of_clip(self, clip_seconds: float) -> int:
        """What the model was trained on, whatever the length of the clip."""
        if self._frames > 240 * clip_seconds:
            raise ConfigError(f"backbone {self.name}: {self._frames} frames a clip are too many; raise clip_seconds")
        return self._frames

    def prepare(self, images: Images) -> torch.Tensor:
        """`(n, 3, side, side)` float16, to hold many."""
        video = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        prepared = self._processor(videos=[video], return_tensors="pt", do_sample_frames=False)
        pixels: torch.Tensor = next(value for key, value in prepared.items() if key.startswith("pixel_values"))
        return pixels[0].half()

    def encode(self, stacks: torch.Tensor) -> npt.NDArray[np.float32]:
        """Vectors `(n, dim)` of `(n, frames, 3, side, side)`."""
        pixels = stacks.to(*self._place)
        with torch.inference_mode():
            if hasattr(self._model, "get_vision_features"):  # V-JEPA 2 without its predictor
                tokens = self._model.get_vision_features(pixels)
            else:
                tokens = self._model(pixels).last_hidden_state
            vectors = tokens.float().mean(dim=1)
        result: npt.NDArray[np.float32] = vectors.cpu().numpy()
        return result
