"""Moments of videos side by side in one picture: what an annotator's answer is going to spread to."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL.Image import fromarray

from ml_backend.recordings.faces import without_faces_in
from ml_backend.recordings.video import CLIP_MAX_WIDTH, Image, picture_at

WIDTH, HEIGHT, GAP = 160, 90, 4
"""Pixels of a picture that lies, of all pictures, and between two."""


def write_strip(moments: Iterable[tuple[Path, float]], target: Path, blur_faces: bool = False) -> None:
    """A JPEG of what is shown at each moment (a video, and seconds in it), from left to right.

    RecordingError names the video that shows nothing there.
    """
    found = (picture_at(video, seconds, CLIP_MAX_WIDTH if blur_faces else WIDTH) for video, seconds in moments)
    pictures = [_scaled(without_faces_in(picture) if blur_faces else picture) for picture in found]
    gap = np.full((HEIGHT, GAP, 3), 255, dtype=np.uint8)
    row = [part for picture in pictures for part in (gap, picture)][1:]
    fromarray(np.concatenate(row, axis=1)).save(target, format="JPEG", quality=80)


def _scaled(picture: Image) -> Image:
    height, width = picture.shape[:2]
    return np.asarray(fromarray(picture).resize((max(1, round(width * HEIGHT / height)), HEIGHT)), dtype=np.uint8)
