"""Whole recordings gone through in Label Studio, in a project of their own: its labelling config, the labels as one
prediction of a task, and the regions of time that come back.

A task is a part of a recording: its video, and a few of its signals over the same time, which begin together at 0.
"""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from defusedxml.ElementTree import fromstring

from ml_backend.labels import LabelledStretch
from ml_backend.labelstudio.colours import class_colours
from ml_backend.labelstudio.config import KEYS

Region = tuple[float, float, str]
"""Start and end in seconds from the part's beginning, and what it was called."""

CONTROL, SIGNALS, PICTURES = "activity", "signals", "pictures"
"""Names of the config's control, time series and video."""
VERSION = "weakhar"
"""Label Studio shows predictions of one version only, for a whole project."""
REGION = {"from_name": CONTROL, "to_name": SIGNALS, "type": "timeserieslabels"}
PLAIN_COLOUR = re.compile("#[0-9a-f]{6}")
FRAME_RATE = 15
"""Frames a second of a part's video, which the config must name."""
ON_TOP = ("prediction", "prediction-changed", "manual")
"""Where a region comes from: what was drawn anew lies on top of what was moved, and that on what was left alone."""


def review_config(classes: Sequence[str], channels: Sequence[str]) -> str:
    """A labelling config in which regions of these classes are drawn over a part's signals, below its video."""
    root = Element("View")
    SubElement(root, "Header", value="$about", size="5")
    control = SubElement(root, "TimeSeriesLabels", name=CONTROL, toName=SIGNALS)
    for number, (name, colour) in enumerate(class_colours(tuple(classes)).items()):
        plain = PLAIN_COLOUR.search(colour)  # regions cannot be hatched
        label = SubElement(control, "Label", value=name, background=plain[0] if plain else colour)
        if number < len(KEYS):
            label.set("hotkey", KEYS[number])
    side_by_side = SubElement(root, "View", style="display: flex; gap: 12px")
    left = SubElement(side_by_side, "View", style="flex: 0 0 530px")
    SubElement(left, "Video", name=PICTURES, value="$video", sync="time", frameRate=str(FRAME_RATE), height="300")
    right = SubElement(side_by_side, "View", style="flex: 1 1 auto; min-width: 0")
    series = SubElement(right, "TimeSeries", name=SIGNALS, value="$signals", sync="time", valueType="url")
    for name, value in (("timeColumn", "time"), ("sep", ","), ("overviewChannels", channels[0].lower())):
        series.set(name, value)
    for channel in channels:
        SubElement(series, "Channel", column=channel, legend=channel, height=str(max(60, 240 // len(channels))))
    indent(root)
    return tostring(root, encoding="unicode")


def channels_of(config: str) -> tuple[str, ...]:
    """The signals that a labelling config of ours shows."""
    return tuple(one.get("column") or "" for one in fromstring(config).iter("Channel"))


def prediction_of(
    stretches: Iterable[LabelledStretch], classes: Sequence[str], start_seconds: float, end_seconds: float
) -> dict[str, Any]:
    """A part's labels as one prediction, the least certain first, each with its confidence as score; that of the
    whole is their mean by time."""
    found: list[tuple[float, float, dict[str, Any]]] = []
    for one in stretches:
        start, end = max(one.start_seconds, start_seconds), min(one.end_seconds, end_seconds)
        if start >= end:
            continue
        value = {
            "start": round(start - start_seconds, 3),
            "end": round(end - start_seconds, 3),
            "instant": False,
            "timeserieslabels": [classes[one.label]],
        }
        sure = 0.0 if math.isnan(one.confidence) else round(one.confidence, 3)
        found.append((sure, end - start, {**REGION, "value": value, "score": sure}))
    found.sort(key=lambda one: one[0])
    result = [region for _, _, region in found]
    covered = sum(seconds for _, seconds, _ in found)
    mean = sum(sure * seconds for sure, seconds, _ in found) / covered if covered else 0.0
    return {"model_version": VERSION, "score": mean, "result": result}


def is_prediction(found: list[dict[str, Any]], wanted: dict[str, Any]) -> bool:
    """True where the predictions that a task has are this one."""
    return [(one.get("model_version"), one.get("result")) for one in found] == [(VERSION, wanted["result"])]


def regions_of(result: Iterable[Any]) -> tuple[Region, ...]:
    """The regions of time of an annotation, those on top last."""
    found: list[tuple[int, Region]] = []
    for one in result:
        value = one.get("value") if isinstance(one, dict) else None
        if not isinstance(value, dict) or one.get("type") != "timeserieslabels":
            continue
        names, start, end = value.get("timeserieslabels"), value.get("start"), value.get("end")
        if not (isinstance(names, list) and isinstance(start, int | float) and isinstance(end, int | float)):
            continue
        origin = one.get("origin", "manual")
        level = ON_TOP.index(origin) if origin in ON_TOP else len(ON_TOP)
        for name in names[:1]:
            found.append((level, (float(start), float(end), str(name))))
    return tuple(region for _, region in sorted(found, key=lambda one: one[0]))
