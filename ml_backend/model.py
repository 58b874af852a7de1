"""WeakHAR, the model class of a Label Studio ML backend: what setup, predict and fit mean here.

With label-studio-ml 2.x installed it is a `LabelStudioMLBase`, so that `label-studio-ml start ml_backend` finds it.
"""

from typing import Any

import numpy as np

from ml_backend.jobs.pipeline import load_clustering, load_vectors, participants_of
from ml_backend.jobs.queue import Jobs
from ml_backend.jobs.runtime import runtime
from ml_backend.jobs.store import Store, project_overrides
from ml_backend.labels.labelling import answers_by_clip, participant_labels
from ml_backend.labels.propagation import UNLABELLED
from ml_backend.labelstudio.answers import apply_webhook, asks_for_sync
from ml_backend.labelstudio.config import parse_label_config
from ml_backend.labelstudio.tasks import clip_of_task
from ml_backend.settings import Parameters, Settings

VERSION = "0.1.0"

try:  # release 2.x exists only as a git address; the registry's newest speaks another interface
    from label_studio_ml.model import LabelStudioMLBase as _Base
except ImportError:

    class _Base:  # type: ignore[no-redef,unused-ignore]
        """The part of label-studio-ml 2.x's base class that we use."""

        def __init__(self, project_id: str | None = None, label_config: str | None = None) -> None:
            self.project_id = project_id or ""
            self.label_config = label_config or ""
            self._values: dict[str, Any] = {}

        def get(self, key: str) -> Any:
            return self._values.get(key)

        def set(self, key: str, value: Any) -> None:
            self._values[key] = value


class WeakHAR(_Base):
    """One project's model. Requests only read the store and queue jobs; the work is the worker's."""

    @property
    def _parts(self) -> tuple[Settings, Store, Jobs]:
        return runtime()

    @property
    def _id(self) -> int:
        return project_number(self.project_id)

    def setup(self) -> None:
        """Called by label-studio-ml when the model is made: set the version that Label Studio shows."""
        settings, store, _ = self._parts
        known = {project.id: project for project in store.projects()}
        overrides = project_overrides(known[self._id]) if self.project_id and self._id in known else {}
        self.set("model_version", model_version(settings.parameters(overrides)))

    def predict(self, tasks: list[dict[str, Any]], **_: Any) -> list[list[dict[str, Any]]]:
        """The predictions of each task, in order: one for a centroid task where switched on, none for others.

        An empty prediction would show as one more tab above every clip.
        """
        settings, store, _jobs = self._parts
        project = store.project(self._id)
        parameters = settings.parameters(project_overrides(project))
        if not parameters.suggest:
            return [[] for _task in tasks]
        version, suggest = model_version(parameters), _Suggestions(settings, store, self._id)
        return [[{"model_version": version, **found}] if (found := suggest(task)) else [] for task in tasks]

    def fit(self, event: str, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """An event of Label Studio: START_TRAINING queues the job, annotation events change one row."""
        _settings, store, jobs = self._parts
        if event == "START_TRAINING":
            return {"job": "queued" if jobs.start(self._id) else "running already"}
        if event == "PROJECT_DELETED":
            store.delete_project(self._id)
        elif event == "PROJECT_UPDATED":
            config = (data.get("project") or {}).get("label_config")
            if config:
                store.save_project(self._id, label_config=config)
        else:
            payload = {**data, "action": event}
            if apply_webhook(store, self._id, payload) and asks_for_sync(payload):
                jobs.request_sync(self._id)
        return {"status": "ok"}


def model_version(parameters: Parameters) -> str:
    """The version that Label Studio shows."""
    return f"weakhar-{VERSION}-{parameters.backbone}"


def project_number(project: str | int) -> int:
    """Label Studio names projects "<id>.<created at>"."""
    return int(str(project).split(".")[0])


class _Suggestions:
    """The label of the nearest labelled clip of the same participant, with how clear-cut that is."""

    def __init__(self, settings: Settings, store: Store, project_id: int) -> None:
        self._settings, self._project_id = settings, project_id
        self._config = parse_label_config(store.project(project_id).label_config)
        self._answers = answers_by_clip(store.answers(project_id))
        self._participants = set(participants_of(settings, project_id))

    def __call__(self, task: dict[str, Any]) -> dict[str, Any]:
        place = clip_of_task(task)
        if place is None or place[0] not in self._participants:
            return {}
        participant, key = place
        clustering = load_clustering(self._settings, self._project_id, participant)
        clips = {clustering.key(clip): clip for clip in range(len(clustering.clusters))}
        labels = participant_labels(clustering, self._answers.get(participant, {}), self._config)
        known = np.flatnonzero(labels.annotated)
        if key not in clips or len(known) == 0:
            return {}
        vectors = load_vectors(self._settings, self._project_id, participant)
        distance = np.linalg.norm(vectors[known] - vectors[clips[key]], axis=1)
        classes = labels.cluster_labels[clustering.clusters[known]]
        nearest = int(distance.argmin())
        if classes[nearest] == UNLABELLED:
            return {}
        # 0.5: another class is as near; 1: no other class is known, or it is far off.
        rival = distance[classes != classes[nearest]].min(initial=np.inf)
        score = 1.0 if np.isinf(rival) else float(rival / (rival + distance[nearest] + 1e-12))
        choice = {
            "from_name": self._config.from_name,
            "to_name": self._config.to_name,
            "type": "choices",
            "value": {"choices": [self._config.classes[classes[nearest]]]},
            "score": score,
        }
        return {"score": score, "result": [choice]}
