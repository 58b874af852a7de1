"""Jobs and answers in the running Label Studio, for each test its own project."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import redis

from ml_backend.sample import BackendServer, LabelStudioServer, free_port, true_labels, wait_for

MOTO = Path(__file__).parents[2] / ".venv-label-studio" / "bin" / "moto_server"


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


def _answers(probe: Callable[[], object]) -> bool:
    try:
        probe()
    except (psycopg.Error, redis.RedisError, httpx.TransportError):
        return False
    return True


@pytest.fixture
def postgres_url() -> Iterator[str]:
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    # PostgreSQL refuses to run as root and must be able to reach its folder.
    as_postgres = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="weakhar-postgres-"))
    if as_postgres:
        shutil.chown(folder, "postgres")
    data, port = folder / "data", free_port()
    options = ["-D", str(data), "-U", "weakhar", "--auth=trust"]
    subprocess.run([*as_postgres, str(programs / "initdb"), *options], check=True, capture_output=True, cwd=folder)
    command = [str(programs / "postgres"), "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", str(folder)]
    server = subprocess.Popen([*as_postgres, *command], cwd=folder, stderr=subprocess.DEVNULL)
    url = f"postgresql://weakhar@127.0.0.1:{port}/postgres"
    try:
        wait_for(lambda: _answers(lambda: psycopg.connect(url).close()), 30, "PostgreSQL")
        yield url.replace("postgresql:", "postgresql+psycopg:")
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder)


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    url = f"redis://127.0.0.1:{port}/0"
    try:
        wait_for(lambda: _answers(lambda: redis.Redis.from_url(url).ping()), 30, "Redis")
        yield url
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server, which comes with Label Studio."""
    port = free_port()
    command = [str(MOTO), "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: _answers(lambda: httpx.get(url)), 60, "the S3 server")
        yield url
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def s3_keys(s3_server: str) -> dict[str, str]:
    """What a program needs to reach the server."""
    return {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "weakhar",
        "AWS_SECRET_ACCESS_KEY": "weakhar",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@pytest.fixture
def bucket(s3_server: str, s3_keys: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket's URL, which this process can reach; copies of what lies there are kept in the test's folder."""
    for name, value in {**s3_keys, "XDG_CACHE_HOME": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    name = f"lab-{tmp_path.name.replace('_', '-').lower()}-{free_port()}"[-60:].strip("-")
    httpx.put(f"{s3_server}/{name}").raise_for_status()
    return f"s3://{name}"
