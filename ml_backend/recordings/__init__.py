"""A dataset folder → checked recordings. In comes a folder as labs keep it; out comes, for each participant, which
video and which IMU belong together, on one clock, with every problem named file by file.

Other rooms use `find_recordings`, `missing_folder`,
`check_dataset` and `described` with `Recording`, `CheckedRecording` and `Problem`;
`recording_clips` and the other time windows of clips, with `Stretch` and
`clip_key`, their names; `read_imu` and, for all files of
a recording, `read_imus`, with `Imu`, `ImuFile` and `ImuFormat`; `probe`, `cut_clip`,
`cut_part`, `write_strip` and `VideoWriter` for videos, `sample_frames`, `sampled_parts` and
`key_frames_are_dense` for the frames to embed; `signals_of` and
`write_signals` for what is drawn of an IMU; `read_given_labels` for labels of
other tools; `align` and `plot_alignment` for a body-worn IMU. A new layout is a function in `layouts.py`,
a new video container is handled in `video.py`, which frames are decoded in `sampling.py`, a new dialect
of tables in `tables.py`, a clock in `clocks.py`, a device's own format in `devices.py`, an app's archive
in `archives.py`.
Times are seconds on the video's clock.
"""

from collections.abc import Callable
from typing import Any

from ml_backend.recordings.alignment import Alignment, align, plot_alignment
from ml_backend.recordings.checks import CheckedRecording, check_dataset, described, recording_clips
from ml_backend.recordings.clips import (
    Stretch,
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
from ml_backend.recordings.clocks import UNITS as TIME_UNITS
from ml_backend.recordings.faces import check_blur_faces, without_faces
from ml_backend.recordings.imu import Imu, ImuFormat, Interval, ground_truth
from ml_backend.recordings.labels import GivenLabel, read_given_labels
from ml_backend.recordings.layouts import Problem, Recording, find_recordings, missing_folder
from ml_backend.recordings.sampling import Part, key_frames_are_dense, sample_frames, sampled_parts
from ml_backend.recordings.sensors import ImuFile, read_imu, read_imus
from ml_backend.recordings.signals import signals_of, write_signals
from ml_backend.recordings.strips import write_strip
from ml_backend.recordings.video import (
    CLOCK_TOLERANCE,
    VideoInfo,
    VideoWriter,
    cut_clip,
    cut_part,
    probe,
)

__all__ = [
    "CHECKS",
    "CLOCK_TOLERANCE",
    "TIME_UNITS",
    "Alignment",
    "CheckedRecording",
    "GivenLabel",
    "Imu",
    "ImuFile",
    "ImuFormat",
    "Interval",
    "Part",
    "Problem",
    "Recording",
    "Stretch",
    "VideoInfo",
    "VideoWriter",
    "align",
    "check_dataset",
    "clip_key",
    "clip_of_samples",
    "clip_of_samples_by_borders",
    "clip_starts",
    "cut_clip",
    "cut_part",
    "described",
    "find_recordings",
    "frames_of_clips",
    "ground_truth",
    "key_frames_are_dense",
    "last_sample_of_clips",
    "missing_folder",
    "mostly_in_clips",
    "nearest_clip_of_samples",
    "plot_alignment",
    "probe",
    "read_given_labels",
    "read_imu",
    "read_imus",
    "recording_clips",
    "sample_frames",
    "sampled_parts",
    "signals_of",
    "stretch_of_key",
    "without_faces",
    "write_signals",
    "write_strip",
]


def _check_missing_values(value: str) -> None:
    if value not in ("error", "interpolate"):
        raise ValueError(f"'{value}' is not known; known are error and interpolate")


def _check_duplicate_stamps(value: str) -> None:
    if value not in ("error", "spread"):
        raise ValueError(f"'{value}' is not known; known are error and spread")


def _check_stride(value: float) -> None:
    if value < LEAST_STRIDE:
        raise ValueError(f"a clip starts every {LEAST_STRIDE:g} s at most")


LEAST_STRIDE = 0.04
"""Seconds: a frame of a usual video; with less an hour has clips without number."""
CHECKS: dict[str, Callable[[Any], object]] = {
    "missing_values": _check_missing_values,
    "duplicate_stamps": _check_duplicate_stamps,
    "stride_seconds": _check_stride,
    "blur_faces": check_blur_faces,
}
"""Parameter → what raises ValueError for a value that is not allowed."""
