"""A backend beside the running Label Studio, for each test its own."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ml_backend.embeddings import embed_all, embedders
from ml_backend.jobs import usable_recordings
from ml_backend.sample import BackendServer, LabelStudioServer, true_labels
from ml_backend.settings import Settings

StartBackend = Callable[..., BackendServer]


@pytest.fixture(scope="session")
def embedded(sample_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MODEL_DIR in which the sample recordings are embedded."""
    settings = Settings(model_dir=tmp_path_factory.mktemp("embedded"), data_dir=sample_root)
    parameters = settings.parameters()
    checked, _ = usable_recordings(sample_root, parameters)
    embed_all(embedders(settings, parameters), checked, lambda *_: None)
    return settings.model_dir


@pytest.fixture
def start_backend(
    dataset: Path, tmp_path: Path, label_studio: LabelStudioServer, embedded: Path
) -> Iterator[StartBackend]:
    """Starts `weakhar serve` on the test's copy of the sample recordings, which are embedded already unless it is
    `new`; stopped after the test."""
    with ExitStack() as stack:

        def start(auth: bool = False, new: bool = False, **environment: str) -> BackendServer:
            if not new:
                shutil.copytree(embedded, tmp_path / "model", dirs_exist_ok=True)
            backend = BackendServer(tmp_path / "model", dataset.parent, label_studio, auth)
            backend.environment.update(environment)
            stack.enter_context(backend)
            backend.wait_until_up()
            return backend

        yield start


@pytest.fixture
def run_job(label_studio: LabelStudioServer) -> Callable[..., int]:
    """Makes a project, connects the backend and runs the job to its end; returns the project's number."""

    def run(backend: BackendServer, title: str, **extra_params: Any) -> int:
        project = label_studio.create_project(title)
        parameters = {"dataset": "study", "components": 5, **extra_params}
        model = label_studio.connect(project, backend, parameters)
        label_studio.start_training(model)
        backend.wait_for_job(project)
        return project

    return run


@pytest.fixture
def answer_all(label_studio: LabelStudioServer, dataset: Path) -> Callable[[int], dict[int, int]]:
    """Answers every task with the truth; returns annotation ids by task id."""

    def answer(project: int) -> dict[int, int]:
        tasks = label_studio.tasks(project)
        labels = true_labels(dataset, tasks)
        return {
            task["id"]: label_studio.annotate(task["id"], label) for task, label in zip(tasks, labels, strict=True)
        }

    return answer
