"""One participant's clusters on disk: what they are made of, made where that changed, and read back.

A folder a participant: `clustering.npz`, `vectors.npy`, and `made_of.json`, which names everything that the clusters
depend on; equal means nothing to do. `features.npz` is what labels look at besides, made where it is missing.
`participants.json` lists who belongs to the project now.
"""

import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from joblib import cpu_count
from threadpoolctl import threadpool_limits

from ml_backend.clusters.clustering import Clustering, cluster, components_for
from ml_backend.clusters.features import Frames, FramesOfRecording, frames_in_directions_of_clips, principal
from ml_backend.files import content_key, disk_errors, safe_name, written_atomically
from ml_backend.recordings import CheckedRecording, Interval, Problem, ground_truth, recording_clips
from ml_backend.settings import Parameters
from ml_backend.storage import fresh

Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]

MADE_OF = (
    "clip_seconds",
    "stride_seconds",
    "backbone",
    "precision",
    "frames_per_second",
    "components",
    "clustering",
    "scale_blocks",
    "seed",
    "paper_exact",
)
"""Parameters on which clusters depend."""
FEATURES = "features.npz"
TRUTH = "truth.json"
SAVED = tuple(
    field.name
    for field in fields(Clustering)
    if field.name not in ("principal_components", "principal_directions", "frames", "videos")
)
"""Fields in `clustering.npz`; the others are in `features.npz`."""
_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class ParticipantWork:
    """One participant's recordings, the starts `(n_clips,)` of each one's clips in seconds, and what the clusters
    depend on."""

    folder: Path
    results: list[CheckedRecording]
    starts: list[Floats]
    made_of: dict[str, Any]

    def is_done(self) -> bool:
        """True if clusters of just this lie in the folder."""
        file = fresh(self.folder) / "made_of.json"
        return file.is_file() and json.loads(file.read_text()) == self.made_of

    def has_features(self) -> bool:
        """True if what labels look at lies beside the clusters."""
        return (self.folder / FEATURES).is_file()


def participants_work(
    folder: Path, parameters: Parameters, weights: list[str], checked: Iterable[CheckedRecording]
) -> list[ParticipantWork]:
    """What is to be clustered under `folder`, by participant; `weights` are the keys of the backbones' weights."""
    participants: dict[str, list[CheckedRecording]] = defaultdict(list)
    for result in checked:
        participants[result.recording.participant].append(result)
    return [_work(folder, parameters, weights, results) for results in participants.values()]


def cluster_participant(parameters: Parameters, work: ParticipantWork, vectors: npt.NDArray[np.float32]) -> None:
    """Cluster `vectors (n_clips, dim)` of all the participant's clips, and write the folder, whole or not at all."""
    components = components_for(parameters.components, len(vectors))
    clustering = Clustering.of(
        work.results[0].recording.participant,
        {
            result.recording.name: (result.video.duration if result.video else 0.0, own)
            for result, own in zip(work.results, work.starts, strict=True)
        },
        cluster(vectors, components, parameters.seed, parameters.clustering, parameters.paper_exact),
        parameters.clip_seconds,
        parameters.stride_seconds,
    )
    with written_atomically(work.folder) as temporary:
        temporary.mkdir(parents=True)
        np.save(temporary / "vectors.npy", vectors)
        np.savez(temporary / "clustering.npz", **{name: getattr(clustering, name) for name in SAVED})
        (temporary / "made_of.json").write_text(json.dumps(work.made_of, indent=1))


def write_features(work: ParticipantWork, frames: list[FramesOfRecording] | None, clip_means: Vectors | None) -> None:
    """Write what labels look at besides clusters. frames: of each recording, with the means `(n_clips, dim)` over
    those of each clip; both None where no backbone sees single frames."""
    components, directions = principal(np.load(work.folder / "vectors.npy", mmap_mode="r"))
    arrays: dict[str, Any] = {"principal_components": components, "principal_directions": directions}
    if frames is not None and clip_means is not None:
        arrays |= {
            f"frame_{name}": value for name, value in vars(frames_in_directions_of_clips(frames, clip_means)).items()
        }
    with written_atomically(work.folder / FEATURES) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)


def write_truth(work: ParticipantWork) -> None:
    """Keep beside the clusters what the participant's own files say was done when: to be looked at, nothing else."""
    truth = {result.recording.name: ground_truth(result.imu) for result in work.results if result.imu is not None}
    if truth != truth_of(work.folder):
        with written_atomically(work.folder / TRUTH) as temporary:
            temporary.write_text(json.dumps(truth, ensure_ascii=False), encoding="utf-8")


def truth_of(own: Path) -> dict[str, list[Interval]]:
    """Recording → what its own files say was done when, from a participant's folder."""
    if not (own / TRUTH).is_file():
        return {}
    known = json.loads((own / TRUTH).read_text(encoding="utf-8"))
    return {name: [(start, end, label) for start, end, label in intervals] for name, intervals in known.items()}


def list_participants(folder: Path, names: Iterable[str]) -> None:
    """Write down who belongs to the project."""
    with disk_errors(folder), written_atomically(folder / "participants.json") as temporary:
        temporary.write_text(json.dumps(sorted(names), ensure_ascii=False), encoding="utf-8")


def participants_of(folder: Path) -> list[str]:
    """Participants that were clustered under `folder`."""
    listing = folder / "participants.json"
    names: list[str] = json.loads(listing.read_text(encoding="utf-8")) if listing.is_file() else []
    return names


def participants_clustered_with(folder: Path, recordings: Iterable[str | None]) -> set[str]:
    """Of the participants that were clustered under `folder`, those of whom one of `recordings` (participant/name)
    is a part."""
    known, found = participants_of(folder), set()
    for recording in filter(None, recordings):
        participant, _, name = recording.partition("/")
        videos = videos_clustered(folder, participant)
        if participant in known and videos and (name in videos or not name):
            found.add(participant)
    return found


def participant_folder(folder: Path, participant: str) -> Path:
    """Where a participant's clusters lie."""
    return folder / safe_name(participant)


def clustering_stamp(folder: Path, participant: str) -> tuple[str, int, int]:
    """Changes when a participant's clusters, or what labels look at beside them, are made anew."""
    own = participant_folder(folder, participant)
    files = [own / "clustering.npz", own / FEATURES]
    first, second = (file.stat().st_mtime_ns if file.is_file() else 0 for file in files)
    return participant, first, second


def load_clustering(folder: Path, participant: str) -> Clustering:
    """A participant's clusters as the job left them."""
    with np.load(participant_folder(folder, participant) / "clustering.npz") as arrays:
        saved: dict[str, Any] = {name: arrays[name] for name in arrays.files}
    if "components" in saved:  # what 0.1 called them
        saved["principal_components"] = saved.pop("components")
    features = participant_folder(folder, participant) / FEATURES
    if features.is_file():
        with np.load(features) as arrays:
            beside = {name: arrays[name] for name in arrays.files}
        frames = {name.removeprefix("frame_"): beside.pop(name) for name in list(beside) if name.startswith("frame_")}
        saved |= {**beside, "frames": Frames(**frames) if frames else None}
    elif "principal_components" not in saved:
        components, directions = principal(load_vectors(folder, participant))
        saved |= {"principal_components": components, "principal_directions": directions}
    saved |= {name: saved[name].item() for name in ("participant", "clip_seconds", "stride_seconds")}
    recordings = tuple(map(str, saved["recordings"]))
    videos = videos_clustered(folder, participant)
    own = tuple(videos.get(name, "") for name in recordings) if videos else ()
    return Clustering(**{**saved, "recordings": recordings, "videos": own})


def videos_clustered(folder: Path, participant: str) -> dict[str, str]:
    """Recording → content key of the video that the participant's clusters were made of; empty without clusters."""
    return {entry["name"]: entry["video"] for entry in _made_of(folder, participant).get("recordings", [])}


def places_of_videos(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """Content key of every video that was clustered under `folder` → the participants and recordings that show it."""
    found = defaultdict(list)
    for participant in participants_of(folder):
        for recording, video in videos_clustered(folder, participant).items():
            found[video].append((participant, recording))
    return dict(found)


def clustered_seconds(folder: Path, participant: str) -> float:
    """How long the recordings are that the participant's clusters were made of."""
    with np.load(participant_folder(folder, participant) / "clustering.npz") as arrays:
        return float(arrays["durations"].sum())


def parameters_clustered(folder: Path, participant: str) -> dict[str, Any]:
    """The parameters that a participant's clusters were made by; empty without clusters."""
    parameters: dict[str, Any] = _made_of(folder, participant).get("parameters", {})
    return parameters


def _made_of(folder: Path, participant: str) -> dict[str, Any]:
    file = participant_folder(folder, participant) / "made_of.json"
    made_of: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    return made_of


def load_vectors(folder: Path, participant: str) -> npt.NDArray[np.float32]:
    """A participant's clip vectors `(n_clips, dim)`, memory-mapped."""
    vectors: npt.NDArray[np.float32] = np.load(participant_folder(folder, participant) / "vectors.npy", mmap_mode="r")
    return vectors


def capped_components(parameters: Parameters, checked: Iterable[CheckedRecording]) -> list[Problem]:
    """Warnings where a participant has too few clips for as many clusters as are wanted."""
    if str(parameters.components).endswith("%"):
        return []
    clips: dict[str, int] = defaultdict(int)
    for result in checked:
        clips[result.recording.participant] += result.n_clips
    return [
        Problem(f"{name}: {parameters.components} components for {count} clips; {capped} will be used", error=False)
        for name, count in clips.items()
        if count and (capped := components_for(parameters.components, count)) < int(parameters.components)
    ]


@contextmanager
def side_by_side() -> Iterator[Callable[..., Iterator[Any]]]:
    """A `map` with a thread a core, each with one thread for linear algebra, so that cores are not asked for twice.

    One at a time in a process: the number of threads of the linear algebra is the process's.
    """
    with (
        _one_at_a_time,
        threadpool_limits(1),
        ThreadPoolExecutor(cpu_count(), initializer=_one_openmp_thread) as threads,
    ):
        yield threads.map


def _one_openmp_thread() -> None:
    """OpenMP's limit is the thread's own, and k-means uses it."""
    threadpool_limits(1, user_api="openmp")


def _work(
    folder: Path, parameters: Parameters, weights: list[str], results: list[CheckedRecording]
) -> ParticipantWork:
    starts = [recording_clips(result.video, result.imu, parameters) for result in results]  # type: ignore[arg-type]
    sources = [
        {
            "name": result.recording.name,
            "video": content_key(result.recording.video),
            "vectors": content_key(result.recording.vectors) if result.recording.vectors else None,
            "starts": hashlib.sha256(own.tobytes()).hexdigest()[:16],
        }
        for result, own in zip(results, starts, strict=True)
    ]
    made_of = {
        "parameters": {name: getattr(parameters, name) for name in MADE_OF},
        "weights": weights,
        "recordings": sources,
    }
    return ParticipantWork(folder / safe_name(results[0].recording.participant), results, starts, made_of)
