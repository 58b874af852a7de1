"""Dataset folder → recordings: which video and which IMU files belong together, and whose they are.

Three layouts: `ROOT/<participant>/<recording>.mp4` with `<recording>.csv`, or another file of a sensor or an app's
folder, or a `<recording>.<sensor>.csv` for each sensor, beside it; WEAR's `ROOT/inertial/sbj_0.csv` with
`ROOT/video/sbj_0.mp4`; a `ROOT/dataset.yaml` that lists recordings. Every file is part of a recording, or a problem,
or named as ignored.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from ml_backend.errors import RecordingError
from ml_backend.recordings.archives import is_app_folder
from ml_backend.recordings.clocks import UNITS
from ml_backend.recordings.devices import DEVICE_SUFFIXES
from ml_backend.recordings.gopro import has_telemetry
from ml_backend.recordings.imu import ImuFormat
from ml_backend.recordings.sensors import WHOLE, ImuFile
from ml_backend.recordings.tables import SUFFIXES, suffix_of
from ml_backend.recordings.video import created_at, holds_video, probe
from ml_backend.settings import Parameters
from ml_backend.storage import entries, is_remote, look_again, place, reading

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".m2t", ".wmv"),
    *(".3gp", ".insv", ".360", ".mxf", ".vob", ".ogv", ".flv", ".asf"),
)
NO_VIDEO_SUFFIXES = (
    *(".lrv", ".thm", ".npy", ".npz", ".json", ".yaml", ".yml", ".md", ".pdf", ".doc", ".docx", ".png", ".jpg"),
    *(".jpeg", ".gif", ".wav", ".mp3", ".m4a", ".aac", ".zip", ".log", ".py", ".html", ".eaf", ".srt", ".gpx"),
    *(".xml", ".ini", ".db", ".mat", ".pkl", ".bin", *DEVICE_SUFFIXES),
)
"""Files that are not opened to see whether they are videos; `.lrv` are a GoPro's previews of its own videos."""
LOOSE_SUFFIXES = (".txt", ".dat", ".xlsx", ".txt.gz")
"""Tables of samples only where a video has their name: they may be notes."""
RAW_SUFFIXES = (*DEVICE_SUFFIXES, ".zip")
"""What devices and apps wrote: samples only where a video has their name, and no table beside it was made of them."""
CHAPTER = re.compile(r"(?:G[HX](?P<chapter>\d{2})|GP(?P<old>\d{2})|GOPR)(?P<number>\d{4})", re.IGNORECASE)
LEAST_GAP, MOST_GAP = 2.0, 86_400.0
"""Seconds between the videos of one recording that are a gap."""
DEEPEST_YAML = 20
OUTSIDE = "lies outside WEAKHAR_DATA_DIR, links followed; WEAKHAR_DATA_ROOTS may name further folders"
SHOWN = 5
"""So many ignored files are named."""


@dataclass(frozen=True)
class Recording:
    """One video with its IMU files. `span`: of one IMU for several videos the samples with times in it, in seconds on
    this video's clock, are this recording's."""

    participant: str
    name: str
    video: Path
    imus: tuple[ImuFile, ...]
    vectors: Path | None = None
    span: tuple[float, float] = WHOLE

    def __str__(self) -> str:
        return f"{self.participant}/{self.name}"

    @property
    def imu(self) -> Path:
        """The first IMU file."""
        return self.imus[0].path


@dataclass(frozen=True)
class Problem:
    """Something wrong with a dataset: an `error` leaves a recording out, otherwise it is a warning; recording: which
    one, as participant/name, None if it is of the whole dataset."""

    message: str
    error: bool = True
    recording: str | None = None


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


class _HowToRead(BaseModel):
    """How to read IMU files; see ImuFormat."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    sampling_rate: float | None = Field(None, gt=0)
    offset_seconds: float | None = None
    drift_ppm: float | None = Field(None, gt=-100_000, lt=100_000)
    time_column: str | None = None
    time_unit: str | None = Field(None, pattern=f"^({'|'.join(UNITS)})$")
    imu_columns: Annotated[list[str], Field(min_length=1)] | None = None
    labels: str | None = None
    missing_values: str | None = Field(None, pattern="^(error|interpolate)$")
    duplicate_stamps: str | None = Field(None, pattern="^(error|spread)$")
    steps_back: str | None = Field(None, pattern="^(error|cut)$")

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

    def over(self, how: ImuFormat) -> ImuFormat:
        """`how`, with what is given here in place of its own."""
        names = {"imu_columns": "columns", "labels": "label_column"}
        given = self.model_dump(exclude_none=True, include=set(_HowToRead.model_fields))
        changed: dict[str, Any] = {
            names.get(name, name): tuple(value) if isinstance(value, list) else value for name, value in given.items()
        }
        return replace(how, **changed)


class _ImuEntry(_HowToRead):
    """One IMU file of a recording in `dataset.yaml`."""

    file: str
    sensor: str = ""


def _imu_entry(value: Any) -> Any:
    return {"file": value} if isinstance(value, str) else value


class _ManifestEntry(_HowToRead):
    """One recording in `dataset.yaml`; paths are relative to it."""

    participant: str
    recording: str = ""
    video: Annotated[list[str], BeforeValidator(_listed), Field(min_length=1)]
    imu: Annotated[
        list[Annotated[_ImuEntry, BeforeValidator(_imu_entry)]], BeforeValidator(_listed), Field(min_length=1)
    ]
    vectors: str | None = None
    clock: str | None = Field(None, pattern="^(offset|absolute)$")

    @field_validator("participant", "recording", mode="before")
    @classmethod
    def _file_name(cls, value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError("must be text")
        name = unicodedata.normalize("NFC", value).strip()
        if "/" in name or "\\" in name or name in (".", "..") or not name.isprintable():
            raise ValueError("must not hold a path separator, or what cannot be printed")
        if len(name.encode()) > 200:
            raise ValueError("must not be longer than a file's name")
        return name

    @field_validator("participant")
    @classmethod
    def _named(cls, value: str) -> str:
        if not value:
            raise ValueError("is empty")
        return value


SAYS = {
    "extra_forbidden": "is not known; see the README for those that are",
    "missing": "is missing",
    "float_parsing": "is no number such as 2.5",
    "finite_number": "is no number such as 2.5",
    "too_short": "is empty",
    "list_type": "is no list",
    "string_type": "is no text",
    "model_type": "is no recording with participant, video and imu",
    "model_attributes_type": "is no recording with participant, video and imu",
    "dict_type": "is no recording with participant, video and imu",
}
"""What a manifest's fault is called, by pydantic's name for it."""


def _in_words(problem: Any) -> str:
    if problem["type"] == "string_pattern_mismatch":
        return f"must be one of {', '.join(problem['ctx']['pattern'].strip('^$()').split('|'))}"
    return SAYS.get(problem["type"], str(problem["msg"]).removeprefix("Value error, "))


class _TextLoader(yaml.SafeLoader):
    """YAML whose scalars are all text, so that 010, no and 1e3 stay what is written."""

    _depth = 0
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own way

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A few aliases of aliases would fill the memory, and depth the stack; a list of recordings needs neither."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not read; write it out", problem_mark=mark)
        self._depth += 1
        if self._depth > DEEPEST_YAML:
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem=f"is nested deeper than {DEEPEST_YAML} levels", problem_mark=mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """YAML itself would let the last of two equal keys win."""
        keys = [key.value for key, _ in node.value if isinstance(key.value, str)]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise yaml.MarkedYAMLError(problem=f"'{twice[0]}' stands there twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


Found = tuple[list[Recording], list[Problem]]


def missing_folder(root: Path) -> str:
    """What is to be said of a dataset folder that is not there; empty where it is."""
    look_again(root)
    return "" if root.is_dir() else f"{root}: no such folder; name the folder that holds the recordings"


def find_recordings(root: Path, parameters: Parameters, roots: Sequence[Path] = ()) -> Found:
    """All recordings under `root`, sorted by participant and name, and what is wrong with the listing.

    With `roots`, folders, only files that lie in one of them, links resolved, are read.
    """
    if said := missing_folder(root):
        return [], [Problem(said)]
    how = ImuFormat(
        sampling_rate=parameters.sampling_rate,
        missing_values=parameters.missing_values,
        duplicate_stamps=parameters.duplicate_stamps,
    )
    with reading(root):
        if (root / "dataset.yaml").is_file():
            recordings, problems = _from_manifest(root / "dataset.yaml", how, roots)
        elif (root / "video").is_dir():
            recordings, problems = _flat(root, how)
        else:
            recordings, problems = _by_participant(root, how)
    if not recordings and not any(problem.error for problem in problems):
        expected = (
            "ROOT/<participant>/<recording>.mp4 with a .csv beside it, ROOT/inertial + ROOT/video, or dataset.yaml"
        )
        problems.append(Problem(f"{root}: no recordings found; expected {expected}"))
    recordings, outside = _inside(recordings, roots)
    problems += outside
    recordings, clashes = _sharing(recordings)
    problems += clashes + _duplicates(recordings)
    return sorted(recordings, key=lambda r: (r.participant, r.name)), problems


def _inside(recordings: list[Recording], roots: Sequence[Path]) -> Found:
    """The recordings of which all files lie in one of `roots`, and the others as problems."""
    kept, problems = [], []
    for one in recordings:
        files = [one.video, *(imu.path for imu in one.imus), *([one.vectors] if one.vectors else [])]
        outside = [file for file in files if not is_inside(file, roots)]
        if outside:
            problems.append(Problem(f"{outside[0]}: {OUTSIDE}", recording=str(one)))
        else:
            kept.append(one)
    return kept, problems


def is_inside(path: Path, roots: Sequence[Path]) -> bool:
    """True if a file lies in one of the folders, links resolved; or there are none."""
    alike = [root for root in roots if is_remote(root) == is_remote(path)]
    return not roots or any(path.resolve().is_relative_to(root.resolve()) for root in alike)


def _by_participant(root: Path, how: ImuFormat) -> Found:
    recordings: list[Recording] = []
    problems = _ignored(root, [path for path in _entries(root) if path.is_file()])
    problems += [_broken_link(path, f"{_plain(path.name)}/") for path in _entries(root) if not path.exists()]
    for folder in (path for path in _entries(root) if path.is_dir()):
        found, wrong = _in_folders([folder], how, _plain(folder.name))
        if not found and not wrong:
            wrong = [Problem(f"{folder}: holds no recording; ignored", error=False)]
        recordings += found
        problems += wrong
    return recordings, problems


def _flat(root: Path, how: ImuFormat) -> Found:
    """WEAR's layout: a participant a video."""
    folders = [folder for folder in (root / "inertial", root / "video") if folder.is_dir()]
    recordings, problems = _in_folders(folders, how, None)
    return recordings, problems + _ignored(root, [path for path in _entries(root) if path not in folders])


def _in_folders(folders: Sequence[Path], how: ImuFormat, participant: str | None) -> Found:
    """The recordings that lie in folders, together; without a `participant` each is one of its own."""
    videos: dict[str, list[Path]] = defaultdict(list)
    tables, raw, others = [], [], []
    for path in (path for folder in folders for path in _entries(folder)):
        if path.is_file() and suffix_of(path) in SUFFIXES:
            tables.append(path)
        elif (path.is_file() and suffix_of(path) in RAW_SUFFIXES) or is_app_folder(path):
            raw.append(path)
        elif path.is_file() and _is_video(path):
            videos[_plain(path.stem)].append(path)
        else:
            others.append(path)
    imus: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    problems: list[Problem] = []
    for path in tables:
        stem, sensor = _video_of(path, videos)
        if stem is not None:
            imus[stem].append((sensor, path))
        elif suffix_of(path) in LOOSE_SUFFIXES:
            others.append(path)
        else:
            name = _plain(_stem(path))
            message = f"{path}: has no video of the same name; add {name}.mp4 or remove this file"
            problems.append(Problem(message, recording=f"{participant or name}/{name}"))
    for path in raw:
        stem, sensor = _video_of(path, videos)
        if stem is None or any(sensor == other for other, _ in imus[stem]):
            others.append(path)
        else:
            imus[stem].append((sensor, path))
    recordings: list[Recording] = []
    for names in _chapters(videos, imus):
        found, wrong = _recording(participant or names[0], names, videos, imus, how)
        recordings += found
        problems += wrong
    for path in [path for path in others if path.is_symlink() and not path.exists()]:
        others.remove(path)
        problems.append(_broken_link(path, f"{participant or _plain(path.stem)}/{_plain(path.stem)}"))
    deeper = [path for path in others if path.is_dir() and path not in raw]
    for path in [path for path in deeper if any(map(_is_of_a_recording, path.rglob("*")))]:
        others.remove(path)
        problems.append(
            Problem(
                f"{path}: its recordings lie a level deeper than ROOT/<participant>/<recording>.mp4; move them up, "
                "or list them in dataset.yaml"
            )
        )
    others = [path for path in others if not (path.suffix == ".npy" and _plain(path.stem) in videos)]
    return recordings, problems + _ignored(folders[0], others)


def _recording(
    participant: str,
    names: Sequence[str],
    videos: dict[str, list[Path]],
    imus: dict[str, list[tuple[str, Path]]],
    how: ImuFormat,
) -> Found:
    """The recording of a video, or one for each of a camera's chapters."""
    first, own = names[0], list(imus[names[0]])
    video, whose = videos[first][0], f"{participant}/{first}"
    if not own and has_telemetry(video):
        own = [("", video)]  # a camera's own IMU
    if not own:
        message = f"{video}: has no IMU file of the same name; add {first}.csv or remove this file"
        return [], [Problem(message, recording=whose)]
    for kind, candidates in (
        *(("video", videos[name]) for name in names),
        *(("IMU file", [path for other, path in own if other == sensor]) for sensor in {sensor for sensor, _ in own}),
    ):
        if len(candidates) > 1:
            named = " and ".join(str(path) for path in candidates)
            message = f"{named}: two {kind}s of one recording; remove one or name it in dataset.yaml"
            return [], [Problem(message, recording=whose)]
    if any(_chapter(after) - _chapter(before) != 1 for before, after in pairwise(names)):
        # Nobody knows when those behind the missing one start.
        message = f"{video}: of its chapters only {', '.join(names)} are there; copy the missing ones"
        return [], [Problem(message, recording=f"{participant}/{name}") for name in names]
    files = tuple(ImuFile(path, how, sensor) for sensor, path in own)
    found, problems = _one_after_another(participant, [(name, videos[name][0]) for name in names], files)
    beside = {one.name: one.video.with_suffix(".npy") for one in found}
    return [replace(one, vectors=beside[one.name]) if beside[one.name].is_file() else one for one in found], problems


def _one_after_another(participant: str, videos: Sequence[tuple[str, Path]], files: tuple[ImuFile, ...]) -> Found:
    """A recording for each video (name, file), of which each begins where the one before it ends, or later where the
    camera says so; `files` are on the first one's clock."""
    found, problems, before = [], list[Problem](), 0.0
    for number, (name, video) in enumerate(videos):
        shifted = tuple(
            replace(file, how=replace(file.how, offset_seconds=file.how.offset_seconds - before)) for file in files
        )
        found.append(Recording(participant, name, video, shifted))
        if number < len(videos) - 1:
            try:
                following, length = videos[number + 1][1], probe(video).duration
                gap = _gap_between(video, length, following)
                before += length + gap
                if gap:
                    message = f"{following}: by both videos' own clocks starts {gap:.1f} s after {name} ends"
                    problems.append(Problem(message, error=False, recording=f"{participant}/{name}"))
            except RecordingError as error:
                message = f"{error} (the videos after it start where it ends)"
                return [], [Problem(message, recording=f"{participant}/{name}")]
    return found, problems


def _gap_between(video: Path, length: float, following: Path) -> float:
    """Seconds from the end of a video of `length` seconds to the start of the next one, where both say when they were
    taken; 0 where they do not, and for as little as stamps of whole seconds cannot tell."""
    first, second = created_at(video), created_at(following)
    gap = second - first - length if first is not None and second is not None else 0.0
    return gap if LEAST_GAP <= gap <= MOST_GAP else 0.0


def _sharing(recordings: list[Recording]) -> Found:
    """Of an IMU for several videos each recording gets the samples from its start up to the start of the next."""
    groups: dict[tuple[Path, ...], list[int]] = defaultdict(list)
    for number, recording in enumerate(recordings):
        groups[tuple(file.path.resolve() for file in recording.imus)].append(number)
    found, problems = list(recordings), []
    for numbers in groups.values():
        once = {str(recordings[number]): number for number in numbers}  # one listed twice is told of elsewhere
        own = sorted(once.values(), key=lambda number: _start(recordings[number]))
        for one, other in pairwise(own):
            first, second = recordings[one], recordings[other]
            apart = _start(second) - _start(first)
            if first.participant != second.participant or apart <= 0:
                why = "of another participant" if first.participant != second.participant else "that starts with it"
                problems.append(
                    Problem(
                        f"{second.imu}: is the IMU of {first} too, {why}; each sample belongs to one recording, so "
                        "remove one, or set offset_seconds of each",
                        recording=str(second),
                    )
                )
            found[one] = replace(found[one], span=(found[one].span[0], apart))
            found[other] = replace(found[other], span=(0.0, found[other].span[1]))
    return found, problems


def _start(recording: Recording) -> float:
    """When a video starts, on a clock that videos with the same IMU share."""
    how = recording.imus[0].how
    return (how.video_created or 0.0) - how.offset_seconds


def _chapters(videos: dict[str, list[Path]], imus: dict[str, Any]) -> list[list[str]]:
    """Names of videos; those of a camera that cut one recording into files go together, in order, unless each has an
    IMU of its own."""
    groups: dict[Any, list[tuple[int, str]]] = defaultdict(list)
    for name in videos:
        found = CHAPTER.fullmatch(name)
        camera = name[:2].upper() if found and found["chapter"] else ""
        groups[(camera, found["number"]) if found else name].append((_chapter(name), name))
    result = []
    for group in groups.values():
        names = [name for _, name in sorted(group)]
        with_imu = [name for name in names if imus.get(name)]
        result += [names] if with_imu == names[:1] else [[name] for name in names]
    return result


def _chapter(name: str) -> int:
    found = CHAPTER.fullmatch(name)
    return int(found["chapter"] or found["old"] or 0) if found else 0


def _video_of(path: Path, videos: dict[str, list[Path]]) -> tuple[str | None, str]:
    """The video that an IMU file's name begins with, and the sensor behind it; an exact name wins."""
    stem, sensor = _plain(_stem(path)), ""
    while stem not in videos:
        stem, dot, last = stem.rpartition(".")
        if not dot:
            return None, ""
        sensor = f"{last}.{sensor}" if sensor else last
    return stem, sensor


def _stem(path: Path) -> str:
    return path.name if path.is_dir() else path.name[: -len(suffix_of(path))]


def _plain(name: str) -> str:
    """Names that look alike are one."""
    return unicodedata.normalize("NFC", name)


def _entries(folder: Path) -> list[Path]:
    return sorted(path for path in entries(folder) if not path.name.startswith("."))


def _is_video(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix in VIDEO_SUFFIXES or (suffix not in NO_VIDEO_SUFFIXES and holds_video(path))


def _broken_link(path: Path, recording: str) -> Problem:
    return Problem(f"{path}: links to what is not there; is its disk offline?", recording=recording)


def _is_of_a_recording(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES or suffix_of(path) in SUFFIXES


def _ignored(folder: Path, paths: Iterable[Path]) -> list[Problem]:
    names = sorted(path.name + "/" * path.is_dir() for path in paths)
    return [Problem(f"{folder}: ignored {_first(names)}: no part of a recording", error=False)] if names else []


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _from_manifest(path: Path, how: ImuFormat, roots: Sequence[Path] = ()) -> Found:
    if not is_inside(path, roots):
        return [], [Problem(f"{path}: {OUTSIDE}")]
    try:
        # Text stays text: YAML would make 8 of the participant 010, and no of nobody.
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_TextLoader)
    except UnicodeDecodeError:
        return [], [Problem(f"{path}: is not written in UTF-8; save it so")]
    except (yaml.YAMLError, RecursionError) as error:
        return [], [Problem(f"{path}: not valid YAML ({' '.join(str(error).split())})")]
    entries = content.get("recordings") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        return [], [Problem(f"{path}: expected a list under `recordings:`, each with participant, video and imu")]
    recordings: list[Recording] = []
    problems = [
        Problem(f"{path}: '{key}' is not known beside recordings; write it into each of them", error=False)
        for key in content
        if key != "recordings" and not isinstance(content[key], dict)
    ]
    for number, entry in enumerate(entries, start=1):
        try:
            listed_entry = _ManifestEntry.model_validate(entry)
            named = [*listed_entry.video, *(imu.file for imu in listed_entry.imu)]
            outside = [path.parent / name for name in named if not is_inside(path.parent / name, roots)]
            if outside:  # not even opened
                problems.append(Problem(f"{outside[0]}: {OUTSIDE}"))
                continue
            found, wrong = _manifest_recordings(path.parent, listed_entry, how)
        except ValidationError as error:
            problem = error.errors()[0]
            field = ".".join(str(part) for part in problem["loc"] if not str(part).startswith("function-"))
            colon = ":" if problem["type"] == "value_error" else ""
            what = f"{field or 'it'}{colon} {_in_words(problem)}"
            found, wrong = [], [Problem(f"{path}: recording {number}, field {what}")]
        except (OSError, ValueError) as error:  # a name that no file can have
            found, wrong = [], [Problem(f"{path}: recording {number}: no file can be called so ({error})")]
        recordings += found
        problems += wrong
    listed = {file.resolve() for one in recordings for file in (one.video, *(imu.path for imu in one.imus))}
    unlisted = [
        str(file.relative_to(path.parent))
        for file in sorted(path.parent.rglob("*"))
        if _is_of_a_recording(file)
        and suffix_of(file) not in LOOSE_SUFFIXES
        and not listed & {file.resolve(), *file.resolve().parents}
    ]
    if unlisted:
        problems.append(Problem(f"{path}: does not list {_first(unlisted)}; ignored", error=False))
    return recordings, problems


def _manifest_recordings(root: Path, entry: _ManifestEntry, how: ImuFormat) -> Found:
    how = entry.over(how)
    videos = [_present(_under(root, video)) for video in entry.video]
    name = entry.recording or _plain(videos[0].stem)
    if entry.clock == "absolute":
        try:
            how = replace(how, video_created=_created(videos[0]))
        except RecordingError as error:
            return [], [Problem(str(error), recording=f"{entry.participant}/{name}")]
    files = tuple(ImuFile(_present(_under(root, imu.file)), imu.over(how), imu.sensor) for imu in entry.imu)
    if len(files) > 1:
        files = tuple(file if file.sensor else replace(file, sensor=_stem(file.path)) for file in files)
    if len(videos) == 1:
        vectors = _under(root, entry.vectors) if entry.vectors else None
        return [Recording(entry.participant, name, videos[0], files, vectors)], []
    if entry.vectors is not None:
        message = f"{root / entry.vectors}: vectors are of one video; list the videos one by one"
        return [], [Problem(message, recording=f"{entry.participant}/{name}")]
    names = [f"{name}-{number}" if entry.recording else _plain(one.stem) for number, one in enumerate(videos, 1)]
    return _one_after_another(entry.participant, list(zip(names, videos, strict=True)), files)


def _created(video: Path) -> float:
    created = created_at(video)
    if created is None:
        raise RecordingError(
            f"{video}: does not say when it was taken, as `clock: absolute` needs; write offset_seconds"
        )
    return created


def _under(root: Path, name: str) -> Path:
    """A file by its relative name; an object storage knows no `..`."""
    return (root / name).resolve() if is_remote(root) else root / name


def _present(path: Path) -> Path:
    """The path, or where it does not exist the one that looks like it, with é in the other form."""
    if "\0" in str(path):
        raise ValueError("it holds a zero byte")
    if path.exists():
        return path
    others = (place(unicodedata.normalize(form, str(path))) for form in ("NFC", "NFD"))
    return next((other for other in others if other.exists()), path)


def _duplicates(recordings: list[Recording]) -> list[Problem]:
    problems = []
    seen: dict[str, Recording] = {}
    spelling: dict[str, str] = {}
    for recording in recordings:
        if (other := seen.setdefault(str(recording), recording)) is not recording:
            problems.append(
                Problem(
                    f"{recording.video}: recording {recording} is listed twice, also as {other.video}; rename one",
                    recording=str(recording),
                )
            )
        known = spelling.setdefault(recording.participant.casefold(), recording.participant)
        if known != recording.participant:
            problems.append(
                Problem(
                    f"{recording.video}: participants '{known}' and '{recording.participant}' differ only in case",
                    recording=str(recording),
                )
            )
    return problems
