"""Every check of a user's recordings that can be made before heavy work: what is wrong, named file by file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ml_backend.errors import WeakHARError
from ml_backend.recordings.clips import clip_starts
from ml_backend.recordings.clocks import is_clock_name
from ml_backend.recordings.imu import CAMERA_SUFFIXES, Imu, read_imu
from ml_backend.recordings.layouts import Problem, Recording, find_recordings
from ml_backend.recordings.video import VideoInfo, probe
from ml_backend.settings import Parameters

MOST_RATE_DIFFERENCE = 0.05
"""What training takes for the same sampling rate."""


@dataclass(frozen=True)
class CheckedRecording:
    """What a check found out about one recording; video and imu are None where they cannot be read."""

    recording: Recording
    video: VideoInfo | None
    imu: Imu | None
    n_clips: int
    overlap_seconds: float


def check_dataset(root: Path, parameters: Parameters) -> tuple[list[CheckedRecording], list[Problem]]:
    """Read every video's header and every IMU; collects all problems instead of stopping at the first."""
    recordings, problems = find_recordings(root, parameters)
    checked = []
    for recording in recordings:
        result, found = _check_recording(recording, parameters)
        checked.append(result)
        problems += found
    problems += _check_alike(checked)
    return checked, problems


def _check_recording(recording: Recording, parameters: Parameters) -> tuple[CheckedRecording, list[Problem]]:
    problems: list[Problem] = []
    video: VideoInfo | None = None
    imu: Imu | None = None
    try:
        video = probe(recording.video)
    except WeakHARError as error:
        problems.append(Problem(str(error)))
    try:
        imu = read_imu(recording.imu, recording.imu_format)
    except WeakHARError as error:
        problems.append(Problem(str(error)))
    if video is None or imu is None:
        return CheckedRecording(recording, video, imu, 0, 0.0), problems
    problems += _assumed(recording, imu, parameters)
    starts = recording_clips(video, imu, parameters)
    first, last = max(0.0, imu.start), min(video.duration, imu.end)
    if last <= first:
        problems.append(
            Problem(
                f"{recording.imu}: the IMU ({imu.start:.1f} to {imu.end:.1f} s on the video's clock) does not "
                f"overlap the video (0 to {video.duration:.1f} s); set offset_seconds in dataset.yaml"
            )
        )
    elif len(starts) == 0:
        problems.append(
            Problem(
                f"{recording.video}: the {last - first:.1f} s that video and IMU share are shorter than one clip of "
                f"{parameters.clip_seconds:g} s; lower clip_seconds or remove the recording"
            )
        )
    elif last - first < 0.95 * max(video.duration, imu.end - imu.start):
        problems.append(
            Problem(
                f"{recording.imu}: IMU ({imu.end - imu.start:.1f} s) and video ({video.duration:.1f} s) share only "
                f"{last - first:.1f} s; the rest stays unlabelled. Check sampling_rate ({imu.sampling_rate:g} Hz) "
                "and offset_seconds",
                error=False,
            )
        )
    if len(starts) and parameters.stride_seconds * imu.sampling_rate < 1:
        problems.append(Problem(f"{recording.imu}: a stride holds less than one sample; raise stride_seconds"))
    return CheckedRecording(recording, video, imu, len(starts), max(0.0, last - first)), problems


def _assumed(recording: Recording, imu: Imu, parameters: Parameters) -> list[Problem]:
    """Warnings of what was not said by the user but assumed."""
    found = []
    if imu.set_aside:
        named = ", ".join(f"'{name}'" for name in imu.set_aside)
        found.append(
            f"{recording.imu}: {named} taken for no channel (a clock, counter or number); imu_columns settles it"
        )
    if imu.clock is not None and recording.imu_format.time_column is None and not is_clock_name(imu.clock):
        found.append(
            f"{recording.imu}: column '{imu.clock}' taken for the clock, since it alone rises; or set time_column"
        )
    by_default = "sampling_rate" not in parameters.model_fields_set
    by_default = by_default and recording.imu_format.sampling_rate == parameters.sampling_rate
    if imu.clock is None and by_default and recording.imu.suffix.lower() not in CAMERA_SUFFIXES:
        found.append(f"{recording.imu}: has no clock; {imu.sampling_rate:g} Hz is assumed, set sampling_rate")
    return [Problem(message, error=False) for message in found]


def recording_clips(video: VideoInfo, imu: Imu, parameters: Parameters) -> npt.NDArray[np.float64]:
    """Start times `(n_clips,)` of the clips that video and IMU share, on the grid k·stride of the video's clock."""
    stride, length = parameters.stride_seconds, parameters.clip_seconds
    starts = clip_starts(0.0, video.duration, length, stride)
    # A clip that misses less than a stride of IMU at an edge still labels the samples that are there.
    return starts[(starts > imu.start - stride) & (starts + length < imu.end + stride)]


def _check_alike(checked: list[CheckedRecording]) -> list[Problem]:
    """What keeps recordings from being trained on together: other channels, another sampling rate."""
    problems: list[Problem] = []
    channels: dict[tuple[str, ...], Recording] = {}
    for result in checked:
        if result.imu is not None:
            channels.setdefault(result.imu.channels, result.recording)
    if len(channels) > 1:
        (first, one), (second, other), *_ = channels.items()
        unlike = sorted(set(first) ^ set(second)) or ["their order"]
        problems.append(
            Problem(
                f"{other.imu}: channels differ from {one.imu} in {', '.join(unlike)}; "
                "name imu_columns in dataset.yaml"
            )
        )
    imus = [(result.recording, result.imu) for result in checked if result.imu is not None]
    for recording, imu in imus[1:]:
        if abs(imu.sampling_rate / imus[0][1].sampling_rate - 1) > MOST_RATE_DIFFERENCE:
            problems.append(
                Problem(
                    f"{recording.imu}: has {imu.sampling_rate:g} samples a second, {imus[0][0].imu} "
                    f"{imus[0][1].sampling_rate:g}; training wants one rate, so resample one of them",
                    error=False,
                )
            )
    return problems
