"""What a request of Label Studio to an ML backend means here: a version, predictions, events.

`app.py` (our own server) and `model.py` (label-studio-ml's) both answer by these functions. They only read the store
and queue jobs; the work is the worker's.
"""

from typing import Any

import numpy as np

from ml_backend import __version__
from ml_backend.clusters import load_clustering, load_vectors, participants_of
from ml_backend.jobs import Jobs, Store, apply_webhook, clusters_folder, project_parameters
from ml_backend.labels import participant_labels
from ml_backend.labelstudio import asks_for_sync, clip_of_task, parse_label_config
from ml_backend.settings import Parameters, Settings

Prediction = dict[str, Any]


def model_version(parameters: Parameters) -> str:
    """The version that Label Studio shows."""
    return f"weakhar-{__version__}-{parameters.backbone}"


def project_number(project: str | int) -> int:
    """Label Studio names projects "<id>.<created at>"."""
    return int(str(project).split(".")[0])


def predictions(
    store: Store, settings: Settings, project_id: int, tasks: list[dict[str, Any]]
) -> list[list[Prediction]]:
    """The predictions of each task, in order: one for a centroid task where switched on, none for others.

    An empty prediction would show as one more tab above every clip.
    """
    parameters = project_parameters(settings, store.project(project_id))
    if not parameters.suggest:
        return [[] for _task in tasks]
    version, suggest = model_version(parameters), _Suggestions(store, settings, project_id)
    return [[{"model_version": version, **found}] if (found := suggest(task)) else [] for task in tasks]


def take_event(store: Store, jobs: Jobs, project_id: int, event: str, payload: dict[str, Any]) -> dict[str, Any]:
    """An event of Label Studio: START_TRAINING queues the job, annotation events change one row."""
    if event == "START_TRAINING":
        return {"job": "queued" if jobs.start(project_id) else "running already"}
    if event == "PROJECT_DELETED":
        store.delete_project(project_id)
    elif event == "PROJECT_UPDATED":
        config = (payload.get("project") or {}).get("label_config")
        if config:
            store.save_project(project_id, label_config=config)
    else:
        payload = {**payload, "action": event}
        if apply_webhook(store, project_id, payload) and asks_for_sync(payload):
            jobs.request_sync(project_id)
    return {"status": "ok"}


class _Suggestions:
    """The label of the nearest labelled clip of the same participant, with how clear-cut that is."""

    def __init__(self, store: Store, settings: Settings, project_id: int) -> None:
        self._folder = clusters_folder(settings, project_id)
        self._config = parse_label_config(store.project(project_id).label_config)
        self._answers = store.answers(project_id)
        self._participants = set(participants_of(self._folder))

    def __call__(self, task: dict[str, Any]) -> Prediction:
        place = clip_of_task(task)
        if place is None or place[0] not in self._participants:
            return {}
        participant, key = place
        clustering = load_clustering(self._folder, participant)
        clips = {clustering.key(clip): clip for clip in range(len(clustering.clusters))}
        labels = participant_labels(clustering, self._answers, self._config.classes)
        known = np.flatnonzero(labels.annotated)
        if key not in clips or len(known) == 0:
            return {}
        vectors = load_vectors(self._folder, participant)
        distance = np.linalg.norm(vectors[known] - vectors[clips[key]], axis=1)
        classes = labels.said[known]
        nearest = int(distance.argmin())
        # 0.5: another class is as near; 1: no other class is known, or it is far off.
        rival = distance[classes != classes[nearest]].min(initial=np.inf)
        score = 1.0 if np.isinf(rival) else float(rival / (rival + distance[nearest] + 1e-12))
        choice = {
            "from_name": self._config.from_name,
            "to_name": self._config.to_name,
            "type": "choices",
            "value": {"choices": [self._config.classes.names[classes[nearest]]]},
            "score": score,
        }
        return {"score": score, "result": [choice]}
