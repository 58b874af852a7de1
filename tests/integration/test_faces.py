"""Faces in what is shown to people, on real videos."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL.Image import open as open_picture

from ml_backend.recordings import cut_clip, sample_frames, without_faces, write_strip
from ml_backend.recordings.faces import EVERY, HELD, faces_in
from ml_backend.recordings.video import Image


def test_faces_are_gone_from_clips_and_the_rest_stays(shared_data: Path, tmp_path: Path) -> None:
    video = shared_data / "video" / "skeleton.mp4"
    plain, blurred = tmp_path / "plain.mp4", tmp_path / "blurred.mp4"
    cut_clip(video, 0.0, 1.0, plain)
    cut_clip(video, 0.0, 1.0, blurred, without_faces)
    before, after = ([image for _, image in sample_frames(path, 4)] for path in (plain, blurred))
    assert len(before) == len(after) > 2
    assert sum(len(faces_in(image)) for image in before) >= 2 * len(before)
    for one, other in zip(before, after, strict=True):
        changed = np.abs(one.astype(int) - other).max(axis=2) > 12
        for left, top, right, bottom in faces_in(one).astype(int):
            assert changed[top:bottom, left:right].mean() > 0.5
        assert changed.mean() < 0.05


def test_a_face_that_is_not_seen_for_a_moment_stays_covered(shared_data: Path) -> None:
    _, face = next(sample_frames(shared_data / "video" / "skeleton.mp4", 1))
    nothing = np.full_like(face, 127)
    nothing[:, ::2] = 40  # stripes, which squares would show

    def pictures() -> Iterator[tuple[float, Image]]:
        for number in range(60):
            yield number / 20, face if number < 5 or number >= 55 else nothing

    covered = dict(without_faces(pictures()))
    assert list(covered) == [number / 20 for number in range(60)]
    changed = {time: bool((image != nothing).any()) for time, image in covered.items() if 0.25 <= time < 2.75}
    assert all(is_changed for time, is_changed in changed.items() if time <= 0.2 + HELD or time >= 2.75 - HELD)
    assert not any(
        is_changed for time, is_changed in changed.items() if 0.3 + HELD + EVERY < time < 2.7 - HELD - EVERY
    )


def test_faces_are_gone_from_the_strip_too(shared_data: Path, tmp_path: Path) -> None:
    video = shared_data / "video" / "arm_wrestling.mp4"
    for name, blur in (("plain", False), ("blurred", True)):
        write_strip([(video, 1.0), (video, 4.0)], tmp_path / f"{name}.jpg", blur)
    plain, blurred = (np.asarray(open_picture(tmp_path / f"{name}.jpg")).astype(int) for name in ("plain", "blurred"))
    assert plain.shape == blurred.shape
    assert 0.01 < (np.abs(plain - blurred).max(axis=2) > 40).mean() < 0.4
