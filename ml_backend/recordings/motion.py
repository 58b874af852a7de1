"""What moves in a video: dense optical flow from frame to frame, of a small grey picture (one step, in squares, of
Lucas and Kanade, An iterative image registration technique with an application to stereo vision, IJCAI 1981)."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ml_backend.recordings.video import grey_frames

Floats = npt.NDArray[np.float64]

WIDTH = 160
"""Pixels: a person is seen as a whole, and moves by one or two from frame to frame."""
MOST_FRAMES = 30
"""So many a second are looked at."""
SQUARE = 9
NOISE = 20.0
"""Variance of the grey gradient that noise has: where there is less, nothing is seen to move."""
QUANTITIES = ("speed", "across", "along", "right", "down", "upper", "lower", "change", "camera_right", "camera_down")
"""Means over the picture, in pixels a second: speed, its parts without and with sign, of the upper and lower half;
change of grey; the motion of the whole picture, which the others are without."""


def video_motion(path: Path) -> tuple[Floats, Floats]:
    """Times `(n,)`, in the middle between two frames, in seconds on the video's clock; and `(n, 10)` QUANTITIES."""
    times, rows = list[float](), list[list[float]]()
    before, shown = None, 0.0
    for time, frame in grey_frames(path, WIDTH, MOST_FRAMES):
        if before is not None and before.shape == frame.shape and time > shown:
            times.append((time + shown) / 2)
            rows.append([value / (time - shown) for value in _flow(before, frame)])
        before, shown = frame, time
    return np.array(times), np.array(rows).reshape(-1, len(QUANTITIES))


def _flow(before: npt.NDArray[np.float32], after: npt.NDArray[np.float32]) -> list[float]:
    from scipy.ndimage import uniform_filter

    down, right = np.gradient((before + after) / 2)
    change = after - before
    products = (right * right, right * down, down * down)
    camera = _solved(1e-3, *(one.mean() for one in (*products, right * change, down * change)))
    rest = change + camera[0] * right + camera[1] * down
    middle = slice(SQUARE // 2, None, SQUARE // 2)
    squares = (uniform_filter(one, SQUARE)[middle, middle] for one in (*products, right * rest, down * rest))
    across, along = _solved(NOISE, *squares)
    speed = np.hypot(across, along)
    half = len(speed) // 2
    means = (speed, abs(across), abs(along), across, along, speed[:half], speed[half:], abs(change))
    return [*(float(one.mean()) for one in means), *map(float, camera)]


def _solved(noise: float, xx: Floats, xy: Floats, yy: Floats, xt: Floats, yt: Floats) -> tuple[Floats, Floats]:
    """The motion by which the picture's gradient explains its change, by least squares."""
    xx, yy = xx + noise, yy + noise
    determinant = xx * yy - xy * xy
    return -(yy * xt - xy * yt) / determinant, -(xx * yt - xy * xt) / determinant
