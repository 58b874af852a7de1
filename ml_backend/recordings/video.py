"""Decode, sample and cut videos with FFmpeg's libraries (PyAV). Times are seconds on the video's own clock.

The clock starts with the first frame. Any frame rate works, also a variable one: a frame is used by its time, never
by its index, and is shown until the next one. Where a container's clock steps back, as in files that were joined, it
goes on; where a packet is damaged, decoding goes on behind it. Frames look as a player shows them: of the stream that
it shows, turned and mirrored as the metadata says.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from functools import lru_cache
from io import RawIOBase
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from ml_backend.errors import RecordingError
from ml_backend.files import check_present
from ml_backend.recordings.gopro import gps_started
from ml_backend.storage import read_from, reading

Image = npt.NDArray[np.uint8]
Retouch = Callable[[Iterator[tuple[float, Image]]], Iterator[tuple[float, Image]]]
"""What is done to the pictures of a clip, `(time, picture)` in order of time, before they are written."""

TIME_BASE = Fraction(1, 90_000)
CLOCK_TOLERANCE = 1e-4
CLIP_MAX_WIDTH = 640
SEEK_BACK = (0.0, 2.0, 10.0, 60.0)
"""Seconds before the wanted time that are sought, one after another, until a frame at or before it is found."""
CLOCK_RESTARTS, CLOCK_JUMPS = 0.5, 10.0
"""A clock that steps back, or in a stream of packets ahead, by more seconds than that was started anew."""
CONTAINERS = (
    "mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi", "mpegts", "mpeg", "asf", "flv", "mxf", "ogg",
    "h264", "hevc", "mpegvideo", "m4v", "mjpeg", "ivf", "rm", "dv", "nut", "wtv", "obu", "av1", "vc1", "swf", "gxf",
)  # fmt: skip
LOCAL_FILES = {"protocol_whitelist": "file", "format_whitelist": ",".join(CONTAINERS)}
"""FFmpeg opens what a file's content asks for: playlists and scripts would name other files and addresses."""
LONGEST_SIDE = 8192
"""A larger picture is refused before it is decoded."""
NO_VIDEO_FORMATS = ("image2", "tty", "gif", "srt", "subtitle", "_pipe", "mp3", "lrc", "ass")
LONGEST_FREEZE, MOST_FRAME_RATE = 2.0, 120.0
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC).timestamp()
"""What says it was taken earlier, in seconds since 1970, does not know."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoInfo:
    """What a video's header and its last packets say; seconds, pixels as shown, frames a second."""

    duration: float
    width: int
    height: int
    frame_rate: float
    codec: str


@dataclass(frozen=True)
class Timeline:
    """What all packets of a video say: its end in seconds since the first frame, and whether its clock restarts."""

    end: float
    restarts: bool


def probe(path: Path) -> VideoInfo:
    """Read a video's header and end; RecordingError if it is no video, empty, or cut off."""
    with opened(path) as (container, stream):
        first = next(_frames(path, container, stream), None)
        if first is None:
            raise RecordingError(f"{path}: no frame can be decoded; is the file damaged? Re-encode or remove it")
        start, image = first[0], upright(first[1])
        if _is_stream_of_packets(container):
            end = _timeline(path).end
        else:
            ends = _last_packet_ends(container, stream)
            end = ends.get(stream.index, 0.0) - start
            declared = declared_duration(container, stream)
            # Sound may run on behind the last frame: the file is whole if any stream is. Matroska counts from 0.
            reached = end if stream.duration else max(ends.values(), default=0.0)
            if end <= 0 or (declared is not None and reached < declared - max(2.0, 0.05 * declared)):
                raise RecordingError(
                    f"{path}: the video is truncated: its header says {declared or 0:.1f} s, "
                    f"its frames end at {max(end, 0):.1f} s; copy the file again or re-encode it"
                )
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        return VideoInfo(end, image.shape[1], image.shape[0], rate, stream.codec_context.name)


def inspect(path: Path) -> list[str]:
    """Decode the whole video and say what is wrong with it, or unusual."""
    found = Counter[str]()
    with opened(path) as (container, stream):
        last, longest, count = 0.0, (0.0, 0.0), 0
        for time, _ in _frames(path, container, stream, found):
            longest = max(longest, (time - last, last)) if count else longest
            last, count = time, count + 1
    says = []
    if found["damaged"]:
        says.append(f"{found['damaged']} packets are damaged, {count} frames can be decoded; re-encode the video")
    if found["restarts"]:
        says.append(f"its clock restarts {found['restarts']} times; taken for one film")
    if longest[0] > LONGEST_FREEZE:
        says.append(f"no new frame for {longest[0]:.1f} s from {longest[1]:.1f} s on; the picture stands")
    return [f"{path}: {text}" for text in says]


def holds_video(path: Path) -> bool:
    """True if FFmpeg finds a film in the file: more than a picture, subtitles, or sound with a cover."""
    try:
        with reading(path), read_from(path) as source, av.open(source, "r", options=LOCAL_FILES) as container:
            if any(name in container.format.name for name in NO_VIDEO_FORMATS):
                return False
            return bool(_films(container))
    except (av.FFmpegError, ValueError, OSError):
        return False


def created_at(path: Path) -> float | None:
    """When the camera says that it started, in seconds since 1970 (UTC, to a second), None if it does not say.

    By its GPS where it has one: cameras write their own clock's local time as if it were UTC.
    """
    with opened(path) as (container, stream):
        by_satellite = gps_started(path)
        if by_satellite is not None:
            return by_satellite
        text = stream.metadata.get("creation_time") or container.metadata.get("creation_time")
    try:
        created = datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None
    except ValueError:
        return None
    if created is None:
        return None
    seconds = (created if created.tzinfo else created.replace(tzinfo=UTC)).timestamp()
    return seconds if seconds > EARLIEST else None


def grey_frames(
    path: Path, width: int, per_second: float
) -> Iterator[tuple[float, np.ndarray[Any, np.dtype[np.float32]]]]:
    """`(time, image (height, width) grey, 0 … 255)`, at most about `per_second`, small and not turned upright."""
    due = -np.inf
    for time, frame in frames_from(path, -1.0):
        if time < due - CLOCK_TOLERANCE:
            continue
        due = max(due + 1 / per_second, time + 0.5 / per_second)
        height = max(2, round(frame.height * width / frame.width))
        small = frame.reformat(width=width, height=height, format="gray")
        yield time, small.to_ndarray()[:, :width].astype(np.float32)


def cut_clip(path: Path, start: float, end: float, target: Path, retouch: Retouch = iter) -> None:
    """Re-encode `[start, end)` to an H.264 MP4 that starts with the clip's first frame and streams at once.

    At most 640 pixels wide, square pixels, no sound. Where no new frame comes, the one before stands, from the clip's
    start to its end. retouch: what is done to the pictures before.
    """
    rate = _frame_rate(path)
    writer, image, last = None, None, 0.0
    shown = _shown_between(path, start, end, 1.5 / rate)
    try:
        for time, image in retouch((time - start, upright(frame, CLIP_MAX_WIDTH)) for time, frame in shown):
            last = time
            if writer is None:
                writer = VideoWriter(target, image.shape[1], image.shape[0], rate)
            writer.write(image, last)
        if writer is not None and image is not None and end - start - last > 2.5 / rate:
            writer.write(image, end - start - 1 / rate)
    finally:
        if writer is not None:
            writer.close()
    if writer is None:
        raise RecordingError(f"{path}: no frame between {start:.2f} s and {end:.2f} s; is the video damaged?")


def cut_part(path: Path, start: float, end: float, target: Path, frame_rate: int, retouch: Retouch = iter) -> None:
    """Re-encode `[start, end)` as `cut_clip` does, with `frame_rate` frames in every second, each shown as long, so
    that a player which counts frames knows the time; with a key frame a second, so that one can jump."""
    pictures = retouch(_at_rate(_shown_between(path, start, end, 0.0), start, end, frame_rate))
    writer = None
    try:
        for time, picture in pictures:
            if writer is None:
                writer = VideoWriter(target, picture.shape[1], picture.shape[0], frame_rate, frame_rate)
            writer.write(picture, time)
    finally:
        if writer is not None:
            writer.close()
    if writer is None:
        raise RecordingError(f"{path}: no frame between {start:.2f} s and {end:.2f} s; is the video damaged?")


def _at_rate(
    shown: Iterable[tuple[float, VideoFrame]], start: float, end: float, frame_rate: int
) -> Iterator[tuple[float, Image]]:
    """What is shown at every tick from `start` on, by seconds since then."""
    tick, picture, held = 0, None, None
    count = max(1, round((end - start) * frame_rate))
    for time, frame in chain(shown, [(np.inf, None)]):
        while held is not None and tick < count and tick / frame_rate < time - start - CLOCK_TOLERANCE:
            picture = upright(held, CLIP_MAX_WIDTH) if picture is None else picture
            yield tick / frame_rate, picture
            tick += 1
        held, picture = frame, None


def picture_at(path: Path, seconds: float, max_width: int) -> Image:
    """What a player shows at that time, RGB `(height, width, 3)`; behind the end, the last frame."""
    shown = None
    for time, frame in frames_from(path, seconds):
        if shown is not None and time > seconds + CLOCK_TOLERANCE:
            break
        shown = frame
    if shown is None:
        raise RecordingError(f"{path}: no frame at {seconds:.2f} s; is the video damaged?")
    return upright(shown, max_width)


def _shown_between(path: Path, start: float, end: float, late: float) -> Iterator[tuple[float, VideoFrame]]:
    """The frames of a clip, the first one at its start; where that is later by more than `late` seconds, the frame
    before it comes first."""
    before, begun = None, False
    for time, frame in frames_from(path, start - 2 * CLOCK_TOLERANCE):
        if time >= end - CLOCK_TOLERANCE:
            break
        if time < start - CLOCK_TOLERANCE:
            before = frame
            continue
        if not begun and before is not None and time - start > late:
            yield start, before
            begun = True
        yield (time if begun else start), frame
        begun = True
    if not begun and before is not None:
        yield start, before


def _frame_rate(path: Path) -> float:
    """Of a video that stands still at times, how fast frames come when they do."""
    with opened(path) as (_, stream):
        average, base = float(stream.average_rate or 0), float(stream.base_rate or 0)
    return base if average <= base <= MOST_FRAME_RATE else average or 25.0


class VideoWriter:
    """Writes RGB images at given times as H.264 in MP4, with its index first so that browsers play it at once."""

    def __init__(
        self, path: Path, width: int, height: int, frame_rate: float, key_frame_every: int | None = None
    ) -> None:
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        rate = Fraction(frame_rate).limit_denominator(1001)
        self._stream = self._container.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "23"})
        if key_frame_every is not None:
            self._stream.gop_size = key_frame_every
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
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A video's container, and of its streams the one that players show; RecordingError if there is none."""
    check_present(path)
    with reading(path), read_from(path) as source, _container(path, source) as container:
        streams = _films(container)
        if not streams:
            raise RecordingError(f"{path}: holds no video stream; remove it or name another file")
        if any(max(one.width, one.height) > LONGEST_SIDE for one in streams):
            raise RecordingError(f"{path}: its pictures are larger than 8192 × 8192 pixels; re-encode it smaller")
        # The stream that players show: the one marked as default, else the largest, as FFmpeg chooses.
        stream = max(streams, key=lambda one: (bool(one.disposition & Disposition.default), one.width * one.height))
        stream.thread_type = "AUTO"
        yield container, stream


def _container(path: Path, source: str | RawIOBase) -> InputContainer:
    try:
        return av.open(source, "r", options=LOCAL_FILES)
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RecordingError(
            f"{path}: cannot be opened as a video ({reason}); is it complete? Re-encode or remove it"
        ) from None


def _films(container: InputContainer) -> list[VideoStream]:
    """Video streams that are no cover of a sound file."""
    return [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]


def _frames(
    path: Path, container: InputContainer, stream: VideoStream, found: Counter[str] | None = None
) -> Iterator[tuple[float, VideoFrame]]:
    """Decoded frames with rising times; where the clock restarts it goes on by a frame. `found` counts `restarts`
    and `damaged` packets."""
    period, jumps = float(1 / (stream.average_rate or 25)), _is_stream_of_packets(container)
    found = Counter() if found is None else found
    shift, last = 0.0, None
    for frame in _decoded(path, container, stream, found):
        if frame.time is None:
            continue
        time = frame.time + shift
        if last is not None and _is_to_count(container, stream, abs(time - last - period) / period):
            time = last + period
        if last is not None and _restarts(last, time, jumps):
            shift += last + period - time
            time = last + period
            found["restarts"] += 1
        last = time if last is None or time > last else last + period
        yield last, frame


def _is_to_count(container: InputContainer, stream: VideoStream, off: float) -> bool:
    """True where frames are to be counted, since a container does not say when each is shown: AVI with B-frames says
    when it is decoded, and a program stream stamps few. off: how many frames the stamp lies beside the count."""
    if container.format.name == "avi":
        return bool(stream.codec_context.has_b_frames)
    return container.format.name == "mpeg" and off < 1.5


def _restarts(last: float, time: float, jumps: bool) -> bool:
    """True where a clock steps back; and of a stream of packets, as FFmpeg takes it, where it jumps far ahead."""
    return time < last - CLOCK_RESTARTS or (jumps and time > last + CLOCK_JUMPS)


def _decoded(path: Path, container: InputContainer, stream: VideoStream, found: Counter[str]) -> Iterator[VideoFrame]:
    """What can be decoded: a damaged packet costs what depends on it, and is counted."""
    last = 0.0
    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                found["damaged"] += 1
                continue
            for frame in frames:
                assert isinstance(frame, VideoFrame)
                last = frame.time or last
                yield frame
    except av.FFmpegError as error:
        raise RecordingError(f"{path}: decoding stops after {last:.1f} s ({error}); re-encode the video") from None
    if found["damaged"]:
        log.warning("%s: %s packets are damaged and left out; re-encode the video", path, found["damaged"])


def frames_from(path: Path, after: float) -> Iterator[tuple[float, VideoFrame]]:
    """`(time, frame)` from a key frame at or before `after` on, or from the start where seeking does not find one."""
    with opened(path) as (container, stream):
        first = next(_frames(path, container, stream), None)
        # A program stream stamps few of its frames: where decoding begins in its middle, times are guessed.
        seeks = container.format.name != "mpeg" and not (
            _is_stream_of_packets(container) and _timeline(path).restarts
        )
    if first is None:
        return
    origin = first[0]
    for back in SEEK_BACK if seeks else ():
        if after - back <= 1:
            break
        # Opened anew each time: a demuxer that sought once may not find its way back.
        with opened(path) as (container, stream):
            try:
                container.seek(int((origin + after - back) / time_base(stream)), stream=stream, backward=True)
                frames = _frames(path, container, stream)
                reached = next(frames, None)
            except (av.FFmpegError, RecordingError):
                continue
            if reached is not None and reached[1].key_frame and reached[0] - origin <= after + CLOCK_TOLERANCE:
                yield reached[0] - origin, reached[1]
                for time, frame in frames:
                    yield time - origin, frame
                return
    with opened(path) as (container, stream):
        for time, frame in _frames(path, container, stream):
            yield time - origin, frame


def _is_stream_of_packets(container: InputContainer) -> bool:
    """True for formats without an index, which may be cut and joined anywhere: their header does not know the end."""
    return container.format.name in ("mpegts", "mpegtsraw", "mpeg")


def _timeline(path: Path) -> Timeline:
    """Read all packets once."""
    status = path.stat()
    return _read_timeline(path, status.st_size, status.st_mtime_ns)


@lru_cache(256)
def _read_timeline(path: Path, size: int, modified: int) -> Timeline:  # noqa: ARG001 - a changed file is another key
    with opened(path) as (container, stream):
        base = float(time_base(stream))
        period = float(1 / (stream.average_rate or 25))
        shift, last, shown, restarts = 0.0, None, [], False
        for packet in container.demux(stream):
            if packet.dts is None or packet.pts is None:
                continue
            time = packet.dts * base + shift
            if last is not None and _restarts(last, time, jumps=True):
                shift += last + period - time
                time, restarts = last + period, True
            last = time
            shown.append(packet.pts * base + shift)
    if not shown:
        return Timeline(0.0, restarts)
    return Timeline(max(shown) + period - min(shown), restarts)


def _last_packet_ends(container: InputContainer, stream: VideoStream) -> dict[int, float]:
    """End of each stream's last packet in seconds, by seeking near the end and reading the packets that are there."""
    declared = declared_duration(container, stream) or 0.0
    usual = float(1 / (stream.average_rate or Fraction(25)))
    ends: dict[int, float] = {}
    for jump in (max(0.0, declared - 5), 0.0):
        try:
            container.seek((stream.start_time or 0) + int(jump / time_base(stream)), stream=stream)
            for packet in container.demux():
                if packet.pts is not None and packet.time_base is not None:
                    length = float(packet.duration * packet.time_base) if packet.duration else usual
                    end = float(packet.pts * packet.time_base) + length
                    ends[packet.stream.index] = max(end, ends.get(packet.stream.index, 0.0))
        except av.FFmpegError:
            pass  # a damaged end: what was read until there counts
        if stream.index in ends:
            break
    return ends


def time_base(stream: VideoStream) -> Fraction:
    """Seconds of a tick of the stream's clock."""
    return stream.time_base or TIME_BASE


def declared_duration(container: InputContainer, stream: VideoStream) -> float | None:
    """Seconds, as the header says."""
    if stream.duration:
        return float(stream.duration * time_base(stream))
    return container.duration / av.time_base if container.duration else None


def upright(frame: VideoFrame, max_width: int | None = None) -> Image:
    """RGB `(height, width, 3)`, rotated as the metadata says; with `max_width` also scaled to square pixels."""
    across, down, swapped = _orientation(frame)
    width, height = frame.width, frame.height
    if max_width is not None:
        aspect = frame.sample_aspect_ratio if hasattr(frame, "sample_aspect_ratio") else None
        width = round(width * float(aspect)) if aspect else width
        shown_width = height if swapped else width
        scale = min(1.0, max_width / shown_width)
        width, height = max(2, round(width * scale)), max(2, round(height * scale))
    image: Image = np.asarray(frame.to_ndarray(width=width, height=height, format="rgb24"), dtype=np.uint8)
    image = image.swapaxes(0, 1) if swapped else image
    return np.ascontiguousarray(image[:: -1 if down else 1, :: -1 if across else 1])


def _orientation(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """Whether the picture is to be mirrored across and down, after rows and columns were swapped if so; by the whole
    display matrix, of which the angle of rotation is only a part."""
    side_data: Any = frame.side_data  # typed as a mapping from text
    data = side_data.get(SideDataType.DISPLAYMATRIX)
    if data is None:
        return False, False, False
    matrix = np.frombuffer(bytes(data), dtype=np.int32)
    (xx, xy), (yx, yy) = matrix[:2], matrix[3:5]
    if abs(int(xy)) > abs(int(xx)):
        return bool(yx < 0), bool(xy < 0), True
    return bool(xx < 0), bool(yy < 0), False
