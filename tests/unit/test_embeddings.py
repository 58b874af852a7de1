"""Frames to vectors: the backbones' own preprocessing, means over clips, and a run that was broken off."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch
from PIL import Image
from transformers import CLIPImageProcessor

from ml_backend.embeddings import (
    Embedder,
    FrameBackbone,
    Precision,
    Sampling,
    Weights,
    choose_precision,
    clip_vectors,
    load_backbone,
    precomputed_clip_vectors,
)
from ml_backend.embeddings.backbone import FRAMES
from ml_backend.embeddings.clip import MODEL, from_model
from ml_backend.embeddings.frames import Preprocessing
from ml_backend.errors import ConfigError, RecordingError
from ml_backend.recordings.sampling import sample_frames

ImageArray = np.ndarray


class Brightness(FrameBackbone):
    """A backbone whose vector is the frame's mean colour; counts the frames it saw."""

    name, dim, batch = "brightness", 3, 8

    def __init__(self, stop_after: int = 10**9) -> None:
        self.seen, self.stop_after = 0, stop_after

    def prepare(self, images: list[ImageArray]) -> torch.Tensor:
        return torch.from_numpy(np.stack(images))

    def encode(self, images: torch.Tensor) -> np.ndarray:
        if self.seen >= self.stop_after:
            raise KeyboardInterrupt
        self.seen += len(images)
        return images.double().mean(dim=(1, 2)).numpy().astype(np.float32)


def frame_vectors(
    folder: Path,
    video: Path,
    per_second: float | None,
    load: Callable[[], Brightness] = Brightness,
    precision: Precision = "float32",
) -> tuple[np.ndarray, np.ndarray]:
    rows, times, vectors = Embedder(folder, "b", "", precision, Sampling(4.0, 1.0, per_second), load).stored(video)
    assert rows is FRAMES
    return times, vectors


@pytest.fixture(scope="module")
def real_frames(shared_data: Path) -> list[ImageArray]:
    return [image for _, image in sample_frames(shared_data / "video" / "arm_wrestling.mp4", 1)]


def test_preprocessing_equals_the_backbones_own_transform(real_frames: list[ImageArray]) -> None:
    backbone = load_backbone("efficientnet_lite0")
    model = timm.create_model("tf_efficientnet_lite0")
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model))
    ours = backbone.prepare(real_frames[:3])
    theirs = torch.stack([transform(Image.fromarray(image)) for image in real_frames[:3]])
    assert (ours - theirs).abs().max() < 0.02  # one level of 255, where the rounding differs


@pytest.fixture
def small_clip() -> torch.nn.Module:
    torch.manual_seed(0)
    config = {"embed_dim": 24, "vision_cfg": {"image_size": 224, "layers": 2, "width": 128, "patch_size": 56}}
    config["text_cfg"] = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    model = open_clip.CLIP(**config, quick_gelu=True).eval()
    model.visual.image_mean, model.visual.image_std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    return model


def test_clips_input_is_that_of_the_papers_processor_and_vectors_those_of_open_clip(
    real_frames: list[ImageArray], small_clip: torch.nn.Module
) -> None:
    backbone = from_model(small_clip, "float32")
    prepared = backbone.prepare(real_frames[:3])
    theirs = CLIPImageProcessor()(images=real_frames[:3], return_tensors="pt")["pixel_values"]
    assert (prepared - theirs).abs().max() < 1e-5
    transform = open_clip.image_transform(224, is_train=False)
    through_pillow = torch.stack([transform(Image.fromarray(image)) for image in real_frames[:3]])
    assert (prepared - through_pillow).abs().max() < 0.031  # two levels of 255, where Pillow rounds otherwise
    with torch.inference_mode():
        expected = small_clip.encode_image(prepared).numpy()
    np.testing.assert_allclose(backbone.encode(prepared), expected, atol=1e-5)


def test_bfloat16_keeps_clips_vectors(real_frames: list[ImageArray], small_clip: torch.nn.Module) -> None:
    exact, fast = from_model(deepcopy(small_clip), "float32"), from_model(small_clip, "bfloat16")
    one, other = (backbone.encode(backbone.prepare(real_frames)) for backbone in (exact, fast))
    assert not np.array_equal(one, other)
    cosines = (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert cosines.min() >= 0.999


def test_auto_precision_is_bfloat16_only_for_backbones_and_processors_made_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for fast, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda fast=fast: fast)
        assert choose_precision("clip", "auto") == expected
        assert choose_precision("efficientnet_lite0", "auto") == "float32"
        assert choose_precision("clip", "float32") == "float32"


def test_vectors_of_another_precision_are_kept_apart(sample_root: Path, tmp_path: Path) -> None:
    video = sample_root / "p01" / "session.mp4"
    for precision in ("float32", "bfloat16"):
        frame_vectors(tmp_path, video, 1.0, precision=precision)  # type: ignore[arg-type]
    assert {path.name for path in tmp_path.rglob("*fps*.json")} == {"b-1fps.json", "b-1fps-bfloat16.json"}


def test_an_error_in_the_decoding_thread_reaches_the_caller(sample_root: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes((sample_root / "p01" / "session.mp4").read_bytes()[:500])
    with pytest.raises(RecordingError, match=r"broken\.mp4"):
        frame_vectors(tmp_path, broken, None)


def test_clip_without_a_hub_says_which_file_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="WEAKHAR_WEIGHTS"):
        load_backbone("clip", Weights(tmp_path))


def test_clip_loads_weights_from_the_users_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    loaded = {}

    def create_model(name: str, pretrained: str) -> torch.nn.Module:
        loaded[name] = pretrained
        raise RuntimeError("stop here: the real model has 400 million weights")

    (tmp_path / "clip-vit-large-patch14.safetensors").write_bytes(b"weights")
    monkeypatch.setattr(open_clip, "create_model", create_model)
    with pytest.raises(ConfigError):
        load_backbone("clip", Weights(tmp_path))
    assert loaded == {MODEL: str(tmp_path / "clip-vit-large-patch14.safetensors")}


def test_an_interrupted_video_goes_on_and_gives_the_same_vectors(sample_root: Path, tmp_path: Path) -> None:
    video = sample_root / "p01" / "session.mp4"
    whole = frame_vectors(tmp_path / "whole", video, 4.0)
    with pytest.raises(KeyboardInterrupt):
        frame_vectors(tmp_path / "broken", video, 4.0, lambda: Brightness(64))
    partial = next((tmp_path / "broken").rglob("*.partial"))
    with partial.open("ab") as stream:
        stream.write(b"half a row")
    second = Brightness()
    resumed = frame_vectors(tmp_path / "broken", video, 4.0, lambda: second)
    assert second.seen == 160 - 64
    for one, other in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not list((tmp_path / "broken").rglob("*.partial"))


def test_vectors_are_computed_once_also_under_another_file_name(sample_root: Path, tmp_path: Path) -> None:
    video = sample_root / "p01" / "session.mp4"
    frame_vectors(tmp_path, video, 1.0)
    copy = tmp_path / "umbenannt ä.mp4"
    copy.write_bytes(video.read_bytes())

    def never() -> Brightness:
        raise AssertionError("computed twice")

    frame_vectors(tmp_path, copy, 1.0, never)


def test_a_clip_vector_is_the_mean_of_its_frames_and_a_gap_shows_the_frame_before() -> None:
    times = np.array([0.0, 1.0, 2.0, 9.0])
    vectors = np.array([[1.0], [2.0], [3.0], [9.0]], np.float32)
    starts = np.array([0.0, 1.0, 4.0])
    np.testing.assert_allclose(clip_vectors(times, vectors, starts, 2.0).ravel(), [1.5, 2.5, 3.0])


def test_precomputed_vectors_are_read_by_clip_and_checked(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.arange(20.0).reshape(10, 2))
    vectors = precomputed_clip_vectors(tmp_path / "v.npy", np.array([3.0, 4.0, 10.0]), 1.0, 11)
    np.testing.assert_array_equal(vectors[:, 0], [6, 8, 18])
    for clips in (50, 5):  # of another video; of twice the stride
        with pytest.raises(RecordingError, match=f"has shape .* with {clips} clips of this video"):
            precomputed_clip_vectors(tmp_path / "v.npy", np.arange(float(clips)), 1.0, clips)
    (tmp_path / "v.npy").write_bytes(b"no array")
    with pytest.raises(RecordingError, match="cannot be read"):
        precomputed_clip_vectors(tmp_path / "v.npy", np.arange(3.0), 1.0, 3)


def test_preprocessing_enlarges_small_pictures() -> None:
    small = Preprocessing(64, 64, (0.5,) * 3, (0.5,) * 3)([np.full((30, 40, 3), 255, np.uint8)])
    assert small.shape == (1, 3, 64, 64)
    assert torch.allclose(small, torch.ones(()))
