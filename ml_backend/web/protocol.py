"""What a request of Label Studio to an ML backend means here: a version, predictions, events.

`app.py` (our own server) and `model.py` (label-studio-ml's) both answer by these functions. They only read the store
and queue jobs; the work is the worker's.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from typing import Any

from ml_backend import __version__
from ml_backend.clusters import places_of_videos
from ml_backend.errors import ConfigError
from ml_backend.jobs import (
    Jobs,
    Project,
    Store,
    apply_webhook,
    clusters_folder,
    project_answers,
    project_config,
    project_labels,
    project_parameters,
    round_is_due,
)
from ml_backend.labels import likely_classes
from ml_backend.labelstudio import Place, answers_of_event, asks_for_sync, place_of, place_of_task
from ml_backend.settings import Parameters, Settings

Prediction = dict[str, Any]


def model_version(parameters: Parameters) -> str:
    """The version that Label Studio shows of a project that it does not name."""
    return f"weakhar-{__version__}-{parameters.backbone}"


def project_version(store: Store, settings: Settings, project: Project) -> str:
    """The version that Label Studio shows of a project. With suggestions it changes with every answer, since Label
    Studio does not ask again for a task that has a prediction of the same version."""
    parameters = project_parameters(settings, project)
    if not parameters.suggest:
        return model_version(parameters)
    answers = hashlib.sha256(repr(project_answers(store, settings, project.id)).encode()).hexdigest()[:8]
    return f"{model_version(parameters)}-{answers}"


def project_number(project: str | int) -> int:
    """Label Studio names projects "<id>.<created at>"."""
    return int(str(project).split(".")[0])


def predictions(
    store: Store, settings: Settings, project_id: int, tasks: list[dict[str, Any]]
) -> list[list[Prediction]]:
    """The predictions of each task, in order: one for a centroid task where switched on, none for others.

    An empty prediction would show as one more tab above every clip.
    """
    project = store.project(project_id)
    if not project_parameters(settings, project).suggest:
        return [[] for _task in tasks]
    version, suggest = project_version(store, settings, project), _suggestions(store, settings, project_id)
    return [[{"model_version": version, **found}] if (found := suggest(task)) else [] for task in tasks]


def take_event(store: Store, jobs: Jobs, project: Project, event: str, payload: dict[str, Any]) -> dict[str, Any]:
    """An event of Label Studio: START_TRAINING queues the job, annotation events change one row; what was done."""
    if event == "START_TRAINING":
        return {"message": "the job is queued" if jobs.start(project.id) else "the job is running already"}
    if event == "PROJECT_DELETED":
        jobs.request_forget(project.id)
    elif event == "PROJECT_UPDATED":
        told = payload.get("project")
        config = told.get("label_config") if isinstance(told, dict) else None
        if config and isinstance(config, str):
            store.change_project(project.id, label_config=config)
    else:
        payload = {**payload, "action": event}
        if apply_webhook(store, project.id, payload) and _asks_for_sync(store, jobs.settings, project, payload):
            jobs.request_sync(project.id)
    return {"message": "noted"}


def take_review_event(
    store: Store, jobs: Jobs, project: Project, event: str, payload: dict[str, Any]
) -> dict[str, Any]:
    """An event of the Label Studio project in which `project`'s recordings are gone through. What is drawn there
    changes labels elsewhere, so that parts that nobody has touched are due for a new prediction."""
    assert project.review_project is not None
    if apply_webhook(store, project.review_project, {**payload, "action": event}):
        jobs.request_sync(project.id)
    return {"message": "noted"}


def _asks_for_sync(store: Store, settings: Settings, project: Project, payload: dict[str, Any]) -> bool:
    """True where an answer makes another clip, or the next round, due, or shows that annotators disagree."""
    try:
        return (
            asks_for_sync(payload, project_config(project))
            or any(store.disagreed(project.id, answer.task_id) for answer in answers_of_event(payload))
            or round_is_due(store, project_parameters(settings, project), project.id)
        )
    except ConfigError:  # with a labelling config that is no good nothing can be asked
        return False


def _suggestions(store: Store, settings: Settings, project_id: int) -> Callable[[dict[str, Any]], Prediction]:
    """For a task of ours the class that the model of time finds likeliest, by all answers that there are, of other
    participants too; its score is that probability."""
    config = project_config(store.project(project_id))
    everything = project_labels(store, settings, project_id, propagation="temporal")
    number_of = {name: number for number, name in enumerate(everything.participants)}
    shown_by = places_of_videos(clusters_folder(settings, project_id))

    @cache
    def wanted(name: str) -> dict[Place, int]:
        """Where the clips of a participant are that should have tasks."""
        labels = everything[number_of[name]]
        return {place_of(name, labels.clustering.stretch(clip)): clip for _, clip in labels.wanted}

    def suggest(task: dict[str, Any]) -> Prediction:
        """Labels are made of the participants whose clips are asked about, not of all."""
        place = place_of_task(task)
        if place is None:
            return {}
        names = [name for name, _ in shown_by.get(place[0], [(place[0].partition("/")[0], "")])]
        name = next((name for name in names if name in number_of and place in wanted(name)), None)
        if name is None:
            return {}
        labels, clip = everything[number_of[name]], wanted(name)[place]
        likely = likely_classes(labels, clip, 1)
        if labels.posterior is None or not likely:
            return {}
        score = float(labels.posterior[clip, likely[0]])
        choice = {
            "from_name": config.from_name,
            "to_name": config.to_name,
            "type": "choices",
            "value": {"choices": [config.classes.names[likely[0]]]},
            "score": score,
        }
        return {"score": score, "result": [choice]}

    return suggest
