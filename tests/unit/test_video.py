"""Videos of many kinds: sampled by time, cut exactly, shown upright."""

from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import pytest
from av.stream import Disposition
from films import HEIGHT, WIDTH, film, number_of, numbered
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from ml_backend.embeddings import clip_vectors
from ml_backend.recordings.sampling import sample_frames
from ml_backend.recordings.video import (
    VideoWriter,
    created_at,
    cut_clip,
    cut_part,
    holds_video,
    inspect,
    probe,
)


def grey_video(path: Path, codec: str, times: list[float], container: str, audio: bool = False) -> Path:
    """64×48 frames whose brightness is 2·(frame number), shown at `times` seconds."""
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000 if codec != "mpeg4" else 25)
        sound = output.add_stream("aac", rate=48000) if audio else None
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 2 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(time / stream.codec_context.time_base), stream.codec_context.time_base
            output.mux(stream.encode(frame))
        if sound is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            silence.sample_rate = 48000
            output.mux(sound.encode(silence))
            output.mux(sound.encode(None))
        output.mux(stream.encode(None))
    return path


CONSTANT = [i / 25 for i in range(100)]


@pytest.mark.parametrize(
    ("codec", "container", "suffix"),
    [
        ("libx264", "mp4", "mp4"),
        ("libx265", "mp4", "mp4"),
        ("mpeg4", "avi", "avi"),
        ("libvpx-vp9", "webm", "webm"),
        ("libx264", "matroska", "mkv"),
    ],
)
def test_every_codec_is_probed_sampled_and_cut_at_the_right_frame(
    tmp_path: Path, codec: str, container: str, suffix: str
) -> None:
    path = grey_video(tmp_path / f"clip ü 1.{suffix}", codec, CONSTANT, container)
    assert probe(path).duration == pytest.approx(4.0, abs=0.05)
    sampled = list(sample_frames(path, 5))
    assert [round(time, 2) for time, _ in sampled] == [i / 5 for i in range(20)]
    cut_clip(path, 2.0, 3.0, tmp_path / "cut.mp4")
    frames = list(sample_frames(tmp_path / "cut.mp4", None))
    assert len(frames) == 25
    assert frames[0][0] == 0.0
    assert frames[0][1].mean() == pytest.approx(100, abs=6)


def test_a_variable_frame_rate_is_followed_by_time(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.5, 1.4, 1.44, 1.48, 3.0, 3.9]
    path = grey_video(tmp_path / "vfr.mp4", "libx264", times, "mp4")
    assert [round(time, 2) for time, _ in sample_frames(path, 2)] == [0.0, 0.5, 1.4, 3.0, 3.9]


@given(
    st.lists(st.floats(0.02, 0.9), min_size=2, max_size=25),
    st.floats(0, 2),
    st.floats(0.3, 4),
)
@settings(max_examples=15, deadline=None)
def test_a_part_has_a_frame_at_every_tick_and_shows_what_the_video_shows(
    steps: list[float], start: float, length: float
) -> None:
    times = [round(float(time), 3) for time in np.cumsum([0.0, *steps])]
    end = min(start + length, times[-1])
    if end - start < 0.2:
        return
    with TemporaryDirectory() as folder:
        path = grey_video(Path(folder) / "vfr.mp4", "libx264", times, "mp4")
        cut_part(path, start, end, Path(folder) / "part.mp4", 15)
        frames = list(sample_frames(Path(folder) / "part.mp4", None))
    assert [time for time, _ in frames] == pytest.approx([tick / 15 for tick in range(len(frames))], abs=1e-3)
    assert len(frames) == max(1, round((end - start) * 15))
    for time, frame in frames:
        shown = np.searchsorted(times, [start + time - 0.002, start + time + 0.002], "right") - 1
        assert min(abs(frame.mean() - 2 * number) for number in shown) < 4


def test_sampling_goes_on_after_a_time_as_if_never_stopped(tmp_path: Path) -> None:
    path = grey_video(tmp_path / "long.mp4", "libx264", [i / 25 for i in range(125)], "mp4", audio=True)
    whole = [time for time, _ in sample_frames(path, 4)]
    for stopped in (0, 3, 10, len(whole) - 1):
        assert [time for time, _ in sample_frames(path, 4, after=whole[stopped])] == whole[stopped + 1 :]


def test_a_clip_at_the_very_end_is_cut(tmp_path: Path) -> None:
    path = grey_video(tmp_path / "a.mp4", "libx264", CONSTANT, "mp4")
    cut_clip(path, 3.0, 4.0, tmp_path / "end.mp4")
    assert len(list(sample_frames(tmp_path / "end.mp4", None))) == 25


def test_a_cut_clip_is_at_most_640_wide_even_sized_h264_with_its_index_first(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "wide.mp4", 1280, 722, 10) as writer:
        for i in range(10):
            writer.write(np.zeros((722, 1280, 3), np.uint8), i / 10)
    cut_clip(tmp_path / "wide.mp4", 0.0, 1.0, tmp_path / "cut.mp4")
    info = probe(tmp_path / "cut.mp4")
    assert (info.width, info.codec) == (640, "h264")
    assert info.height % 2 == 0
    content = (tmp_path / "cut.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize(("degrees", "bright"), [(90, "right"), (180, "bottom"), (270, "left")])
def test_rotation_metadata_is_applied(tmp_path: Path, degrees: int, bright: str) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    image[:12] = 255
    with VideoWriter(tmp_path / "plain.mp4", 64, 48, 10) as writer:
        for i in range(10):
            writer.write(image, i / 10)
    data = bytearray((tmp_path / "plain.mp4").read_bytes())
    # The display matrix in the track header: rotation clockwise by 90, 180 or 270 degrees.
    a, b, c, d = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    matrix = [a, b, 0, c, d, 0, 0, 0, 16384]
    start = data.index(b"tkhd") + 4 + 40
    data[start : start + 36] = b"".join((value * 65536).to_bytes(4, "big", signed=True) for value in matrix)
    (tmp_path / "turned.mp4").write_bytes(data)
    frame = next(iter(sample_frames(tmp_path / "turned.mp4", None)))[1]
    edges = {"right": frame[:, -6:], "bottom": frame[-6:], "left": frame[:, :6], "top": frame[:6]}
    assert max(edges, key=lambda side: edges[side].mean()) == bright


# --- containers as cameras and programs write them; frames carry their number


def shown(path: Path, per_second: float | None = None, after: float = -1.0) -> list[tuple[float, int]]:
    return [(round(time, 6), number_of(image)) for time, image in sample_frames(path, per_second, after)]


def cut(path: Path, start: float, end: float) -> list[tuple[float, int]]:
    target = path.with_name("cut.mp4")
    cut_clip(path, start, end, target)
    assert probe(target).duration == pytest.approx(end - start, abs=0.07)
    return shown(target)


@settings(max_examples=16, deadline=None, derandomize=True)
@example(("avi", "libx264"), 50, 2, 0.0, 25, 1.0)  # B-frames, of which AVI does not say when they are shown
@example(("mpegts", "libx264"), 50, 3, 1.4, 25, 1.5)
@given(
    st.sampled_from(
        [("mp4", "libx264"), ("mpegts", "libx264"), ("matroska", "libx264"), ("avi", "libx264"), ("avi", "mpeg4"),
         ("mpegts", "mpeg2video"), ("mov", "libx264"), ("mpeg", "mpeg2video")]
    ),
    st.sampled_from([1, 10, 50, 250]),
    st.integers(0, 3),
    st.sampled_from([0.0, 1.4, 600.0]),
    st.sampled_from([15, 25]),
    st.floats(0.0, 2.0),
)  # fmt: skip
def test_each_frame_has_its_time_and_clips_show_what_vectors_saw(
    kind: tuple[str, str], gop: int, bframes: int, start: float, rate: int, begin: float
) -> None:
    fmt, codec = kind
    count, start = 4 * rate, 0.0 if fmt == "avi" else start  # AVI has none
    with TemporaryDirectory() as folder:
        path = film(Path(folder) / "film", [k / rate for k in range(count)], fmt, codec, gop, bframes, rate, start)
        frames = shown(path)
        assert [number for _, number in frames] == list(range(count))
        np.testing.assert_allclose([time for time, _ in frames], np.arange(count) / rate, atol=0.5 / rate)
        assert probe(path).duration == pytest.approx(count / rate, abs=1.5 / rate)
        assert shown(path, None, begin + 1) == [one for one in frames if one[0] > begin + 1 + 1e-4]
        inside = [number for time, number in frames if begin - 1e-4 <= time < begin + 2 - 1e-4]
        assert [number for _, number in cut(path, begin, begin + 2)][: len(inside)] == inside


def test_a_transport_stream_with_b_frames_loses_nothing_before_its_second_key_frame(tmp_path: Path) -> None:
    path = film(tmp_path / "cam.ts", [k / 25 for k in range(300)], "mpegts", gop=50, bframes=3, start=1.4)
    assert [number for _, number in shown(path)] == list(range(300))
    assert [number for _, number in cut(path, 0.0, 4.0)] == list(range(100))


def test_a_clock_that_restarts_goes_on(tmp_path: Path) -> None:
    one = film(tmp_path / "one.ts", [k / 25 for k in range(100)], "mpegts", start=1.4)
    two = film(tmp_path / "two.ts", [k / 25 for k in range(100)], "mpegts", start=1.4, first=100)
    both = tmp_path / "both.ts"
    both.write_bytes(one.read_bytes() + two.read_bytes())
    assert probe(both).duration == pytest.approx(8.0, abs=0.05)
    frames = shown(both)
    assert [number for _, number in frames] == list(range(200))
    np.testing.assert_allclose([time for time, _ in frames], np.arange(200) / 25, atol=0.02)
    assert [number for _, number in cut(both, 3.0, 5.0)] == list(range(75, 125))
    assert "its clock restarts 1 times" in inspect(both)[0]


@pytest.mark.parametrize(
    "matrix",
    [(-1, 0, 0, 1), (1, 0, 0, -1), (-1, 0, 0, -1), (0, 1, -1, 0), (0, -1, 1, 0), (0, 1, 1, 0), (0, -1, -1, 0)],
)
def test_the_whole_display_matrix_is_applied(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Pictures are stored so that the matrix puts them right."""
    a, b, c, d = matrix
    image = numbered(5)
    # Undo what the matrix does: x' = a·x + c·y, y' = b·x + d·y.
    stored = image[:: int(d), :: int(a)] if a else image[:: int(b), :: int(c)].swapaxes(0, 1)
    with VideoWriter(tmp_path / "plain.mp4", stored.shape[1], stored.shape[0], 10) as writer:
        for number in range(10):
            writer.write(np.ascontiguousarray(stored), number / 10)
    data = bytearray((tmp_path / "plain.mp4").read_bytes())
    values = [a, b, 0, c, d, 0, 0, 0, 16384]
    begin = data.index(b"tkhd") + 4 + 40
    data[begin : begin + 36] = b"".join((value * 65536).to_bytes(4, "big", signed=True) for value in values)
    (tmp_path / "turned.mp4").write_bytes(data)
    info = probe(tmp_path / "turned.mp4")
    assert (info.width, info.height) == (WIDTH, HEIGHT)
    assert {number for _, number in shown(tmp_path / "turned.mp4")} == {5}
    assert {number for _, number in cut(tmp_path / "turned.mp4", 0.0, 1.0)} == {5}


def test_the_stream_that_players_show_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "preview.mkv"
    with av.open(str(path), "w", format="matroska") as output:
        streams = []
        for width, height, default in ((64, 48, False), (WIDTH, HEIGHT, True)):
            stream = output.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.disposition = Disposition.default if default else Disposition(0)
            streams.append(stream)
        for number in range(50):
            for stream in streams:
                frame = av.VideoFrame.from_ndarray(numbered(number), format="rgb24")
                output.mux(stream.encode(frame.reformat(stream.width, stream.height)))
        for stream in streams:
            output.mux(stream.encode(None))
    assert (probe(path).width, probe(path).height) == (WIDTH, HEIGHT)
    assert [number for _, number in shown(path)] == list(range(50))


def test_sound_that_runs_on_is_no_truncation(tmp_path: Path) -> None:
    path = tmp_path / "long sound.mkv"
    with av.open(str(path), "w", format="matroska") as output:
        stream, sound = output.add_stream("libx264", rate=25), output.add_stream("aac", rate=48000)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(100):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(number), format="rgb24")))
        output.mux(stream.encode(None))
        for number in range(48000 * 20 // 1024):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            silence.sample_rate, silence.pts = 48000, 1024 * number
            output.mux(sound.encode(silence))
        output.mux(sound.encode(None))
    assert probe(path).duration == pytest.approx(4.0, abs=0.05)


def test_a_damaged_packet_costs_what_it_damages(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = film(tmp_path / "cam.mp4", [k / 25 for k in range(200)], "mp4", gop=50)
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.pos is not None]
    data = bytearray(path.read_bytes())
    begin, size = packets[110]
    data[begin : begin + size] = b"\xff" * size
    path.write_bytes(data)
    frames = shown(path)
    assert [number for _, number in frames[:110]] == list(range(110))
    assert [number for _, number in frames[-50:]] == list(range(150, 200))
    assert "cannot be decoded and are left out; re-encode the video" in caplog.text
    assert "packets are damaged" in inspect(path)[0]
    assert len(cut(path, 4.0, 6.0)) > 10


def test_a_freeze_shows_the_picture_that_stands_in_clips_as_in_vectors(tmp_path: Path) -> None:
    times = [k / 25 for k in range(50)] + [20 + k / 25 for k in range(50)]
    path = film(tmp_path / "freeze.mp4", times, "mp4")
    assert {number for _, number in cut(path, 6.0, 10.0)} == {49}
    before, behind = cut(path, 1.0, 5.0), cut(path, 18.0, 22.0)
    assert [number for _, number in before[:25]] == list(range(25, 50))
    assert {number for _, number in before[25:]} == {49}
    assert behind[0] == (0.0, 49)
    assert (2.0, 50) in [(round(time, 2), number) for time, number in behind]
    vectors = np.arange(100, dtype=np.float32)[:, None]
    (own,) = clip_vectors(np.array(times), vectors, np.array([6.0]), 4.0)
    assert own == 49
    assert "no new frame for 18.0 s from 2.0 s on" in inspect(path)[0]


def test_what_is_no_film_is_told_from_one(tmp_path: Path) -> None:
    assert holds_video(film(tmp_path / "anything.xyz", [k / 25 for k in range(25)], "mp4"))
    Image.fromarray(numbered(1)).save(tmp_path / "photo.png")
    (tmp_path / "notes.text").write_text("acc_x,acc_y\n1,2\n" * 50)
    for name in ("photo.png", "notes.text", "nowhere"):
        assert not holds_video(tmp_path / name)


def test_when_a_video_was_taken_is_read_where_it_says_so(tmp_path: Path) -> None:
    path = film(tmp_path / "plain.mp4", [0.0, 0.04], "mp4")
    assert created_at(path) is None
