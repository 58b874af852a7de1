"""The main job: check → embed → cluster → reconcile → tasks. Each step does only what is missing.

The only place where all rooms meet. A killed job, run again, goes on where it stopped.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from ml_backend.clusters import (
    ParticipantWork,
    cluster_participant,
    list_participants,
    participants_clustered_with,
    participants_work,
    side_by_side,
    write_features,
)
from ml_backend.embeddings import Embedder, Progress, embed_all, embedders, participant_frames, participant_vectors
from ml_backend.files import disk_errors
from ml_backend.jobs.checks import usable_recordings
from ml_backend.jobs.projects import clusters_folder, project_labels, project_parameters, project_recordings
from ml_backend.jobs.reconciliation import reconcile
from ml_backend.jobs.store import Store
from ml_backend.labels import ParticipantLabels, likely_classes
from ml_backend.labelstudio import (
    Client,
    Offer,
    clip_of_task,
    create_task,
    drop_stale,
    offers_of,
    parse_label_config,
    refresh,
)
from ml_backend.recordings import CheckedRecording
from ml_backend.settings import Parameters, Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobResult:
    """How many tasks a job created, and what it left out, with the reason."""

    tasks_created: int
    left_out: tuple[str, ...] = ()

    def __str__(self) -> str:
        created = f"{self.tasks_created} tasks created"
        return f"{created}; left out: {' | '.join(self.left_out)}" if self.left_out else created


def run_project(
    store: Store, settings: Settings, client: Client, project_id: int, progress: Progress, root: Path | None = None
) -> JobResult:
    """The whole job for one project. Holds the project's lease.

    Recordings that cannot be read are left out; a participant that was clustered with one of them stays as it is.
    """
    with store.lease(project_id):
        parameters = project_parameters(settings, store.project(project_id))
        root = root or settings.dataset_folder(parameters)
        progress("checking recordings", 0, 1)
        parse_label_config(client.project(project_id)["label_config"])
        checked, problems = usable_recordings(root, parameters)
        for problem in problems:
            log.warning("project %s: %s", project_id, problem.message)
        store.save_project(project_id, dataset=str(root.absolute()))
        folder = clusters_folder(settings, project_id)
        kept = participants_clustered_with(folder, {problem.recording for problem in problems if problem.error})
        checked = [result for result in checked if result.recording.participant not in kept]
        embed_and_cluster(settings, folder, parameters, checked, progress, kept)
        tasks = reconcile(store, client, project_id).tasks
        offers = _offers(store, settings, project_id)
        wanted = {(offer.participant, offer.key): offer for offer in offers}
        existing = {clip: task for task in tasks if (clip := clip_of_task(task)) and clip[0] not in kept}
        drop_stale(client, existing, wanted)
        refresh(client, existing, wanted)
        offers = [offer for offer in offers if offer.participant not in kept]
        created = _create_missing(store, settings, client, project_id, offers, progress)
        return JobResult(created, tuple(problem.message for problem in problems if problem.error))


def sync_project(store: Store, settings: Settings, client: Client, project_id: int, progress: Progress) -> int:
    """Reconcile annotations, then offer the next-best clips of skipped or mixed ones; returns the tasks created.

    A centroid task that somebody deleted comes back only with the job, not behind their back.
    """
    with store.lease(project_id):
        progress("reading annotations", 0, 1)
        tasks = reconcile(store, client, project_id).tasks
        if project_parameters(settings, store.project(project_id)).suggest:
            open_tasks = {clip_of_task(task): task for task in tasks if not task.get("annotations")}
            refresh(client, open_tasks, {(o.participant, o.key): o for o in _offers(store, settings, project_id)})
        offers = _offers(store, settings, project_id, next_best_only=True)
        return _create_missing(store, settings, client, project_id, offers, progress)


def embed_and_cluster(
    settings: Settings,
    folder: Path,
    parameters: Parameters,
    checked: list[CheckedRecording],
    progress: Progress,
    kept: Collection[str] = (),
) -> None:
    """Embed every recording, one after another with all cores, then cluster participants side by side, into
    `folder`; those `kept` stay as they lie there."""
    parts = embedders(settings, parameters)
    works = participants_work(folder, parameters, [part.weights for part in parts], checked)
    missing = [work for work in works if not (work.is_done() and work.has_features())]
    embed_all(parts, [result for work in missing for result in work.results], progress)
    with side_by_side() as run:
        for number, _ in enumerate(run(partial(_cluster, parameters, parts), missing), start=1):
            progress("clustering participants", number, len(missing))
    list_participants(folder, {*kept, *(result.recording.participant for result in checked)})


def _cluster(parameters: Parameters, parts: list[Embedder], work: ParticipantWork) -> None:
    if not work.is_done():
        cluster_participant(parameters, work, participant_vectors(parameters, parts, work.results, work.starts))
    frames, clip_means = participant_frames(parts, work.results, work.starts) or (None, None)
    write_features(work, frames, clip_means)


def _offers(store: Store, settings: Settings, project_id: int, next_best_only: bool = False) -> list[Offer]:
    """The clips that should have tasks, largest clusters first: who stops early has labelled the most."""
    videos = {name: found.video for name, found in project_recordings(store, settings, project_id).items()}
    suggested = project_parameters(settings, store.project(project_id)).suggest
    everything = project_labels(store, settings, project_id, propagation="temporal" if suggested else None)
    names = parse_label_config(store.project(project_id).label_config).classes.names

    def likely(labels: ParticipantLabels, clip: int) -> tuple[str, ...]:
        return tuple(names[number] for number in likely_classes(labels, clip)) if suggested else ()

    offers = [
        offer for labels in everything for offer in offers_of(labels, videos, next_best_only, partial(likely, labels))
    ]
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
