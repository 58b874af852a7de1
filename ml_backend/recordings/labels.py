"""Labels that somebody gave elsewhere, as intervals of a recording's video: ELAN's documents, tables with a row an
interval (CSV of any dialect, XLSX, Parquet), among them the `intervals.csv` of an export, and what Label Studio
exports of a project as JSON: choices of clips, regions of time series and audio, and of a video's timeline.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree.ElementTree import ParseError

from defusedxml.ElementTree import parse

from ml_backend.errors import RecordingError
from ml_backend.files import check_present
from ml_backend.recordings.tables import read_table
from training.contract import NULL_CLASS

STARTS = ("start_seconds", "start", "begin", "onset", "from", "beginn", "start_time")
ENDS = ("end_seconds", "end", "stop", "offset", "to", "ende", "end_time")
NAMES = ("label", "class", "activity", "annotation", "aktivität", "value")
PARTICIPANTS, RECORDINGS = ("participant", "subject", "sbj_id"), ("recording", "video", "file")
NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)?(?:e[+-]?\d+)?", re.IGNORECASE)
CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:[.,]\d+)?)")
KINDS = ("choices", "labels", "timeserieslabels", "timelinelabels")
"""Results of Label Studio that are about a stretch of time."""
LONGEST = 1e6
"""Seconds: what lies later counts from 1970, or in another unit."""
OWN_TIER = "label"
"""The tier of the documents that an export writes."""


@dataclass(frozen=True)
class GivenLabel:
    """What was called `name` from `start_seconds` to `end_seconds` of a video; participant and recording are empty
    where the file does not say whose and which."""

    start_seconds: float
    end_seconds: float
    name: str
    participant: str = ""
    recording: str = ""


def read_given_labels(path: Path, tier: str = "", frame_rate: float | None = None) -> list[GivenLabel]:
    """All intervals of a file, in its order. tier: that of an ELAN document, or the control of a Label Studio
    project, which has several; frame_rate: by which a project counted the frames of its videos' timelines.
    RecordingError names what is missing or cannot be understood, and the remedy."""
    kind = path.suffix.lower()
    if kind == ".json":
        found = _from_label_studio(path, tier, frame_rate)
    else:
        found = _from_elan(path, tier) if kind == ".eaf" else _from_table(path)
    if not found:
        raise RecordingError(f"{path}: holds no interval with a label")
    for one in found:
        if one.end_seconds > LONGEST:
            raise RecordingError(
                f"{path}: an interval ends at {one.end_seconds:g} s; write seconds since the video's start"
            )
        if not 0 <= one.start_seconds < one.end_seconds:
            raise RecordingError(
                f"{path}: an interval goes from {one.start_seconds:g} to {one.end_seconds:g} s; each must begin at 0 "
                "or later, and end after that"
            )
    return found


def _from_table(path: Path) -> list[GivenLabel]:
    table = read_table(path).samples
    by_name = {name.strip().lower(): name for name in table.column_names}

    def column(usual: Sequence[str], what: str) -> list[Any] | None:
        named = next((by_name[name] for name in usual if name in by_name), None)
        if named is None and what:
            raise RecordingError(
                f"{path}: has no column for {what}; call it {usual[0]} (its columns: {', '.join(table.column_names)})"
            )
        return table[named].to_pylist() if named is not None else None

    starts, ends = (column(usual, what) or [] for usual, what in ((STARTS, "the start"), (ENDS, "the end")))
    names = column(NAMES, "the label") or []
    count = len(names)
    participants, recordings = (column(usual, "") or [""] * count for usual in (PARTICIPANTS, RECORDINGS))
    rows = zip(starts, ends, names, participants, recordings, strict=True)
    return [
        GivenLabel(
            _seconds(path, start), _seconds(path, end), _name(name), str(participant or ""), str(recording or "")
        )
        for start, end, name, participant, recording in rows
    ]


def _seconds(path: Path, value: Any) -> float:
    """Seconds, also where a clock such as 1:02:03.5 says them."""
    text = str(value).strip()
    if NUMBER.fullmatch(text):
        return float(text.replace(",", "."))
    found = CLOCK.fullmatch(text)
    if found is None:
        raise RecordingError(f"{path}: '{value}' is no time; write seconds, or h:mm:ss")
    hours, minutes, seconds = found.groups()
    return 3600 * int(hours or 0) + 60 * int(minutes) + float(seconds.replace(",", "."))


def _name(value: Any) -> str:
    return str(value).strip() if value is not None and str(value).strip() else NULL_CLASS


def _from_elan(path: Path, tier: str) -> list[GivenLabel]:
    """The alignable annotations of one tier (EAF, Max Planck Institute for Psycholinguistics)."""
    check_present(path)
    try:
        root = parse(path).getroot()
    except (ParseError, ValueError, OSError) as error:
        raise RecordingError(f"{path}: is no document of ELAN ({error})") from None
    tiers = {one.get("TIER_ID") or "": list(one.iter("ALIGNABLE_ANNOTATION")) for one in root.iter("TIER")}
    tiers = {name: own for name, own in tiers.items() if own}
    wanted = tier or (next(iter(tiers)) if len(tiers) == 1 else OWN_TIER)
    if wanted not in tiers:
        raise RecordingError(f"{path}: name one of its tiers with --tier: {', '.join(tiers) or 'it has none'}")
    slots = {one.get("TIME_SLOT_ID"): one.get("TIME_VALUE") for one in root.iter("TIME_SLOT")}

    def at(annotation: Any, end: str) -> float:
        value = slots.get(annotation.get(end))
        if value is None or not value.isdecimal():
            raise RecordingError(
                f"{path}: annotation '{annotation.get('ANNOTATION_ID')}' has no time; align it in ELAN, or remove it"
            )
        return int(value) / 1000

    return [
        GivenLabel(at(one, "TIME_SLOT_REF1"), at(one, "TIME_SLOT_REF2"), _name(one.findtext("ANNOTATION_VALUE")))
        for one in tiers[wanted]
    ]


def _from_label_studio(path: Path, control: str, frame_rate: float | None) -> list[GivenLabel]:
    """Of every task the last annotation that was not cancelled."""
    check_present(path)
    try:
        tasks = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RecordingError(f"{path}: is no JSON ({' '.join(str(error).split())}); export it again") from None
    if not isinstance(tasks, list) or not all(isinstance(one, dict) and "annotations" in one for one in tasks):
        raise RecordingError(
            f"{path}: is no export of Label Studio with annotations; export it as JSON, not JSON-MIN"
        )
    found: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for task in tasks:
        given = [one for one in task["annotations"] or [] if isinstance(one, dict) and not one.get("was_cancelled")]
        if not given:
            continue
        last = max(given, key=lambda one: str(one.get("updated_at") or one.get("created_at") or ""))
        for result in last.get("result") or []:
            if result.get("type") in KINDS:
                found.setdefault(str(result.get("from_name", "")), []).append((task, result))
    if not control and len(found) > 1:
        raise RecordingError(f"{path}: several controls were labelled; name one with --tier: {', '.join(found)}")
    if control and control not in found:
        raise RecordingError(f"{path}: nothing is labelled by '{control}'; name one with --tier: {', '.join(found)}")
    own = found[control] if control else next(iter(found.values()), [])
    return [one for task, result in own for one in _of_result(path, task, result, frame_rate)]


def _of_result(
    path: Path, task: dict[str, Any], result: dict[str, Any], frame_rate: float | None
) -> Iterator[GivenLabel]:
    """The intervals of one result: a choice of a clip, a region in time, or ranges of frames, which count from 1."""
    data, value, kind = task.get("data") or {}, result.get("value") or {}, str(result.get("type"))
    names = value.get(kind)
    if not names:
        return
    where = f"{path}: task {task.get('id')}"
    own = str(data.get("participant") or ""), str(data.get("recording") or "") or _file_shown(data)
    at = _seconds(path, data.get("start_seconds", 0))
    if kind == "choices":
        if "start_seconds" not in data or "end_seconds" not in data:
            raise RecordingError(f"{where} has a choice but no start_seconds and end_seconds in its data; add them")
        spans = [(at, _seconds(path, data["end_seconds"]))]
    elif kind == "timelinelabels":
        if frame_rate is None:
            raise RecordingError(f"{where} counts frames; say by --frame-rate how many a second its Video tag has")
        spans = [
            (at + (float(one["start"]) - 1) / frame_rate, at + float(one["end"]) / frame_rate)
            for one in value.get("ranges") or []
        ]
    else:
        spans = [(at + _seconds(path, value.get("start")), at + _seconds(path, value.get("end")))]
    for start, end in spans:
        yield GivenLabel(start, end, " / ".join(map(str, names)) if len(names) > 1 else str(names[0]), *own)


def _file_shown(data: Mapping[str, Any]) -> str:
    """The name of the video or table that a task shows, without what Label Studio puts before uploads' names."""
    for value in data.values():
        name = Path(urlsplit(value).path).name if isinstance(value, str) and "<" not in value else ""
        if re.search(r"\.[A-Za-z0-9]{2,5}$", name):
            return re.sub(r"^[0-9a-f]{8}-", "", unquote(name)).rsplit(".", 1)[0]
    return ""
