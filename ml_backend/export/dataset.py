"""The weakly labelled dataset: clip labels spread to IMU samples, written as Parquet or as WEAR's CSV; with `elan`
also as documents that ELAN opens, with `bids` also in BIDS' layout for motion.

`training/contract.py` defines what is written; `training` reads nothing else.
"""

import csv
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet
from slugify import slugify

from ml_backend.errors import ConfigError
from ml_backend.export.bids import bids_label, forget_subject, write_description, write_run
from ml_backend.export.intervals import write_elan, write_intervals
from ml_backend.export.readme import readme
from ml_backend.export.samples import (
    Ints,
    Layer,
    RecordingSamples,
    SamplesFile,
    Track,
    drop_column,
    placed,
    samples_of,
)
from ml_backend.files import written_atomically
from ml_backend.labels import (
    UNLABELLED,
    LabelledStretch,
    ParticipantLabels,
    Threshold,
    labelled_stretches,
    macro_recall,
    parse_threshold,
)
from ml_backend.recordings import Recording
from training.contract import (
    BIDS_FOLDER,
    CLIPS_FILE,
    ELAN_FOLDER,
    INTERVALS_FILE,
    PROPAGATED_LABEL,
    RATES_ALIKE,
    README_FILE,
    SAMPLES_FOLDER,
    SCHEMA_VERSION,
    SOURCES,
)

FORMATS = ("parquet", "wear", "elan", "bids")
TABLE_THRESHOLDS = ("none", "95%", "90%", "75%", "50%", "25%")


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
) -> dict[str, Any]:
    """Write the dataset to the folder `target` (replaced as a whole) and return its `dataset.json`.

    `recordings` are the present ones by participant/name; `parameters` go into `dataset.json` as they are; `progress`
    gets how many participants of how many are done; tracks: what else was asked of each clip, whose labels become
    `label_<track>` and so on.
    """
    if file_format not in FORMATS:
        raise ConfigError(f"format: '{file_format}' is not known; known are {', '.join(FORMATS)}")
    if target.exists() and not (target / "dataset.json").is_file() and any(target.iterdir()):
        raise ConfigError(f"{target}: is not empty and no export of weakhar; choose another folder")
    with written_atomically(target) as temporary:
        (temporary / SAMPLES_FOLDER).mkdir(parents=True)
        participants: dict[str, Any] = {}
        warnings: list[str] = []
        signals: dict[str, Any] = {}
        clips: list[pa.Table] = []
        stretches: dict[str, list[LabelledStretch]] = {}
        has_truth = False
        names = dict[str, str]()
        subjects = dict[str, str]()
        for number, labels in enumerate(everything):
            progress(number, len(everything))
            name = labels.clustering.participant
            names[name] = file_name(name, names.values())
            file = f"{SAMPLES_FOLDER}/{names[name]}.{'csv' if file_format == 'wear' else 'parquet'}"
            kept, exact = labels.clip_labels(threshold), bool(parameters.get("paper_exact"))
            stretches[name] = list(labelled_stretches(labels, kept, exact))
            subjects[name] = bids_label(name, subjects.values())
            with SamplesFile(temporary / file, file_format, number) as out:
                layers = _layers(tracks, number, threshold) if file_format != "wear" else []
                for recording in range(len(labels.clustering.recordings)):
                    part = samples_of(labels, recordings, recording, exact)
                    own = [(layer, placed(layer.labels, part.imu, recording, exact)) for layer in layers]
                    out.add(labels, part, classes, kept, own)
                    if file_format == "bids":
                        key = labels.clustering.recordings[recording]
                        said = ((one, classes[one.label]) for one in stretches[name] if one.recording == key)
                        write_run(temporary / BIDS_FOLDER, subjects[name], recording + 1, key, part.imu, said)
            participants[name] = {"file": file, **_counts(labels, out)}
            clips.append(_with_tracks(_clips_table(labels, classes, kept), layers))
            if file_format == "elan":
                documents = _documents(names[name], labels.clustering.recordings)
                participants[name]["elan"] = list(documents.values())
                for key, document in documents.items():
                    of = recordings[f"{name}/{key}"], (one for one in stretches[name] if one.recording == key)
                    write_elan(name, *of, classes, temporary / document, (target / document).parent)
            has_truth |= out.has_truth
            signals.setdefault("channels", list(out.channels))
            signals.setdefault("channel_units", {name: min(units) for name, units in out.units.items()})
            signals.setdefault("sampling_rate", float(np.median(out.rates)))
            warnings += _differences(name, out, signals)
        if file_format == "bids":
            for name, subject in subjects.items():
                participants[name]["bids"] = f"{BIDS_FOLDER}/sub-{subject}"
            title = str(parameters.get("label_studio_project", {}).get("title") or "Dataset")
            by = str(parameters.get("written_by", ""))
            write_description(temporary / BIDS_FOLDER, title, by, [(label, name) for name, label in subjects.items()])
        if not has_truth and file_format != "wear":  # every file has the same columns
            for counts in participants.values():
                drop_column(temporary / counts["file"], "ground_truth")
        description = {
            "schema_version": SCHEMA_VERSION,
            "format": "wear" if file_format == "wear" else "parquet",
            "labels": list(classes),
            **signals,
            **parameters,
            "threshold": str(threshold),
            "participants": participants,
            **({"tracks": {track.name: _described_track(track) for track in tracks}} if tracks else {}),
            "warnings": [*parameters.get("warnings", []), *warnings],
        }
        write_intervals(stretches, classes, temporary / INTERVALS_FILE)
        pa.parquet.write_table(pa.concat_tables(clips), temporary / CLIPS_FILE)
        text = json.dumps(description, indent=1, ensure_ascii=False)
        (temporary / "dataset.json").write_text(text, encoding="utf-8")
        (temporary / README_FILE).write_text(readme(description), encoding="utf-8")
    return description


def _layers(tracks: Sequence[Track], number: int, threshold: Threshold) -> list[Layer]:
    """Of every track what the participant of that number has."""
    own = [(track, track.everything[number]) for track in tracks]
    return [Layer(labels, track.classes, labels.clip_labels(threshold), f"_{track.name}") for track, labels in own]


def _with_tracks(clips: pa.Table, layers: Sequence[Layer]) -> pa.Table:
    """The table of clips, with each track's answer, label and confidence."""
    for layer in layers:
        for name, column in _clip_labels(layer.labels, layer.classes, layer.clip_classes).items():
            clips = clips.append_column(f"{name}{layer.suffix}", column)
    return clips


def _clip_labels(labels: ParticipantLabels, classes: tuple[str, ...], clip_classes: Ints) -> dict[str, pa.Array]:
    """What people said of each clip, and its label."""
    names = np.array([*classes, None], dtype=object)
    return {
        "answer": pa.array(names[labels.said], pa.string()),
        "label": pa.array(names[clip_classes], pa.string()),
        PROPAGATED_LABEL: pa.array(names[labels.propagated], pa.string()),
        "confidence": pa.array(labels.confidence, pa.float64(), mask=np.isnan(labels.confidence)),
    }


def _described_track(track: Track) -> dict[str, Any]:
    return {
        "labels": list(track.classes),
        "clips_answered": {one.clustering.participant: int(one.annotated.sum()) for one in track.everything},
        "clips_labelled": {
            one.clustering.participant: float((one.propagated != UNLABELLED).mean()) for one in track.everything
        },
    }


def file_name(name: str, taken: Collection[str]) -> str:
    """A readable name of a file, other than those `taken` whatever a file system takes for the same."""
    plain = slugify(name, max_length=60) or "participant"
    found, number = plain, 1
    while found in taken:
        number += 1
        found = f"{plain}-{number}"
    return found


def file_names(names: Iterable[str]) -> dict[str, str]:
    """Such a name for each."""
    found = dict[str, str]()
    for name in names:
        found[name] = file_name(name, found.values())
    return found


def _documents(participant_file: str, recordings: Iterable[str]) -> dict[str, str]:
    """ELAN's document of each of a participant's recordings."""
    return {name: f"{ELAN_FOLDER}/{participant_file}/{file}.eaf" for name, file in file_names(recordings).items()}


def _differences(name: str, out: "SamplesFile", signals: Mapping[str, Any]) -> list[str]:
    """What keeps a participant's samples from being one table with the others'."""
    found = []
    if list(out.channels) != signals["channels"]:
        found.append(
            f"{name}: has channels {', '.join(out.channels)}, not those of the first participant; name imu_columns"
        )
    for channel, units in out.units.items():
        known = units | {signals["channel_units"].get(channel) or min(units)}
        if len(known) > 1:
            found.append(f"{name}: channel '{channel}' is in {' and in '.join(sorted(known))}; convert one of them")
    slowest, fastest = min([*out.rates, signals["sampling_rate"]]), max([*out.rates, signals["sampling_rate"]])
    if fastest > (1 + RATES_ALIKE) * slowest:
        rates = ", ".join(f"{rate:g}" for rate in dict.fromkeys(round(rate, 2) for rate in out.rates))
        found.append(f"{name}: has {rates} samples a second, dataset.json names {signals['sampling_rate']:g}")
    return found


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


def _clips_table(labels: ParticipantLabels, classes: tuple[str, ...], clip_classes: Ints) -> pa.Table:
    """A row a clip: where it lies, its cluster, what people said of it, and its label."""
    clustering = labels.clustering
    count, said = len(clustering.clusters), _clip_labels(labels, classes, clip_classes)
    return pa.table(
        {
            "participant": pa.array([clustering.participant] * count, pa.string()),
            "clip": pa.array(np.arange(count), pa.int32()),
            "recording": pa.array(np.array(clustering.recordings, object)[clustering.recording_of_clip], pa.string()),
            "start_seconds": clustering.starts,
            "end_seconds": clustering.starts + clustering.clip_seconds,
            "cluster": pa.array(clustering.clusters, pa.int32()),
            "centroid_clip": np.isin(np.arange(count), clustering.centroids),
            "distance": clustering.distances,
            "answer": said.pop("answer"),
            "answered_by": pa.array(
                [labels.answered_by.get(clip, ()) for clip in range(count)], pa.list_(pa.int64())
            ),
            **said,
        }
    )


def _counts(labels: ParticipantLabels, out: SamplesFile) -> dict[str, Any]:
    samples = sum(out.sources.values())
    return {
        "samples": samples,
        "coverage": out.labelled / samples if samples else 1.0,
        "clips": len(labels.clustering.clusters),
        "clusters": int((labels.clustering.centroids >= 0).sum()),
        "clusters_labelled": labels.answered,
        "ties": labels.ties,
        "temperature": labels.temperature,
        "from_others": round(labels.from_others, 4),
        **{source: out.sources.get(source, 0) for source in SOURCES},
    }


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
