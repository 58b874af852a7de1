"""Labels that somebody gave elsewhere, as intervals of a recording's video: ELAN's documents, and tables with a row
an interval (CSV of any dialect, XLSX, Parquet), among them the `intervals.csv` of an export.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
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


def read_given_labels(path: Path, tier: str = "") -> list[GivenLabel]:
    """All intervals of a file, in its order. tier: that of an ELAN document which has several. RecordingError names
    what is missing or cannot be understood, and the remedy."""
    found = _from_elan(path, tier) if path.suffix.lower() == ".eaf" else _from_table(path)
    if not found:
        raise RecordingError(f"{path}: holds no interval with a label")
    for one in found:
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
