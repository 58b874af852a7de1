"""What it costs to sample two frames a second of videos as cameras write them, and what key frames change.

Films are made from a real video of people (`../shared/data`), moved, with noise, at the size, rate, codec and
distance of key frames that each camera uses. Processor seconds a minute of film: `every frame decoded`, as versions
before did and as is done where a container has no index; `the same frames`, skipping what these do not need;
`key frames` instead, which is only done where they are dense enough, and clips look the same.

`at best`: how many times fewer frames than all must be decoded for exactly the same ones: the limit of skipping.

`cosine`: between a clip's vector from key frames and from exact sampling (efficientnet_lite0, real weights, mean over
each clip's frames), the least and the mean. Run: python -m benchmarks decoding
"""

import resource
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame

from benchmarks.harness import SHARED_DATA, Rows, copied_packets, in_child
from benchmarks.sampling import cosines
from ml_backend.embeddings import Sampling, clip_vectors, load_backbone
from ml_backend.recordings import VideoWriter, clip_starts, probe, sample_frames

FOLDER = Path("build/benchmarks/decoding")
PER_SECOND = 2.0
REAL = ("arm_wrestling.mp4", "low_res_mpeg4.avi", "skeleton.mp4")
WAYS = ("every frame decoded", "the same frames", "key frames")


@dataclass(frozen=True)
class Camera:
    """How a camera writes its films."""

    name: str
    width: int
    height: int
    rate: Fraction
    seconds: int
    codec: str
    megabits: float
    key_frame_every: int
    pixels: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)


TEN = "yuv420p10le"
X264 = {"preset": "veryfast", "sc_threshold": "0"}
X265 = {"preset": "ultrafast", "x265-params": "bframes=0:scenecut=0:log-level=error"}
GOPRO = {**X264, "bf": "0"}
CAMERAS = (
    Camera("action camera, 1080p60, H.264", 1920, 1080, Fraction(60000, 1001), 20, "libx264", 30, 16, options=GOPRO),
    Camera("action camera, 4K30, HEVC 10 bit", 3840, 2160, Fraction(30000, 1001), 8, "libx265", 60, 8, TEN, X265),
    Camera("telephone, 1080p30, H.264", 1920, 1080, Fraction(30), 20, "libx264", 17, 30, options={**X264, "bf": "2"}),
    Camera("webcam, 480p30, H.264", 640, 480, Fraction(30), 60, "libx264", 3, 250, options=X264),
)


def pictures(width: int, height: int, count: int) -> Iterator[np.ndarray]:
    """A real film to and fro, its frame moving about it, with noise."""
    with av.open(str(SHARED_DATA / "video" / "skeleton.mp4")) as container:
        frames = [
            frame.to_ndarray(width=width + 64, height=height + 64, format="rgb24")
            for frame, _ in zip(container.decode(video=0), range(24), strict=False)
        ]
    random = np.random.default_rng(0)
    noise = random.integers(0, 12, (height + 97, width + 97, 1), dtype=np.uint8)
    for number in range(count):
        down, right = int(32 + 31 * np.sin(number / 40)), int(32 + 31 * np.cos(number / 55))
        place = number // 2 % 46
        picture = frames[min(place, 46 - place)][down : down + height, right : right + width]
        at = random.integers(0, 96, 2)
        yield np.minimum(picture, 243) + noise[at[0] : at[0] + height, at[1] : at[1] + width]


def film(camera: Camera) -> Path:
    """A film as the camera writes them; made once."""
    target = FOLDER / f"{camera.name.replace(' ', '_').replace(',', '')}_{camera.key_frame_every}.mp4"
    if target.is_file():
        return target
    FOLDER.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".tmp")
    with av.open(str(unfinished), "w", format="mp4") as output:
        stream = output.add_stream(camera.codec, rate=camera.rate, options=camera.options)
        stream.width, stream.height, stream.pix_fmt = camera.width, camera.height, camera.pixels
        stream.gop_size, stream.bit_rate = camera.key_frame_every, int(1e6 * camera.megabits)
        for picture in pictures(camera.width, camera.height, round(camera.seconds * camera.rate)):
            output.mux(stream.encode(VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))
    return unfinished.rename(target)


def without_index(video: Path) -> Path:
    """The same packets in Matroska, of which every frame is decoded."""
    target = video.with_suffix(".mkv")
    return target if target.is_file() else copied_packets(video, target)


def nothing(video: Path, way: str) -> tuple[Path, str]:
    return video, way


def sampled(prepared: tuple[Path, str]) -> float:
    """Processor seconds."""
    video, way = prepared
    before = resource.getrusage(resource.RUSAGE_SELF)
    frames = sum(1 for _ in sample_frames(video, PER_SECOND, key_frames=way == "key frames"))
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert frames > 0
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def figures(name: str, video: Path, clip_seconds: float) -> dict[str, object]:
    """Of each way, processor seconds a minute, the lesser of two, and how many times less the last two are; and how
    alike clips look by the last one."""
    row: dict[str, object] = {"film": name}
    duration, seconds = probe(video).duration, {}
    for way in WAYS:
        source = without_index(video) if way == WAYS[0] else video
        seconds[way] = 60 / duration * min(in_child(nothing, sampled, source, way).result for _ in range(2))
        less = "" if way == WAYS[0] else f" ({seconds[WAYS[0]] / seconds[way]:.1f}×)"
        row[way] = f"{seconds[way]:.1f} s{less}"
    found = likeness(video, clip_seconds)
    return {**row, "at best": f"{at_best(video):.1f}×", "cosine": f"least {found.min():.4f}, mean {found.mean():.4f}"}


def at_best(video: Path) -> float:
    """All frames for one that is needed: of each group of pictures the sampled ones, and all before the last of them
    to which others refer."""
    with av.open(str(video)) as container:
        (stream,) = container.streams.video
        packets = [packet for packet in container.demux(stream) if packet.pts is not None]
        first, base = min(packet.pts for packet in packets), float(stream.time_base)
        container.seek(0)
        stream.codec_context.skip_frame = "NONREF"
        referred_to = {frame.pts for frame in container.decode(stream)}
    sampled_at = {first + round(time / base) for time, _ in sample_frames(video, PER_SECOND)}
    needed, waiting = 0, 0
    for packet in packets:
        waiting = 0 if packet.is_keyframe else waiting
        waiting += packet.pts in referred_to or packet.pts in sampled_at
        if packet.pts in sampled_at:
            needed, waiting = needed + waiting, 0
    return len(packets) / needed


def with_key_frames(video: Path) -> Path:
    """A real video with a key frame each quarter second, no others."""
    info, target = probe(video), FOLDER / f"{video.parent.name}-{video.stem}.mp4"
    with VideoWriter(target, info.width, info.height, info.frame_rate, round(info.frame_rate / 4)) as writer:
        for time, image in sample_frames(video, None):
            writer.write(image, time)
    return target


def likeness(video: Path, clip_seconds: float) -> np.ndarray:
    """Cosines of clips' vectors from key frames and from exact sampling."""
    backbone = load_backbone("efficientnet_lite0")
    starts = clip_starts(0.0, probe(video).duration, clip_seconds, clip_seconds / 4)
    clips = []
    for key_frames in (False, True):
        sampling = Sampling(clip_seconds, clip_seconds / 4, PER_SECOND, key_frames)
        rows = list(backbone.vectors_of(video, sampling, -1.0))
        times, vectors = np.concatenate([one for one, _ in rows]), np.concatenate([one for _, one in rows])
        clips.append(clip_vectors(times, vectors, starts, clip_seconds))
    return cosines(*clips)


def measure() -> Rows:
    real = [SHARED_DATA / "video" / name for name in REAL]
    films = [(camera.name, film(camera), 4.0) for camera in CAMERAS]
    films.append(("GoPro's own, 480p30", SHARED_DATA / "gopro" / "karma.mp4", 4.0))
    films += [(f"{video.stem}, a key frame each 0.25 s", with_key_frames(video), 2.0) for video in real]
    return [figures(*one) for one in films]
