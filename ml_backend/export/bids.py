"""The dataset in the layout of BIDS for motion (Brain Imaging Data Structure, extension for motion data: Jeung et
al., Motion-BIDS, Scientific Data 2024): a folder a participant, a run a recording, labels as events.

Written here: motionbids, which does so too, wants a Jupyter kernel and pip installed beside it.
"""

import csv
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ml_backend.labels import LabelledStretch
from ml_backend.recordings import Imu

VERSION = "1.10.0"
TASK, SYSTEM = "activities", "imu"
NOT_KNOWN = "n/a"
TYPES = (
    (r"quat|orient|roll|pitch|yaw|euler", "ORNT"),
    (r"gyr|rotation|angular|angvel", "GYRO"),
    (r"acc|gravity", "ACCEL"),
    (r"mag", "MAGN"),
)
"""What a channel's name says of its type, the first that fits; else MISC."""
KINDS = ("ACCEL", "ANGACCEL", "GYRO", "JNTANG", "LATENCY", "MAGN", "MISC", "ORNT", "POS", "VEL")
COMPONENT = re.compile(r"(?:.*[_\s.\-]|.*[a-z](?=[XYZW])|q|)(?P<axis>[xyzwXYZW])(?:[^a-zA-Z].*)?")


def bids_label(name: str, taken: Iterable[str] = ()) -> str:
    """A name of letters and digits alone, as BIDS has them, that none of `taken` is."""
    plain = re.sub(r"[^A-Za-z0-9]", "", name) or "x"
    label, number = plain, 1
    while label.casefold() in {one.casefold() for one in taken}:
        number += 1
        label = f"{plain}x{number}"
    return label


def write_description(root: Path, title: str, written_by: str, participants: Sequence[tuple[str, str]]) -> None:
    """`dataset_description.json`, `participants.tsv` with (label, name in the study), and a README."""
    name, _, version = written_by.partition(" ")
    description = {
        "Name": title,
        "BIDSVersion": VERSION,
        "DatasetType": "raw",
        "GeneratedBy": [{"Name": name or "weakhar", "Version": version or NOT_KNOWN}],
    }
    (root / "dataset_description.json").write_text(_json(description), encoding="utf-8")
    (root / "README").write_text(
        "Inertial recordings with weak labels, written by weakhar. The labels are events: `trial_type` is the class, "
        "`confidence` the probability that it is right. The channel `latency` is the time of each sample since the "
        "first one, since samples may be missing.\n",
        encoding="utf-8",
    )
    about = {"name": {"Description": "The participant's name in the study"}}
    (root / "participants.json").write_text(_json(about), encoding="utf-8")
    rows = [(f"sub-{label}", name) for label, name in participants]
    _table(root / "participants.tsv", ("participant_id", "name"), rows)


def write_run(
    root: Path, subject: str, run: int, recording: str, imu: Imu, stretches: Iterable[tuple[LabelledStretch, str]]
) -> None:
    """One recording: its samples, what its channels are, and its (stretch, class) as events, in seconds since the
    first sample."""
    folder = root / f"sub-{subject}" / "motion"
    folder.mkdir(parents=True, exist_ok=True)
    task = f"sub-{subject}_task-{TASK}"
    stem = f"{task}_tracksys-{SYSTEM}_run-{run:02d}"
    channels = [("latency", NOT_KNOWN, "LATENCY", NOT_KNOWN, "s"), *(_channel(name, imu) for name in imu.channels)]
    _table(folder / f"{stem}_channels.tsv", ("name", "component", "type", "tracked_point", "units"), channels)
    with (folder / f"{stem}_motion.tsv").open("w", encoding="utf-8") as stream:
        samples = np.column_stack([imu.times - imu.times[0], imu.values])
        np.savetxt(stream, samples, fmt=["%.6f", *["%.9g"] * imu.values.shape[1]], delimiter="\t")
    counts = Counter(channel[2] for channel in channels)
    sidecar = {
        "TaskName": TASK,
        "TaskDescription": f"Recording '{recording}'; its activities are labelled in the events",
        "SamplingFrequency": imu.sampling_rate,
        "TrackingSystemName": SYSTEM,
        "MotionChannelCount": len(channels),
        "TrackedPointsCount": len({channel[3] for channel in channels[1:]}),
        **{f"{kind}ChannelCount": counts[kind] for kind in KINDS},
        "SamplingFrequencyEffective": (len(imu.times) - 1) / float(imu.times[-1] - imu.times[0]),
    }
    (folder / f"{stem}_motion.json").write_text(_json(sidecar), encoding="utf-8")
    events = f"{task}_run-{run:02d}_events"
    rows = []
    for one, name in stretches:
        start = max(0.0, one.start_seconds - imu.start)
        sure = NOT_KNOWN if np.isnan(one.confidence) else f"{one.confidence:.3f}"
        rows.append((f"{start:.3f}", f"{max(0.0, one.end_seconds - imu.start - start):.3f}", name, sure))
    _table(folder / f"{events}.tsv", ("onset", "duration", "trial_type", "confidence"), rows)
    about = {
        "trial_type": {"Description": "The activity"},
        "confidence": {"Description": "Probability that the label is right"},
    }
    (folder / f"{events}.json").write_text(_json(about), encoding="utf-8")


def forget_subject(folder: Path) -> None:
    """Remove a participant's folder, and their row in the table beside it."""
    shutil.rmtree(folder, ignore_errors=True)
    table = folder.parent / "participants.tsv"
    if table.is_file():
        kept = [line for line in table.read_text(encoding="utf-8").splitlines() if line.split("\t")[0] != folder.name]
        table.write_text("\n".join(kept) + "\n", encoding="utf-8")


def _channel(name: str, imu: Imu) -> tuple[str, str, str, str, str]:
    """name, component, type, tracked point and units."""
    kind = next((kind for words, kind in TYPES if re.search(words, name.lower())), "MISC")
    found = COMPONENT.fullmatch(name.strip())
    axis = found["axis"].lower() if found else NOT_KNOWN
    quaternion = kind == "ORNT" and re.search("quat|q[wxyz]$", name.lower())
    component = f"quat_{axis}" if found and quaternion else axis if axis in "xyz" else NOT_KNOWN
    words = re.split(r"[_\s.\-]?(?:free_)?(?:acc|gyr|mag|quat|rotation|gravity|orient|euler|ang)", name.lower())[0]
    return name, component, kind, words.strip("_ .-") or NOT_KNOWN, imu.units.get(name, NOT_KNOWN)


def _table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _json(content: Any) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
