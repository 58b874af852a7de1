"""Videos of many kinds: sampled by time, cut exactly, shown upright."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from ml_backend.recordings.video import VideoWriter, cut_clip, probe, sample_frames


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
