"""Embedding with CLIP ViT-L/14 (random weights, which take as long as the published ones): our pipeline against the
plain loop of the paper's extraction, and against the machine's own matrix multiplication.

The plain loop is written as a user would: transformers' processor and model, one frame at a time, float32. Ours is
`Embedder` on the same video of 640×480 (a GoPro recording, played to and fro). `of GEMM` is the share of the
rate (floating-point operations a second) at which one linear layer of the same shape and precision runs in the same
process. A three-hour video goes through the pipeline with a network of one layer, to see what the pipeline itself
holds in memory.
"""

import os
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
import torch

from benchmarks.harness import SHARED_DATA, Rows, in_child
from ml_backend.embeddings import Embedder, Precision, Sampling, choose_precision
from ml_backend.embeddings.frames import NetworkOnFrames, Preprocessing
from ml_backend.embeddings.torchvision_ops import declare_missing_operators
from ml_backend.recordings.clips import clip_starts
from ml_backend.recordings.sampling import sample_frames
from ml_backend.recordings.video import VideoWriter
from ml_backend.settings import Parameters

SIZE = 640, 480
FRAMES = 24
VIDEO_SECONDS = 40.0
LONG_HOURS = 3
PAPER_RATE = 12.0


def write_video(path: Path, seconds: float, frame_rate: float = 30.0, size: tuple[int, int] = SIZE) -> None:
    with av.open(str(SHARED_DATA / "gopro" / "karma.mp4")) as container:
        frames = [
            frame.to_ndarray(width=size[0], height=size[1], format="rgb24") for frame in container.decode(video=0)
        ]
    there_and_back = [*frames, *frames[-2:0:-1]]
    with VideoWriter(path, *size, frame_rate) as writer:
        for number in range(int(seconds * frame_rate)):
            writer.write(there_and_back[number % len(there_and_back)], number / frame_rate)


def clip_backbone(precision: Precision) -> tuple[NetworkOnFrames, float]:
    """The backbone with random weights, and the operations it spends on a frame."""
    declare_missing_operators()
    import open_clip
    from torch.utils.flop_counter import FlopCounterMode

    from ml_backend.embeddings.clip import MODEL, from_model

    torch.manual_seed(0)
    model = open_clip.create_model(MODEL, pretrained=None).eval()
    torch.backends.mha.set_fastpath_enabled(False)  # whose operations the counter does not see
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.visual(torch.zeros(1, 3, 224, 224))
    torch.backends.mha.set_fastpath_enabled(True)
    return from_model(model, precision), float(counter.get_total_flops())


def gemm_rate(precision: Precision, frames: int) -> float:
    """Operations a second of a layer of ViT-L/14's shape, the better of two rounds."""
    layer = torch.nn.Linear(1024, 4096).to(getattr(torch, precision))
    rows = torch.randn(257 * frames, 1024).to(getattr(torch, precision))
    best = np.inf
    with torch.inference_mode():
        for _ in range(2):
            began = time.perf_counter()
            for _ in range(20):
                layer(rows)
            best = min(best, (time.perf_counter() - began) / 20)
    return 2 * rows.numel() * 4096 / best


def ours(task: tuple[Path, Precision]) -> dict[str, Any]:
    video, precision = task
    backbone, flops = clip_backbone(precision)
    gemm = gemm_rate(precision, backbone.batch)
    backbone.encode(torch.zeros(backbone.batch, 3, 224, 224))
    with TemporaryDirectory() as folder:
        began = time.perf_counter()
        rate = Parameters().frame_rate
        embedder = Embedder(Path(folder), "clip", "", precision, Sampling(4.0, 1.0, rate), lambda: backbone)
        _, times, vectors = embedder.stored(video)
        seconds = time.perf_counter() - began
        return {
            "fps": len(times) / seconds,
            "rate": flops * len(times) / seconds,
            "gemm": gemm,
            "vectors": np.array(vectors),
        }


def plain_loop(video: Path) -> float:
    """Frames a second."""
    declare_missing_operators()
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    large = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    config = CLIPVisionConfig(**large, patch_size=14, projection_dim=768)
    model, processor = CLIPVisionModelWithProjection(config).eval(), CLIPImageProcessor()
    features = []
    with av.open(str(video)) as container, torch.no_grad():
        for number, frame in enumerate(container.decode(video=0)):
            if number == 1:
                began = time.perf_counter()  # the first warms up
            inputs = processor(images=frame.to_image(), return_tensors="pt")
            features.append(model(**inputs).image_embeds.squeeze().tolist())
            if number == FRAMES // 2:
                return number / (time.perf_counter() - began)
    raise AssertionError("the video is shorter than the loop")


def decoding(video: Path) -> float:
    """Seconds of video decoded, sampled at the default rate and preprocessed in a second, on one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    prepare = Preprocessing(224, 224, (0.5, 0.5, 0.5), (0.3, 0.3, 0.3))
    began = time.perf_counter()
    for _, image in sample_frames(video, Parameters().frame_rate):
        prepare([image])
    return VIDEO_SECONDS / (time.perf_counter() - began)


def long_video(task: tuple[Path, Path]) -> float:
    """MB by which the process grows from a short video to a long one."""
    short, long = task
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 768))
    backbone = NetworkOnFrames("flat", network, Preprocessing(224, 224, (0.5,) * 3, (0.3,) * 3), "float32")
    rate = Parameters().frame_rate
    peaks = []
    with TemporaryDirectory() as folder:
        for video, seconds in ((short, VIDEO_SECONDS), (long, LONG_HOURS * 3600.0)):
            embedder = Embedder(Path(folder), "flat", "", "float32", Sampling(4.0, 1.0, rate), lambda: backbone)
            embedder.of_clips(video, clip_starts(0.0, seconds, 4.0, 1.0))
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return peaks[1] - peaks[0]


def measure() -> Rows:
    with TemporaryDirectory() as folder:
        short, video, long = (Path(folder) / f"{name}.mp4" for name in ("short", "middle", "long"))
        write_video(short, FRAMES / (Parameters().frame_rate or PAPER_RATE))
        write_video(video, VIDEO_SECONDS)
        write_video(long, LONG_HOURS * 3600.0, 4.0, (320, 240))
        best = choose_precision("clip", "auto")
        precisions: list[Precision] = ["float32", *([best] if best != "float32" else [])]
        plain = in_child(_same, plain_loop, video).result
        runs = {name: in_child(_same, ours, (short, name)) for name in precisions}
        on_one_core = in_child(_same, decoding, video).result
        growth = in_child(_same, long_video, (video, long)).result
    rows = [_row("plain loop: frames a second", f"{plain:.2f}", "1.0×")]
    for name, run in runs.items():
        found = run.result
        rows.append(_row(f"ours, {name}: frames a second", f"{found['fps']:.2f}", f"{found['fps'] / plain:.1f}×"))
        share = f"{found['rate'] / found['gemm']:.0%} of GEMM"
        rows.append(_row(f"ours, {name}: GFLOP a second", f"{found['rate'] / 1e9:.0f}", share))
    if len(runs) > 1:
        exact, fast = (run.result["vectors"] for run in runs.values())
        cosine = (exact * fast).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(fast, axis=1)
        rows.append(_row(f"{best} to float32: smallest cosine", f"{cosine.min():.5f}", ""))
        gemms = [run.result["gemm"] for run in runs.values()]
        rows.append(_row(f"GEMM, {best}: GFLOP a second", f"{gemms[1] / 1e9:.0f}", f"{gemms[1] / gemms[0]:.1f}×"))
    rate = Parameters().frame_rate or PAPER_RATE
    ours_video, plain_video = runs[best].result["fps"] / rate, plain / PAPER_RATE
    rows.append(_row("plain loop at 12 frames a second: video per second", f"{plain_video:.3f} s", "1.0×"))
    ratio = f"{ours_video / plain_video:.1f}×"
    rows.append(_row(f"ours at the default {rate:g}: video per second", f"{ours_video:.3f} s", ratio))
    rows.append(_row("decoding and preprocessing on one core, 640×480", f"{on_one_core:.0f} s a second", ""))
    rows.append(_row(f"growth of memory over {LONG_HOURS} h of video", f"{growth:.0f} MB", ""))
    return rows


def _row(what: str, value: str, ratio: str) -> dict[str, Any]:
    return {"what": what, "value": value, "ratio": ratio}


def _same(argument: Any) -> Any:
    return argument
