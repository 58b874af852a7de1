"""Optical flow by RAFT, seen by the flow stream of I3D: 1024 features after the last average pool, as in the paper.

The flow between two frames is computed once, however many clips overlap there. It is taken at a shorter side of 256
pixels, clamped to 20 pixels and coded in 256 steps, as that stream's training data was. `raft` is what the paper's
vectors were most likely made with, video_features: weights trained on Sintel, 20 updates. `raft_v2` is torchvision's
later training, with its 12 updates.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad
from torchvision.models.optical_flow import Raft_Large_Weights, raft_large

from ml_backend.embeddings.backbone import Images
from ml_backend.embeddings.device import Precision, has_gpu
from ml_backend.embeddings.frames import centre_crop, resized
from ml_backend.embeddings.i3d import CROP, I3D, SHORTER_SIDE, StreamOnClips, load_stream
from ml_backend.embeddings.registry import Weights, local_names, weights_error

MOST_PIXELS = 20.0
DIVISOR = 8
"""RAFT wants sides that are multiples of it."""


def load(_: str, weights: Weights, precision: Precision) -> "FlowOnClips":
    """RAFT-large as the paper's, and I3D's flow stream, `(1024,)`."""
    return _load("raft", Raft_Large_Weights.C_T_SKHT_V1, 20, weights, precision)


def load_v2(_: str, weights: Weights, precision: Precision) -> "FlowOnClips":
    """RAFT-large of torchvision's later training, and I3D's flow stream, `(1024,)`."""
    return _load("raft_v2", Raft_Large_Weights.C_T_SKHT_V2, 12, weights, precision)


def _load(
    name: str, published: Raft_Large_Weights, updates: int, weights: Weights, precision: Precision
) -> "FlowOnClips":
    file, _ = local_names(name)
    local = weights.find(file)
    try:
        if local:
            state = torch.load(local, map_location="cpu", weights_only=True)
        else:
            state = published.get_state_dict(progress=False, check_hash=True, map_location="cpu")
        raft = raft_large()
        raft.load_state_dict(state)
    except Exception as error:
        raise weights_error(name, error, local, f"{published.url} as {file}") from error
    stream = load_stream(name, "flow", weights.i3d_flow, weights)
    return FlowOnClips(raft, stream, precision, name, updates)


class FlowOnClips(StreamOnClips):
    """Flow between the frames of a clip at 12 frames a second."""

    def __init__(
        self, raft: torch.nn.Module, network: I3D, precision: Precision, name: str = "raft", updates: int = 20
    ) -> None:
        super().__init__(name, network, precision)
        self._updates = updates
        self.batch = 16 if has_gpu() else 4
        self._raft = raft.eval().to(self._place[0])

    def prepare(self, images: Images) -> Tensor:
        """`(n, 3, height, width)` float32 in [-1, 1]: shorter side to 256, sides padded to multiples of 8."""
        frames = resized(images, SHORTER_SIDE, "bilinear").float() / 127.5 - 1
        down, right = (-side % DIVISOR for side in frames.shape[2:])
        return pad(frames, (right // 2, right - right // 2, down // 2, down - down // 2), mode="replicate")

    def contents(self, batches: Iterator[tuple[list[float], Tensor]]) -> Iterator[tuple[float, Tensor]]:
        """The flow from each frame to the next, `(2, 224, 224)` int16; the last frame repeats the one before."""
        last: Tensor | None = None
        coded = torch.full((1, 2, CROP, CROP), 128, dtype=torch.int16)
        waiting: list[float] = []
        for times, frames in batches:
            waiting += times
            frames = frames if last is None else torch.cat([last, frames])
            last = frames[-1:]
            if len(frames) > 1:
                coded = code_flow(self.flow(frames[:-1], frames[1:]))
                yield from zip(waiting, coded, strict=False)
                waiting = waiting[-1:]
        yield from ((time, coded[-1]) for time in waiting)

    def flow(self, first: Tensor, second: Tensor) -> Tensor:
        """Pixels that each place moves right and down, `(n, 2, height, width)`; in float32, as RAFT is iterative."""
        with torch.inference_mode():
            place = self._place[0]
            flow: Tensor = self._raft(first.to(place), second.to(place), num_flow_updates=self._updates)[-1]
        return flow


def code_flow(flow: Tensor) -> Tensor:
    """The middle of the flow, `(n, 2, 224, 224)`: -20 … 20 pixels as 0 … 256, as video_features codes it (it does not
    stop at 255)."""
    middle = centre_crop(flow, CROP, floor=True).clamp(-MOST_PIXELS, MOST_PIXELS)
    return (128 + 255 / (2 * MOST_PIXELS) * middle).round().to("cpu", torch.int16)
