"""Every check of a user's recordings that can be made before heavy work: what is wrong, named file by file."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ml_backend.errors import WeakHARError
from ml_backend.recordings.clips import clip_starts
from ml_backend.recordings.clocks import is_clock_name
from ml_backend.recordings.imu import Imu, unit_in
from ml_backend.recordings.layouts import Problem, Recording, find_recordings
from ml_backend.recordings.sensors import read_imus
from ml_backend.recordings.video import VideoInfo, created_at, inspect, probe
from ml_backend.settings import Parameters
from training.contract import RATES_ALIKE

MOST_APART, CREATED_TO = 86_400.0, 1.0
"""Seconds: files taken more than that apart have wrong clocks, and what videos say is whole seconds."""


@dataclass(frozen=True)
class CheckedRecording:
    """What a check found out about one recording; video and imu are None where they cannot be read."""

    recording: Recording
    video: VideoInfo | None
    imu: Imu | None
    n_clips: int
    overlap_seconds: float


def check_dataset(
    root: Path, parameters: Parameters, deep: bool = False, roots: Sequence[Path] = ()
) -> tuple[list[CheckedRecording], list[Problem]]:
    """Read every video's header and every IMU; collects all problems instead of stopping at the first. With `deep`
    every video is decoded as a whole; with `roots` only what lies in these folders is read."""
    recordings, problems = find_recordings(root, parameters, roots)
    checked = []
    for recording in recordings:
        result, found = _check_recording(recording, parameters)
        if deep and result.video is not None:
            found += [Problem(message, error=False) for message in inspect(recording.video)]
        checked.append(result)
        problems += [replace(problem, recording=str(recording)) for problem in found]
    left_out = {problem.recording for problem in problems if problem.error}
    problems += _check_alike([result for result in checked if str(result.recording) not in left_out])
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
        imu = read_imus(recording.imus, recording.span)
    except WeakHARError as error:
        problems.append(Problem(str(error)))
    if video is None or imu is None:
        return CheckedRecording(recording, video, imu, 0, 0.0), problems
    starts = recording_clips(video, imu, parameters)
    first, last = max(0.0, imu.start), min(video.duration, imu.end)
    found = [
        _short_of_each_other(recording, video, imu, parameters, len(starts), last - first),
        *(Problem(message, error=False) for message in _assumed(recording, imu)),
    ]
    if len(starts) and parameters.stride_seconds * imu.sampling_rate < 1:
        found.append(Problem(f"{recording.imu}: a stride holds less than one sample; raise stride_seconds"))
    problems += [problem for problem in found if problem is not None]
    if recording.vectors is not None and not recording.vectors.is_file():
        problems.append(Problem(f"{recording.vectors}: no such file; correct vectors in dataset.yaml"))
    return CheckedRecording(recording, video, imu, len(starts), max(0.0, last - first)), problems


def _short_of_each_other(
    recording: Recording, video: VideoInfo, imu: Imu, parameters: Parameters, clips: int, shared: float
) -> Problem | None:
    """What is wrong where video and IMU share too little time."""
    in_minutes = abs(60 * (imu.end - imu.start) / video.duration - 1) < RATES_ALIKE
    if in_minutes and imu.clock is not None and recording.imus[0].how.time_unit is None:
        return Problem(
            f"{recording.imu}: its clock '{imu.clock}' takes {imu.end - imu.start:.4g} s for a video of "
            f"{video.duration:.4g} s; set time_unit to min in dataset.yaml, or to s if that is right"
        )
    if shared <= 0:
        return Problem(
            f"{recording.imu}: the IMU ({imu.start:.1f} to {imu.end:.1f} s on the video's clock) does not "
            f"overlap the video (0 to {video.duration:.1f} s); set offset_seconds in dataset.yaml"
        )
    if clips == 0:
        return Problem(
            f"{recording.video}: the {shared:.1f} s that video and IMU share are shorter than one clip of "
            f"{parameters.clip_seconds:g} s; lower clip_seconds or remove the recording"
        )
    if shared < 0.95 * max(video.duration, imu.end - imu.start):
        return Problem(
            f"{recording.imu}: IMU ({imu.end - imu.start:.1f} s) and video ({video.duration:.1f} s) share only "
            f"{shared:.1f} s; the rest stays unlabelled. Check sampling_rate ({imu.sampling_rate:g} Hz) "
            "and offset_seconds",
            error=False,
        )
    return None


def _assumed(recording: Recording, imu: Imu) -> list[str]:
    """Warnings of what was not said by the user but assumed, and of what is missing."""
    found = []
    if imu.set_aside:
        named = ", ".join(f"'{name}'" for name in imu.set_aside)
        found.append(
            f"{recording.imu}: {named} taken for no channel (a clock, counter, number or constant, or no "
            "motion); imu_columns settles it"
        )
    how = recording.imus[0].how
    if imu.clock is not None and how.time_column is None and not is_clock_name(imu.clock):
        found.append(
            f"{recording.imu}: column '{imu.clock}' taken for the clock, since it alone rises; or set time_column"
        )
    if imu.clock is not None and how.sampling_rate and abs(how.sampling_rate / imu.sampling_rate - 1) > RATES_ALIKE:
        found.append(
            f"{recording.imu}: its clock '{imu.clock}' gives {imu.sampling_rate:g} samples a second, not the "
            f"{how.sampling_rate:g} of sampling_rate; the clock is used"
        )
    if len(gaps := imu.gaps):
        lengths = gaps[:, 1] - gaps[:, 0]
        longest = int(lengths.argmax())
        found.append(
            f"{recording.imu}: samples are missing in {len(gaps)} places, {lengths.sum():.1f} s in all, the longest "
            f"{lengths[longest]:.2f} s from {gaps[longest, 0]:.2f} s on; windows for training do not span them"
        )
    if imu.filled:
        found.append(f"{recording.imu}: {imu.filled} missing values were filled in (missing_values)")
    if imu.started is not None and how.video_created is None and how.offset_seconds == 0:
        found += _by_absolute_clocks(recording, imu.started)
    return found


def _by_absolute_clocks(recording: Recording, started: float) -> list[str]:
    """A proposal for the offset, where both files say when they were taken."""
    created = created_at(recording.video)
    if created is None or abs(started - created) > MOST_APART or abs(started - created) < CREATED_TO:
        return []
    return [
        f"{recording.imu}: by the clocks of both files it starts {started - created:.1f} s after the video (to "
        f"{CREATED_TO:g} s, if both clocks are right and the camera writes when it started); set offset_seconds, or "
        "`clock: absolute` to use that"
    ]


def _with_unit(channel: str, imu: Imu) -> str:
    unit = imu.units.get(channel)
    return f"{channel} ({unit})" if unit else channel


def described(result: CheckedRecording) -> str:
    """How the IMU of a recording is read: channels, clock, rate, offset, labels."""
    recording, imu = result.recording, result.imu
    if imu is None:
        return "cannot be read"
    how = recording.imus[0].how
    clock = f"clock '{imu.clock}'" if imu.clock is not None else "no clock"
    offset = "by absolute clocks" if how.video_created is not None else f"{how.offset_seconds:g} s"
    labels = f"labels in '{imu.label_column}'" if imu.label_column is not None else "no labels"
    channels = ", ".join(name if unit_in(name) else _with_unit(name, imu) for name in imu.channels)
    return f"channels {channels}; {clock}, {imu.sampling_rate:g} Hz; offset {offset}; {labels}"


def recording_clips(video: VideoInfo, imu: Imu, parameters: Parameters) -> npt.NDArray[np.float64]:
    """Start times `(n_clips,)` of the clips that video and IMU share, on the grid k·stride of the video's clock."""
    stride, length = parameters.stride_seconds, parameters.clip_seconds
    starts = clip_starts(0.0, video.duration, length, stride)
    # A clip that misses less than a stride of IMU at an edge still labels the samples that are there.
    return starts[(starts > imu.start - stride) & (starts + length < imu.end + stride)]


def _check_alike(checked: list[CheckedRecording]) -> list[Problem]:
    """What keeps recordings from being trained on together: other channels than most have, another sampling rate."""
    problems: list[Problem] = []
    imus = [(result.recording, result.imu) for result in checked if result.imu is not None]
    if not imus:
        return []
    channels = Counter(imu.channels for _, imu in imus)
    usual = max(channels, key=lambda names: channels[names])
    one = next(recording for recording, imu in imus if imu.channels == usual)
    for recording, imu in imus:
        if imu.channels != usual:
            unlike = sorted(set(usual) ^ set(imu.channels)) or ["their order"]
            problems.append(
                Problem(
                    f"{recording.imu}: channels differ from {one.imu} in {', '.join(unlike)}; "
                    "name imu_columns in dataset.yaml",
                    recording=str(recording),
                )
            )
    for recording, imu in imus[1:]:
        if abs(imu.sampling_rate / imus[0][1].sampling_rate - 1) > RATES_ALIKE:
            problems.append(
                Problem(
                    f"{recording.imu}: has {imu.sampling_rate:g} samples a second, {imus[0][0].imu} "
                    f"{imus[0][1].sampling_rate:g}; training wants one rate, so resample one of them",
                    error=False,
                )
            )
    return problems
