"""Labels as intervals of the videos: a CSV of all recordings, and a file a recording for ELAN.

ELAN's format is EAF 3.0 (Max Planck Institute for Psycholinguistics, Nijmegen): time slots in milliseconds, and tiers
of annotations between them.
"""

import csv
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

import numpy as np

from ml_backend.labels import LabelledStretch
from ml_backend.recordings import Recording
from ml_backend.storage import is_remote

COLUMNS = ("participant", "recording", "start_seconds", "end_seconds", "label", "confidence")
SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"


def write_intervals(
    stretches: Mapping[str, Iterable[LabelledStretch]], classes: tuple[str, ...], target: Path
) -> None:
    """A row a stretch of one label, by participant; times in seconds on the video's clock."""
    with target.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for participant, own in stretches.items():
            for one in own:
                times = (f"{one.start_seconds:.3f}", f"{one.end_seconds:.3f}")
                writer.writerow([participant, one.recording, *times, classes[one.label], _sure(one)])


def write_elan(
    participant: str,
    recording: Recording,
    stretches: Iterable[LabelledStretch],
    classes: tuple[str, ...],
    target: Path,
    seen_from: Path,
) -> None:
    """One recording's stretches as a document of ELAN, with tiers `label` and `confidence`, that opens its video;
    seen_from: the folder in which the document is going to lie."""
    attributes = {"AUTHOR": "weakhar", "DATE": datetime.now(UTC).isoformat(timespec="seconds"), "FORMAT": "3.0"}
    root = Element(
        "ANNOTATION_DOCUMENT",
        {**attributes, "VERSION": "3.0", "xmlns:xsi": INSTANCE, "xsi:noNamespaceSchemaLocation": SCHEMA},
    )
    header = SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    video = recording.video.absolute()
    SubElement(
        header,
        "MEDIA_DESCRIPTOR",
        MEDIA_URL=str(video) if is_remote(video) else video.as_uri(),
        MIME_TYPE="video/mp4" if video.suffix.lower() in (".mp4", ".m4v", ".mov") else "unknown",
        RELATIVE_MEDIA_URL="" if is_remote(video) else f"./{os.path.relpath(video, seen_from.absolute())}",
    )
    found = list(stretches)
    times = sorted({round(1000 * at) for one in found for at in (one.start_seconds, one.end_seconds)})
    slots = {at: f"ts{number}" for number, at in enumerate(times, start=1)}
    order = SubElement(root, "TIME_ORDER")
    for at, name in slots.items():
        SubElement(order, "TIME_SLOT", TIME_SLOT_ID=name, TIME_VALUE=str(at))
    number = 0
    for tier, text in (("label", lambda one: classes[one.label]), ("confidence", _sure)):
        of = SubElement(root, "TIER", LINGUISTIC_TYPE_REF="default-lt", TIER_ID=tier, PARTICIPANT=participant)
        for one in found:
            if not text(one):
                continue
            number += 1
            first, last = (slots[round(1000 * at)] for at in (one.start_seconds, one.end_seconds))
            between = {"ANNOTATION_ID": f"a{number}", "TIME_SLOT_REF1": first, "TIME_SLOT_REF2": last}
            alignable = SubElement(SubElement(of, "ANNOTATION"), "ALIGNABLE_ANNOTATION", between)
            SubElement(alignable, "ANNOTATION_VALUE").text = text(one)
    SubElement(
        root, "LINGUISTIC_TYPE", GRAPHIC_REFERENCES="false", LINGUISTIC_TYPE_ID="default-lt", TIME_ALIGNABLE="true"
    )
    indent(root)
    target.parent.mkdir(parents=True, exist_ok=True)
    ElementTree(root).write(target, encoding="UTF-8", xml_declaration=True)


def _sure(one: LabelledStretch) -> str:
    """A stretch's confidence; empty where it is not known."""
    return "" if np.isnan(one.confidence) else f"{one.confidence:.3f}"
