"""WeakHAR, the model class of a Label Studio ML backend, where label-studio-ml's tools look for one.

With label-studio-ml 2.x installed it is a `LabelStudioMLBase`, so that `label-studio-ml start ml_backend` finds it.
What setup, predict and fit mean is in `web/protocol.py`.
"""

import json
from typing import Any

from ml_backend.jobs import WEB_PATIENCE, Jobs, Store, extra_params, project_parameters, runtime
from ml_backend.labelstudio import parse_label_config
from ml_backend.settings import Settings
from ml_backend.web import model_version, predictions, project_number, take_event

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
    """One project's model."""

    @property
    def _parts(self) -> tuple[Settings, Store, Jobs]:
        return runtime(WEB_PATIENCE)

    def setup(self) -> None:
        """Called by label-studio-ml when the model is made, for each request: take over the labelling config that
        came with it, and set the version that Label Studio shows."""
        settings, store, _ = self._parts
        if not self.project_id:
            self.set("model_version", model_version(settings.parameters()))
            return
        number, config = project_number(self.project_id), self.label_config
        known = {project.id: project for project in store.projects()}
        if config and (number not in known or known[number].label_config != config):
            parse_label_config(config)
            store.save_project(number, label_config=config)
            known[number] = store.project(number)
        parameters = project_parameters(settings, known[number]) if number in known else settings.parameters()
        self.set("model_version", model_version(parameters))

    def set_extra_params(self, given: Any) -> None:
        """Called by label-studio-ml at `/setup`, after the model was made: the project's parameters."""
        settings, store, _ = self._parts
        store.set_extra_params(project_number(self.project_id), extra_params(settings, given))
        self.set("extra_params", given if isinstance(given, str) else json.dumps(given))
        self.setup()

    def predict(self, tasks: list[dict[str, Any]], **_: Any) -> list[list[dict[str, Any]]]:
        """The predictions of each task, in order."""
        settings, store, _jobs = self._parts
        return predictions(store, settings, project_number(self.project_id), tasks)

    def fit(self, event: str, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """An event of Label Studio; deletions, which label-studio-ml does not pass on, come by reconciliation."""
        _settings, store, jobs = self._parts
        return take_event(store, jobs, store.project(project_number(self.project_id)), event, data)
