"""One project as the store, the cluster files and Label Studio have it now: its labels, export, and state."""

import hashlib
import json
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from ml_backend import __version__
from ml_backend.clusters import (
    clustered_seconds,
    clustering_stamp,
    parameters_clustered,
    participants_of,
)
from ml_backend.errors import ConfigError
from ml_backend.export import Track, WriteParts, one_by_one, threshold_table, write_export
from ml_backend.files import written_atomically
from ml_backend.jobs.answers import GivenAnswers, Unused, given_answers, project_config
from ml_backend.jobs.audits import AuditDraw, AuditFound, audit_found, close_audit, draw_audit, load_audit
from ml_backend.jobs.checks import checked_parameters
from ml_backend.jobs.labelled import ProjectLabels
from ml_backend.jobs.spread import written_on_ray
from ml_backend.jobs.store import QUEUED, RUNNING, Project, Store, project_overrides, set_by_hand, webhook_name
from ml_backend.labels import (
    Classes,
    ParticipantLabels,
    parse_threshold,
    without_breaks,
)
from ml_backend.labelstudio import ACTIONS, Client, ClipStorage, place_of
from ml_backend.recordings import Recording, find_recordings, stretch_of_key
from ml_backend.settings import Parameters, Settings
from ml_backend.storage import fresh, place

EXPORTED_PARAMETERS = (
    "clip_seconds",
    "stride_seconds",
    "backbone",
    "frames_per_second",
    "components",
    "clustering",
    "propagation",
    "across_participants",
    "seed",
    "paper_exact",
)

SECRET_HEADER = "X-Weakhar-Secret"
ASKED_AGAIN = 5
EXPORTS = "exports.json"
AT_ONCE = 3600.0
"""Seconds of recordings that are exported while a request waits, and sooner than a cluster is reached."""
PROJECTS_REMEMBERED = 4
_audits: dict[Path, tuple[Hashable, AuditFound | None]] = {}


def client_for(settings: Settings, project: Project) -> Client:
    """Label Studio as the settings say, else as `/setup` told; our token never goes to an address from outside."""
    if settings.label_studio_url:
        token = settings.label_studio_api_key or project.access_token
        client = Client(settings.label_studio_url, token, _public(settings, project), settings.label_studio_ca)
    elif project.hostname:
        client = Client(project.hostname, project.access_token, authority=settings.label_studio_ca)
    else:
        raise ConfigError(f"project {project.id}: Label Studio's address is not known; set LABEL_STUDIO_URL")
    if not settings.clips_url:
        return client
    into_storage = False
    with suppress(ConfigError):  # a project whose parameters are wrong can be forgotten all the same
        into_storage = project_parameters(settings, project).clips == "storage"
    return client.storing(ClipStorage(settings.clips_url, into_storage))


def webhook_secret(store: Store, project_id: int) -> str:
    """The header's value by which a project's webhook is let in, for that project alone."""
    return store.secret(webhook_name(project_id))


def webhook_fields(store: Store, settings: Settings, project_id: int) -> dict[str, Any]:
    """What a project's webhook is to send: the actions we use, with the secret where one is asked for."""
    fields: dict[str, Any] = {"send_for_all_actions": False, "actions": list(ACTIONS)}
    secret = {"headers": {SECRET_HEADER: webhook_secret(store, project_id)}} if settings.auth_required else {}
    return {**fields, **secret}


def _public(settings: Settings, project: Project) -> str:
    """Label Studio's address as it calls itself: what it says where nobody set it is only good on its own machine."""
    own = urlsplit(project.hostname)
    return project.hostname if own.path.strip("/") or own.hostname != "localhost" else settings.label_studio_url


def project_parameters(settings: Settings, project: Project) -> Parameters:
    """The parameters in force for a project."""
    return checked_parameters(settings, project_overrides(project))


def parameters_in_force(settings: Settings, project: Project) -> list[tuple[str, Any, str]]:
    """(name, value, where it comes from) of every parameter of a project."""
    owners = (
        ("weakhar run --set", set_by_hand(project)),
        ("Extra params", json.loads(project.parameters or "{}")),
        ("WEAKHAR_DEFAULTS", settings.defaults),
    )
    meant = project_parameters(settings, project)
    return [
        (name, value, next((owner for owner, own in owners if name in own), "default"))
        for name, value in meant.model_dump().items()
    ]


def clusters_folder(settings: Settings, project_id: int) -> Path:
    """Where a project's clusters lie."""
    return fresh(settings.model_dir / "projects" / str(project_id))


def exports_folder(settings: Settings, project_id: int) -> Path:
    """Where the server keeps what it exported of a project."""
    return fresh(settings.model_dir / "exports" / str(project_id))


def exports_of(settings: Settings, project_id: int) -> list[Path]:
    """Folders into which a project was exported, those that are still there."""
    return [path for path in listed_exports(settings, project_id) if (path / "dataset.json").is_file()]


def listed_exports(settings: Settings, project_id: int) -> list[Path]:
    """The same, also those that are not there (yet), or on another machine."""
    listing = fresh(clusters_folder(settings, project_id) / EXPORTS, now=True)
    return list(map(Path, json.loads(listing.read_text(encoding="utf-8")))) if listing.is_file() else []


def _note_export(settings: Settings, project_id: int, target: Path) -> None:
    """Remember a folder that was exported into, for participants who want to be forgotten."""
    known = {*map(str, listed_exports(settings, project_id)), str(target.absolute())}
    with written_atomically(clusters_folder(settings, project_id) / EXPORTS) as temporary:
        temporary.write_text(json.dumps(sorted(known), ensure_ascii=False), encoding="utf-8")


def project_labels(
    store: Store, settings: Settings, project_id: int, propagation: str | None = None, track: str = ""
) -> ProjectLabels:
    """The labels of every participant from what the store holds now; participants not yet clustered are left out.

    Held until an answer, a class, a clustering or a parameter changes. `propagation` overrides the project's;
    `track` names a further Choices control, whose labels are meant.
    """
    folder = clusters_folder(settings, project_id)
    if not (participants := participants_of(folder)):
        return ProjectLabels(folder, (), (), Classes(()), "cluster", across=False, everywhere=False)
    project = store.project(project_id)
    parameters = project_parameters(settings, project)
    way = propagation or parameters.propagation
    across = parameters.across_participants and way == "temporal" and len(participants) > 1
    answers = given_answers(store, folder, project, track).answers
    classes = project_config(project, track).classes
    everywhere = parameters.target is not None and way == "temporal"
    return ProjectLabels(folder, participants, answers, classes, way, across, everywhere, track)


def project_answers(store: Store, settings: Settings, project_id: int) -> GivenAnswers:
    """All that was answered in a project, also what cannot be used."""
    return given_answers(store, clusters_folder(settings, project_id), store.project(project_id))


def unused_answers(
    store: Store, project_id: int, given: GivenAnswers, everything: Sequence[ParticipantLabels]
) -> tuple[tuple[str, list[Unused]], ...]:
    """(what, which) of the answers that do nothing, with the tasks to look at; everything: the project's labels."""
    tasks = {task.place: task.id for task in store.tasks(project_id)}
    ties = [(labels.clustering.participant, stretch_of_key(key)) for labels in everything for key in labels.ties]
    return (
        ("answers are not understood and not used", given.not_understood),
        ("answers are kept, but not used", given.gone),
        (
            "clips have no label, since annotators disagree",
            [Unused(tasks.get(place_of(*tie), 0), *tie, "annotators disagree") for tie in ties],
        ),
    )


def project_audit(store: Store, settings: Settings, project_id: int, given: GivenAnswers) -> AuditFound | None:
    """What the project's last audit says, with the answers that were given. Remembered until one of these, or the
    labels, change: pages and `/status` ask again and again."""
    folder = clusters_folder(settings, project_id)
    if (draw := load_audit(folder)) is None:
        return None
    classes = project_config(store.project(project_id)).classes
    everything = project_labels(store, settings, project_id)
    held = tuple(sorted((pair, tuple(said)) for pair, said in given.held.items()))
    made_of = draw, held, classes, everything.made_of
    known = _audits.get(folder)
    if known is None or known[0] != made_of:
        found = audit_found(folder, given.held, classes, everything, float(without_breaks(given.held_seconds).sum()))
        _audits[folder] = known = made_of, found
        while len(_audits) > PROJECTS_REMEMBERED:
            _audits.pop(next(iter(_audits)), None)
    return known[1]


def begin_audit(store: Store, settings: Settings, project_id: int, clips: int) -> AuditDraw:
    """Draw clips from the labels as they are; a reconciliation then makes their tasks."""
    project = store.project(project_id)
    threshold = parse_threshold(project_parameters(settings, project).threshold)
    classes, everything = project_config(project).classes, project_labels(store, settings, project_id)
    return draw_audit(clusters_folder(settings, project_id), everything, classes, threshold, clips)


def end_audit(store: Store, settings: Settings, project_id: int) -> AuditDraw:
    """Close the project's audit: its answers count as any from now on."""
    given, classes = project_answers(store, settings, project_id), project_config(store.project(project_id)).classes
    return close_audit(
        clusters_folder(settings, project_id), given.held, classes, float(without_breaks(given.held_seconds).sum())
    )


def project_recordings(store: Store, settings: Settings, project_id: int) -> dict[str, Recording]:
    """The recordings that lie in the project's dataset folder now, by participant/name."""
    project = store.project(project_id)
    found, _ = find_recordings(place(project.dataset), project_parameters(settings, project), settings.roots)
    return {str(recording): recording for recording in found}


def export_project(
    store: Store,
    settings: Settings,
    project_id: int,
    target: Path,
    threshold: str | None = None,
    file_format: str = "parquet",
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    listed: bool = True,
) -> dict[str, Any]:
    """Write the project's dataset to the folder `target` (replaced as a whole) and return its `dataset.json`.

    `threshold` overrides the project's. Annotations are those in the store: reconcile before. The folder is
    remembered for participants who withdraw, unless it is not `listed`."""
    project = store.project(project_id)
    parameters = project_parameters(settings, project)
    described, warnings = _described(clusters_folder(settings, project_id), parameters)
    described["written_by"] = f"weakhar {__version__}"
    described["date"] = datetime.now(UTC).isoformat(timespec="seconds")
    described["label_studio_project"] = {"id": project_id, "title": project.title}
    given = project_answers(store, settings, project_id)
    described["answers_not_understood"] = [str(one) for one in given.not_understood]
    described["answers_to_pictures_that_are_gone"] = [str(one) for one in given.gone]
    described["warnings"] = warnings
    audit = project_audit(store, settings, project_id, given)
    described |= {"audit": audit.as_dict()} if audit is not None else {}
    if listed:  # before: where it is killed, it is known where something may be left
        _note_export(settings, project_id, target)
    description = write_export(
        _labels_to_export(store, settings, project_id),
        project_recordings(store, settings, project_id),
        project_config(project).classes.names,
        described,
        parse_threshold(parameters.threshold if threshold is None else threshold),
        target,
        file_format,
        progress,
        _tracks(store, settings, project),
        _who_writes(settings, project_id),
    )
    return description


def takes_long(settings: Settings, project_id: int) -> bool:
    """True of a project whose export nobody should wait for."""
    folder = clusters_folder(settings, project_id)
    return sum(clustered_seconds(folder, name) for name in participants_of(folder)) > AT_ONCE


def _who_writes(settings: Settings, project_id: int) -> WriteParts:
    """A Ray cluster, where one is named, but what is written sooner than it is reached."""
    if not settings.ray_address or not takes_long(settings, project_id):
        return one_by_one
    return partial(written_on_ray, settings.ray_address, settings.model_dir)


def _tracks(store: Store, settings: Settings, project: Project) -> list[Track]:
    """What else was asked about each clip, and its labels."""
    return [
        Track(
            name, project_config(project, name).classes.names, project_labels(store, settings, project.id, track=name)
        )
        for name in project_config(project).tracks
    ]


def project_thresholds(store: Store, settings: Settings, project_id: int) -> list[dict[str, Any]]:
    """Coverage and, where the truth is known, labelling accuracy at several thresholds."""
    classes = project_config(store.project(project_id)).classes.names
    everything = _labels_to_export(store, settings, project_id)
    paper_exact = project_parameters(settings, store.project(project_id)).paper_exact
    return threshold_table(everything, project_recordings(store, settings, project_id), classes, paper_exact)


def _described(folder: Path, parameters: Parameters) -> tuple[dict[str, Any], list[str]]:
    """The parameters by which an export is made: of clusters those that made them, which need not be today's; and
    what is to be known about that. A parameter that differs between participants is given for each."""
    described: dict[str, Any] = {name: getattr(parameters, name) for name in EXPORTED_PARAMETERS}
    made_by = {name: parameters_clustered(folder, name) for name in participants_of(folder)}
    warnings = []
    for name, today in described.items():
        own = {participant: made[name] for participant, made in made_by.items() if name in made}
        values = list({json.dumps(value): value for value in own.values()}.values())
        if not values:
            continue
        described[name] = values[0] if len(values) == 1 else own
        if values != [today]:
            shown = ", ".join(f"{value!r}" for value in values)
            warnings.append(
                f"{name} is {today!r} now, clusters were made with {shown}; run the job to make them anew"
            )
    return described, warnings


def project_status(store: Store, settings: Settings, project: Project) -> dict[str, Any]:
    """Job and counts of a project, as `/status/<project>` answers."""
    try:
        given = project_answers(store, settings, project.id)
        audit = project_audit(store, settings, project.id, given)
    except ConfigError:  # a labelling config that is no good yet
        given, audit = GivenAnswers([], [], []), None
    return {
        **({"audit": audit.as_dict()} if audit is not None else {}),
        **job_status(store, project),
        **project_counts(store, project.id),
        "answers_not_understood": [_as_dict(one) for one in given.not_understood],
        "answers_to_pictures_that_are_gone": [_as_dict(one) for one in given.gone],
    }


def job_status(store: Store, project: Project) -> dict[str, Any]:
    """A project's job."""
    job = store.job(project.id)
    state = job.state if job else "not started"
    interrupted = state == RUNNING and not store.leased(project.id)
    return {
        "project": project.id,
        "title": project.title,
        "state": "interrupted" if interrupted else state,
        "active": state in (QUEUED, RUNNING) and not interrupted,
        "step": job.step if job else "",
        "done": job.done if job else 0,
        "total": job.total if job else 0,
        "message": job.message if job else "",
        "synced_at": project.synced_at,
    }


def project_counts(store: Store, project_id: int) -> dict[str, int]:
    """How many tasks and annotations a project has."""
    answered = [task.id for task, _ in store.annotations(project_id)]
    counts = {
        "tasks": len(store.tasks(project_id)),
        "annotations": len(answered),
        "tasks_annotated": len(set(answered)),
    }
    if (review := store.project(project_id).review_project) is not None:
        reviewed = {task.id for task, annotation in store.annotations(review) if not annotation.skipped}
        counts |= {"parts": len(store.tasks(review)), "parts_reviewed": len(reviewed)}
    return counts


def project_stamp(store: Store, settings: Settings, project: Project) -> str:
    """Changes when anything does that labels, or the page, are made of; quick to find."""
    folder = clusters_folder(settings, project.id)
    stamps = [clustering_stamp(folder, name) for name in participants_of(folder)]
    columns = {name: value for name, value in vars(project).items() if not name.startswith(("_", "sync"))}
    made_of = (columns, store.stamp(project.id), stamps, load_audit(folder), settings.defaults, __version__)
    return hashlib.sha256(repr(made_of).encode()).hexdigest()[:32]


def news_of_classes(store: Store, project: Project, everything: Sequence[ParticipantLabels]) -> tuple[str, ...]:
    """What is to be said of classes that came when people had begun to answer, with the tasks worth asking again:
    those whose clip shows none of the former classes, and those of the clusters that are least sure."""
    added = json.loads(project.classes_seen or "{}").get("added", [])
    if not added:
        return ()
    tasks = {task.place: task.id for task in store.tasks(project.id)}
    answered = {task.id for task, _ in store.annotations(project.id)}
    doubtful = []
    for labels in everything:
        clustering = labels.clustering
        for cluster, clip in labels.wanted:
            task = tasks.get(place_of(clustering.participant, clustering.stretch(clip)))
            if task in answered:
                sure = np.nan_to_num(labels.confidence[clustering.clusters == cluster]).mean()
                doubtful.append((float(sure) if labels.annotated[clip] else -1.0, task))
    again = ", ".join(str(task) for _, task in sorted(doubtful)[:ASKED_AGAIN])
    named = ", ".join(f"'{name}'" for name in added)
    hint = f"; the answers most worth giving again are those to tasks {again}" if again else ""
    return (f"The class {named} was added when people had begun to answer{hint}.",)


def _as_dict(unused: Unused) -> dict[str, Any]:
    given_in = {"file": unused.file} if unused.file else {"review_task" if unused.review else "task": unused.task}
    return {**given_in, "where": f"{unused.participant}/{unused.stretch}", "reason": unused.reason}


def _labels_to_export(store: Store, settings: Settings, project_id: int) -> ProjectLabels:
    everything = project_labels(store, settings, project_id)
    if not everything:
        raise ConfigError(
            f"project {project_id}: no clips yet; press Start Training in Label Studio or `weakhar run`"
        )
    return everything
