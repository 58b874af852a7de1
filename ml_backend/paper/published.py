"""The published downloads of WEAR, Wetlab and ActionSense as their authors laid them out: IMU, ground truth and
precomputed clip vectors are used directly, without any video.

    ROOT/raw/inertial/sbj_0.csv                                       sbj_id, channels…, label (empty: null)
    ROOT/annotations/loso_sbj_0.json                                  label_dict; database with each subset
    ROOT/processed/clip_features/48_frames_12_stride_avg_pool/sbj_0.npy    (n_clips, dim), clip k starts at k seconds

`inertial/` may also lie directly under ROOT. Videos have 12 frames a second, IMU 50 samples.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_backend.embeddings import parts_of, read_array
from ml_backend.errors import RecordingError
from ml_backend.recordings import Imu, ImuFormat, read_imu
from training.contract import NULL_CLASS

FRAMES_PER_SECOND = 12
SAMPLING_RATE = 50.0
STRIDE_SECONDS = 1.0
FEATURES = {"i3d": ("conv3d", "i3d"), "raft": ("raft",), "clip": ("clip",), "dinov2": ("dino", "dinov2")}
"""Backbone → what its folder of features may be called."""


@dataclass(frozen=True)
class PublishedDataset:
    """labels in the order of class indices, null first; participants as `sbj_0`, in the order of their numbers;
    splits: who is held out together; missing_values: `zero` as the paper's code has it, or `interpolate`."""

    root: Path
    name: str
    labels: tuple[str, ...]
    participants: tuple[str, ...]
    splits: tuple[tuple[str, ...], ...]
    missing_values: str = "zero"

    def first(self, participants: int) -> "PublishedDataset":
        """The same with so many participants only, for a rehearsal."""
        kept = self.participants[:participants]
        splits = tuple(group for held in self.splits if (group := tuple(name for name in held if name in kept)))
        return replace(self, participants=kept, splits=splits)

    def imu(self, participant: str) -> Imu:
        """A participant's samples at 50 Hz; gaps in a channel as `missing_values` says, empty labels are null."""
        return read_imu(
            _inertial_folder(self.root) / f"{participant}.csv",
            ImuFormat(sampling_rate=SAMPLING_RATE, label_column="label", missing_values=self.missing_values),
        )

    def truth(self, imu: Imu) -> npt.NDArray[np.int64]:
        """Class of every sample `(n_samples,)`; RecordingError if label_dict lacks one."""
        assert imu.labels is not None
        index = {label: number for number, label in enumerate(self.labels)}
        unknown = sorted({label for label in imu.labels if label not in index})
        if unknown:
            raise RecordingError(f"{_inertial_folder(self.root)}: label '{unknown[0]}' is not in label_dict")
        return np.array([index[label] for label in imu.labels], dtype=np.int64)

    def vectors(self, participant: str, backbone: str, clip_seconds: float) -> npt.NDArray[np.float32]:
        """Clip vectors `(n_clips, dim)` of a backbone or combination, cut to the shortest as in the paper's code."""
        parts = parts_of(backbone)
        folders = [feature_folder(self.root, part, clip_seconds) for part in parts]
        blocks = [_read_vectors(folder / f"{participant}.npy") for folder in folders]
        shortest = min(len(block) for block in blocks)
        if max(len(block) for block in blocks) - shortest > 2:
            lengths = ", ".join(f"{part} {len(block)}" for part, block in zip(parts, blocks, strict=True))
            raise RecordingError(
                f"{self.root}: the vectors of {participant} differ in their number of clips: {lengths}"
            )
        return np.concatenate([block[:shortest] for block in blocks], axis=1)

    def has(self, backbone: str, clip_seconds: float) -> bool:
        """True if the download holds these vectors of every participant."""
        try:
            folders = [feature_folder(self.root, part, clip_seconds) for part in parts_of(backbone)]
        except RecordingError:
            return False
        return all((folder / f"{name}.npy").is_file() for folder in folders for name in self.participants)


def read_published(root: Path) -> PublishedDataset:
    """The dataset under `root`; RecordingError says what of the layout is missing."""
    if not root.is_dir():
        raise RecordingError(f"{root}: no such folder; name the folder of a published dataset")
    splits = sorted((root / "annotations").glob("loso_sbj_*.json"), key=_number)
    if not splits:
        raise RecordingError(f"{root}: has no annotations/loso_sbj_*.json; is it the authors' download of a dataset?")
    contents = {split: _annotations(split) for split in splits}
    names = sorted(contents[splits[0]]["database"], key=lambda name: _number(Path(name)))
    labels = tuple(label for label in contents[splits[0]]["label_dict"] if label != NULL_CLASS)
    groups = tuple(_held_out(content["database"]) for content in contents.values())
    for split, group in zip(splits, groups, strict=True):
        if not group:
            raise RecordingError(f"{split}: holds out nobody (subset Validation); copy the annotations again")
    times = Counter(name for group in groups for name in group)
    for name in names:
        if times[name] != 1:
            raise RecordingError(
                f"{root / 'annotations'}: {name} is held out in {times[name]} of the loso_sbj_*.json, expected one; "
                "copy the annotations again"
            )
    missing = [name for name in names if not (_inertial_folder(root) / f"{name}.csv").is_file()]
    if missing:
        raise RecordingError(f"{_inertial_folder(root)}: has no {missing[0]}.csv, which {splits[0].name} names")
    return PublishedDataset(root, root.resolve().name, (NULL_CLASS, *labels), tuple(names), groups)


def feature_folder(root: Path, backbone: str, clip_seconds: float) -> Path:
    """Where a backbone's vectors lie; RecordingError lists what there is."""
    frames, stride = round(clip_seconds * FRAMES_PER_SECOND), round(STRIDE_SECONDS * FRAMES_PER_SECOND)
    for name in FEATURES.get(backbone, (backbone,)):
        for suffix in ("_avg_pool", ""):
            folder = root / "processed" / f"{name}_features" / f"{frames}_frames_{stride}_stride{suffix}"
            if folder.is_dir():
                return folder
    there = sorted(str(path.relative_to(root)) for path in root.glob("processed/*_features/*_stride*"))
    wanted = f"processed/{FEATURES.get(backbone, (backbone,))[0]}_features/{frames}_frames_{stride}_stride"
    raise RecordingError(f"{root}: has no {wanted}; there is {', '.join(there) or 'nothing under processed'}")


def _inertial_folder(root: Path) -> Path:
    nested = root / "raw" / "inertial"
    return nested if nested.is_dir() else root / "inertial"


def _read_vectors(path: Path) -> npt.NDArray[np.float32]:
    vectors = read_array(path)
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise RecordingError(f"{path}: expected finite vectors (n_clips, dim), has shape {vectors.shape}")
    return vectors.astype(np.float32)


def _annotations(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RecordingError(f"{path}: cannot be read as JSON ({error}); copy the annotations again") from None
    fields = ("database", "label_dict")
    if not isinstance(content, dict) or not all(isinstance(content.get(field), dict) for field in fields):
        raise RecordingError(f"{path}: has no database or label_dict; copy the annotations again")
    return content


def _held_out(database: dict[str, Any]) -> tuple[str, ...]:
    """Participants of the `Validation` subset."""
    return tuple(name for name, entry in database.items() if str(entry.get("subset")).lower() == "validation")


def _number(path: Path) -> int:
    digits = re.findall(r"\d+", path.stem)
    return int(digits[-1]) if digits else -1
