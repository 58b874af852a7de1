"""One participant's part of an export: a plain value, so that another machine may write it, and what it wrote."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from slugify import slugify

from ml_backend.export.bids import write_run
from ml_backend.export.intervals import write_elan
from ml_backend.export.samples import Ints, Layer, SamplesFile, placed, samples_of
from ml_backend.labels import LabelledStretch, ParticipantLabels, Threshold, labelled_stretches
from ml_backend.recordings import Recording
from training.contract import BIDS_FOLDER, ELAN_FOLDER, PROPAGATED_LABEL, SAMPLES_FOLDER, SOURCES


@dataclass(frozen=True)
class Common:
    """What all parts of an export have in common; `target`: where it is going to lie."""

    classes: tuple[str, ...]
    threshold: Threshold
    file_format: str
    paper_exact: bool
    target: Path


@dataclass(frozen=True)
class Written:
    """What was written of a participant: their entry in `dataset.json`, what goes into tables of all, and of their
    samples the channels with their units, the rate of each recording, and whether any truth is known."""

    number: int
    name: str
    subject: str
    described: dict[str, Any]
    clips: pa.Table
    stretches: list[LabelledStretch]
    channels: tuple[str, ...]
    units: dict[str, set[str]]
    rates: list[float]
    has_truth: bool


@dataclass(frozen=True)
class ParticipantPart:
    """A participant's labels and recordings, by participant/name; their files are called `file_name`, in BIDS' layout
    `subject`."""

    number: int
    labels: ParticipantLabels
    layers: tuple[Layer, ...]
    recordings: Mapping[str, Recording]
    how: Common
    file_name: str
    subject: str

    @property
    def name(self) -> str:
        """The participant's."""
        return self.labels.clustering.participant

    def lean(self) -> "ParticipantPart":
        """Without what labels are made of, and files are not."""
        clustering = replace(
            self.labels.clustering, principal_components=None, principal_directions=None, frames=None
        )
        return replace(self, labels=replace(self.labels, clustering=clustering, posterior=None))

    def write(self, folder: Path) -> Written:
        """Write what is this participant's alone into an export's folder."""
        kept = self.labels.clip_labels(self.how.threshold)
        stretches = list(labelled_stretches(self.labels, kept, self.how.paper_exact))
        file = f"{SAMPLES_FOLDER}/{self.file_name}.{'csv' if self.how.file_format == 'wear' else 'parquet'}"
        (folder / file).parent.mkdir(exist_ok=True)
        with SamplesFile(folder / file, self.how.file_format, self.number) as out:
            self._write_samples(out, kept, stretches, folder)
        described = {"file": file, **_counts(self.labels, out)}
        if self.how.file_format == "elan":
            described["elan"] = self._write_documents(stretches, folder)
        if self.how.file_format == "bids":
            described["bids"] = f"{BIDS_FOLDER}/sub-{self.subject}"
        clips = _with_tracks(_clips_table(self.labels, self.how.classes, kept), self.layers)
        signals = out.channels, out.units, out.rates, out.has_truth
        return Written(self.number, self.name, self.subject, described, clips, stretches, *signals)

    def _write_samples(self, out: SamplesFile, kept: Ints, stretches: list[LabelledStretch], folder: Path) -> None:
        exact, classes = self.how.paper_exact, self.how.classes
        for number, recording in enumerate(self.labels.clustering.recordings):
            part = samples_of(self.labels, self.recordings, number, exact)
            own = [(layer, placed(layer.labels, part.imu, number, exact)) for layer in self.layers]
            out.add(self.labels, part, classes, kept, own)
            if self.how.file_format == "bids":
                said = ((one, classes[one.label]) for one in stretches if one.recording == recording)
                write_run(folder / BIDS_FOLDER, self.subject, number + 1, recording, part.imu, said)

    def _write_documents(self, stretches: list[LabelledStretch], folder: Path) -> list[str]:
        documents = _documents(self.file_name, self.labels.clustering.recordings)
        for recording, document in documents.items():
            of = self.recordings[f"{self.name}/{recording}"], (one for one in stretches if one.recording == recording)
            seen_from = (self.how.target / document).parent
            write_elan(self.name, *of, self.how.classes, folder / document, seen_from)
        return list(documents.values())


WriteParts = Callable[[Iterable[ParticipantPart], Path], Iterator[Written | None]]
"""Writes participants' parts into a folder, in whatever order; gives None now and then where that takes long."""


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
