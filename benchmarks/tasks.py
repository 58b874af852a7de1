"""How fast are the clips of tasks made? Of a video as a camera films (1080p, 60 frames a second, some 30 Mbit/s),
with the pictures beside them; one after another, and ahead, as the job makes them while it uploads.

Nothing is uploaded here: `each upload` says what that is taken to last. `ratio` compares within one run. Run:
python -m benchmarks tasks; three minutes on two cores."""

import time
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np

from benchmarks.harness import Rows
from ml_backend.labelstudio import Media, Offer
from ml_backend.recordings import Stretch, clip_key

CLIPS, SECONDS, RATE = 8, 32, 60
UPLOADS = (0.0, 0.5)


class _Made(Media):
    """Uploads nothing, and takes its time for it."""

    uploads: dict[str, int] = {}  # noqa: RUF012 - none are there


def measure() -> Rows:
    with TemporaryDirectory() as folder:
        video = Path(folder) / "video.mp4"
        _film(video)
        return [_row(video, Path(folder), upload) for upload in UPLOADS]


def _row(video: Path, folder: Path, upload: float) -> dict[str, str]:
    offers = [_offer(video, number) for number in range(CLIPS)]
    seconds = {}
    for way in ("one after another", "ahead"):
        files = folder / f"{way} {upload}"
        files.mkdir()
        media = _Made(None, 1, files)  # type: ignore[arg-type] - no Label Studio is asked
        begin = time.perf_counter()
        for offer in media.ahead(offers) if way == "ahead" else _after_another(media, offers):
            assert (files / offer.upload_name).stat().st_size > 10_000
            time.sleep(upload)
        seconds[way] = time.perf_counter() - begin
    return {
        "clips": f"{CLIPS}",
        "each upload": f"{upload:g} s",
        **{way: f"{taken:.1f} s" for way, taken in seconds.items()},
        "ratio": f"{seconds['one after another'] / seconds['ahead']:.2f}",
    }


def _after_another(media: Media, offers: Iterable[Offer]) -> Iterable[Offer]:
    for offer in offers:
        media.make(offer, ())
        yield offer


def _offer(video: Path, number: int) -> Offer:
    start = number * (SECONDS - 4) / CLIPS
    key = clip_key(Stretch("video", start, start + 4, "0" * 32))
    alike = tuple((video, float(second)) for second in range(0, SECONDS, 5))
    return Offer("p01", "video", video, start, start + 4, number, 10, 10.0, key, alike=alike)


def _film(path: Path) -> None:
    random = np.random.default_rng(0)
    texture = random.integers(0, 255, (1200, 2100, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        stream.bit_rate, stream.gop_size = 30_000_000, RATE // 2
        for number in range(SECONDS * RATE):
            across, down = 3 * number % 150, 2 * number % 100
            picture = np.ascontiguousarray(texture[down : down + 1080, across : across + 1920])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
