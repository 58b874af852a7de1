"""The README of an export: what each file and column means, and this export's own counts."""

import json
from typing import Any

from training.contract import (
    BIDS_FOLDER,
    CLIP_COLUMNS,
    CLIPS_FILE,
    COLUMNS,
    ELAN_FOLDER,
    INTERVALS_FILE,
    SAMPLES_FOLDER,
)


def _with_unit(channel: str, description: dict[str, Any]) -> str:
    unit = description.get("channel_units", {}).get(channel)
    return f"`{channel}` ({unit})" if unit else f"`{channel}`"


def _tracks(description: dict[str, Any]) -> list[str]:
    return [
        f"- `label_{track}`, `source_{track}`, `confidence_{track}`, `propagated_label_{track}`: the same of "
        f"`{track}` ({', '.join(own['labels'])})"
        for track, own in description.get("tracks", {}).items()
    ]


def _card(description: dict[str, Any], title: str) -> list[str]:
    """The head by which the Hugging Face hub, and `datasets`, know the folder; licence and language are the owner's
    to add."""
    if description["format"] != "parquet":
        return []
    return [
        "---",
        f"pretty_name: {json.dumps(title, ensure_ascii=False)}",
        "tags: [human-activity-recognition, inertial-sensors, weak-labels]",
        "configs:",
        "- config_name: samples",
        "  default: true",
        f"  data_files: {SAMPLES_FOLDER}/*.parquet",
        "- config_name: clips",
        f"  data_files: {CLIPS_FILE}",
        "---",
        "",
    ]


def readme(description: dict[str, Any]) -> str:
    """Markdown about the export that `description`, its `dataset.json`, describes."""
    title = description.get("label_studio_project", {}).get("title") or "Dataset"
    lines = [
        *_card(description, title),
        f"# {title}",
        "",
        "A weakly labelled dataset of inertial sensors, written by weakhar.",
        "",
    ]
    if description["format"] == "parquet":
        lines += [f"`{SAMPLES_FOLDER}/` has a Parquet file a participant, a row a sample:", ""]
        lines += [f"- `{name}`: {meaning}" for name, meaning in COLUMNS.items()]
        lines += [
            f"- {', '.join(_with_unit(name, description) for name in description['channels'])}: the channels, in the "
            "units of the IMU's files; where none is given these do not state it",
            *_tracks(description),
            "",
            f"The folder opens as one table: `pandas.read_parquet('{SAMPLES_FOLDER}')`, "
            f"`polars.read_parquet('{SAMPLES_FOLDER}/*.parquet')`, "
            f"`datasets.load_dataset('parquet', data_files='{SAMPLES_FOLDER}/*.parquet')`.",
        ]
    else:
        lines += [f"`{SAMPLES_FOLDER}/` has a CSV file a participant, as WEAR has: `sbj_id`, the channels, `label`;"]
        lines += ["samples without a label are left out."]
    lines += ["", f"`{CLIPS_FILE}` has a row a clip of the videos:", ""]
    lines += [f"- `{name}`: {meaning}" for name, meaning in CLIP_COLUMNS.items()]
    lines += ["", f"`{INTERVALS_FILE}` has a row a stretch of one label, in seconds of its recording's video."]
    if any("elan" in counts for counts in description["participants"].values()):
        lines += [f"`{ELAN_FOLDER}/` has a document a recording for ELAN."]
    if any("bids" in counts for counts in description["participants"].values()):
        lines += [f"`{BIDS_FOLDER}/` has the same in the layout of BIDS for motion, the labels as events."]
    lines += ["`dataset.json` has all that the labels were made by.", ""]
    lines += [f"Sampling rate {description['sampling_rate']:g} Hz; threshold {description['threshold']}; labels are"]
    lines += [f"propagated by `{description.get('propagation', 'cluster')}`{_across(description)}.", ""]
    lines += [
        "| participant | samples | labelled | clips | clusters labelled | confidence |",
        "|---|---|---|---|---|---|",
    ]
    for name, counts in description["participants"].items():
        clusters = f"{counts['clusters_labelled']} of {counts['clusters']}"
        share = f"{counts['coverage']:.1%}"
        confidence = "calibrated" if counts["temperature"] is not None else "not calibrated: too few answers"
        if description.get("propagation") != "temporal":
            confidence = "none"
        lines.append(f"| {name} | {counts['samples']} | {share} | {counts['clips']} | {clusters} | {confidence} |")
    lines += ["", f"Written by {description.get('written_by', 'weakhar')}, {description.get('date', '')}."]
    if "share" in (audit := description.get("audit", {})):
        share, recall = audit["share"], audit["macro_recall"]
        lines += [
            "",
            f"People looked at {audit['answered']} clips drawn at random: {share['value']:.0%} of the labels are "
            f"right (95 % interval {share['low']:.0%} to {share['high']:.0%}), macro recall {recall['value']:.2f} "
            f"({recall['low']:.2f} to {recall['high']:.2f}); {audit['changed_since']:.0%} of these labels have "
            "changed since.",
        ]
    if warnings := _warnings(description):
        lines += ["", "What to know before using it:", "", *(f"- {warning}" for warning in warnings)]
    return "\n".join(lines) + "\n"


def _warnings(description: dict[str, Any]) -> list[str]:
    """What is not as it might be taken to be."""
    found = list(description.get("warnings", []))
    for name, counts in description["participants"].items():
        if counts["clusters_labelled"] < counts["clusters"]:
            missing = counts["clusters"] - counts["clusters_labelled"]
            found.append(f"{name}: {missing} of {counts['clusters']} clusters have no answer yet")
        if counts["ties"]:
            found.append(f"{name}: people disagree on {len(counts['ties'])} clips, which count as not answered")
    for field in ("answers_not_understood", "answers_to_pictures_that_are_gone"):
        if count := len(description.get(field, [])):
            found.append(f"{count} {field.replace('_', ' ')}; dataset.json lists them")
    return found


def _across(description: dict[str, Any]) -> str:
    """Whether a participant's labels may carry answers about others: who leaves one out must know."""
    if not any(counts["from_others"] for counts in description["participants"].values()):
        return ""
    return ", and answers about one participant inform the labels of the others"
