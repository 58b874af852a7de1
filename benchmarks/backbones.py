"""What each backbone costs: seconds of video embedded in a second, on a GoPro recording of 640×480, with clips of 4 s
every second; random weights of the published sizes, since speed does not depend on their values.

Frame backbones see 2 frames a second (the default), I3D, RAFT and V-JEPA 2 what they are made for: 12 frames a
second, or 64 a clip.
"""

import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.embedding import clip_backbone, write_video
from benchmarks.harness import Rows
from ml_backend.embeddings import Backbone, Sampling, choose_precision, load_backbone
from ml_backend.embeddings.backbone import ClipBackbone
from ml_backend.embeddings.torchvision_ops import declare_missing_operators
from ml_backend.settings import Parameters

VIDEO_SECONDS = 120.0
LIMIT_SECONDS = 25.0
"""A backbone is measured for so long at most, after its first batch."""


def dinov2() -> Backbone:
    import transformers

    from ml_backend.embeddings.frames import NetworkOnFrames
    from ml_backend.embeddings.huggingface import ImageFeatures, images_through

    config = transformers.Dinov2Config(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, image_size=518, patch_size=14
    )
    processor = transformers.BitImageProcessor(
        size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}, do_convert_rgb=True
    )
    network = ImageFeatures(transformers.Dinov2Model(config), True)
    return NetworkOnFrames("dinov2", network, images_through(processor), "float32")


def i3d() -> Backbone:
    from ml_backend.embeddings.i3d import I3D, StreamOnClips

    return StreamOnClips("i3d", I3D(3), "float32")


def raft() -> Backbone:
    from torchvision.models.optical_flow import raft_large

    from ml_backend.embeddings.i3d import I3D
    from ml_backend.embeddings.raft import FlowOnClips

    return FlowOnClips(raft_large(), I3D(2), "float32")


def siglip() -> Backbone:
    import open_clip

    from ml_backend.embeddings.clip import from_model

    model = open_clip.create_model("ViT-B-16-SigLIP", pretrained=None)
    return from_model(model, "float32", "siglip", open_clip.get_pretrained_cfg("ViT-B-16-SigLIP", "webli"))


def vjepa2() -> Backbone:
    import transformers

    from ml_backend.embeddings.huggingface import NetworkOnVideo

    config = transformers.VJEPA2Config()  # ViT-L, 64 frames of 256²
    return NetworkOnVideo(
        "vjepa2", transformers.VJEPA2Model(config), transformers.VJEPA2VideoProcessor(), 64, "float32"
    )


BACKBONES: dict[str, tuple[int, Callable[[], Backbone]]] = {
    "efficientnet_lite0": (1280, lambda: load_backbone("efficientnet_lite0")),
    "clip": (768, lambda: clip_backbone(choose_precision("clip", "auto"))[0]),
    "dinov2": (1024, dinov2),
    "open_clip:ViT-B-16-SigLIP/webli": (768, siglip),
    "i3d": (1024, i3d),
    "raft": (1024, raft),
    "hf:facebook/vjepa2-vitl-fpc64-256": (1024, vjepa2),
}


def rate(backbone: Backbone, video: Path) -> tuple[str, float]:
    """What was made a second as text, and how many seconds of video that is."""
    sampling = Sampling(4.0, 1.0, Parameters().frame_rate)
    made = backbone.vectors_of(video, sampling, -1.0)
    unit, unit_seconds = (
        ("clips", 1.0) if isinstance(backbone, ClipBackbone) else ("frames", 1 / (Parameters().frame_rate or 1))
    )
    list(islice(made, 1))
    began, count = time.perf_counter(), 0
    for times, _ in made:
        count += len(times)
        if time.perf_counter() - began > LIMIT_SECONDS:
            break
    a_second = count / (time.perf_counter() - began)
    return f"{a_second:.3g} {unit}", a_second * unit_seconds


def measure() -> Rows:
    declare_missing_operators()
    rows = []
    with TemporaryDirectory() as folder:
        video = Path(folder) / "video.mp4"
        write_video(video, VIDEO_SECONDS)
        for name, (dim, make) in BACKBONES.items():
            torch.manual_seed(0)
            backbone = make()
            assert backbone.dim == dim, (name, backbone.dim)
            made, seconds = rate(backbone, video)
            rows.append({"backbone": name, "dimensions": dim, "a second": made, "× real time": f"{seconds:.2g}"})
    return rows
