"""Labels that were given elsewhere, taken over as answers: kept in the project's folder, a file each, since Label
Studio has none of them. A study that is half labelled goes on from there.
"""

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_backend.clusters import participant_folder, participants_of, truth_of, videos_clustered
from ml_backend.errors import ConfigError
from ml_backend.files import disk_errors, remove, safe_name, written_atomically
from ml_backend.labels import IMPORTED, Answer, Classes
from ml_backend.recordings import GivenLabel, read_given_labels

FOLDER = "imported"
OWN = Path("own labels")
"""What the recordings' own labels are called among the files."""


@dataclass(frozen=True)
class Imported:
    """How many intervals were taken over, of how many seconds, and by class; left_out: how many mean no class."""

    intervals: int
    seconds: float
    by_class: Mapping[str, int]
    left_out: int


def import_labels(
    folder: Path,
    file: Path | None,
    classes: Classes,
    recording: str = "",
    tier: str = "",
    meant: Mapping[str, str] | None = None,
    frame_rate: float | None = None,
) -> Imported:
    """Take over the labels of a file into the project whose clusters lie in `folder`; once more replaces them.
    Without a file, those that the recordings bring themselves.

    recording: `participant/name` where the file does not say it. meant: other names of classes, or an empty one for
    what is to be left out. ConfigError, before anything is written, where a class or a recording is not known.
    """
    meant = meant or {}
    people = participants_of(folder)
    videos = {f"{who}/{name}": key for who in people for name, key in videos_clustered(folder, who).items()}
    found, left_out, unknown = list[dict[str, Any]](), 0, Counter[str]()
    given = list(_own_labels(folder)) if file is None else read_given_labels(file, tier, frame_rate)
    if not given:
        raise ConfigError("--own: the project's recordings bring no labels")
    file = file or OWN
    for one in given:
        name = meant.get(one.name, one.name)
        if not name:
            left_out += 1
        elif name not in classes.names:
            unknown[name] += 1
        else:
            where = _recording_of(file, one, recording, videos)
            found.append(
                {
                    "recording": where,
                    "video": videos[where],
                    "start": one.start_seconds,
                    "end": one.end_seconds,
                    "choice": name,
                }
            )
    if unknown:
        named = ", ".join(f"'{name}' ({count} times)" for name, count in unknown.most_common())
        raise ConfigError(
            f"{file}: {named} is no class of the project; known are {', '.join(classes.names)}: say what it "
            "means with --map 'name=class', or leave it out with --map 'name='"
        )
    target = folder / FOLDER / f"{safe_name(file.name)}.json"
    with disk_errors(folder), written_atomically(target) as temporary:
        content = {"file": file.name, "at": time.time(), "intervals": found}
        temporary.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    seconds = sum(one["end"] - one["start"] for one in found)
    return Imported(len(found), seconds, Counter(one["choice"] for one in found), left_out)


def _own_labels(folder: Path) -> Iterator[GivenLabel]:
    """What the recordings' own files call each stretch."""
    for participant in participants_of(folder):
        for recording, intervals in truth_of(participant_folder(folder, participant)).items():
            for start, end, name in intervals:
                if end > start:
                    yield GivenLabel(start, end, name, participant, recording)


def drop_imported(folder: Path, file: Path | None) -> None:
    """Remove what was taken over from a file of that name, or of the recordings' own; ConfigError where there is
    none."""
    name = (file or OWN).name
    target = folder / FOLDER / f"{safe_name(name)}.json"
    if not target.is_file():
        known = ", ".join(one["file"] for one in _files(folder)) or "none"
        raise ConfigError(f"{name}: no labels of a file of that name were imported; imported are: {known}")
    remove(target)


def imported_intervals(folder: Path) -> Iterator[tuple[str, str, Answer]]:
    """(file, content key of the video, answer about the recording of then) of all that was imported, in the order in
    which it was; whether there still is such a video, or class, is not looked at."""
    for file in _files(folder):
        for one in file["intervals"]:
            participant, _, recording = one["recording"].partition("/")
            span = (one["start"], one["end"])
            answer = Answer(participant, recording, *span, one["choice"], source=IMPORTED, at=file["at"])
            yield file["file"], one["video"], answer


def forget_imported(folder: Path, participant: str) -> None:
    """Leave a participant out of what was imported."""
    for file in _files(folder):
        kept = [one for one in file["intervals"] if not one["recording"].startswith(f"{participant}/")]
        target = folder / FOLDER / f"{safe_name(file['file'])}.json"
        if not kept:  # its name may be theirs
            remove(target)
            continue
        with written_atomically(target) as temporary:
            temporary.write_text(json.dumps({**file, "intervals": kept}, ensure_ascii=False), encoding="utf-8")


def _files(folder: Path) -> list[dict[str, Any]]:
    """All that was imported, in the order in which it was."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in (folder / FOLDER).glob("*.json")]
    return sorted(found, key=lambda file: float(file["at"]))


def _recording_of(file: Path, one: GivenLabel, named: str, known: Iterable[str]) -> str:
    """Which of the project's recordings an interval is about."""
    told = f"{one.participant}/{one.recording}" if one.participant and one.recording else ""
    where = named or told
    if not where:  # a document, or what it is about, that is called as one recording alone
        for called in filter(None, (one.recording, Path(one.recording).stem, file.stem)):
            alike = [name for name in known if called in (name.partition("/")[2], name.replace("/", "-"))]
            where = where or (alike[0] if len(alike) == 1 else "")
    if where not in known:
        said = f"'{where}' is no recording of the project" if where else "does not say of which recording it is"
        raise ConfigError(f"{file}: {said}; name one with --recording: {', '.join(known) or 'none is clustered yet'}")
    return where
