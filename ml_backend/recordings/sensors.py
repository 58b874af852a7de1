"""The IMU files of one recording → one table of samples on the video's clock: the one door to what sensors wrote."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ml_backend.errors import RecordingError
from ml_backend.recordings.archives import Archive, is_archive, read_archive
from ml_backend.recordings.clocks import NoMotionError
from ml_backend.recordings.imu import Imu, ImuFormat, read_imu_file

Floats = npt.NDArray[np.float64]

WHOLE = (-np.inf, np.inf)
FEWEST_ROWS = 20
"""A table of fewer lines is of a sensor that was on and gave nothing."""


@dataclass(frozen=True)
class ImuFile:
    """One file of samples and how to read it; `sensor` goes before the names of its channels, `left_acc_x`."""

    path: Path
    how: ImuFormat
    sensor: str = ""


def read_imu(path: Path, how: ImuFormat) -> Imu:
    """Read a file, or an archive or folder of several tables; RecordingError names the file, column and first bad
    row."""
    return _of_archive(path, how) if is_archive(path) else read_imu_file(path, how)


def _of_archive(path: Path, how: ImuFormat) -> Imu:
    """The tables of an archive in one, on the clock of the fastest. They share a clock, of which the file's first
    sample is the earliest of any table; `columns` are meant with the tables' names before them."""
    archive = read_archive(path)
    read, aside = _members(archive, how)
    if not read:
        wanted = f" of {how.columns_of}" if how.columns else ""
        said = ", ".join([*archive.aside, *aside]) or "it has none"
        raise RecordingError(f"{path}: none of its tables holds motion{wanted}: {said}")
    files, imus = [file for file, _ in read], [imu for _, imu in read]
    zero = min(imu.start for imu in imus)
    dated = len(archive.started) or all(imu.started is not None for imu in imus)
    found = _chosen(path, _joined(files, [replace(imu, times=imu.times - zero) for imu in imus]), how)
    offset = how.offset_seconds
    if how.video_created is not None:
        if not dated:
            raise RecordingError(
                f"{path}: does not say when it was taken, as `clock: absolute` needs; write offset_seconds instead"
            )
        offset += zero - how.video_created
    return replace(
        found,
        times=offset + found.times * (1 + how.drift_ppm * 1e-6),
        set_aside=(*found.set_aside, *archive.aside, *aside),
        started=zero if dated else None,  # at the offset, where not every table may have a sample yet
        first=zero,
    )


def _members(archive: Archive, how: ImuFormat) -> tuple[list[tuple[ImuFile, Imu]], list[str]]:
    """The tables of motion that are wanted, each on the archive's own clock; and, with the reason, those that are
    none."""
    plain = replace(how, offset_seconds=0.0, drift_ppm=0.0, video_created=None, columns=None)
    found, aside = list[tuple[ImuFile, Imu]](), list[str]()
    for member in archive.members:
        if member.content.count(b"\n") < FEWEST_ROWS:
            aside.append(f"{member.path.name} (hardly any samples)")
            continue
        try:
            imu = read_imu_file(member.path, plain, member.content)
        except NoMotionError as error:
            aside.append(f"{member.path.name} ({error.reason})")
            continue
        units = {name: unit for name in imu.channels if (unit := imu.units.get(name) or member.unit_of(name))}
        file = ImuFile(member.path, plain, member.sensor)
        imu = _with_prefix(file, replace(imu, times=archive.seconds(imu.first + imu.times), units=units))
        if how.columns is None or set(how.columns) & set(imu.channels):
            found.append((file, imu))
    longest = max((imu.end - imu.start for _, imu in found), default=0.0)
    kept = []
    for file, imu in found:
        if imu.end - imu.start > longest / 2:
            kept.append((file, imu))
        else:
            aside.append(f"{file.path.name} (only {imu.end - imu.start:.1f} of {longest:.1f} s)")
    return kept, aside


def _chosen(path: Path, imu: Imu, how: ImuFormat) -> Imu:
    """The channels that were asked for, in that order."""
    if how.columns is None:
        return imu
    if missing := [name for name in how.columns if name not in imu.channels]:
        raise RecordingError(
            f"{path}: has no column '{missing[0]}' ({how.columns_of}); it has {', '.join(imu.channels)}"
        )
    numbers = [imu.channels.index(name) for name in how.columns]
    return replace(imu, values=imu.values[:, numbers], channels=how.columns)


def read_imus(files: Sequence[ImuFile], span: tuple[float, float] = WHOLE) -> Imu:
    """The samples of all files in one table, on the clock of the fastest; of these, those with times in `span`.

    Slower ones are interpolated in time, and where any of them misses samples there are none. RecordingError names
    the file.
    """
    imus = [_with_prefix(file, read_imu(file.path, file.how)) for file in files]
    imus = [_on_clock_of_first(files, imus, number) for number in range(len(imus))]
    imu = _joined(files, imus)
    inside = (imu.times >= span[0]) & (imu.times < span[1])
    if inside.all():
        return imu
    if inside.sum() < 2:
        raise RecordingError(
            f"{files[0].path}: holds no samples of the time of this video; another video of the recording has them "
            "all. Check the offset_seconds of each in dataset.yaml"
        )
    labels = None if imu.labels is None else imu.labels[inside]
    return replace(imu, times=imu.times[inside], values=imu.values[inside], labels=labels)


def _with_prefix(file: ImuFile, imu: Imu) -> Imu:
    if not file.sensor:
        return imu
    units = {f"{file.sensor}_{name}": unit for name, unit in imu.units.items()}
    return replace(imu, channels=tuple(f"{file.sensor}_{name}" for name in imu.channels), units=units)


def _on_clock_of_first(files: Sequence[ImuFile], imus: list[Imu], number: int) -> Imu:
    """Where both files say when they were taken, and have one offset, their stamps tell how far they are apart."""
    first, own = imus[0], imus[number]
    same = files[number].how.offset_seconds == files[0].how.offset_seconds and files[0].how.video_created is None
    if number == 0 or not same or first.started is None or own.started is None:
        return own
    return replace(own, times=own.times + (own.started - first.started))


def _joined(files: Sequence[ImuFile], imus: list[Imu]) -> Imu:
    if len(imus) == 1:
        return imus[0]
    fastest = max(imus, key=lambda imu: imu.sampling_rate)
    begin, end = max(imu.start for imu in imus), min(float(imu.times[-1]) for imu in imus)
    kept = (fastest.times >= begin) & (fastest.times <= end)
    for file, imu in zip(files, imus, strict=True):
        for first, last in imu.gaps:
            kept &= (fastest.times <= first) | (fastest.times >= last)
        if kept.sum() < 2:
            raise RecordingError(
                f"{file.path}: has no samples at the times of {files[0].path}; check the offset_seconds of each in "
                "dataset.yaml"
            )
    times = fastest.times[kept]
    channels = [name for imu in imus for name in imu.channels]
    if twice := sorted({name for name in channels if channels.count(name) > 1}):
        raise RecordingError(
            f"{files[1].path}: channel '{twice[0]}' is in another IMU file of the recording too; give each file a "
            "`sensor`, or name it <recording>.<sensor>.csv"
        )
    labelled = next((imu for imu in imus if imu.labels is not None), None)
    return Imu(
        times=times,
        values=np.concatenate([_at(times, imu) for imu in imus], axis=1),
        channels=tuple(channels),
        labels=None if labelled is None or labelled.labels is None else labelled.labels[_nearest(times, labelled)],
        sampling_rate=fastest.sampling_rate,
        clock=fastest.clock,
        set_aside=tuple(dict.fromkeys(name for imu in imus for name in imu.set_aside)),
        label_column=None if labelled is None else labelled.label_column,
        filled=sum(imu.filled for imu in imus),
        started=imus[0].started if begin == imus[0].start else None,
        units={name: unit for imu in imus for name, unit in imu.units.items()},
    )


def _at(times: Floats, imu: Imu) -> Floats:
    """The channels at other times, `(n_times, n_channels)`."""
    if len(times) == len(imu.times) and (times == imu.times).all():
        return imu.values
    return np.stack([np.interp(times, imu.times, channel) for channel in imu.values.T], axis=1)


def _nearest(times: Floats, imu: Imu) -> npt.NDArray[np.int64]:
    """Index of the sample nearest to each time."""
    behind = np.clip(np.searchsorted(imu.times, times), 1, len(imu.times) - 1)
    before_is_nearer = times - imu.times[behind - 1] < imu.times[behind] - times
    return np.asarray(behind - before_is_nearer, dtype=np.int64)
