"""Dataset folder → recordings: which video and which IMU file belong together, and whose they are.

Three layouts: `ROOT/<participant>/<recording>.mp4` with `<recording>.csv` beside it; WEAR's `ROOT/inertial/sbj_0.csv`
with `ROOT/video/sbj_0.mp4`; a `ROOT/dataset.yaml` that lists recordings.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ml_backend.recordings.gopro import has_telemetry
from ml_backend.recordings.imu import ImuFormat
from ml_backend.settings import Parameters

VIDEO_SUFFIXES = {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".wmv", ".3gp"}
IMU_SUFFIXES = {".csv", ".parquet"}


@dataclass(frozen=True)
class Recording:
    """One video with its IMU. `imu_format` says how to read the IMU file and how its clock relates to the video's."""

    participant: str
    name: str
    video: Path
    imu: Path
    imu_format: ImuFormat
    vectors: Path | None = None

    def __str__(self) -> str:
        return f"{self.participant}/{self.name}"


@dataclass(frozen=True)
class Problem:
    """Something wrong with a dataset; an `error` keeps the job from starting, otherwise it is a warning."""

    message: str
    error: bool = True


class _ManifestEntry(BaseModel):
    """One recording in `dataset.yaml`; paths are relative to it."""

    model_config = ConfigDict(extra="forbid")

    participant: str
    recording: str = ""
    video: str
    imu: str
    vectors: str | None = None
    sampling_rate: float | None = Field(None, gt=0)
    offset_seconds: float = 0.0
    drift_ppm: float = Field(0.0, gt=-100_000, lt=100_000)
    time_column: str | None = None
    time_unit: str | None = Field(None, pattern="^(s|ms|us|ns)$")
    imu_columns: list[str] | None = None
    labels: str | None = None
    missing_values: str | None = Field(None, pattern="^(error|interpolate)$")

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_none(cls, values: Any) -> Any:
        """All of YAML is read as text, and a field left empty, or null, is not given."""
        if not isinstance(values, dict):
            return values
        nothing = ("", "~", "null", "Null", "NULL")
        return {
            name: value
            for name, value in values.items()
            if value not in (nothing[:1] if name == "participant" else nothing)
        }

    @field_validator("participant", "recording", mode="before")
    @classmethod
    def _file_name(cls, value: Any) -> str:
        name = str(value)
        if "/" in name or "\\" in name or name in (".", ".."):
            raise ValueError("must not hold a path separator")
        return name


class _TextLoader(yaml.SafeLoader):
    """YAML whose scalars are all text, so that 010, no and 1e3 stay what is written; `<<` still merges."""

    yaml_implicit_resolvers = {"<": yaml.SafeLoader.yaml_implicit_resolvers["<"]}  # noqa: RUF012 - PyYAML's own way


def find_recordings(root: Path, parameters: Parameters) -> tuple[list[Recording], list[Problem]]:
    """All recordings under `root`, sorted by participant and name, and what is wrong with the listing."""
    if not root.is_dir():
        return [], [Problem(f"{root}: no such folder; name the folder that holds the recordings")]
    if (root / "dataset.yaml").is_file():
        recordings, problems = _from_manifest(root / "dataset.yaml", parameters)
    elif (root / "video").is_dir():
        folders = [folder for folder in (root / "inertial", root / "video") if folder.is_dir()]
        groups = _by_stem(file for folder in folders for file in folder.iterdir())
        found = [_pair(stem, stem, files, parameters) for stem, files in groups.items()]
        recordings, problems = _split(found)
    else:
        found = []
        for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
            groups = _by_stem(folder.iterdir())
            found += [_pair(folder.name, stem, files, parameters) for stem, files in groups.items()]
        recordings, problems = _split(found)
    if not recordings and not problems:
        expected = (
            "ROOT/<participant>/<recording>.mp4 with a .csv beside it, ROOT/inertial + ROOT/video, or dataset.yaml"
        )
        problems.append(Problem(f"{root}: no recordings found; expected {expected}"))
    problems += _duplicates(recordings)
    return sorted(recordings, key=lambda r: (r.participant, r.name)), problems


def _by_stem(files: Any) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = defaultdict(list)
    for file in sorted(files):
        if file.suffix.lower() in VIDEO_SUFFIXES | IMU_SUFFIXES and not file.name.startswith("."):
            groups[file.stem].append(file)
    return groups


def _pair(participant: str, name: str, files: list[Path], parameters: Parameters) -> Recording | Problem:
    videos = [file for file in files if file.suffix.lower() in VIDEO_SUFFIXES]
    imus = [file for file in files if file.suffix.lower() in IMU_SUFFIXES]
    if len(videos) == 1 and not imus and has_telemetry(videos[0]):
        imus = videos  # a camera's own IMU
    for kind, candidates in (("video", videos), ("IMU file", imus)):
        if not candidates:
            wanted = f"{name}.mp4" if kind == "video" else f"{name}.csv"
            return Problem(f"{files[0]}: has no {kind} of the same name; add {wanted} or remove this file")
        if len(candidates) > 1:
            named = " and ".join(str(path) for path in candidates)
            return Problem(f"{named}: two {kind}s of one recording; remove one or name it in dataset.yaml")
    imu_format = ImuFormat(sampling_rate=parameters.sampling_rate, missing_values=parameters.missing_values)
    vectors = videos[0].with_suffix(".npy")
    return Recording(participant, name, videos[0], imus[0], imu_format, vectors if vectors.is_file() else None)


def _split(found: list[Recording | Problem]) -> tuple[list[Recording], list[Problem]]:
    recordings = [entry for entry in found if isinstance(entry, Recording)]
    return recordings, [entry for entry in found if isinstance(entry, Problem)]


def _from_manifest(path: Path, parameters: Parameters) -> tuple[list[Recording], list[Problem]]:
    try:
        # Text stays text: YAML would make 8 of the participant 010, and no of nobody.
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_TextLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return [], [Problem(f"{path}: not valid YAML ({' '.join(str(error).split())})")]
    entries = content.get("recordings") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        return [], [Problem(f"{path}: expected a list under `recordings:`, each with participant, video and imu")]
    found: list[Recording | Problem] = []
    for number, entry in enumerate(entries, start=1):
        try:
            found.append(_manifest_recording(path.parent, _ManifestEntry.model_validate(entry), parameters))
        except ValidationError as error:
            problem = error.errors()[0]
            field = ".".join(str(part) for part in problem["loc"])
            found.append(Problem(f"{path}: recording {number}, field {field or 'itself'}: {problem['msg']}"))
    return _split(found)


def _manifest_recording(root: Path, entry: _ManifestEntry, parameters: Parameters) -> Recording:
    video = root / entry.video
    return Recording(
        participant=entry.participant,
        name=entry.recording or video.stem,
        video=video,
        imu=root / entry.imu,
        imu_format=ImuFormat(
            sampling_rate=entry.sampling_rate or parameters.sampling_rate,
            offset_seconds=entry.offset_seconds,
            drift_ppm=entry.drift_ppm,
            time_column=entry.time_column,
            time_unit=entry.time_unit,
            columns=tuple(entry.imu_columns) if entry.imu_columns else None,
            label_column=entry.labels,
            missing_values=entry.missing_values or parameters.missing_values,
        ),
        vectors=root / entry.vectors if entry.vectors else None,
    )


def _duplicates(recordings: list[Recording]) -> list[Problem]:
    problems = []
    seen: dict[str, Recording] = {}
    spelling: dict[str, str] = {}
    for recording in recordings:
        if (other := seen.setdefault(str(recording), recording)) is not recording:
            problems.append(
                Problem(
                    f"{recording.video}: recording {recording} is listed twice, also as {other.video}; rename one"
                )
            )
        known = spelling.setdefault(recording.participant.casefold(), recording.participant)
        if known != recording.participant:
            problems.append(
                Problem(
                    f"{recording.video}: participants '{known}' and '{recording.participant}' differ only in case"
                )
            )
    return problems
