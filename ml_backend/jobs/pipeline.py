"""The main job: check → embed → cluster → reconcile → tasks. Each step does only what is missing.

The only place where all rooms meet. A killed job, run again, goes on where it stopped.
"""

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ml_backend.clusters import (
    ParticipantWork,
    cluster_participant,
    list_participants,
    participants_clustered_with,
    participants_of,
    participants_work,
    places_of_videos,
    side_by_side,
    write_features,
    write_truth,
)
from ml_backend.embeddings import Embedder, Progress, embed_all, embedders, participant_frames, participant_vectors
from ml_backend.errors import RecordingError
from ml_backend.files import content_key
from ml_backend.jobs.answers import keep_videos_of_old_tasks, project_config, videos_of_old_tasks, with_video
from ml_backend.jobs.audits import load_audit
from ml_backend.jobs.checks import usable_recordings
from ml_backend.jobs.held import held, media_of
from ml_backend.jobs.projects import clusters_folder, project_labels, project_parameters, project_recordings
from ml_backend.jobs.reconciliation import reconcile, reconcile_changes
from ml_backend.jobs.reviews import renew_review
from ml_backend.jobs.rounds import follow_target, in_rounds
from ml_backend.jobs.store import Store
from ml_backend.labels import ParticipantLabels, likely_classes
from ml_backend.labelstudio import (
    Client,
    Media,
    Offer,
    Place,
    arrange_columns,
    audit_offer,
    clip_of_task,
    drop_stale,
    import_tasks,
    offers_of,
    parse_label_config,
    place_of,
    place_of_task,
    refresh,
    rename_clip,
    task_of,
    with_order,
    without_names,
)
from ml_backend.recordings import CheckedRecording, Problem, clip_key, stretch_of_key
from ml_backend.settings import Parameters, Settings
from ml_backend.spread import Knowing, Unit, failures, on_ray
from ml_backend.storage import fresh

log = logging.getLogger(__name__)

PIECE_SECONDS = 600.0
"""Of a long video: what one node embeds at a time."""
TASKS_AT_ONCE, TASKS_SECONDS = 100, 2.0
"""Tasks are made so many at a time, or those that are ready after so long: nobody waits for the first ones."""


@dataclass(frozen=True)
class JobResult:
    """How many tasks a job created, what it left out, with the reason, and of which videos that are other files now
    it goes on using the answers, since they show the same."""

    tasks_created: int
    left_out: tuple[str, ...] = ()
    adopted: tuple[str, ...] = ()

    def __str__(self) -> str:
        said = [f"{self.tasks_created} tasks created", *self.adopted]
        return "; ".join([*said, f"left out: {' | '.join(self.left_out)}"] if self.left_out else said)


def run_project(
    store: Store,
    settings: Settings,
    client: Client,
    project_id: int,
    progress: Progress,
    root: Path | None = None,
    patience: float = 0.0,
) -> JobResult:
    """The whole job for one project. Holds the project's lease, for which it waits `patience` seconds.

    Recordings that cannot be read are left out; a participant that was clustered with one of them stays as it is.
    """
    with held(store, project_id, client, progress, patience) as (client, progress):
        fresh(clusters_folder(settings, project_id), now=True)
        parameters = project_parameters(settings, store.project(project_id))
        root = root or settings.dataset_folder(parameters)
        progress("checking recordings", 0, 1)
        parse_label_config(client.project(project_id)["label_config"])
        checked, problems = usable_recordings(root, parameters, settings.roots)
        checked, withdrawn = _without_withdrawn(checked, json.loads(store.project(project_id).withdrawn))
        problems += withdrawn
        for problem in problems:
            log.warning("project %s: %s", project_id, problem.message)
        store.change_project(project_id, dataset=str(root.absolute()))
        folder = clusters_folder(settings, project_id)
        kept = participants_clustered_with(folder, {problem.recording for problem in problems if problem.error})
        checked = [result for result in checked if result.recording.participant not in kept]
        failed = embed_and_cluster(settings, folder, parameters, checked, progress, kept)
        for problem in failed:
            log.warning("project %s: %s", project_id, problem.message)
        problems += failed
        kept |= {str(problem.recording).partition("/")[0] for problem in failed}
        tasks = reconcile(store, client, project_id).tasks
        adopted = adopt_tasks(store, settings, client, project_id, parameters, checked, tasks)
        offers = [*_offers(store, settings, project_id), *_audit_offers(store, settings, project_id)]
        wanted = {offer.place: offer for offer in offers}
        existing = {place: task for task in tasks if (place := _place(task, kept))}
        if not tasks:
            arrange_columns(client, project_id)
        offers = [offer for offer in offers if offer.participant not in kept]
        with media_of(settings, client, project_id) as media:
            drop_stale(client, existing, wanted, media)
            refresh(client, existing, wanted, media, partial(progress, "bringing tasks up to date"))
            created = _create_missing(store, media, offers, progress)
            renew_review(store, settings, client, project_id, media)
        return JobResult(created, tuple(problem.message for problem in problems if problem.error), adopted)


def sync_project(
    store: Store, settings: Settings, client: Client, project_id: int, progress: Progress, patience: float = 0.0
) -> int:
    """Reconcile annotations, then offer the next-best clips of skipped or mixed ones, and those on which annotators
    disagree to one more; returns the tasks created. Waits `patience` seconds for the project's lease.

    A centroid task that somebody deleted comes back only with the job, not behind their back.
    """
    with held(store, project_id, client, progress, patience) as (client, progress):
        progress("reading annotations", 0, 1)
        fresh(clusters_folder(settings, project_id), now=True)
        suggest = project_parameters(settings, store.project(project_id)).suggest
        # Suggestions are written into all open tasks; else those in which something changed are enough.
        tasks = (reconcile if suggest else reconcile_changes)(store, client, project_id).tasks
        if suggest:
            open_tasks = {place: task for task in tasks if not task.get("annotations") and (place := _place(task))}
            refresh(client, open_tasks, {offer.place: offer for offer in _offers(store, settings, project_id)})
        follow_target(store, settings, project_id)
        _offer_ties_again(store, settings, client, project_id, tasks)
        offers = _offers(store, settings, project_id, next_best_only=True)
        offers += _audit_offers(store, settings, project_id)
        with media_of(settings, client, project_id) as media:
            created = _create_missing(store, media, offers, progress)
        renew_review(store, settings, client, project_id)
        return created


def embed_and_cluster(
    settings: Settings,
    folder: Path,
    parameters: Parameters,
    checked: list[CheckedRecording],
    progress: Progress,
    kept: Collection[str] = (),
) -> list[Problem]:
    """Embed every recording, one after another with all cores, then cluster participants side by side, into
    `folder`; those `kept` stay as they lie there. On a Ray cluster, where one is named, units that fail again and
    again are left out and named, and their participants stay as they are."""
    keep_videos_of_old_tasks(folder)
    parts = embedders(settings, parameters)
    works = participants_work(folder, parameters, [part.weights for part in parts], checked)
    missing = [work for work in works if not (work.is_done() and work.has_features())]
    failed = _embed(settings, parts, [result for work in missing for result in work.results], progress)
    embedded = [work for work in missing if not failed.keys() & {str(one.recording) for one in work.results}]
    failed |= _cluster_all(settings, parameters, parts, embedded, progress)
    problems = [Problem(f"{name}: {why}", recording=name) for name, why in failed.items()]
    without = {name.partition("/")[0] for name in failed}
    fresh(folder, now=True)  # other machines may have clustered
    for work in works:
        if work.folder.is_dir():
            write_truth(work)
    names = {result.recording.participant for result in checked}
    kept = {*kept, *(without & set(participants_of(folder)))}
    list_participants(folder, {*kept, *(names - without)})
    return problems


def _embed(
    settings: Settings, parts: list[Embedder], results: list[CheckedRecording], progress: Progress
) -> dict[str, str]:
    """Make the vectors of all recordings; recording → why, of those that failed again and again."""
    if not settings.ray_address:
        embed_all(parts, results, progress)
        return {}
    failed: dict[str, str] = {}
    for part in parts:
        wanted = [one for one in results if one.recording.vectors is None and part.made(one.recording.video) is None]
        once = {content_key(one.recording.video): one for one in wanted}  # several may show the same video
        failed |= _embed_on_ray(settings, part, list(once.values()), progress)
    return failed


def _embed_on_ray(
    settings: Settings, part: Embedder, wanted: list[CheckedRecording], progress: Progress
) -> dict[str, str]:
    """The vectors by one backbone; of a long recording nodes make pieces side by side. Recording → why, of those that
    failed again and again."""
    run = partial(on_ray, settings.ray_address, settings.model_dir, progress=progress)

    def unit(one: CheckedRecording, do: Callable[..., Any], *given: Any, seconds: float = 1.0) -> Unit:
        return Unit(
            str(one.recording), Knowing.of([one.recording.video], partial(do, one.recording.video, *given)), seconds
        )

    cut = {str(one.recording): _pieces(one) for one in wanted}
    long = [one for one in wanted if len(cut[str(one.recording)]) > 1]
    looks = [unit(one, part.rows_of) for one in long]
    looked = run(f"looking at long videos for {part.backbone}", looks, gpus=1.0) if long else []
    rows = {one.unit.name: one.result for one in looked if not one.why}
    units = []
    for one in wanted:
        name, duration = str(one.recording), one.video.duration if one.video else 1.0
        if len(cut[name]) == 1:
            units.append(unit(one, part.stored, seconds=duration))
        elif name in rows:
            seconds = duration / len(cut[name])
            units += [unit(one, part.make_piece, rows[name], *piece, seconds=seconds) for piece in cut[name]]
    failed = failures([*looked, *run(f"embedding by {part.backbone} (seconds of video)", units, gpus=1.0)])
    whole = [one for one in long if str(one.recording) not in failed]
    joins = [unit(one, part.join, rows[str(one.recording)], cut[str(one.recording)]) for one in whole]
    return failed | (failures(run("joining the pieces of long videos", joins)) if joins else {})


def _pieces(one: CheckedRecording) -> list[tuple[float, float]]:
    """Between which seconds a recording's video is cut: a piece is later than the first, up to the second."""
    duration = one.video.duration if one.video else 0.0
    count = max(1, round(duration / PIECE_SECONDS))
    return list(pairwise([-1.0, *(duration * number / count for number in range(1, count)), np.inf]))


def _cluster_all(
    settings: Settings,
    parameters: Parameters,
    parts: list[Embedder],
    works: list[ParticipantWork],
    progress: Progress,
) -> dict[str, str]:
    """Cluster participants side by side; participant → why, of those that failed again and again."""
    step, run = "clustering participants", partial(_cluster, parameters, parts)
    if settings.ray_address:
        own = [[one.recording for one in work.results] for work in works]
        units = [
            Unit(recordings[0].participant, Knowing.of([one.video for one in recordings], partial(run, work)))
            for recordings, work in zip(own, works, strict=True)
        ]
        return failures(on_ray(settings.ray_address, settings.model_dir, step, units, progress))
    with side_by_side() as mapped:
        for number, _ in enumerate(mapped(run, works), start=1):
            progress(step, number, len(works))
    return {}


def _without_withdrawn(
    checked: list[CheckedRecording], withdrawn: Collection[str]
) -> tuple[list[CheckedRecording], list[Problem]]:
    """The recordings of those who did not withdraw; and, as left out, those of the others, whatever they are
    called."""
    gone = {
        str(result.recording)
        for result in checked
        if withdrawn and {result.recording.participant, content_key(result.recording.video)} & set(withdrawn)
    }
    kept = [result for result in checked if str(result.recording) not in gone]
    return kept, [Problem(f"{name}: withdrew and was forgotten; remove the recording") for name in sorted(gone)]


def adopt_tasks(
    store: Store,
    settings: Settings,
    client: Client,
    project_id: int,
    parameters: Parameters,
    checked: Iterable[CheckedRecording],
    tasks: Iterable[dict[str, Any]],
) -> tuple[str, ...]:
    """Write into tasks of older versions which video they are about; and into those about a video that is another
    file now, but shows the same pictures there, that file. Says which these were."""
    folder = clusters_folder(settings, project_id)
    old = videos_of_old_tasks(folder)
    parts = embedders(settings, parameters)
    present = {str(result.recording): result.recording for result in checked}
    known = places_of_videos(folder)
    adopted: Counter[str] = Counter()
    for task in tasks:
        participant, key = clip_of_task(task) or ("", "")
        stretch = stretch_of_key(key)
        video = with_video(stretch, old.get(participant, {})).video
        recording = present.get(f"{participant}/{stretch.recording}")
        if video not in known and recording is not None and recording.vectors is None:
            place = recording.video, stretch.start_seconds, stretch.end_seconds
            if not video or any(part.shows_the_same(video, *place) for part in parts[:1]):
                adopted[str(recording)] += bool(video)
                video = content_key(recording.video)
        if video != stretch.video:
            key = clip_key(stretch._replace(video=video))
            rename_clip(client, task, *((participant, key) if parameters.show_participant else without_names(key)))
            store.add_tasks(project_id, [(task["id"], participant, key)])
    return tuple(
        f"{name}: another file with the same pictures; {count} clips and their answers go on counting"
        for name, count in adopted.items()
        if count
    )


def _place(task: dict[str, Any], kept: Collection[str] = ()) -> Place | None:
    """What a task shows; None where it is of one of the participants who are `kept` as they are."""
    clip = clip_of_task(task)
    return place_of_task(task) if clip and clip[0] not in kept else None


def _cluster(parameters: Parameters, parts: list[Embedder], work: ParticipantWork) -> None:
    if not work.is_done():
        cluster_participant(parameters, work, participant_vectors(parameters, parts, work.results, work.starts))
    frames, clip_means = participant_frames(parts, work.results, work.starts) or (None, None)
    write_features(work, frames, clip_means)


def _offers(store: Store, settings: Settings, project_id: int, next_best_only: bool = False) -> list[Offer]:
    """The clips that should have tasks, largest clusters first: who stops early has labelled the most."""
    videos = {name: found.video for name, found in project_recordings(store, settings, project_id).items()}
    parameters = project_parameters(settings, store.project(project_id))
    suggested = parameters.suggest
    everything = project_labels(store, settings, project_id, propagation="temporal" if suggested else None)
    names = project_config(store.project(project_id)).classes.names

    def likely(labels: ParticipantLabels, clip: int) -> tuple[str, ...]:
        return tuple(names[number] for number in likely_classes(labels, clip)) if suggested else ()

    offers = [
        replace(offer, named=parameters.show_participant, blurred=parameters.blur_faces)
        for labels in everything
        for offer in offers_of(labels, videos, partial(likely, labels))
    ]
    clips = sum(len(labels.clustering.clusters) for labels in everything)
    offers = sorted(offers, key=lambda offer: -offer.cluster_clips)
    offers = with_order(in_rounds(store, settings, project_id, offers, everything), clips)
    return [offer for offer in offers if offer.next_best or parameters.target is not None or not next_best_only]


def _audit_offers(store: Store, settings: Settings, project_id: int) -> list[Offer]:
    """The clips of an open audit, in the order in which they were drawn."""
    draw = load_audit(clusters_folder(settings, project_id))
    if draw is None or draw.closed is not None:
        return []
    videos = {name: found.video for name, found in project_recordings(store, settings, project_id).items()}
    parameters = project_parameters(settings, store.project(project_id))
    offers = []
    for number, (participant, key) in enumerate(draw.drawn, start=1):
        if (video := videos.get(f"{participant}/{stretch_of_key(key).recording}")) is not None:
            offer = audit_offer(participant, key, video, number, len(draw.drawn))
            offers.append(replace(offer, named=parameters.show_participant, blurred=parameters.blur_faces))
    return offers


def _offer_ties_again(
    store: Store, settings: Settings, client: Client, project_id: int, tasks: Iterable[dict[str, Any]]
) -> None:
    """Offer clips on which annotators disagree to one who has not answered: for Label Studio they are done."""
    tied = {
        place_of(labels.clustering.participant, stretch_of_key(key))
        for labels in project_labels(store, settings, project_id)
        for key in labels.ties
    }
    read = {place: task for task in tasks if (place := _place(task)) in tied}
    # A tie may have come by other tasks' answers, or was read before.
    others = [client.task(one.id) for one in store.tasks(project_id) if one.place in tied and one.place not in read]
    for task in (*read.values(), *others):
        answers = sum(not annotation.get("was_cancelled") for annotation in task.get("annotations", ()))
        if task.get("overlap", 1) <= answers:
            client.offer_again(task["id"], answers + 1)


def _create_missing(store: Store, media: Media, offers: list[Offer], progress: Progress) -> int:
    """Create the tasks that Label Studio, as just read back, does not have; returns how many."""
    existing = {task.place for task in store.tasks(media.project_id)}
    missing = list({offer.place: offer for offer in offers if offer.place not in existing}.values())
    ready, since = list[tuple[Offer, dict[str, Any]]](), time.monotonic()

    def create() -> None:
        if not ready:
            return
        numbers = import_tasks(media.client, media.project_id, [(task, offer.place) for offer, task in ready])
        made = zip(numbers, ready, strict=True)
        store.add_tasks(media.project_id, [(number, offer.participant, offer.key) for number, (offer, _) in made])
        ready.clear()

    try:
        for number, offer in enumerate(media.ahead(missing)):
            progress("creating tasks", number, len(missing))
            ready.append((offer, task_of(media, offer)))
            if len(ready) >= TASKS_AT_ONCE or time.monotonic() - since > TASKS_SECONDS:
                create()
                since = time.monotonic()
    except RecordingError:  # of one clip; the others are as good as before
        create()
        raise
    create()
    progress("creating tasks", len(missing), len(missing))
    return len(missing)
