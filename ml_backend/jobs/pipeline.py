"""The main job: recordings → clip vectors → clusters → tasks. Each step does only what is missing.

The only place where all parts meet. A killed job, run again, goes on where it stopped.
"""

import hashlib
import json
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
from joblib import cpu_count
from threadpoolctl import threadpool_limits

from ml_backend.clusters.clustering import cluster as cluster_clips
from ml_backend.embeddings import choose_precision, load_backbone, parts_of
from ml_backend.embeddings.store import Embedder, precomputed_clip_vectors, unit_spread
from ml_backend.errors import ConfigError, RecordingError
from ml_backend.files import content_key, disk_errors, safe_name, written_atomically
from ml_backend.jobs.store import Project, Store, project_overrides
from ml_backend.labels.discriminant import reduced
from ml_backend.labels.labelling import Clustering, ParticipantLabels, answers_by_clip, participant_labels
from ml_backend.labelstudio.answers import reconcile
from ml_backend.labelstudio.client import Client
from ml_backend.labelstudio.config import parse_label_config
from ml_backend.labelstudio.tasks import Offer, clip_of_task, create_task, task_data, task_meta
from ml_backend.recordings.clips import clip_starts
from ml_backend.recordings.layouts import CheckedRecording, find_recordings, recording_clips, usable_recordings
from ml_backend.settings import Parameters, Settings, components_for

log = logging.getLogger(__name__)

Progress = Callable[[str, float, float], None]
"""Called with the step's name, and how much of what total is done."""

_clustering_lock = threading.Lock()


def client_for(settings: Settings, project: Project) -> Client:
    """Label Studio as the settings say, else as `/setup` told; our token never goes to an address from outside."""
    if settings.label_studio_url:
        return Client(settings.label_studio_url, settings.label_studio_api_key or project.access_token)
    if not project.hostname:
        raise ConfigError(f"project {project.id}: Label Studio's address is not known; set LABEL_STUDIO_URL")
    return Client(project.hostname, project.access_token)


def run_project(
    store: Store, settings: Settings, client: Client, project_id: int, progress: Progress, root: Path | None = None
) -> int:
    """The whole job for one project; returns the number of tasks it created. Holds the project's lease."""
    with store.lease(project_id):
        project = store.project(project_id)
        parameters = settings.parameters(project_overrides(project))
        root = root or settings.dataset_folder(parameters)
        progress("checking recordings", 0, 1)
        parse_label_config(client.project(project_id)["label_config"])
        checked, warnings = usable_recordings(root, parameters)
        for warning in warnings:
            log.warning("project %s: %s", project_id, warning.message)
        store.save_project(project_id, dataset=str(root.absolute()))
        _cluster_all(settings, project_id, parameters, checked, progress)
        tasks = reconcile(store, client, project_id)
        offers = _offers(store, settings, project_id, next_best_only=False)
        wanted = {(offer.participant, offer.key): offer for offer in offers}
        existing = {clip_of_task(task): task for task in tasks}
        _drop_stale(client, [task for place, task in existing.items() if place not in wanted])
        _refresh(client, existing, wanted)
        return _create_missing(store, settings, client, project_id, offers, progress)


def sync_project(store: Store, settings: Settings, client: Client, project_id: int, progress: Progress) -> int:
    """Reconcile annotations, then offer the next-best clips of skipped or mixed ones; returns the tasks created.

    A centroid task that somebody deleted comes back only with the job, not behind their back.
    """
    with store.lease(project_id):
        progress("reading annotations", 0, 1)
        reconcile(store, client, project_id)
        offers = _offers(store, settings, project_id, next_best_only=True)
        return _create_missing(store, settings, client, project_id, offers, progress)


def embedders(settings: Settings, parameters: Parameters) -> list[Embedder]:
    """One for each backbone whose vectors are concatenated; loaded when the first vector must be made."""
    return [_embedder(settings, parameters, part) for part in parts_of(parameters.backbone)]


def _embedder(settings: Settings, parameters: Parameters, part: str) -> Embedder:
    precision = choose_precision(part, parameters.precision)
    return Embedder(
        folder=settings.model_dir / "vectors",
        backbone=part,
        weights=settings.weights_source.key(part),
        precision=precision,
        frames_per_second=parameters.frame_rate,
        clip_seconds=parameters.clip_seconds,
        stride_seconds=parameters.stride_seconds,
        load=lambda: load_backbone(part, settings.weights_source, precision),
    )


def _cluster_all(
    settings: Settings, project_id: int, parameters: Parameters, checked: list[CheckedRecording], progress: Progress
) -> None:
    """Embed every recording, one after another with all cores, then cluster participants side by side."""
    participants: dict[str, list[CheckedRecording]] = defaultdict(list)
    for result in checked:
        participants[result.recording.participant].append(result)
    parts = embedders(settings, parameters)
    works = [_participant_work(settings, project_id, parameters, parts, results) for results in participants.values()]
    missing = [work for work in works if not work.is_done()]
    embed_all(parts, [result for work in missing for result in work.results], progress)
    with side_by_side() as run:
        for number, _ in enumerate(run(partial(_cluster_participant, parameters, parts), missing), start=1):
            progress("clustering participants", number, len(missing))
    folder = _clusters_folder(settings, project_id)
    with disk_errors(folder), written_atomically(folder / "participants.json") as temporary:
        temporary.write_text(json.dumps(sorted(participants), ensure_ascii=False), encoding="utf-8")


def embed_all(parts: list[Embedder], results: list[CheckedRecording], progress: Progress) -> None:
    """Make the vectors of all recordings that bring none, one backbone after another: one is in memory at a time."""
    wanted = [result for result in results if result.recording.vectors is None]
    durations = [result.video.duration if result.video else 0.0 for result in wanted]
    before = [0.0, *accumulate(durations)]
    for part in parts:
        step = f"embedding by {part.backbone} (seconds of video)"

        def report(number: int, seconds: float, step: str = step) -> None:
            progress(step, before[number] + seconds, before[-1])

        part.make([result.recording.video for result in wanted], report)
        progress(step, before[-1], before[-1])


@contextmanager
def side_by_side() -> Iterator[Callable[..., Iterator[Any]]]:
    """A `map` with a thread a core, each with one thread for linear algebra, so that cores are not asked for twice.

    One at a time in a process: the number of threads of the linear algebra is the process's.
    """
    with (
        _clustering_lock,
        threadpool_limits(1),
        ThreadPoolExecutor(cpu_count(), initializer=_one_openmp_thread) as threads,
    ):
        yield threads.map


def _one_openmp_thread() -> None:
    """OpenMP's limit is the thread's own, and k-means uses it."""
    threadpool_limits(1, user_api="openmp")


@dataclass(frozen=True)
class _ParticipantWork:
    """One participant's recordings with the starts of their clips, and what their clusters depend on."""

    folder: Path
    results: list[CheckedRecording]
    starts: list[npt.NDArray[np.float64]]
    made_of: dict[str, Any]

    def is_done(self) -> bool:
        """True if clusters of just this lie in the folder."""
        file = self.folder / "made_of.json"
        return file.is_file() and json.loads(file.read_text()) == self.made_of


def _participant_work(
    settings: Settings,
    project_id: int,
    parameters: Parameters,
    parts: list[Embedder],
    results: list[CheckedRecording],
) -> _ParticipantWork:
    folder = _clusters_folder(settings, project_id) / safe_name(results[0].recording.participant)
    starts = [recording_clips(result.video, result.imu, parameters) for result in results]  # type: ignore[arg-type]
    return _ParticipantWork(folder, results, starts, _made_of(parameters, parts, results, starts))


def _cluster_participant(parameters: Parameters, parts: list[Embedder], work: _ParticipantWork) -> None:
    all_vectors = _participant_vectors(parameters, parts, work)
    components = components_for(parameters.components, len(all_vectors))
    found = cluster_clips(all_vectors, components, parameters.seed, parameters.clustering, parameters.paper_exact)
    with written_atomically(work.folder) as temporary:
        temporary.mkdir(parents=True)
        np.save(temporary / "vectors.npy", all_vectors)
        np.savez(
            temporary / "clustering.npz",
            participant=np.array(work.results[0].recording.participant),
            recordings=np.array([result.recording.name for result in work.results]),
            durations=np.array([result.video.duration for result in work.results if result.video]),
            recording_of_clip=np.repeat(np.arange(len(work.results)), [len(own) for own in work.starts]),
            starts=np.concatenate(work.starts),
            clusters=found.labels_,
            distances=found.distances_,
            log_density=found.log_density_,
            centroids=found.centroids_,
            clip_seconds=parameters.clip_seconds,
            stride_seconds=parameters.stride_seconds,
            components=reduced(all_vectors),
        )
        (temporary / "made_of.json").write_text(json.dumps(work.made_of, indent=1))


def _participant_vectors(
    parameters: Parameters, parts: list[Embedder], work: _ParticipantWork
) -> npt.NDArray[np.float32]:
    """Vectors `(n_clips, dim)` of all recordings in order; each backbone's block scaled if the project wants it."""
    pairs = zip(work.results, work.starts, strict=True)
    found = [_recording_blocks(parameters, parts, result, own) for result, own in pairs]
    dims = [[block.shape[1] for block in blocks] for blocks in found]
    if not parameters.scale_blocks:  # then blocks do not matter, and precomputed vectors are one block
        found = [[np.concatenate(blocks, axis=1)] for blocks in found]
        dims = [[sum(own)] for own in dims]
    for result, own in zip(work.results, dims, strict=True):
        if own != dims[0]:
            source, first = result.recording.vectors or result.recording.video, work.results[0].recording
            raise RecordingError(
                f"{source}: its vectors have {sum(own)} dimensions, those of {first} {sum(dims[0])}; "
                "use one backbone for all recordings of a participant"
            )
    blocks = [np.concatenate(block) for block in zip(*found, strict=True)]
    return np.concatenate([unit_spread(block) for block in blocks] if parameters.scale_blocks else blocks, axis=1)


def _made_of(
    parameters: Parameters, parts: list[Embedder], results: list[CheckedRecording], starts: list[Any]
) -> dict[str, Any]:
    """Everything a participant's clusters depend on; equal means nothing to do."""
    names = ["clip_seconds", "stride_seconds", "backbone", "precision", "frames_per_second"]
    names += ["components", "clustering", "scale_blocks", "seed", "paper_exact"]
    sources = [
        {
            "name": result.recording.name,
            "video": content_key(result.recording.video),
            "vectors": content_key(result.recording.vectors) if result.recording.vectors else None,
            "starts": hashlib.sha256(own.tobytes()).hexdigest()[:16],
        }
        for result, own in zip(results, starts, strict=True)
    ]
    return {
        "parameters": {name: getattr(parameters, name) for name in names},
        "weights": [part.weights for part in parts],
        "recordings": sources,
    }


def _recording_blocks(
    parameters: Parameters, parts: list[Embedder], result: CheckedRecording, starts: npt.NDArray[np.float64]
) -> list[npt.NDArray[np.float32]]:
    if result.recording.vectors is not None:
        duration = result.video.duration if result.video else 0.0
        clips = len(clip_starts(0.0, duration, parameters.clip_seconds, parameters.stride_seconds))
        return [precomputed_clip_vectors(result.recording.vectors, starts, parameters.stride_seconds, clips)]
    return [part.of_clips(result.recording.video, starts) for part in parts]


def participants_of(settings: Settings, project_id: int) -> list[str]:
    """Participants that were clustered for the project."""
    listing = _clusters_folder(settings, project_id) / "participants.json"
    names: list[str] = json.loads(listing.read_text(encoding="utf-8")) if listing.is_file() else []
    return names


def load_clustering(settings: Settings, project_id: int, participant: str) -> Clustering:
    """A participant's clusters as the job left them."""
    with np.load(_clusters_folder(settings, project_id) / safe_name(participant) / "clustering.npz") as arrays:
        fields: dict[str, Any] = {name: arrays[name] for name in arrays.files}
    fields |= {name: fields[name].item() for name in ("participant", "clip_seconds", "stride_seconds")}
    return Clustering(**{**fields, "recordings": tuple(map(str, fields["recordings"]))})


def load_vectors(settings: Settings, project_id: int, participant: str) -> npt.NDArray[np.float32]:
    """A participant's clip vectors `(n_clips, dim)`, memory-mapped."""
    path = _clusters_folder(settings, project_id) / safe_name(participant) / "vectors.npy"
    vectors: npt.NDArray[np.float32] = np.load(path, mmap_mode="r")
    return vectors


def project_labels(store: Store, settings: Settings, project_id: int) -> list[ParticipantLabels]:
    """The labels of every participant from what the store holds now; participants not yet clustered are left out."""
    participants = participants_of(settings, project_id)
    if not participants:
        return []
    project = store.project(project_id)
    config = parse_label_config(project.label_config)
    answers = answers_by_clip(store.answers(project_id))
    corrected = settings.parameters(project_overrides(project)).propagation == "discriminant"
    clusterings = [load_clustering(settings, project_id, name) for name in participants]
    if corrected:
        clusterings = [_with_components(settings, project_id, clustering) for clustering in clusterings]
    return [
        participant_labels(clustering, answers.get(clustering.participant, {}), config, corrected)
        for clustering in clusterings
    ]


def _with_components(settings: Settings, project_id: int, clustering: Clustering) -> Clustering:
    """Clusters of an older version come without principal components, which only a discriminant needs."""
    if clustering.components is not None:
        return clustering
    return replace(clustering, components=reduced(load_vectors(settings, project_id, clustering.participant)))


def _offers(store: Store, settings: Settings, project_id: int, next_best_only: bool) -> list[Offer]:
    """The clips that should have tasks, largest clusters first: who stops early has labelled the most."""
    project = store.project(project_id)
    recordings, _ = find_recordings(Path(project.dataset), settings.parameters(project_overrides(project)))
    videos = {str(recording): recording.video for recording in recordings}
    offers = []
    for labels in project_labels(store, settings, project_id):
        clustering = labels.clustering
        for cluster, clip in labels.wanted:
            if next_best_only and clip == clustering.centroids[cluster]:
                continue
            name = clustering.recordings[clustering.recording_of_clip[clip]]
            video = videos.get(f"{clustering.participant}/{name}")
            if video is None:
                log.warning("project %s: %s/%s is gone and not offered", project_id, clustering.participant, name)
                continue
            size = int(clustering.sizes[cluster])
            start = float(clustering.starts[clip])
            offers.append(
                Offer(
                    participant=clustering.participant,
                    recording=name,
                    video=video,
                    start_seconds=start,
                    end_seconds=start + clustering.clip_seconds,
                    cluster=cluster,
                    cluster_clips=size,
                    cluster_minutes=size * clustering.stride_seconds / 60,
                    key=clustering.key(clip),
                )
            )
    return sorted(offers, key=lambda offer: -offer.cluster_clips)


def _create_missing(
    store: Store, settings: Settings, client: Client, project_id: int, offers: list[Offer], progress: Progress
) -> int:
    """Create the tasks that Label Studio, as just read back, does not have; returns how many."""
    existing = {(task.participant, task.clip) for task in store.tasks(project_id)}
    missing = [offer for offer in offers if (offer.participant, offer.key) not in existing]
    uploads = client.uploads(project_id) if missing else []
    with disk_errors(settings.model_dir), TemporaryDirectory(dir=settings.model_dir, prefix="clips-") as folder:
        for number, offer in enumerate(missing):
            progress("creating tasks", number, len(missing))
            task_id = create_task(client, project_id, offer, uploads, Path(folder))
            store.add_tasks(project_id, [(task_id, offer.participant, offer.key)])
    progress("creating tasks", len(missing), len(missing))
    return len(missing)


def _drop_stale(client: Client, tasks: list[dict[str, Any]]) -> None:
    """Remove tasks that the present clusters do not ask for and that nobody has touched."""
    for task in tasks:
        if not task.get("annotations") and not task.get("drafts"):
            client.delete_task(task["id"])


def _refresh(client: Client, existing: dict[Any, dict[str, Any]], wanted: dict[Any, Offer]) -> None:
    """After a new clustering a clip may stand for another cluster: correct what its task says."""
    for place, task in existing.items():
        if place in wanted:
            data = task_data(wanted[place], task["data"].get("video", ""))
            if data != task["data"]:
                client.update_task(task["id"], data, {**(task.get("meta") or {}), **task_meta(wanted[place])})


def _clusters_folder(settings: Settings, project_id: int) -> Path:
    return settings.model_dir / "projects" / str(project_id)
