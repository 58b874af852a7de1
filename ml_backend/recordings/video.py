"""Decode, sample and cut videos with FFmpeg's libraries (PyAV). Times are seconds on the video's own clock.

The clock starts with the first frame. Any frame rate works, also a variable one: a frame is used by its time, never
by its index. Rotation metadata is applied, so that frames look as a player shows them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from ml_backend.errors import RecordingError

Image = npt.NDArray[np.uint8]

TIME_BASE = Fraction(1, 90_000)
CLOCK_TOLERANCE = 1e-4
CLIP_MAX_WIDTH = 640


@dataclass(frozen=True)
class VideoInfo:
    """What a video's header and its last packets say; seconds, pixels as shown, frames a second."""

    duration: float
    width: int
    height: int
    frame_rate: float
    codec: str


def probe(path: Path) -> VideoInfo:
    """Read a video's header and end; RecordingError if it is no video, empty, or cut off."""
    with _opened(path) as (container, stream):
        first = next(_frames(path, container, stream), None)
        if first is None:
            raise RecordingError(f"{path}: no frame can be decoded; is the file damaged? Re-encode or remove it")
        start, image = first.time, _upright(first)
        end = _last_packet_end(container, stream) - start
        declared = _declared_duration(container, stream)
        if end <= 0 or (declared is not None and end < declared - max(2.0, 0.05 * declared)):
            raise RecordingError(
                f"{path}: the video is truncated: its header says {declared or 0:.1f} s, "
                f"its frames end at {max(end, 0):.1f} s; copy the file again or re-encode it"
            )
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        return VideoInfo(end, image.shape[1], image.shape[0], rate, stream.codec_context.name)


def sample_frames(path: Path, per_second: float | None, after: float = -1.0) -> Iterator[tuple[float, Image]]:
    """The frames to embed: `(time, image (height, width, 3) RGB)`, at most `per_second`, or all with None.

    The first frame at or after each multiple of 1/per_second is taken, each frame once. With `after`, only
    frames later than that time, found by seeking: the continuation of a broken-off run.
    """
    next_slot = 0
    with _opened(path) as (container, stream):
        for time, frame in _frames_from(path, container, stream, after):
            if per_second is not None:
                if time < next_slot / per_second - CLOCK_TOLERANCE:
                    continue
                next_slot = int(np.floor((time + CLOCK_TOLERANCE) * per_second)) + 1
            if time > after + CLOCK_TOLERANCE:
                yield time, _upright(frame)


def cut_clip(path: Path, start: float, end: float, target: Path) -> None:
    """Re-encode `[start, end)` to an H.264 MP4 that starts with the clip's first frame and streams at once.

    At most 640 pixels wide, square pixels, no sound.
    """
    with _opened(path) as (container, stream):
        writer, first_time = None, 0.0
        try:
            for time, frame in _frames_from(path, container, stream, start - 2 * CLOCK_TOLERANCE):
                if time >= end - CLOCK_TOLERANCE:
                    break
                if time < start - CLOCK_TOLERANCE:
                    continue
                image = _upright(frame, CLIP_MAX_WIDTH)
                if writer is None:
                    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
                    writer, first_time = VideoWriter(target, image.shape[1], image.shape[0], float(rate)), time
                writer.write(image, time - first_time)
        finally:
            if writer is not None:
                writer.close()
        if writer is None:
            raise RecordingError(f"{path}: no frame between {start:.2f} s and {end:.2f} s; is the video damaged?")


class VideoWriter:
    """Writes RGB images at given times as H.264 in MP4, with its index first so that browsers play it at once."""

    def __init__(self, path: Path, width: int, height: int, frame_rate: float) -> None:
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        rate = Fraction(frame_rate).limit_denominator(1001)
        self._stream = self._container.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "23"})
        self._stream.width, self._stream.height = width - width % 2, height - height % 2
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = TIME_BASE
        self._last_pts = -1

    def write(self, image: Image, time: float) -> None:
        """Append `image (height, width, 3)` shown from `time` seconds on."""
        height, width = self._stream.height, self._stream.width
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), format="rgb24")
        frame.pts = self._last_pts = max(self._last_pts + 1, round(time / TIME_BASE))
        frame.time_base = TIME_BASE
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Flush the encoder and finish the file; the file is closed also when that fails."""
        try:
            self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    if not path.is_file():
        raise RecordingError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise RecordingError(f"{path}: the file is empty; copy it again or remove it")
    try:
        container = av.open(str(path))
    except (av.FFmpegError, ValueError) as error:
        raise RecordingError(
            f"{path}: cannot be opened as a video ({error}); is it complete? Re-encode or remove it"
        ) from None
    with container:
        if not container.streams.video:
            raise RecordingError(f"{path}: holds no video stream; remove it or name another file")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        yield container, stream


def _frames(path: Path, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Decoded frames with a time; a damaged end stops with an error that says where."""
    last = 0.0
    try:
        for frame in container.decode(stream):
            if frame.time is not None:
                last = frame.time
                yield frame
    except av.FFmpegError as error:
        raise RecordingError(f"{path}: decoding stops after {last:.1f} s ({error}); re-encode the video") from None


def _frames_from(
    path: Path, container: InputContainer, stream: VideoStream, after: float
) -> Iterator[tuple[float, VideoFrame]]:
    """`(time, frame)` from the last key frame before `after` on, or from the start where seeking overshoots."""
    first = next(_frames(path, container, stream), None)
    if first is None:
        return
    origin = first.time
    reached = _seek(path, container, stream, origin, after) if after > 1 else None
    if reached is None:
        container.seek(stream.start_time or 0, stream=stream)
        reached = next(_frames(path, container, stream), None)
    if reached is None:
        return
    yield reached.time - origin, reached
    for frame in _frames(path, container, stream):
        yield frame.time - origin, frame


def _seek(
    path: Path, container: InputContainer, stream: VideoStream, origin: float, after: float
) -> VideoFrame | None:
    """The key frame that decoding can start from, None if the container cannot find one before `after`."""
    try:
        container.seek(int((origin + after) / _time_base(stream)), stream=stream, backward=True)
        frame = next(_frames(path, container, stream), None)
    except (av.FFmpegError, RecordingError):
        return None
    return frame if frame is not None and frame.time - origin <= after else None


def _last_packet_end(container: InputContainer, stream: VideoStream) -> float:
    """End of the last packet in seconds, by seeking near the end and reading the packets that are there."""
    base = _time_base(stream)
    declared = _declared_duration(container, stream) or 0.0
    one_frame = 1 / (stream.average_rate or Fraction(25)) / base
    ends: list[float] = []
    for jump in (max(0.0, declared - 5), 0.0):
        try:
            container.seek((stream.start_time or 0) + int(jump / base), stream=stream)
            for packet in container.demux(stream):
                if packet.pts is not None:
                    ends.append(float((packet.pts + (packet.duration or one_frame)) * base))
        except av.FFmpegError:
            pass  # a damaged end: what was read until there counts
        if ends:
            break
    return max(ends, default=0.0)


def _time_base(stream: VideoStream) -> Fraction:
    return stream.time_base or TIME_BASE


def _declared_duration(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration:
        return float(stream.duration * _time_base(stream))
    return container.duration / av.time_base if container.duration else None


def _upright(frame: VideoFrame, max_width: int | None = None) -> Image:
    """RGB `(height, width, 3)`, rotated as the metadata says; with `max_width` also scaled to square pixels."""
    turns = round(frame.rotation / 90) % 4
    width, height = frame.width, frame.height
    if max_width is not None:
        aspect = frame.sample_aspect_ratio if hasattr(frame, "sample_aspect_ratio") else None
        width = round(width * float(aspect)) if aspect else width
        shown_width = height if turns % 2 else width
        scale = min(1.0, max_width / shown_width)
        width, height = max(2, round(width * scale)), max(2, round(height * scale))
    image: Image = np.asarray(frame.to_ndarray(width=width, height=height, format="rgb24"), dtype=np.uint8)
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image
