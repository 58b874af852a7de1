"""Jobs and answers in the running Label Studio, for each test its own project."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ml_backend.sample import BackendServer, LabelStudioServer, true_labels


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
