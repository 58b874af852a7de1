"""A video → vectors. In come videos, a backbone's name and how clips are sampled; out come one vector for each
clip, made once and kept on disk under the content of the video and all that made them.

Other rooms use `embedders`, `embed_all`, `participant_vectors` and `participant_frames`, which do this for whole
recordings by `Embedder` (one backbone's vectors on disk, by a `Sampling`); `load_backbone`, `parts_of` (the backbones
that a name combines), `Weights`, `choose_precision`. `FrameBackbone` and `ClipBackbone` are what a new `Backbone`
extends, in a file of its own that `registry.py` names. `precomputed_clip_vectors` and `read_array` read vectors that
users bring. torch is imported only where a network runs."""

from collections.abc import Callable
from typing import Any

from ml_backend.embeddings.backbone import Backbone, ClipBackbone, FrameBackbone, Sampling, clip_vectors
from ml_backend.embeddings.device import Precision, check_precision, choose_precision
from ml_backend.embeddings.participants import embed_all, embedders, participant_frames, participant_vectors
from ml_backend.embeddings.registry import Weights, load_backbone, parts_of
from ml_backend.embeddings.store import Embedder, precomputed_clip_vectors, read_array, unit_spread
from ml_backend.spread import Progress

__all__ = [
    "CHECKS",
    "Backbone",
    "ClipBackbone",
    "Embedder",
    "FrameBackbone",
    "Precision",
    "Progress",
    "Sampling",
    "Weights",
    "choose_precision",
    "clip_vectors",
    "embed_all",
    "embedders",
    "load_backbone",
    "participant_frames",
    "participant_vectors",
    "parts_of",
    "precomputed_clip_vectors",
    "read_array",
    "unit_spread",
]


def _check_rate(rate: float | str) -> None:
    if rate != "all" and not 0 < float(rate) <= 240:
        raise ValueError("must be above 0 and at most 240, or `all`")


CHECKS: dict[str, Callable[[Any], object]] = {
    "backbone": parts_of,
    "precision": check_precision,
    "frames_per_second": _check_rate,
}
"""Parameter → what raises ValueError for a value that is not allowed."""
