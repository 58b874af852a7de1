"""The README of an export: what each file and column means, and this export's own counts."""

from typing import Any

from training.contract import CLIPS_FILE, COLUMNS, SAMPLES_FOLDER


def readme(description: dict[str, Any]) -> str:
    """Markdown about the export that `description`, its `dataset.json`, describes."""
    title = description.get("label_studio_project", {}).get("title") or "Dataset"
    lines = [f"# {title}", "", "A weakly labelled dataset of inertial sensors, written by weakhar.", ""]
    if description["format"] == "parquet":
        lines += [f"`{SAMPLES_FOLDER}/` has a Parquet file a participant, a row a sample:", ""]
        lines += [f"- `{name}`: {meaning}" for name, meaning in COLUMNS.items()]
        lines += [
            f"- {', '.join(f'`{name}`' for name in description['channels'])}: the channels, in the IMU's own units"
        ]
    else:
        lines += [f"`{SAMPLES_FOLDER}/` has a CSV file a participant, as WEAR has: `sbj_id`, the channels, `label`;"]
        lines += ["samples without a label are left out."]
    lines += [
        "",
        f"`{CLIPS_FILE}` has a row a clip of the video, `dataset.json` all that the labels were made by.",
        "",
    ]
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
    return "\n".join(lines) + "\n"


def _across(description: dict[str, Any]) -> str:
    """Whether a participant's labels may carry answers about others: who leaves one out must know."""
    if not any(counts["from_others"] for counts in description["participants"].values()):
        return ""
    return ", and answers about one participant inform the labels of the others"
