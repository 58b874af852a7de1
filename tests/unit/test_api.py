"""The model class under label-studio-ml, whose release 2.x exists only as a git address: on its base class where that
is installed, else on one that does what it does; behind a server that does what its `api.py` does."""

import importlib
import json
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest
from flask import Flask, jsonify, request
from flask.testing import FlaskClient
from flask.wrappers import Response

import ml_backend.model
from benchmarks.requests import CONFIG
from ml_backend.jobs import Jobs, open_store
from ml_backend.settings import Settings

TRAIN_EVENTS = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATION_DELETED", "START_TRAINING")
CACHE: dict[tuple[str, str], Any] = {}


class LabelStudioMLBase:
    """The base class of 2.x: what it is made with it keeps in a cache, for the next request makes another."""

    def __init__(self, project_id: str | None = None, label_config: str | None = None) -> None:
        self.project_id = project_id or ""
        if label_config is not None:
            self.use_label_config(label_config)
        if not self.model_version:
            self.set("model_version", "0.0.1")
        self.setup()

    def setup(self) -> None: ...

    def use_label_config(self, label_config: str) -> None:
        self.set("label_config", label_config)

    def set_extra_params(self, extra_params: Any) -> None:
        self.set("extra_params", extra_params)

    def get(self, key: str) -> Any:
        return CACHE.get((self.project_id, key))

    def set(self, key: str, value: Any) -> None:
        CACHE[self.project_id, key] = value

    @property
    def label_config(self) -> Any:
        return self.get("label_config")

    @property
    def extra_params(self) -> Any:
        return json.loads(self.get("extra_params") or "{}")

    @property
    def model_version(self) -> Any:
        return self.get("model_version")


def official_app(model_class: Any) -> Flask:
    """The routes of 2.x."""
    app = Flask("label-studio-ml")

    @app.post("/predict")
    def predict() -> Response:
        data = request.get_json()
        project = str(data.get("project")).split(".", 1)[0]
        params = data.get("params", {})
        context = params.pop("context", {})
        model = model_class(project_id=project, label_config=data.get("label_config"))
        return jsonify({"results": model.predict(data.get("tasks"), context=context, **params)})

    @app.post("/setup")
    def setup() -> Response:
        data = request.get_json()
        project = data.get("project").split(".", 1)[0]
        model = model_class(project_id=project, label_config=data.get("schema"))
        if data.get("extra_params"):
            model.set_extra_params(data.get("extra_params"))
        return jsonify({"model_version": model.get("model_version")})

    @app.post("/webhook")
    def webhook() -> tuple[Response, int]:
        data = request.get_json()
        event = data.pop("action")
        if event not in TRAIN_EVENTS:
            return jsonify({"status": "Unknown event"}), 200
        model = model_class(str(data["project"]["id"]), label_config=data["project"]["label_config"])
        return jsonify({"result": model.fit(event, data), "status": "ok"}), 201

    return app


@pytest.fixture
def official(settings: Settings) -> Iterator[tuple[FlaskClient, Settings, Jobs]]:
    """A client of the official server with our model class."""
    CACHE.clear()
    store = open_store(settings.database, settings.model_dir)
    jobs = Jobs(settings, store)
    package, base = ModuleType("label_studio_ml"), ModuleType("label_studio_ml.model")
    base.LabelStudioMLBase = LabelStudioMLBase  # type: ignore[attr-defined]
    try:
        importlib.import_module("label_studio_ml.model")
        stand_ins = {}
    except ImportError:
        stand_ins = {"label_studio_ml": package, "label_studio_ml.model": base}
    with patch.dict(sys.modules, stand_ins):
        model = importlib.reload(ml_backend.model)
        with patch.object(model, "runtime", lambda *_: (settings, store, jobs)):
            yield official_app(model.WeakHAR).test_client(), settings, jobs
    importlib.reload(ml_backend.model)


def test_setup_keeps_config_and_parameters_and_start_training_works_on_a_fresh_project(
    official: tuple[FlaskClient, Settings, Jobs],
) -> None:
    web, _, jobs = official
    body = {
        "project": "7.1795510496",
        "schema": CONFIG,
        "extra_params": json.dumps({"dataset": "d", "components": 9}),
    }
    answer = web.post("/setup", json=body)
    assert answer.get_json()["model_version"].startswith("weakhar-")
    project = jobs.store.project(7)
    assert project.label_config == CONFIG
    assert json.loads(project.parameters) == {"dataset": "d", "components": 9}

    event = {"action": "START_TRAINING", "project": {"id": 8, "label_config": CONFIG}}
    answer = web.post("/webhook", json=event)
    assert answer.status_code == 201
    assert answer.get_json() == {"result": {"message": "the job is queued"}, "status": "ok"}
    job = jobs.store.job(8)
    assert job is not None
    assert job.state == "queued"


def test_answers_arrive_and_predict_gives_a_list_for_each_task(official: tuple[FlaskClient, Settings, Jobs]) -> None:
    web, _, jobs = official
    jobs.store.save_project(7, label_config=CONFIG)
    jobs.store.add_tasks(7, [(3, "p01", "s|0.000|4.000|0123456789abcdef0123456789abcdef")])
    choice = {"type": "choices", "from_name": "activity", "value": {"choices": ["walking"]}}
    annotation = {"id": 1, "task": 3, "result": [choice], "updated_at": "2026-05-01T12:00:00Z"}
    event = {"action": "ANNOTATION_CREATED", "project": {"id": 7, "label_config": CONFIG}, "annotation": annotation}
    assert web.post("/webhook", json=event).status_code == 201
    assert [task.id for task, _ in jobs.store.annotations(7)] == [3]
    body = {"project": "7.1", "label_config": CONFIG, "tasks": [{"id": 3}, {"id": 4}], "params": {"context": {}}}
    assert web.post("/predict", json=body).get_json() == {"results": [[], []]}


def test_wrong_parameters_are_named(official: tuple[FlaskClient, Settings, Jobs]) -> None:
    web, _, _ = official
    web.application.testing = True
    with pytest.raises(Exception, match='"compnents" is not known'):
        web.post("/setup", json={"project": "7.1", "schema": CONFIG, "extra_params": {"compnents": 9}})
