"""A dataset folder → checked recordings. In comes a folder as labs keep it; out comes, for each participant, which
video and which IMU belong together, on one clock, with every problem named file by file.

Other rooms use `find_recordings` and `check_dataset` with `Recording`, `CheckedRecording` and `Problem`;
`recording_clips` and the other time windows of clips, with `clip_key`, their names; `read_imu` with `Imu` and
`ImuFormat`; `probe`, `sample_frames`, `cut_clip` and `VideoWriter` for videos; `align` for a body-worn IMU. A new
layout is a function in `layouts.py`, a new video container or IMU dialect is handled in `video.py` or `imu.py`.
Times are seconds on the video's clock.
"""

from collections.abc import Callable
from typing import Any

from ml_backend.recordings.alignment import Alignment, align
from ml_backend.recordings.checks import CheckedRecording, check_dataset, recording_clips
from ml_backend.recordings.clips import (
    clip_key,
    clip_of_samples,
    clip_of_samples_by_borders,
    clip_starts,
    frames_of_clips,
    last_sample_of_clips,
    mostly_in_clips,
    nearest_clip_of_samples,
    stretch_of_key,
)
from ml_backend.recordings.imu import Imu, ImuFormat, read_imu
from ml_backend.recordings.layouts import Problem, Recording, find_recordings
from ml_backend.recordings.video import CLOCK_TOLERANCE, VideoInfo, VideoWriter, cut_clip, probe, sample_frames

__all__ = [
    "CHECKS",
    "CLOCK_TOLERANCE",
    "Alignment",
    "CheckedRecording",
    "Imu",
    "ImuFormat",
    "Problem",
    "Recording",
    "VideoInfo",
    "VideoWriter",
    "align",
    "check_dataset",
    "clip_key",
    "clip_of_samples",
    "clip_of_samples_by_borders",
    "clip_starts",
    "cut_clip",
    "find_recordings",
    "frames_of_clips",
    "last_sample_of_clips",
    "mostly_in_clips",
    "nearest_clip_of_samples",
    "probe",
    "read_imu",
    "recording_clips",
    "sample_frames",
    "stretch_of_key",
]


def _check_missing_values(value: str) -> None:
    if value not in ("error", "interpolate"):
        raise ValueError(f"'{value}' is not known; known are error and interpolate")


CHECKS: dict[str, Callable[[Any], object]] = {"missing_values": _check_missing_values}
"""Parameter → what raises ValueError for a value that is not allowed."""
