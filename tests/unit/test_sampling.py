"""What is embedded of a video is the same, however little of it is decoded."""

import pickle
import shutil
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from films import HEIGHT, WIDTH, film, film_apart, number_of, numbered
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.harness import copied_packets
from ml_backend.embeddings import Embedder
from ml_backend.embeddings.backbone import FRAMES, KEY_FRAMES, FrameBackbone, Sampling, in_order
from ml_backend.errors import RecordingError
from ml_backend.recordings import VideoWriter, key_frames_are_dense, sample_frames, sampled_parts


def without_index(path: Path) -> Path:
    """The same packets in a container without an index, of which every frame is decoded."""
    return copied_packets(path, path.with_suffix(".mkv"))


def numbers(path: Path, per_second: float | None, after: float = -1.0) -> list[tuple[float, int]]:
    return [(round(time, 3), number_of(image)) for time, image in sample_frames(path, per_second, after)]


@settings(max_examples=25, deadline=None, derandomize=True)
@example(("libx264", {"x264-params": "open-gop=1:scenecut=0"}), 12, 3, 25, 2.0, 3.3, 0)
@example(("libx264", {"x264-params": "open-gop=1:bframes=3:b-pyramid=normal"}), 25, 3, 25, None, 6.0, 7)
@example(("libx265", {"x265-params": "open-gop=1:scenecut=0:log-level=error"}), 12, 3, 25, 5.0, -1.0, 0)
@given(
    st.sampled_from(
        [("libx264", {}), ("libx264", {"x264-params": "open-gop=1"}), ("libx265", {"x265-params": "log-level=error"}),
         ("mpeg4", {})]
    ),
    st.integers(1, 60),
    st.integers(0, 3),
    st.sampled_from([10, 25, 50]),
    st.sampled_from([None, 0.5, 2.0, 7.0, 25.0]),
    st.sampled_from([-1.0, 0.0, 2.98, 5.0, 9.2]),
    st.integers(0, 12),
)  # fmt: skip
def test_the_same_frames_are_sampled_whether_all_are_decoded_or_few(
    kind: tuple[str, dict[str, str]], gop: int, bframes: int, rate: int, per_second: float | None, after: float,
    dropped: int,
) -> None:  # fmt: skip
    codec, options = kind
    times = [k / rate for k in range(10 * rate) if dropped == 0 or k % (dropped + 2)]  # now and then a frame is late
    with TemporaryDirectory() as folder:
        path = film(Path(folder) / "film.mp4", times, "mp4", codec, gop, bframes, rate, 0.0, 0, **options)
        expected = numbers(without_index(path), per_second, after)
        assert numbers(path, per_second, after) == expected


def test_parts_are_as_long_as_asked_for_and_decode_by_themselves(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", [k / 25 for k in range(1000)], "mp4", gop=10)
    parts = sampled_parts(path, 25)
    assert len(parts) > 10
    backwards = [list(part()) for part in reversed(parts)]
    assert [number_of(image) for own in reversed(backwards) for _, image in own] == list(range(1000))
    assert [number_of(image) for _, image in in_order(parts)] == list(range(1000))


@pytest.mark.parametrize(
    ("codec", "start", "options"),
    [
        ("libx264", 0.0, {"x264-params": "intra-refresh=1:bframes=0"}),  # its key frames are whole only later
        ("libsvtav1", 0.0, {"preset": "6"}),
        ("libvpx-vp9", 0.0, {"deadline": "realtime", "cpu-used": "8"}),
        ("libx264", 600.0, {}),
        ("libx265", 1.4, {"x265-params": "open-gop=1:bframes=4:log-level=error"}),
    ],
)
def test_other_codecs_and_clocks_give_the_same_frames_too(
    tmp_path: Path, codec: str, start: float, options: dict[str, str]
) -> None:
    made = film_apart if codec == "libsvtav1" else film
    path = made(tmp_path / "film.mp4", [k / 25 for k in range(250)], "mp4", codec, 20, 2, 25, start, 0, **options)
    every_half_second = [(k / 25, k) for k in range(250) if k % 25 in (0, 13)]
    assert numbers(path, None) == [(k / 25, k) for k in range(250)]
    assert numbers(path, 2.0) == every_half_second
    assert numbers(path, 2.0, 3.01) == [one for one in every_half_second if one[0] > 3.01]


@pytest.mark.parametrize("kept", [0.15, 0.5, 0.8, 0.99])
def test_of_a_file_that_is_cut_off_what_is_there_is_sampled(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "film.mp4"
    with VideoWriter(path, WIDTH, HEIGHT, 25, 10) as writer:  # its index comes first
        for number in range(500):
            writer.write(numbered(number), number / 25)
    whole = path.read_bytes()
    path.write_bytes(whole[: round(kept * len(whole))])
    found = [number for _, number in numbers(path, 2.0)]
    assert found[: len(found) - 1] == [round(12.5 * slot + 0.01) for slot in range(len(found) - 1)]
    assert len(found) >= 40 * kept - 8
    with suppress(RecordingError):  # each frame is looked at then, as before
        list(sample_frames(path, None))


@pytest.mark.parametrize(("gap", "dense"), [(0.2, True), (0.5005, True), (0.54, True), (0.6, False), (2.0, False)])
def test_key_frames_serve_where_they_are_as_dense_as_frames_are_wanted(
    tmp_path: Path, gap: float, dense: bool
) -> None:
    path = film(tmp_path / "film.mp4", [k * gap / 10 for k in range(100)], "mp4", gop=10, rate=round(10 / gap))
    assert key_frames_are_dense(path, 2.0) is dense
    assert not key_frames_are_dense(path, None)
    assert not key_frames_are_dense(without_index(path), 2.0)


class Numbers(FrameBackbone):
    """A backbone whose vectors tell the number, and point the same way, the more so the larger `alike`."""

    name, dim, batch = "numbers", 3, 4

    def __init__(self, alike: float = 100.0) -> None:
        self.alike = alike

    def prepare(self, images: list[np.ndarray]) -> torch.Tensor:
        turns = torch.tensor([number_of(image) for image in images]) * 1.0
        return torch.stack([turns.cos(), turns.sin(), torch.full_like(turns, self.alike)], dim=1)

    def encode(self, prepared: torch.Tensor) -> np.ndarray:
        return prepared.numpy()


def camera(folder: Path, key_frame_every: int = 10, suffix: str = ".mp4") -> Path:
    """66 s at 15 frames a second and a thousandth less."""
    times = [k * 1.001 / 15 for k in range(1000)]
    return film(folder / f"camera{suffix}", times, "mp4", gop=key_frame_every, rate=15, sc_threshold="0")


def embedder(folder: Path, key_frames: bool = True, alike: float = 100.0) -> Embedder:
    sampling = Sampling(4.0, 1.0, 2.0, key_frames)
    return Embedder(folder, "numbers", "", "float32", sampling, partial(Numbers, alike))


@pytest.mark.parametrize("alike", [1.0, 100.0])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_pieces_of_a_video_joined_are_what_is_made_at_once(tmp_path: Path, alike: float, suffix: str) -> None:
    video = camera(tmp_path, 4, suffix)
    here, elsewhere = embedder(tmp_path / "here", alike=alike), embedder(tmp_path / "elsewhere", alike=alike)
    whole, random = here.stored(video), np.random.default_rng(0)
    for count in (0, 1, 5):
        # Also where a frame is just shown, and behind the end.
        at = [*random.uniform(0.0, 80.0, count), *random.choice(whole[1], count, replace=False)]
        cut = list(pairwise([-1.0, *sorted(at), np.inf]))
        rows = pickle.loads(pickle.dumps(elsewhere.rows_of(video)))  # as another machine says
        for piece in random.permutation(cut):
            elsewhere.make_piece(video, rows, *piece)
        elsewhere.join(video, rows, cut)
        assert elsewhere.stored(video)[0] == whole[0]
        for one, other in zip(elsewhere.stored(video)[1:], whole[1:], strict=True):
            np.testing.assert_array_equal(one, other)
        names = sorted(file.name for file in (tmp_path / "elsewhere").rglob("*.*"))
        assert names == sorted(file.name for file in (tmp_path / "here").rglob("*.*"))
        shutil.rmtree(tmp_path / "elsewhere")


def test_a_piece_is_made_once_and_goes_with_vectors_that_are_made_at_once(tmp_path: Path) -> None:
    video, once = camera(tmp_path, 40), embedder(tmp_path / "v")
    once.make_piece(video, FRAMES, -1.0, 20.0)
    (piece,) = (tmp_path / "v").rglob("*.piece-*")
    written = piece.stat().st_mtime_ns
    once.make_piece(video, FRAMES, -1.0, 20.0)
    assert piece.stat().st_mtime_ns == written
    once.stored(video)
    once.make_piece(video, FRAMES, -1.0, 20.0)
    assert not list((tmp_path / "v").rglob("*.piece-*"))
    piece.with_name(piece.name.replace("fps", "fps-keys")).touch()
    once.join(video, KEY_FRAMES, [(-1.0, np.inf)])  # of another job, which decided otherwise
    assert not list((tmp_path / "v").rglob("*.piece-*"))


def test_vectors_of_key_frames_have_their_own_times_and_name(tmp_path: Path) -> None:
    video = camera(tmp_path, 4)
    rows, times, vectors = embedder(tmp_path / "new").stored(video)
    assert rows is KEY_FRAMES
    shown = np.rint(times * 15 / 1.001)
    assert set(shown % 4) == {0}
    np.testing.assert_allclose(times, shown * 1.001 / 15, atol=1e-3)
    np.testing.assert_allclose(vectors[:, 0], np.cos(shown), atol=1e-4)
    assert np.abs(times - 0.5 * np.arange(len(times))).max() < 4 / 15 / 2 + 0.01  # the nearest one to each moment
    assert {file.name for file in (tmp_path / "new").rglob("*.json")} == {"numbers-2fps-keys.json"}


def test_frames_are_sampled_exactly_where_key_frames_look_otherwise(tmp_path: Path) -> None:
    video = camera(tmp_path, 4)
    rows, times, vectors = embedder(tmp_path / "lively", alike=1.0).stored(video)
    assert rows is FRAMES
    expected = numbers(without_index(video), 2.0)
    np.testing.assert_allclose(times, [time for time, _ in expected], atol=1e-3)
    np.testing.assert_allclose(vectors[:, 0], np.cos([number for _, number in expected]), atol=1e-4)
    assert embedder(tmp_path / "paper", key_frames=False).stored(video)[0] is FRAMES


def test_vectors_that_an_older_version_made_of_all_frames_are_used_on(tmp_path: Path) -> None:
    video = camera(tmp_path, 4)
    former = embedder(tmp_path, key_frames=False).stored(video)
    rows, times, _ = embedder(tmp_path).stored(video)
    assert rows is FRAMES
    np.testing.assert_array_equal(times, former[1])


def test_a_video_that_was_only_copied_shows_the_same_also_where_an_older_version_embedded_it(tmp_path: Path) -> None:
    video = camera(tmp_path, 4)
    copied = copied_packets(video, video.with_suffix(".mov"))
    embedder(tmp_path, key_frames=False).stored(video)
    (former,) = [one.name for one in tmp_path.iterdir() if one.is_dir()]
    assert embedder(tmp_path).stored(copied)[0] is KEY_FRAMES
    assert embedder(tmp_path).shows_the_same(former, copied, 2.0, 6.0)
