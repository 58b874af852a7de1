"""The weakly labelled dataset: clip labels spread to IMU samples, written as Parquet or as WEAR's CSV.

`training/contract.py` defines what is written; `training` reads nothing else.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from ml_backend.errors import ConfigError, RecordingError
from ml_backend.files import safe_name, written_atomically
from ml_backend.labels import UNLABELLED, ParticipantLabels, Threshold, macro_recall, parse_threshold
from ml_backend.recordings import Imu, Recording, clip_of_samples, read_imu
from training.contract import ANNOTATED, COLUMNS, OMITTED, PROPAGATED, PROPAGATED_LABEL, SCHEMA_VERSION

FORMATS = ("parquet", "wear")
TABLE_THRESHOLDS = ("none", "95%", "90%", "75%", "50%", "25%")


@dataclass(frozen=True)
class RecordingSamples:
    """One recording's samples with the clip each lies in: `clip (n_samples,)`, -1 outside all clips."""

    name: str
    imu: Imu
    clip: npt.NDArray[np.int64]


def write_export(
    everything: list[ParticipantLabels],
    recordings: Mapping[str, Recording],
    classes: tuple[str, ...],
    parameters: Mapping[str, Any],
    threshold: Threshold,
    target: Path,
    file_format: str = "parquet",
) -> dict[str, Any]:
    """Write the dataset to the folder `target` (replaced as a whole) and return its `dataset.json`.

    `recordings` are the present ones by participant/name; `parameters` go into `dataset.json` as they are.
    """
    if file_format not in FORMATS:
        raise ConfigError(f"format: '{file_format}' is not known; known are {', '.join(FORMATS)}")
    if target.exists() and not (target / "dataset.json").is_file() and any(target.iterdir()):
        raise ConfigError(f"{target}: is not empty and no export of weakhar; choose another folder")
    with written_atomically(target) as temporary:
        temporary.mkdir(parents=True)
        participants: dict[str, Any] = {}
        signals: dict[str, Any] = {}
        for number, labels in enumerate(everything):
            samples = participant_samples(labels, recordings)
            table = _table(labels, samples, classes, threshold)
            name = labels.clustering.participant
            file = f"{safe_name(name)}.{'parquet' if file_format == 'parquet' else 'csv'}"
            if file_format == "parquet":
                pa.parquet.write_table(table, temporary / file)
            else:
                pa.csv.write_csv(_wear_table(table, number), temporary / file)
            participants[name] = {"file": file, **_counts(labels, table)}
            signals.setdefault("channels", list(samples[0].imu.channels))
            signals.setdefault("sampling_rate", _common_rate(samples))
        description = {
            "schema_version": SCHEMA_VERSION,
            "format": file_format,
            "labels": list(classes),
            **signals,
            **parameters,
            "threshold": str(threshold),
            "participants": participants,
        }
        text = json.dumps(description, indent=1, ensure_ascii=False)
        (temporary / "dataset.json").write_text(text, encoding="utf-8")
    return description


def threshold_table(
    everything: list[ParticipantLabels], recordings: Mapping[str, Recording], classes: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Coverage (share of samples labelled) and, where ground truth is known, labelling accuracy as mean and standard
    deviation over participants, for several thresholds."""
    coverage: dict[str, list[float]] = defaultdict(list)
    accuracy: dict[str, list[float]] = defaultdict(list)
    for labels in everything:
        samples = participant_samples(labels, recordings)
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


def participant_samples(labels: ParticipantLabels, recordings: Mapping[str, Recording]) -> list[RecordingSamples]:
    """Read the IMU of every recording of a participant and find each sample's clip."""
    clustering = labels.clustering
    result = []
    for number, name in enumerate(clustering.recordings):
        recording = recordings.get(f"{clustering.participant}/{name}")
        if recording is None:
            raise RecordingError(f"recording {clustering.participant}/{name} is gone; restore it or run again")
        imu = read_imu(recording.imu, recording.imu_format)
        own = np.flatnonzero(clustering.recording_of_clip == number)
        end = float(clustering.durations[number])
        local = clip_of_samples(imu.times, clustering.starts[own], clustering.stride_seconds, end)
        clip = np.where(local >= 0, own[local] if len(own) else -1, -1)
        result.append(RecordingSamples(name, imu, clip))
    return result


def _table(
    labels: ParticipantLabels, samples: list[RecordingSamples], classes: tuple[str, ...], threshold: Threshold
) -> pa.Table:
    """recording, time, channels…, label, source, cluster, distance, ground_truth (where known)."""
    clustering = labels.clustering
    clip_classes = labels.clip_labels(threshold)
    clip_source = np.where(labels.annotated, ANNOTATED, PROPAGATED).astype(object)
    names = np.array([*classes, None], dtype=object)  # index -1 is the last: unlabelled
    by_cluster = np.array_equal(labels.propagated, labels.cluster_labels[clustering.clusters])
    tables = []
    for part in samples:
        clip = np.maximum(part.clip, 0)
        inside = part.clip >= 0
        label = np.where(inside, clip_classes[clip], UNLABELLED)
        columns: dict[str, Any] = {
            "recording": pa.array([part.name] * len(clip)).dictionary_encode(),
            "time": part.imu.times,
            **dict(zip(part.imu.channels, part.imu.values.T.copy(), strict=True)),
            "label": pa.array(names[label], pa.string()),
            "source": pa.array(np.where(label == UNLABELLED, OMITTED, clip_source[clip]), pa.string()),
            "cluster": pa.array(clustering.clusters[clip], pa.int32(), mask=~inside),
            "distance": pa.array(clustering.distances[clip], pa.float64(), mask=~inside),
        }
        if not by_cluster:  # else it follows from the cluster
            propagated = np.where(inside, labels.propagated[clip], UNLABELLED)
            columns[PROPAGATED_LABEL] = pa.array(names[propagated], pa.string())
        truth = part.imu.labels if part.imu.labels is not None else np.full(len(clip), None)
        columns["ground_truth"] = pa.array(truth, pa.string())
        tables.append(pa.table(columns))
    table = pa.concat_tables(tables, promote_options="default")
    if all(part.imu.labels is None for part in samples):
        table = table.drop_columns(["ground_truth"])
    return table


def _wear_table(table: pa.Table, number: int) -> pa.Table:
    """WEAR's columns: sbj_id, channels…, label; samples of omitted clips are dropped, as the paper does."""
    kept = table.filter(pa.compute.is_valid(table["label"]))
    ours = set(COLUMNS)
    channels = [name for name in kept.column_names if name not in ours]
    subject = pa.array(np.full(kept.num_rows, number), pa.int64())
    return pa.table(
        [subject, *[kept[name] for name in channels], kept["label"]], names=["sbj_id", *channels, "label"]
    )


def _counts(labels: ParticipantLabels, table: pa.Table) -> dict[str, Any]:
    sources = {entry["values"]: entry["counts"] for entry in table["source"].value_counts().to_pylist()}
    return {
        "samples": table.num_rows,
        "coverage": 1 - sources.get(OMITTED, 0) / max(1, table.num_rows),
        "clips": len(labels.clustering.clusters),
        "clusters": int((labels.clustering.centroids >= 0).sum()),
        "clusters_labelled": labels.answered,
        "ties": labels.ties,
        **{source: sources.get(source, 0) for source in (ANNOTATED, PROPAGATED, OMITTED)},
    }


def _common_rate(samples: Iterable[RecordingSamples]) -> float:
    return float(np.median([part.imu.sampling_rate for part in samples]))


def _sample_labels(clip_classes: npt.NDArray[np.int64], samples: list[RecordingSamples]) -> npt.NDArray[np.int64]:
    clip = np.concatenate([part.clip for part in samples])
    return np.where(clip >= 0, clip_classes[np.maximum(clip, 0)], UNLABELLED)


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
