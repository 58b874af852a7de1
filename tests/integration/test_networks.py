"""Whole networks of published sizes, with random weights: what would make the unit tests slow."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import avg_pool3d, conv3d, max_pool3d, pad
from torchvision.models.optical_flow import raft_large

from ml_backend.embeddings import Embedder, Sampling, Weights, load_backbone
from ml_backend.embeddings.i3d import HASSON_NAMES, I3D, StreamOnClips, from_state, on_pixels
from ml_backend.embeddings.raft import FlowOnClips
from ml_backend.errors import ConfigError
from ml_backend.recordings.sampling import sample_frames

ImageArray = np.ndarray


@pytest.fixture(scope="module")
def frames(shared_data: Path) -> list[ImageArray]:
    return [image for _, image in sample_frames(shared_data / "video" / "low_res_mpeg4.avi", 2)][:4]


def random_state(channels: int, classes: int | None = 400) -> dict[str, Tensor]:
    """Weights and running statistics as a trained network might have them, named as published."""
    torch.manual_seed(channels)
    network = I3D(channels, classes)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.1)
        elif name.endswith(("running_var", "bn.weight")):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith("bn.bias"):
            tensor.normal_(0, 0.1)
    return network.state_dict()


def hasson(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same in the names of the other format, which has no counts of batches."""
    ours = {value: key.replace("\\", "").removeprefix("^") for key, value in HASSON_NAMES.items()}
    renamed = {}
    for name, tensor in state.items():
        if not name.endswith("num_batches_tracked"):
            parts = name.split(".")
            parts = [ours.get(part, part) for part in parts]
            parts[0] = parts[0].replace("Conv3d", "conv3d").replace("Mixed", "mixed")
            renamed[".".join(parts)] = tensor
    return renamed


def reference(state: dict[str, Tensor], x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """I3D layer by layer as in the paper's figure 3, on TensorFlow's SAME padding; yields each layer's output."""

    def same(x: Tensor, kernel: int | tuple[int, ...], stride: int | tuple[int, ...]) -> Tensor:
        kernel = (kernel,) * 3 if isinstance(kernel, int) else kernel
        stride = (stride,) * 3 if isinstance(stride, int) else stride
        around: list[int] = []
        for axis in (2, 1, 0):
            size = x.shape[2 + axis]
            total = max((-(-size // stride[axis]) - 1) * stride[axis] + kernel[axis] - size, 0)
            around += [total // 2, total - total // 2]
        return pad(x, around)

    def unit(name: str, x: Tensor, kernel: int, stride: int = 1) -> Tensor:
        x = conv3d(same(x, kernel, stride), state[f"{name}.conv3d.weight"], stride=stride)
        mean, var, scale, shift = (
            state[f"{name}.bn.{part}"].view(1, -1, 1, 1, 1)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return ((x - mean) / torch.sqrt(var + 1e-5) * scale + shift).clamp(min=0)

    def pool(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        return max_pool3d(same(x, kernel, stride), kernel, stride)

    def mixed(name: str, x: Tensor) -> Tensor:
        branches = [unit(f"{name}.b0", x, 1)]
        branches.append(unit(f"{name}.b1b", unit(f"{name}.b1a", x, 1), 3))
        branches.append(unit(f"{name}.b2b", unit(f"{name}.b2a", x, 1), 3))
        branches.append(unit(f"{name}.b3b", pool(x, (3, 3, 3), (1, 1, 1)), 1))
        return torch.cat(branches, dim=1)

    x = unit("Conv3d_1a_7x7", x, 7, 2)
    yield "Conv3d_1a_7x7", x
    x = unit("Conv3d_2b_1x1", pool(x, (1, 3, 3), (1, 2, 2)), 1)
    yield "Conv3d_2b_1x1", x
    x = unit("Conv3d_2c_3x3", x, 3)
    yield "Conv3d_2c_3x3", x
    x = mixed("Mixed_3b", pool(x, (1, 3, 3), (1, 2, 2)))
    yield "Mixed_3b", x
    x = mixed("Mixed_3c", x)
    yield "Mixed_3c", x
    x = mixed("Mixed_4b", pool(x, (3, 3, 3), (2, 2, 2)))
    yield "Mixed_4b", x
    for letter in "cdef":
        x = mixed(f"Mixed_4{letter}", x)
        yield f"Mixed_4{letter}", x
    x = mixed("Mixed_5b", pool(x, (2, 2, 2), (2, 2, 2)))
    yield "Mixed_5b", x
    x = mixed("Mixed_5c", x)
    yield "Mixed_5c", x
    yield "features", avg_pool3d(x, (2, 7, 7), stride=1)[:, :, :, 0, 0].mean(dim=2)


@pytest.mark.parametrize("channels", [3, 2])
def test_i3d_equals_the_papers_figure_layer_by_layer(channels: int) -> None:
    state = random_state(channels)
    network = from_state(state, "rgb" if channels == 3 else "flow").eval()
    outputs: dict[str, Tensor] = {}
    for name, module in network.named_children():
        module.register_forward_hook(lambda _module, _inputs, output, name=name: outputs.update({name: output}))
    clip = torch.rand(1, channels, 13, 224, 224) * 2 - 1  # an odd number: padding differs at both ends
    with torch.inference_mode():
        outputs["features"] = network(clip)
        expected = dict(reference(state, clip))
        fused = network.fuse()(clip)
    assert list(expected) == list(outputs)
    for name, output in outputs.items():
        assert output.shape == expected[name].shape, name
        assert (output - expected[name]).abs().max() < 1e-4, name
    assert (fused - expected["features"]).abs().max() < 1e-4


def test_i3d_gives_1024_features_at_5_steps_for_48_frames_and_reads_both_formats_of_weights(tmp_path: Path) -> None:
    state = random_state(3)
    torch.save(state, tmp_path / "i3d_rgb.pt")
    torch.save(hasson(state), tmp_path / "other.pt")
    stacks = torch.randint(0, 255, (1, 48, 3, 224, 224), dtype=torch.uint8)
    with torch.inference_mode():
        steps = from_state(state, "rgb").eval().over_time(on_pixels(stacks.float()).transpose(1, 2))
    assert steps.shape == (1, 1024, 5)
    for weights in (Weights(tmp_path), Weights(i3d_rgb=str(tmp_path / "other.pt"))):
        backbone = load_backbone("i3d", weights)
        assert isinstance(backbone, StreamOnClips)
        assert backbone.frames_of_clip(4.0) == 48
        np.testing.assert_allclose(backbone.encode(stacks), steps.mean(dim=2), atol=1e-5)


def test_weights_of_something_else_or_damaged_ones_are_refused_by_name(tmp_path: Path) -> None:
    flow = tmp_path / "i3d_rgb.pt"
    torch.save(random_state(2), flow)
    with pytest.raises(ConfigError, match=r"i3d_rgb\.pt cannot be loaded .*shape \(64, 2, 7, 7, 7\), expected"):
        load_backbone("i3d", Weights(tmp_path))
    torch.save({"fc.weight": torch.zeros(2)}, flow)
    with pytest.raises(ConfigError, match="no tensor Conv3d_1a_7x7"):
        load_backbone("i3d", Weights(tmp_path))
    flow.write_bytes(b"half of a file")
    with pytest.raises(ConfigError, match="copy it again"):
        load_backbone("i3d", Weights(tmp_path))
    with pytest.raises(ConfigError, match=r"missing\.pt cannot be loaded"):
        load_backbone("i3d", Weights(i3d_rgb=str(tmp_path / "missing.pt")))


def test_raft_and_the_flow_stream_load_from_the_users_folder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    raft = raft_large().eval()
    torch.save(raft.state_dict(), tmp_path / "raft_large_v1.pth")
    torch.save(random_state(2), tmp_path / "i3d_flow.pt")
    backbone = load_backbone("raft", Weights(tmp_path))
    assert isinstance(backbone, FlowOnClips)
    first, second = (
        backbone.prepare([image]) for image in np.random.default_rng(0).integers(0, 255, (2, 256, 344, 3), np.uint8)
    )
    with torch.inference_mode():
        expected = raft(first, second, num_flow_updates=20)[-1]
    torch.testing.assert_close(backbone.flow(first, second), expected, atol=1e-3, rtol=1e-3)
    (tmp_path / "raft_large_v1.pth").write_bytes(b"half of a file")
    with pytest.raises(ConfigError, match=r"backbone raft: .*raft_large_v1\.pth cannot be loaded"):
        load_backbone("raft", Weights(tmp_path))


def test_any_model_of_open_clip_loads_from_the_users_folder(tmp_path: Path, frames: list[ImageArray]) -> None:
    torch.manual_seed(0)
    model = open_clip.create_model("MobileCLIP2-S0", pretrained=None).eval()
    save_file(model.state_dict(), tmp_path / "MobileCLIP2-S0--dfndr2b.safetensors")
    backbone = load_backbone("open_clip:MobileCLIP2-S0/dfndr2b", Weights(tmp_path))
    prepared = backbone.prepare(frames)
    transform = open_clip.image_transform(
        256, is_train=False, mean=(0, 0, 0), std=(1, 1, 1), interpolation="bilinear"
    )
    theirs = torch.stack([transform(Image.fromarray(image)) for image in frames])
    assert (prepared - theirs).abs().max() < 0.02
    with torch.inference_mode():
        expected = model.encode_image(prepared)
    np.testing.assert_allclose(backbone.encode(prepared), expected, atol=1e-3)


@pytest.fixture
def small_vjepa(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = transformers.VJEPA2Config(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, crop_size=64, frames_per_clip=8, mlp_ratio=1,
        pred_hidden_size=24, pred_num_hidden_layers=1, pred_num_attention_heads=2,
    )  # fmt: skip
    folder = tmp_path / "facebook--vjepa2-tiny"
    transformers.VJEPA2Model(config).save_pretrained(folder)
    processor = transformers.VJEPA2VideoProcessor(size={"shortest_edge": 64}, crop_size=64)
    processor.save_pretrained(folder)
    return folder


def test_a_video_model_of_transformers_sees_whole_clips(small_vjepa: Path, sample_root: Path) -> None:
    video = sample_root / "p01" / "session.mp4"
    load = lambda: load_backbone("hf:facebook/vjepa2-tiny", Weights(small_vjepa.parent))  # noqa: E731
    sampling = Sampling(4.0, 1.0, 2.0)
    embedder = Embedder(small_vjepa.parent / "v", "hf:facebook/vjepa2-tiny", "", "float32", sampling, load)
    found = embedder.of_clips(video, np.array([0.0, 3.0]))
    model = transformers.AutoModel.from_pretrained(small_vjepa).eval()
    processor = transformers.AutoVideoProcessor.from_pretrained(small_vjepa)
    shown = [image for time, image in sample_frames(video, 2) if 3.0 - 1e-3 <= time < 7.0 - 1e-3]
    inputs = processor(videos=[np.stack(shown)], return_tensors="pt", do_sample_frames=False)
    with torch.inference_mode():
        expected = model(**inputs, skip_predictor=True).last_hidden_state.mean(dim=1)[0]
    assert found.shape == (2, 32)
    np.testing.assert_allclose(found[1], expected, atol=2e-3)
    never = Embedder(embedder.folder, embedder.backbone, "", "float32", sampling, lambda: pytest.fail("made twice"))
    np.testing.assert_array_equal(never.of_clips(video, np.array([3.0])), found[1:])
