"""A video → the frames that are embedded, decoding little more than those.

At most so many frames a second are embedded; a camera's film has up to sixty. Where its container has an index (MP4,
MOV), what lies behind the last wanted frame of a group of pictures, or is referred to by no other, is not decoded:
the frames are the same ones. Where key frames lie as densely as frames are wanted, as action cameras write them, they
can be taken in their place, each at its own time: they are decoded alone, at a fraction of the cost.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain, pairwise
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream
from joblib import cpu_count

from ml_backend.recordings.video import (
    CLOCK_TOLERANCE,
    Image,
    declared_duration,
    frames_from,
    opened,
    time_base,
    upright,
)

Part = Callable[[], Iterator[tuple[float, Image]]]
"""Gives the sampled frames of a part of a video, in order: it can be called in any thread, beside others."""

FRAMES_A_PART, SECONDS_A_PART = 64, 2.0
"""Parts hold about so many sampled frames, and are no shorter than that."""
LONGEST_GROUP = 20.0
"""Seconds from key frame to key frame, of which the packets are held in memory."""
CODECS = ("h264", "hevc", "mpeg4", "vp9", "mjpeg", "prores")
"""Those of whose groups of pictures that is known. AV1's packets hold pictures of others besides."""
DENSE = 1.1
"""Key frames may lie apart by so many times what lies between sampled frames: cameras round a half second up."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Index:
    """Of a video whose container says where its packets are: decoding times of key frames `(n_keys,)` and of the
    last packet, in ticks of `base` seconds; when the first frame is shown, in seconds; and frames a second."""

    keys: npt.NDArray[np.int64]
    end: int
    base: float
    origin: float
    frame_rate: float

    def seconds(self) -> npt.NDArray[np.float64]:
        """Of each key frame and of the end, since the first key frame, `(n_keys + 1,)`."""
        return np.append(self.keys - self.keys[0], self.end - self.keys[0]) * self.base


def sample_frames(
    path: Path, per_second: float | None, after: float = -1.0, key_frames: bool = False
) -> Iterator[tuple[float, Image]]:
    """The frames to embed: `(time, image (height, width, 3) RGB)`, at most `per_second`, or all with None.

    The first frame at or after each multiple of 1/per_second is taken, each frame once; of `key_frames` only those.
    With `after`, only frames later than that time, found by seeking: the continuation of a broken-off run.
    """
    for part in sampled_parts(path, per_second, after, key_frames):
        yield from part()


def sampled_parts(
    path: Path, per_second: float | None, after: float = -1.0, key_frames: bool = False
) -> Sequence[Part]:
    """What `sample_frames` gives, in parts that can be decoded side by side; one where the video has no index."""
    index = _index(path)
    if index is None:
        return [partial(_one_by_one, path, per_second, after)]
    seconds = index.seconds()
    length = max(SECONDS_A_PART, FRAMES_A_PART / (per_second or index.frame_rate))
    number = np.floor(seconds[:-1] / length)
    bounds = [*np.flatnonzero(np.r_[True, number[1:] != number[:-1]]), len(index.keys)]
    # Frames may be shown later than they are decoded: a part that ends shortly before may hold some behind.
    pairs = [pair for pair in pairwise(bounds) if seconds[pair[1]] + LONGEST_GROUP > after or pair == bounds[-2:]]
    threads = max(1, cpu_count() // len(pairs))
    return [partial(_of_part, path, index, pair, per_second, after, key_frames, threads) for pair in pairs]


def key_frames_are_dense(path: Path, per_second: float | None) -> bool:
    """True where a video has about as many key frames as are sampled, nowhere fewer."""
    index = _index(path) if per_second is not None else None
    return index is not None and per_second is not None and bool(np.diff(index.seconds()).max() <= DENSE / per_second)


def _of_part(
    path: Path,
    index: Index,
    keys: tuple[int, int],
    per_second: float | None,
    after: float,
    key_frames: bool,
    threads: int,
) -> Iterator[tuple[float, Image]]:
    """The sampled frames from one key frame on, up to another, decoded by so many threads. Where one of them cannot
    be, another may stand for it: then every frame is decoded, from there on."""

    # Of key frames the one nearest to each moment, before or behind it.
    early = float(np.median(np.diff(index.seconds()))) / 2 if key_frames else 0.0

    def wanted(before: float, shown: list[int]) -> list[int]:
        times = [before, *(tick * index.base - index.origin for tick in shown)]
        kept = [
            _is_sampled(*pair, per_second, early) and pair[1] > after + CLOCK_TOLERANCE for pair in pairwise(times)
        ]
        return [tick for tick, keep in zip(shown, kept, strict=True) if keep]

    last = after
    try:
        with opened(path) as (container, stream):
            stream.codec_context.thread_count = threads
            groups = _groups(container, stream, index, max(0, keys[0] - 1), key_frames)
            for tick, frame in _decoded(stream, _plans(groups, index, keys, wanted)):
                last = tick * index.base - index.origin
                yield last, upright(frame)
        return
    except (_FrameMissingError, av.FFmpegError):
        log.warning("%s: frames behind %.1f s cannot be decoded and are left out; re-encode the video", path, last)
    begin = _shown_at(path, index, keys[0]) - index.origin
    until = _shown_at(path, index, keys[1]) - index.origin if keys[1] < len(index.keys) else np.inf
    yield from _one_by_one(path, per_second, max(last, begin - 2 * CLOCK_TOLERANCE), until)


def _one_by_one(
    path: Path, per_second: float | None, after: float, until: float = np.inf
) -> Iterator[tuple[float, Image]]:
    """The sampled frames later than `after`, every frame being decoded."""
    before = -np.inf
    for time, frame in frames_from(path, after):
        if time >= until - CLOCK_TOLERANCE:
            return
        if _is_sampled(before, time, per_second) and time > after + CLOCK_TOLERANCE:
            yield time, upright(frame)
        before = time


def _is_sampled(before: float, time: float, per_second: float | None, early: float = 0.0) -> bool:
    """True for a frame that is the first at or after a multiple of 1/per_second, or `early` seconds before that;
    before: the time of the frame before it."""
    if per_second is None or before == -np.inf:
        return True
    slots = [np.floor((one + early + CLOCK_TOLERANCE) * per_second) for one in (before, time)]
    return bool(slots[1] > slots[0])


class _FrameMissingError(Exception):
    """A frame that is wanted cannot be decoded."""


def _groups(
    container: InputContainer, stream: VideoStream, index: Index, first: int, key_frames: bool
) -> Iterator[list[Packet]]:
    """Packets in order of decoding, a key frame and what follows it at a time, from the `first` key frame on; of
    `key_frames` these alone are read."""
    for other in container.streams:
        other.discard = Discard.all
    stream.discard = Discard.nonkey if key_frames else Discard.default
    begin = int(index.keys[first])
    container.seek(begin, stream=stream, backward=True)
    group: list[Packet] = []
    for packet in container.demux(stream):
        if packet.dts is None or packet.pts is None or packet.dts < begin:
            continue
        if not group and packet.dts != begin:
            raise _FrameMissingError  # seeking did not find its way
        if packet.is_keyframe and group:
            yield group
            group = []
        group.append(packet)
    if not group:
        raise _FrameMissingError
    yield group


def _plans(
    groups: Iterable[list[Packet]],
    index: Index,
    keys: tuple[int, int],
    wanted: Callable[[float, list[int]], list[int]],
) -> Iterator[tuple[list[int], Sequence[Packet | None]]]:
    """When the wanted frames are shown, in ticks, and the packets to decode for these, group by group; None at the
    end.

    `wanted` chooses among the times at which a group's frames are shown, told when the frame before them was. Behind
    a key frame there may be pictures that are shown before it, and need the group before.
    """
    before, due = -np.inf, set[int]()
    for group, following in pairwise(chain(groups, [[]])):
        begin, end = _tick(group[0]), _tick(following[0]) if following else np.inf
        shown = sorted(
            tick for one in (*group, *following) if begin <= (tick := _tick(one)) < end and not one.is_discard
        )
        decoded = group[0].dts
        assert decoded is not None  # as _tick
        if keys[1] < len(index.keys) and decoded >= index.keys[keys[1]]:
            yield [], _up_to_last(group, due)
            break
        if decoded >= index.keys[keys[0]]:
            new = wanted(before, shown)
            due |= set(new)
            whole = any(_tick(one) in due for one in following)
            yield new, group if whole else _up_to_last(group, due)
        before = shown[-1] * index.base - index.origin if shown else before
    yield [], [None]


def _tick(packet: Packet) -> int:
    assert packet.pts is not None  # those without are left out
    return packet.pts


def _up_to_last(group: list[Packet], due: set[int]) -> list[Packet]:
    """The packets up to the last one whose frame is wanted."""
    last = max((number for number, one in enumerate(group) if _tick(one) in due), default=-1)
    return group[: last + 1]


def _decoded(
    stream: VideoStream, plans: Iterable[tuple[list[int], Sequence[Packet | None]]]
) -> Iterator[tuple[int, VideoFrame]]:
    """The frames that are shown at the wanted times, in ticks."""
    due, decoder = deque[int](), stream.codec_context
    for new, packets in plans:
        due.extend(new)
        for packet in packets:
            decoder.skip_frame = "NONREF" if packet is not None and packet.pts not in due else "DEFAULT"
            try:
                frames = decoder.decode(packet)
            except av.FFmpegError:
                continue  # if it was wanted, it is missed
            for frame in frames:
                if due and frame.pts is not None and frame.pts > due[0]:
                    raise _FrameMissingError
                if due and frame.pts == due[0]:
                    yield due.popleft(), frame
    if due:
        raise _FrameMissingError


def _shown_at(path: Path, index: Index, key: int) -> float:
    """When a key frame is shown, in seconds; where it cannot be read, when it is decoded."""
    with opened(path) as (container, stream), suppress(_FrameMissingError, av.FFmpegError):
        return next(_tick(group[0]) for group in _groups(container, stream, index, key, True) if group) * index.base
    return float(index.keys[key]) * index.base


def _index(path: Path) -> Index | None:
    """None where there is none that can be relied on: of other containers and codecs, where key frames are far apart
    or are none at which decoding can begin, or the clock steps back."""
    status = path.stat()
    return _read_index(path, status.st_size, status.st_mtime_ns)


@lru_cache(64)
def _read_index(path: Path, size: int, modified: int) -> Index | None:  # noqa: ARG001 - a changed file is another key
    with opened(path) as (container, stream):
        entries = [(entry.timestamp, entry.is_keyframe) for entry in stream.index_entries]
        declared, rate = declared_duration(container, stream), float(stream.average_rate or 25)
        known = "mov" in container.format.name.split(",") and stream.codec_context.name in CODECS
        if not known or declared is None or len(entries) < 2 or not entries[0][1]:
            return None
        ticks = np.array([tick for tick, _ in entries])
        keys = ticks[[is_key for _, is_key in entries]]
        first = None
        with suppress(av.FFmpegError):
            first = next((frame.time for frame in container.decode(stream) if frame.time is not None), None)
        found = Index(keys, int(ticks[-1]), float(time_base(stream)), first or 0.0, rate)
    seconds = found.seconds()
    whole = seconds[-1] > declared - max(1.0, 2 / rate)
    rises = bool((np.diff(ticks) >= 0).all()) and np.diff(seconds).max() <= LONGEST_GROUP
    usable = first is not None and whole and rises and _begins(path, int(keys[len(keys) // 2]))
    return found if usable else None


def _begins(path: Path, tick: int) -> bool:
    """True where decoding can begin at the key frame that is decoded then: streams that are refreshed bit by bit mark
    pictures as key frames which are whole only later."""
    with opened(path) as (container, stream), suppress(av.FFmpegError):
        container.seek(tick, stream=stream, backward=True)
        first = next(container.decode(stream), None)
        return first is not None and first.pict_type == PictureType.I
    return False
