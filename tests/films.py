"""Videos whose pictures tell their number."""

from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import av
import numpy as np

WIDTH, HEIGHT, BITS = 128, 96, 10


def numbered(number: int) -> np.ndarray:
    """A picture with its number in blocks of black and white, and a red corner at its top left."""
    image = np.full((HEIGHT, WIDTH, 3), 64, np.uint8)
    for bit in range(BITS):
        row, column = divmod(bit, 4)
        image[24 + 24 * row : 48 + 24 * row, 32 * column : 32 * column + 32] = 235 if number >> bit & 1 else 16
    image[:20, :40] = (220, 20, 20)
    return image


def number_of(image: np.ndarray) -> int:
    """The number, -1 if the picture is turned or mirrored."""
    height, width = image.shape[:2]
    corner = image[: height // 6, : width // 4].reshape(-1, 3).mean(axis=0)
    if corner.argmax() != 0 or corner[0] - corner[1] < 60:
        return -1
    number = 0
    for bit in range(BITS):
        row, column = divmod(bit, 4)
        y, x = height * (36 + 24 * row) // 96, width * (16 + 32 * column) // 128
        number |= (image[y - 2 : y + 3, x - 2 : x + 3].mean() > 125) << bit
    return int(number)


def film(path: Path, times: list[float], fmt: str, codec: str = "libx264", gop: int = 50, bframes: int = 0,
         rate: int = 25, start: float = 0.0, first: int = 0, **more: str) -> Path:  # fmt: skip
    """A video whose pictures, shown at `times`, are numbered from `first` on; its clock begins at `start`."""
    options = {"bf": str(bframes), **more} if codec == "libx264" else more
    with av.open(str(path), "w", format=fmt) as output:
        stream = output.add_stream(codec, rate=rate, options={"g": str(gop), **options})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate = 2_000_000
        base = Fraction(1, rate) if codec != "libx264" or fmt == "avi" else Fraction(1, 90_000)
        stream.codec_context.time_base = base
        for number, time in enumerate(times, first):
            frame = av.VideoFrame.from_ndarray(numbered(number), format="rgb24")
            frame.pts, frame.time_base = round((time + start) / base), base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def film_apart(*given: Any, **more: Any) -> Path:
    """The same, made in a process of its own: SVT-AV1, run by root, takes real-time priority for the whole process,
    and for all that it starts, so that others starve."""
    with ProcessPoolExecutor(1, get_context("spawn")) as child:
        return child.submit(film, *given, **more).result()
