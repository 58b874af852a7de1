"""Each backbone against the library or the paper it comes from, with random weights on the path of the real ones."""

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torchvision.transforms._presets import OpticalFlow

from ml_backend.embeddings import ClipBackbone, Embedder, Sampling, Weights, load_backbone, parts_of
from ml_backend.embeddings import backbone as backbones
from ml_backend.embeddings.backbone import CLIPS
from ml_backend.embeddings.clip import from_model
from ml_backend.embeddings.frames import Preprocessing, centre_crop, resized
from ml_backend.embeddings.huggingface import DINOV2
from ml_backend.embeddings.i3d import I3D, StreamOnClips, on_pixels
from ml_backend.embeddings.raft import FlowOnClips, code_flow
from ml_backend.embeddings.store import unit_spread
from ml_backend.errors import ConfigError
from ml_backend.recordings.sampling import sample_frames
from ml_backend.recordings.video import VideoWriter
from ml_backend.settings import Parameters

ImageArray = np.ndarray


@pytest.fixture(scope="module")
def frames(shared_data: Path) -> list[ImageArray]:
    return [image for _, image in sample_frames(shared_data / "video" / "low_res_mpeg4.avi", 2)][:4]


# I3D


@pytest.mark.parametrize(
    ("channels", "whole", "features"), [(3, 12_697_264, 12_287_264), (2, 12_675_312, 12_265_312)]
)
def test_i3d_has_the_published_parameters(channels: int, whole: int, features: int) -> None:
    for classes, expected in ((400, whole), (None, features)):
        assert sum(weight.numel() for weight in I3D(channels, classes).parameters()) == expected
    assert len(I3D(channels, 400).state_dict()) == 344


def test_a_clip_too_short_for_i3d_is_refused() -> None:
    backbone = StreamOnClips("i3d", I3D(3), "float32")
    with pytest.raises(ConfigError, match=r"0\.75 s or more; raise clip_seconds"):
        backbone.frames_of_clip(0.5)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("i3d", "rgb_imagenet.pt as i3d_rgb.pt"),
        ("raft", "as raft_large_v1.pth"),
        ("dinov2", "all files of facebook/dinov2-large as facebook--dinov2-large/"),
        ("hf:some/model", "all files of some/model as some--model/"),
        ("timm:resnet18.a1_in1k", r"model.safetensors of timm/resnet18.a1_in1k as resnet18.a1_in1k.safetensors"),
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", "its weights as ViT-B-32--laion2b_s34b_b79k.safetensors"),
    ],
)
def test_without_a_hub_the_error_says_which_files_to_put_where(
    name: str, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for proxy in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    with pytest.raises(ConfigError, match="WEAKHAR_WEIGHTS") as error:
        load_backbone(name, Weights(tmp_path))
    assert wanted in str(error.value)
    assert "\n" not in str(error.value)
    assert not [path for path in (tmp_path / "hub").rglob("*") if path.is_file()]


# RAFT


class ShiftOfBrightestPoint(torch.nn.Module):
    """In RAFT's place: the same flow everywhere, how far the brightest pixel of a picture moves right and down."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs = 0

    def forward(self, first: Tensor, second: Tensor, num_flow_updates: int) -> list[Tensor]:
        assert num_flow_updates == 20  # as video_features
        self.pairs += len(first)
        width = first.shape[3]
        places = [frames.mean(dim=1).flatten(1).argmax(dim=1) for frames in (first, second)]
        right = places[1] % width - places[0] % width
        down = places[1] // width - places[0] // width
        flow = torch.stack([right, down], dim=1).float()
        return [flow[:, :, None, None].expand(-1, -1, *first.shape[2:])]


def moving_point(count: int) -> list[ImageArray]:
    """A point that moves 3 pixels to the right and 2 up a frame, on 256×344."""
    images = []
    for number in range(count):
        image = np.zeros((256, 344, 3), np.uint8)
        image[200 - 2 * number, 40 + 3 * number] = 255
        images.append(image)
    return images


@pytest.mark.parametrize("batch", [2, 3, 7])
def test_each_flow_is_computed_once_to_the_next_frame_and_the_last_is_repeated(batch: int) -> None:
    backbone = FlowOnClips(ShiftOfBrightestPoint(), I3D(2), "float32")
    images = moving_point(7)
    times = [float(number) for number in range(7)]
    batches = ((times[at : at + batch], backbone.prepare(images[at : at + batch])) for at in range(0, 7, batch))
    found = list(backbone.contents(batches))
    assert [time for time, _ in found] == times
    assert backbone._raft.pairs == 6
    for _, coded in found:
        assert coded.shape == (2, 224, 224)
        assert coded.dtype == torch.int16
        assert coded[0].unique().tolist() == [round(128 + 255 / 40 * 3)]
        assert coded[1].unique().tolist() == [round(128 - 255 / 40 * 2)]


def test_flow_is_clamped_and_scaled_as_the_flow_streams_training_data() -> None:
    flow = torch.tensor([-50.0, -20.0, 0.0, 20.0, 99.0]).view(5, 1, 1, 1).expand(5, 2, 224, 230)
    assert code_flow(flow)[:, 0, 0, 0].tolist() == [0, 0, 128, 256, 256]
    assert on_pixels(torch.tensor([0.0, 127.5, 255.0])).tolist() == [-1, 0, 1]


def test_rafts_input_is_that_of_torchvisions_transform(frames: list[ImageArray]) -> None:
    backbone = FlowOnClips(ShiftOfBrightestPoint(), I3D(2), "float32")
    images = moving_point(2)
    ours = backbone.prepare(images)
    first, second = (torch.from_numpy(image).permute(2, 0, 1)[None] for image in images)
    theirs = torch.cat(OpticalFlow()(first, second))
    assert (ours - theirs).abs().max() < 1e-6
    height, width = backbone.prepare(frames).shape[2:]
    assert height == 256
    assert width % 8 == 0


# Backbones of the libraries


def test_dinov2_is_the_class_token_after_the_last_norm(tmp_path: Path, frames: list[ImageArray]) -> None:
    torch.manual_seed(0)
    config = transformers.Dinov2Config(hidden_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=70)
    model = transformers.Dinov2Model(config).eval()
    folder = tmp_path / DINOV2.replace("/", "--")
    model.save_pretrained(folder)
    processor = transformers.BitImageProcessor(
        size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}, image_mean=[0.485, 0.456, 0.406]
    )
    processor.save_pretrained(folder)
    backbone = load_backbone("dinov2", Weights(tmp_path))
    vectors = backbone.encode(backbone.prepare(frames))
    extract = transformers.pipeline("image-feature-extraction", model=model, image_processor=processor, pool=False)
    tokens = [torch.tensor(extract(Image.fromarray(image)))[0, 0] for image in frames]
    np.testing.assert_allclose(vectors, torch.stack(tokens), atol=1e-4)
    assert (backbone.name, backbone.dim) == ("dinov2", 48)


def test_open_clip_and_transformers_give_the_same_clip_vectors(frames: list[ImageArray]) -> None:
    torch.manual_seed(0)
    config = {"embed_dim": 24, "vision_cfg": {"image_size": 224, "layers": 2, "width": 128, "patch_size": 56}}
    config["text_cfg"] = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    ours = open_clip.CLIP(**config, quick_gelu=True).eval()
    ours.visual.image_mean, ours.visual.image_std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    theirs = transformers.CLIPVisionModelWithProjection(
        transformers.CLIPVisionConfig(
            hidden_size=128, intermediate_size=512, num_hidden_layers=2, num_attention_heads=2, patch_size=56,
            image_size=224, projection_dim=24,
        )
    ).eval()  # fmt: skip
    theirs.load_state_dict(as_transformers(ours.visual.state_dict()))
    backbone = from_model(ours, "float32")
    processor = transformers.CLIPImageProcessor()
    with torch.inference_mode():
        expected = theirs(**processor(images=frames, return_tensors="pt")).image_embeds
    np.testing.assert_allclose(backbone.encode(backbone.prepare(frames)), expected, atol=1e-4)


def as_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """An open_clip image tower in the names of transformers."""
    plain = {
        "class_embedding": "embeddings.class_embedding",
        "positional_embedding": "embeddings.position_embedding.weight",
        "conv1.weight": "embeddings.patch_embedding.weight",
    }
    parts = {
        "ln_pre": "pre_layrnorm", "ln_post": "post_layernorm", "transformer.resblocks": "encoder.layers",
        "ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj", "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
    }  # fmt: skip
    renamed = {"visual_projection.weight": state["proj"].T.contiguous()}
    for name, tensor in state.items():
        if name in plain:
            renamed[f"vision_model.{plain[name]}"] = tensor
        elif name != "proj":
            for theirs, ours in parts.items():
                name = name.replace(theirs, ours)
            if "attn.in_proj_" in name:
                for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                    renamed[f"vision_model.{name.replace('attn.in_proj_', f'self_attn.{letter}_proj.')}"] = part
            else:
                renamed[f"vision_model.{name}"] = tensor
    return renamed


def test_siglip_squashes_pictures_as_open_clip_says(frames: list[ImageArray]) -> None:
    model = open_clip.CLIP(
        embed_dim=8,
        vision_cfg={"image_size": 224, "layers": 1, "width": 64, "patch_size": 56},
        text_cfg={"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1},
    )
    config = open_clip.get_pretrained_cfg("ViT-B-16-SigLIP", "webli")
    prepared = from_model(model, "float32", config=config).prepare(frames)
    transform = open_clip.image_transform(
        224, is_train=False, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic", resize_mode="squash"
    )
    theirs = torch.stack([transform(Image.fromarray(image)) for image in frames])
    assert (prepared - theirs).abs().max() < 0.02


def test_any_model_of_timm_loads_from_the_users_folder(tmp_path: Path, frames: list[ImageArray]) -> None:
    torch.manual_seed(0)
    whole = timm.create_model("resnet10t", pretrained=False).eval()
    save_file(whole.state_dict(), tmp_path / "resnet10t.c3_in1k.safetensors")
    backbone = load_backbone("timm:resnet10t.c3_in1k", Weights(tmp_path))
    prepared = backbone.prepare(frames)
    with torch.inference_mode():
        expected = whole.forward_head(whole.forward_features(prepared), pre_logits=True)
    np.testing.assert_allclose(backbone.encode(prepared), expected, atol=1e-4)


def test_any_image_model_of_transformers_loads_and_falls_back_to_the_first_token(
    tmp_path: Path, frames: list[ImageArray]
) -> None:
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=64, intermediate_size=32
    )
    model = transformers.ViTModel(config, add_pooling_layer=False).eval()
    folder = tmp_path / "google--vit-tiny"
    model.save_pretrained(folder)
    processor = transformers.ViTImageProcessor(size={"height": 64, "width": 64})
    processor.save_pretrained(folder)
    backbone = load_backbone("hf:google/vit-tiny", Weights(tmp_path))
    with torch.inference_mode():
        expected = model(**processor(images=frames, return_tensors="pt")).last_hidden_state[:, 0]
    np.testing.assert_allclose(backbone.encode(backbone.prepare(frames)), expected, atol=1e-5)


def test_an_unknown_model_is_named_with_near_ones() -> None:
    with pytest.raises(ConfigError, match=r"timm:resnet19 is not known; near are resnet1"):
        load_backbone("timm:resnet19")
    with pytest.raises(ConfigError, match=r"open_clip:ViT-B-32/nothing is not known.*near are ViT-B-32/"):
        load_backbone("open_clip:ViT-B-32/nothing")


# Combinations and whole clips

SAMPLING = Sampling(4.0, 1.0, 2.0)


def test_combinations_are_in_the_papers_order_and_wrong_ones_are_named() -> None:
    assert parts_of("clip+raft") == ("clip", "raft")
    assert parts_of("i3d + raft") == ("i3d", "raft")
    assert parts_of("dinov2+raft") == ("raft", "dinov2")
    assert Parameters(backbone="clip + timm:resnet18").backbone == "clip+timm:resnet18"
    for wrong, message in (("clip+", "'' is not known"), ("clip+clip", "twice"), ("timm:", "'timm:' is not known")):
        with pytest.raises(ValueError, match=message):
            parts_of(wrong)


def test_scaled_blocks_have_the_same_spread() -> None:
    block = np.random.default_rng(0).normal(5, 3, (50, 4)).astype(np.float32)
    scaled = unit_spread(block)
    assert ((scaled - scaled.mean(axis=0)) ** 2).sum(axis=1).mean() == pytest.approx(1, rel=1e-5)
    np.testing.assert_array_equal(unit_spread(np.ones((3, 2), np.float32)), np.ones((3, 2)))


class Seen(ClipBackbone):
    """A backbone of clips whose vector is the mean brightness of each quarter of the clip; counts its frames."""

    name, dim, batch, clips = "seen", 4, 8, 3

    def __init__(self, stop_after: int = 10**9) -> None:
        self.frames, self.encoded, self.stop_after = 0, 0, stop_after

    def frames_of_clip(self, clip_seconds: float) -> int:
        return round(12 * clip_seconds)

    def prepare(self, images: list[ImageArray]) -> Tensor:
        self.frames += len(images)
        return torch.tensor([image.mean() for image in images])

    def contents(self, batches: Iterator[tuple[list[float], Tensor]]) -> Iterator[tuple[float, Tensor]]:
        for times, prepared in batches:
            yield from zip(times, prepared, strict=True)

    def encode(self, stacks: Tensor) -> np.ndarray:
        if self.encoded >= self.stop_after:
            raise KeyboardInterrupt
        self.encoded += len(stacks)
        return stacks.reshape(len(stacks), 4, -1).mean(dim=2).numpy()


def written_video(path: Path, seconds: float, rate: float) -> Path:
    """Whose brightness is 10 times the time."""
    with VideoWriter(path, 64, 48, rate) as writer:
        for number in range(round(seconds * rate)):
            writer.write(np.full((48, 64, 3), round(10 * number / rate), np.uint8), number / rate)
    return path


def embedder_of(folder: Path, load: Callable[[], Seen]) -> Embedder:
    return Embedder(folder, "seen", "", "float32", SAMPLING, load)


@pytest.mark.parametrize("rate", [30.0, 12.0, 5.0])
def test_clips_of_any_frame_rate_show_their_own_seconds_also_at_the_very_end(rate: float, tmp_path: Path) -> None:
    video = written_video(tmp_path / "v.mp4", 9.0, rate)
    backbone = Seen()
    vectors = embedder_of(tmp_path, lambda: backbone).of_clips(video, np.arange(6.0))
    expected = 10 * (np.arange(6.0)[:, None] + np.arange(4) + 0.5)
    np.testing.assert_allclose(vectors, expected, atol=4)
    assert backbone.frames <= 9 * 12 + 1  # every frame is decoded and prepared once


def test_pieces_of_clips_joined_are_what_is_made_at_once(tmp_path: Path) -> None:
    video = written_video(tmp_path / "v.mp4", 20.0, 25.0)
    cut = [(-1.0, 3.0), (3.0, 7.9), (7.9, 16.5), (16.5, np.inf)]
    elsewhere = embedder_of(tmp_path / "elsewhere", Seen)
    for piece in cut:
        elsewhere.make_piece(video, CLIPS, *piece)
    elsewhere.join(video, CLIPS, cut)
    for one, other in zip(elsewhere.stored(video), embedder_of(tmp_path / "here", Seen).stored(video), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_interrupted_run_over_clips_goes_on_and_gives_the_same_vectors(tmp_path: Path) -> None:
    video = written_video(tmp_path / "v.mp4", 20.0, 25.0)
    starts = np.arange(17.0)
    whole = embedder_of(tmp_path / "whole", Seen).of_clips(video, starts)
    with pytest.raises(KeyboardInterrupt):
        embedder_of(tmp_path / "broken", lambda: Seen(6)).of_clips(video, starts)
    rest = Seen()
    np.testing.assert_array_equal(embedder_of(tmp_path / "broken", lambda: rest).of_clips(video, starts), whole)
    assert rest.encoded == 11
    assert not list(tmp_path.rglob("*.partial"))


def test_a_resume_gives_the_same_vectors_also_where_frames_are_rare_or_end_early(tmp_path: Path) -> None:
    video = tmp_path / "v.mp4"
    shown = [0.0, 0.1, 0.2, 4.7, 4.8, 9.9, 10.0, 10.4, 24.0]  # the last before the end lasts long
    with VideoWriter(video, 64, 48, 10) as writer:
        for time in shown:
            writer.write(np.full((48, 64, 3), round(8 * time), np.uint8), time)
    backbone = Seen()
    backbone.clips = 1
    whole = list(backbone.vectors_of(video, SAMPLING, -1.0))
    assert len(whole) >= 20
    for number in range(len(whole) - 1):
        resumed = next(backbone.vectors_of(video, SAMPLING, whole[number][0][0]))
        assert resumed[0] == whole[number + 1][0]
        np.testing.assert_array_equal(resumed[1], whole[number + 1][1])


def test_frames_between_clips_far_apart_are_not_held() -> None:
    contents = ((number / 12, torch.zeros(1)) for number in range(12 * 600))
    at_most = 0

    class Counted(deque):  # type: ignore[type-arg]
        def append(self, item: object) -> None:
            nonlocal at_most
            super().append(item)
            at_most = max(at_most, len(self))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbones, "deque", Counted)
        assert len(list(backbones._clip_stacks(contents, np.array([0.0, 300.0, 590.0]), 48, 1 / 12))) == 3
    assert at_most <= 60


def test_other_weights_of_ones_own_are_other_vectors(tmp_path: Path) -> None:
    assert Weights(tmp_path).key("i3d") == "r2"  # no vector of an earlier recipe is taken for one of this
    assert Weights(tmp_path).key("dinov2") == ""
    (tmp_path / "i3d_rgb.pt").write_bytes(b"one")
    first = Weights(tmp_path).key("i3d")
    (tmp_path / "i3d_rgb.pt").write_bytes(b"other")
    assert len({"", first, Weights(tmp_path).key("i3d"), Weights(i3d_rgb="https://host/i3d.pt").key("i3d")}) == 4
    (tmp_path / "owner--name").mkdir()
    (tmp_path / "owner--name" / "config.json").write_text("{}")
    assert Weights(tmp_path).key("hf:owner/name")
    assert Weights(tmp_path).key("clip") == "r2"


def sizes_with_odd_margins() -> list[tuple[int, int]]:
    """Forty sizes of pictures, width by height, as cameras and phones have them and at random."""
    random = np.random.default_rng(0)
    usual = [(848, 480), (720, 404), (1920, 1080), (640, 360), (480, 848), (320, 240), (404, 720), (855, 480)]
    return usual + [tuple(map(int, pair)) for pair in random.integers(225, 700, (32, 2))]


def pictures(sizes: list[tuple[int, int]]) -> list[ImageArray]:
    random = np.random.default_rng(1)
    return [random.integers(0, 256, (height, width, 3), dtype=np.uint8) for width, height in sizes]


def test_clip_crops_as_transformers_at_forty_sizes() -> None:
    mean, std = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
    preprocessing = Preprocessing(224, 224, mean, std, floor=True)
    processor = transformers.CLIPImageProcessor(image_mean=mean, image_std=std)
    for image in pictures(sizes_with_odd_margins()):
        theirs = processor(images=image, return_tensors="pt")["pixel_values"]
        # A resized level may differ by one where Pillow and torch round; a picture one pixel off differs by 99.
        assert (preprocessing([image]) - theirs).abs().max() < 2.5 / 255 / 0.26, image.shape


def test_open_clip_and_timm_crop_as_torchvision_at_forty_sizes() -> None:
    from torchvision.transforms.functional import center_crop

    for image in pictures(sizes_with_odd_margins()):
        ours = centre_crop(resized([image], 224, "bicubic"), 224)
        np.testing.assert_array_equal(ours, center_crop(resized([image], 224, "bicubic"), [224, 224]))


def test_i3d_crops_as_video_features_at_forty_sizes() -> None:
    stream = StreamOnClips("i3d", I3D(3), "float32")
    for image in pictures(sizes_with_odd_margins()):
        whole = resized([image], 256, "bilinear")
        top, left = (whole.shape[2] - 224) // 2, (whole.shape[3] - 224) // 2
        np.testing.assert_array_equal(stream.prepare([image]), whole[:, :, top : top + 224, left : left + 224])


def test_pictures_smaller_than_the_crop_get_black_around() -> None:
    cropped = centre_crop(torch.ones(1, 3, 5, 8), 7)
    assert cropped.shape == (1, 3, 7, 7)
    assert cropped.sum() == 3 * 5 * 7


def test_a_video_shorter_than_a_clip_has_none(tmp_path: Path) -> None:
    assert list(Seen().vectors_of(written_video(tmp_path / "v.mp4", 2.0, 12.0), SAMPLING, -1.0)) == []
