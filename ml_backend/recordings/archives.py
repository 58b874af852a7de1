"""Several tables of one device in a zip archive or a folder, as apps of phones and watches export them → each table,
and what their clocks mean.

Sensor Logger writes a table a sensor, all with `time` (nanoseconds since 1970) and `seconds_elapsed`; phyphox a table
a sensor or one for all, with `Time (s)` since the start, and in `meta/time.csv` when, by the phone's clock, the
experiment was started and paused. Of another archive the one table that it holds is read.
"""

import csv
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from ml_backend.errors import RecordingError
from ml_backend.files import check_present
from ml_backend.recordings.tables import TEXT_SUFFIXES, suffix_of
from ml_backend.storage import reading

Floats = npt.NDArray[np.float64]

G, MS2, RADS, UT = "g", "m/s^2", "rad/s", "uT"
BY_SETTING = "by setting"
"""Of an iPhone or Apple Watch g, unless the units were standardised."""
_WORN = {"rotationRate": RADS, "acceleration": BY_SETTING, "gravity": BY_SETTING, "quaternion": "1", "": "rad"}
SENSOR_LOGGER_TABLES: dict[str, dict[str, str]] = {
    "Accelerometer": {"": MS2},
    "TotalAcceleration": {"": MS2},
    "Gravity": {"": MS2},
    "AccelerometerUncalibrated": {"": BY_SETTING},
    "Gyroscope": {"": RADS},
    "GyroscopeUncalibrated": {"": RADS},
    "Magnetometer": {"": UT},
    "MagnetometerUncalibrated": {"": UT},
    "Orientation": {"q": "1", "": "rad"},
    "WristMotion": _WORN,
    "Headphone": _WORN,
    "WatchMagnetometer": {"": UT},
}
"""Sensor Logger's tables of motion → unit of the columns whose name begins so (its reference of units)."""
MOST_BYTES = 4 << 30
"""So much may an archive hold when it is unpacked."""


@dataclass(frozen=True)
class Member:
    """One table of an archive: path: what it is called in messages; sensor: goes before the names of its channels."""

    path: Path
    content: bytes
    sensor: str = ""
    units: Mapping[str, str] = field(default_factory=dict)

    def unit_of(self, column: str) -> str | None:
        """The unit that the app's own reference gives a column; None where it does not."""
        return next((unit for start, unit in self.units.items() if column.startswith(start)), "") or None


@dataclass(frozen=True)
class Archive:
    """members: the tables to read, whose clocks are one; aside: the other files; started: `(n, 2)` where the clock
    stood when an experiment was started, and when that was, in seconds since 1970."""

    members: Sequence[Member]
    aside: tuple[str, ...] = ()
    started: Floats = field(default_factory=lambda: np.zeros((0, 2)))

    def seconds(self, clock: Floats) -> Floats:
        """What the members' clock shows `(n,)`, pauses put in, in seconds since 1970 where the archive says that."""
        if not len(self.started):
            return clock
        last = np.maximum(np.searchsorted(self.started[:, 0], clock + 1e-9) - 1, 0)
        return clock - self.started[last, 0] + self.started[last, 1]


def is_archive(path: Path) -> bool:
    """True for a zip archive, and a folder in which such an app's tables lie."""
    return path.suffix.lower() == ".zip" or is_app_folder(path)


def is_app_folder(path: Path) -> bool:
    """True for a folder as one gets it by unpacking an app's archive."""
    if not path.is_dir():
        return False
    names = [file.relative_to(path).as_posix() for file in path.rglob("*.csv")]
    return any(name in ("Metadata.csv", "meta/time.csv", "meta/device.csv") for name in names)


def read_archive(path: Path) -> Archive:
    """The tables of an archive or folder; RecordingError where it cannot be read, or holds several tables and is of
    no app that is known."""
    if not path.is_dir():
        check_present(path)
    files = _in_folder(path) if path.is_dir() else _unpacked(path)
    tables = {name: content for name, content in files.items() if _is_table(name)}
    named = {PurePosixPath(name).stem.replace(" ", ""): name for name in tables}
    meta = {name: tables.pop(name) for name in list(tables) if "meta/" in f"/{name}"}
    others = [name for name in files if name not in tables and name not in meta]
    stems = [PurePosixPath(name).stem for name in tables]
    if twice := sorted({stem for stem in stems if stems.count(stem) > 1}):
        raise RecordingError(f"{path}: holds several recordings ('{twice[0]}' is there twice); pack each by itself")
    if any(_is_sensor_loggers(content) for content in tables.values()):
        return _sensor_loggers(path, tables, named, others)
    with_starts = any(name.endswith("meta/time.csv") for name in meta)
    if with_starts or any(map(_is_phyphoxs, tables.values())):  # it names columns in the phone's language
        own = [name for name, content in tables.items() if with_starts or _is_phyphoxs(content)]
        aside = [name for name in tables if name not in own]
        return _archive(path, {n: (tables[n], {}) for n in own}, [*others, *aside], _starts(path, meta))
    if len(tables) != 1:
        found = f"several tables ({', '.join(sorted(tables)[:5])})" if tables else "no table of samples"
        raise RecordingError(
            f"{path}: holds {found} and is of no app that is known (Sensor Logger, phyphox); unpack it, and name the "
            "tables <recording>.<sensor>.csv"
        )
    return _archive(path, {name: (content, {}) for name, content in tables.items()}, others)


def _archive(
    path: Path,
    tables: Mapping[str, tuple[bytes, Mapping[str, str]]],
    aside: Sequence[str],
    started: Floats | None = None,
) -> Archive:
    alone = len(tables) == 1
    members = [
        Member(path / name, content, "" if alone else _snake(PurePosixPath(name).stem), units)
        for name, (content, units) in sorted(tables.items())
    ]
    return Archive(members, tuple(sorted(aside)), np.zeros((0, 2)) if started is None else started)


def _snake(name: str) -> str:
    """`WristMotion` → `wrist_motion`."""
    return re.sub(r"[\s\-]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)).lower()


def _sensor_loggers(
    path: Path, tables: Mapping[str, bytes], named: Mapping[str, str], others: Sequence[str]
) -> Archive:
    unit = _unit_by_setting(tables.get(named.get("Metadata", ""), b""))
    motion: dict[str, tuple[bytes, Mapping[str, str]]] = {}
    for stem, units in SENSOR_LOGGER_TABLES.items():
        content = tables.get(named.get(stem, ""), b"")
        if content.count(b"\n") > 1:  # a sensor that was on and gave nothing has its header alone
            stated = {start: unit if said == BY_SETTING else said for start, said in units.items()}
            motion[named[stem]] = content, stated
    if not motion:
        raise RecordingError(
            f"{path}: of Sensor Logger, but none of its tables holds motion (Accelerometer, Gyroscope, WristMotion, "
            "…); switch those sensors on"
        )
    return _archive(path, motion, [*others, *(name for name in tables if name not in motion)])


def _unit_by_setting(metadata: bytes) -> str:
    """What the settings that Metadata.csv tells make of what is g or m/s²; empty where it does not tell."""
    rows = list(csv.DictReader(io.StringIO(metadata.decode("utf-8", errors="replace"))))
    if not rows:
        return ""
    standardised = str(rows[0].get("standardisation") or "").strip().lower()
    platform = str(rows[0].get("platform") or "").strip().lower()
    if standardised == "true" or platform == "android":
        return MS2
    return G if standardised == "false" and platform == "ios" else ""


def _header(content: bytes) -> list[str]:
    """The cells of the first line, whatever stands between them."""
    first = content[:4096].decode("utf-8-sig", errors="replace").splitlines()[:1]
    return [cell.strip().strip('"') for cell in re.split(r"[,;\t]", first[0])] if first else []


def _is_sensor_loggers(content: bytes) -> bool:
    return {"time", "seconds_elapsed"} <= set(_header(content))


def _is_phyphoxs(content: bytes) -> bool:
    return _header(content)[:1] == ["Time (s)"]


def _starts(path: Path, meta: Mapping[str, bytes]) -> Floats:
    """The experiment's clock and the phone's, `(n, 2)`, at each start."""
    name = next((name for name in meta if name.endswith("meta/time.csv")), None)
    if name is None:
        return np.zeros((0, 2))
    text = meta[name].decode("utf-8-sig", errors="replace")
    head = text.splitlines()[0] if text else ""
    separator = max(",;\t", key=head.count)
    try:
        rows = [
            (float(row["experiment time"].replace(",", ".")), float(row["system time"].replace(",", ".")))
            for row in csv.DictReader(io.StringIO(text), delimiter=separator)
            if row["event"].strip().upper() == "START"
        ]
    except (KeyError, ValueError, AttributeError):
        raise RecordingError(f"{path / name}: is not as phyphox writes it; export the experiment again") from None
    found = np.array(rows, dtype=np.float64).reshape(-1, 2)
    if (np.diff(found, axis=0) < 0).any():
        raise RecordingError(f"{path / name}: the phone's clock steps back between two starts; set offset_seconds")
    return found


def _unpacked(path: Path) -> dict[str, bytes]:
    try:
        with reading(path), path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir() and _is_of_interest(info.filename)]
            if sum(info.file_size for info in infos) > MOST_BYTES:
                raise RecordingError(f"{path}: holds more than {MOST_BYTES >> 30} GiB; unpack it")
            return {one.filename: archive.read(one) if _is_table(one.filename) else b"" for one in infos}
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError, zlib.error, lzma.LZMAError) as error:
        said = "it is encrypted" if "encrypted" in str(error) else "it is damaged or cut off"
        raise RecordingError(f"{path}: cannot be read as a zip archive ({said}); export it again") from None


def _in_folder(path: Path) -> dict[str, bytes]:
    files = {}
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if not file.is_file() or not _is_of_interest(name):
            continue
        if not file.resolve().is_relative_to(path.resolve()):
            raise RecordingError(f"{file}: links out of its folder; copy the file there")
        with reading(file):
            files[name] = file.read_bytes() if _is_table(name) else b""
    return files


def _is_table(name: str) -> bool:
    return suffix_of(Path(name)) in TEXT_SUFFIXES and not name.endswith(".gz")


def _is_of_interest(name: str) -> bool:
    """False for what systems leave in archives."""
    return not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)
