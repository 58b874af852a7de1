"""The weakly labelled dataset: clip labels spread to IMU samples, written as Parquet or as WEAR's CSV; with `elan`
also as documents that ELAN opens, with `bids` also in BIDS' layout for motion.

`training/contract.py` defines what is written; `training` reads nothing else.
"""

import csv
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet

from ml_backend.errors import ConfigError
from ml_backend.export.bids import bids_label, forget_subject, write_description
from ml_backend.export.intervals import write_intervals
from ml_backend.export.participant import Common, ParticipantPart, WriteParts, Written, file_name
from ml_backend.export.readme import readme
from ml_backend.export.samples import (
    Layer,
    RecordingSamples,
    Track,
    drop_column,
    samples_of,
)
from ml_backend.files import written_atomically
from ml_backend.labels import (
    UNLABELLED,
    ParticipantLabels,
    Threshold,
    macro_recall,
    parse_threshold,
)
from ml_backend.recordings import Recording
from training.contract import (
    BIDS_FOLDER,
    CLIPS_FILE,
    INTERVALS_FILE,
    RATES_ALIKE,
    README_FILE,
    SAMPLES_FOLDER,
    SCHEMA_VERSION,
)

FORMATS = ("parquet", "wear", "elan", "bids")
TABLE_THRESHOLDS = ("none", "95%", "90%", "75%", "50%", "25%")


def one_by_one(parts: Iterable[ParticipantPart], folder: Path) -> Iterator[Written]:
    """Write participants' parts into a folder, one after another."""
    return (part.write(folder) for part in parts)


def write_export(
    everything: Sequence[ParticipantLabels],
    recordings: Mapping[str, Recording],
    classes: tuple[str, ...],
    parameters: Mapping[str, Any],
    threshold: Threshold,
    target: Path,
    file_format: str = "parquet",
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    tracks: Sequence[Track] = (),
    write: WriteParts = one_by_one,
) -> dict[str, Any]:
    """Write the dataset to the folder `target` (replaced as a whole) and return its `dataset.json`.

    `recordings` are the present ones by participant/name; `parameters` go into `dataset.json` as they are; `progress`
    gets how many participants of how many are done; tracks: what else was asked of each clip, whose labels become
    `label_<track>` and so on; write: who writes participants' parts into a folder, in whatever order.
    """
    if file_format not in FORMATS:
        raise ConfigError(f"format: '{file_format}' is not known; known are {', '.join(FORMATS)}")
    if target.exists() and not (target / "dataset.json").is_file() and any(target.iterdir()):
        raise ConfigError(f"{target}: is not empty and no export of weakhar; choose another folder")
    with written_atomically(target) as temporary:
        (temporary / SAMPLES_FOLDER).mkdir(parents=True)
        how = Common(classes, threshold, file_format, bool(parameters.get("paper_exact")), target.absolute())
        progress(0, len(everything))
        found = list[Written]()
        for one in write(_parts(everything, recordings, how, tracks), temporary):
            found += [one] if one is not None else []
            progress(len(found), len(everything))
        found.sort(key=lambda one: one.number)
        if file_format == "bids":
            title = str(parameters.get("label_studio_project", {}).get("title") or "Dataset")
            by = str(parameters.get("written_by", ""))
            write_description(temporary / BIDS_FOLDER, title, by, [(one.subject, one.name) for one in found])
        if not any(one.has_truth for one in found) and file_format != "wear":  # every file has the same columns
            for one in found:
                drop_column(temporary / one.described["file"], "ground_truth")
        signals = _signals(found)
        description = {
            "schema_version": SCHEMA_VERSION,
            "format": "wear" if file_format == "wear" else "parquet",
            "labels": list(classes),
            **signals,
            **parameters,
            "threshold": str(threshold),
            "participants": {one.name: one.described for one in found},
            **({"tracks": {track.name: _described_track(track) for track in tracks}} if tracks else {}),
            "warnings": [
                *parameters.get("warnings", []),
                *(line for one in found for line in _differs(one, signals)),
            ],
        }
        write_intervals({one.name: one.stretches for one in found}, classes, temporary / INTERVALS_FILE)
        pa.parquet.write_table(pa.concat_tables(one.clips for one in found), temporary / CLIPS_FILE)
        text = json.dumps(description, indent=1, ensure_ascii=False)
        (temporary / "dataset.json").write_text(text, encoding="utf-8")
        (temporary / README_FILE).write_text(readme(description), encoding="utf-8")
    return description


def _parts(
    everything: Sequence[ParticipantLabels], recordings: Mapping[str, Recording], how: Common, tracks: Sequence[Track]
) -> Iterator[ParticipantPart]:
    """Every participant's part, made when it is asked for."""
    names, subjects = list[str](), list[str]()
    for number, labels in enumerate(everything):
        name = labels.clustering.participant
        names.append(file_name(name, names))
        subjects.append(bids_label(name, subjects))
        own = {
            key: recordings[key]
            for recording in labels.clustering.recordings
            if (key := f"{name}/{recording}") in recordings
        }
        layers = _layers(tracks, number, how.threshold) if how.file_format != "wear" else []
        yield ParticipantPart(number, labels, tuple(layers), own, how, names[-1], subjects[-1])


def _signals(found: Sequence[Written]) -> dict[str, Any]:
    """Channels, their units and the rate: the first participant's."""
    return {
        "channels": list(found[0].channels),
        "channel_units": {name: min(units) for name, units in found[0].units.items()},
        "sampling_rate": float(np.median(found[0].rates)),
    }


def _layers(tracks: Sequence[Track], number: int, threshold: Threshold) -> list[Layer]:
    """Of every track what the participant of that number has."""
    own = [(track, track.everything[number]) for track in tracks]
    return [Layer(labels, track.classes, labels.clip_labels(threshold), f"_{track.name}") for track, labels in own]


def _differs(one: Written, signals: Mapping[str, Any]) -> list[str]:
    """What keeps a participant's samples from being one table with the others'."""
    found = []
    if list(one.channels) != signals["channels"]:
        own = ", ".join(one.channels)
        found.append(f"{one.name}: has channels {own}, not those of the first participant; name imu_columns")
    for channel, units in one.units.items():
        known = units | {signals["channel_units"].get(channel) or min(units)}
        if len(known) > 1:
            found.append(
                f"{one.name}: channel '{channel}' is in {' and in '.join(sorted(known))}; convert one of them"
            )
    slowest, fastest = min([*one.rates, signals["sampling_rate"]]), max([*one.rates, signals["sampling_rate"]])
    if fastest > (1 + RATES_ALIKE) * slowest:
        rates = ", ".join(f"{rate:g}" for rate in dict.fromkeys(round(rate, 2) for rate in one.rates))
        found.append(f"{one.name}: has {rates} samples a second, dataset.json names {signals['sampling_rate']:g}")
    return found


def _described_track(track: Track) -> dict[str, Any]:
    return {
        "labels": list(track.classes),
        "clips_answered": {one.clustering.participant: int(one.annotated.sum()) for one in track.everything},
        "clips_labelled": {
            one.clustering.participant: float((one.propagated != UNLABELLED).mean()) for one in track.everything
        },
    }


def forget_in_export(folder: Path, participant: str) -> bool:
    """Remove a participant from an export for good; True if they were in it."""
    file = folder / "dataset.json"
    description: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    theirs = description["participants"].pop(participant, None)
    if theirs is None:
        return False
    described = description.get("warnings", [])
    description["warnings"] = [line for line in described if not line.startswith(f"{participant}: ")]
    for name, value in description.items():
        if isinstance(value, dict) and name not in ("participants", "tracks", "channel_units"):
            value.pop(participant, None)  # of a parameter that differs between participants
    for track in description.get("tracks", {}).values():
        for counts in (track["clips_answered"], track["clips_labelled"]):
            counts.pop(participant, None)
    for name in ("answers_not_understood", "answers_to_pictures_that_are_gone"):
        description[name] = [line for line in description.get(name, []) if f"({participant}/" not in line]
    clips = pa.parquet.read_table(folder / CLIPS_FILE) if (folder / CLIPS_FILE).is_file() else None
    if clips is not None:
        kept = clips.filter(pa.compute.not_equal(clips["participant"], participant))
        with written_atomically(folder / CLIPS_FILE) as temporary:
            pa.parquet.write_table(kept, temporary)
    with written_atomically(file) as temporary:
        temporary.write_text(json.dumps(description, indent=1, ensure_ascii=False), encoding="utf-8")
    for document in theirs.get("elan", ()):
        (folder / document).unlink(missing_ok=True)
    if "bids" in theirs:
        forget_subject(folder / theirs["bids"])
    _forget_intervals(folder / INTERVALS_FILE, participant)
    if (folder / README_FILE).is_file():
        (folder / README_FILE).write_text(readme(description), encoding="utf-8")
    (folder / theirs["file"]).unlink(missing_ok=True)
    return True


def _forget_intervals(file: Path, participant: str) -> None:
    if not file.is_file():
        return
    with file.open(encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream)
    with written_atomically(file) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *(row for row in rows if row[0] != participant)])


def threshold_table(
    everything: Sequence[ParticipantLabels],
    recordings: Mapping[str, Recording],
    classes: tuple[str, ...],
    paper_exact: bool = False,
) -> list[dict[str, Any]]:
    """Coverage (share of samples labelled) and, where ground truth is known, labelling accuracy as mean and standard
    deviation over participants, for several thresholds."""
    coverage: dict[str, list[float]] = defaultdict(list)
    accuracy: dict[str, list[float]] = defaultdict(list)
    for labels in everything:
        count = len(labels.clustering.recordings)
        samples = [samples_of(labels, recordings, number, paper_exact) for number in range(count)]
        truth = _truth(samples, classes)
        for threshold in TABLE_THRESHOLDS:
            predicted = _sample_labels(labels.clip_labels(parse_threshold(threshold)), samples)
            coverage[threshold].append(float((predicted != UNLABELLED).mean()))
            if truth is not None:
                accuracy[threshold].append(macro_recall(truth, predicted))
    return [
        {
            "threshold": threshold,
            "coverage": float(np.mean(coverage[threshold])),
            "accuracy": _finite(np.mean, accuracy[threshold]),
            "accuracy_std": _finite(np.std, accuracy[threshold]),
        }
        for threshold in TABLE_THRESHOLDS
        if coverage[threshold]
    ]


def _sample_labels(clip_classes: npt.NDArray[np.int64], samples: list[RecordingSamples]) -> npt.NDArray[np.int64]:
    return np.concatenate([part.labels(clip_classes) for part in samples])


def _truth(samples: list[RecordingSamples], classes: tuple[str, ...]) -> npt.NDArray[np.int64] | None:
    """Ground truth as class indices; classes that no annotator can choose count as their own, always missed."""
    if any(part.imu.labels is None for part in samples):
        return None
    names = np.concatenate([part.imu.labels for part in samples if part.imu.labels is not None])
    index = {name: number for number, name in enumerate((*classes, *sorted(set(names) - set(classes))))}
    return np.array([index[name] for name in names])


def _finite(statistic: Any, values: list[float]) -> float | None:
    known = [value for value in values if np.isfinite(value)]
    return float(statistic(known)) if known else None
