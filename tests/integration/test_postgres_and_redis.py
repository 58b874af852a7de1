"""The same job with the store on PostgreSQL and the queue on Redis, as docker-compose runs it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from ml_backend.sample import BackendServer, LabelStudioServer, free_port, wait_for


def _answers(probe: Callable[[], object]) -> bool:
    try:
        probe()
    except (psycopg.Error, redis.RedisError):
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


def test_the_job_and_the_webhooks_work_on_postgresql_and_redis(
    label_studio: LabelStudioServer,
    start_backend: Callable[..., BackendServer],
    run_job: Callable[..., int],
    answer_all: Callable[[int], dict[int, int]],
    postgres_url: str,
    redis_url: str,
) -> None:
    backend = start_backend(auth=True, WEAKHAR_DATABASE_URL=postgres_url, WEAKHAR_REDIS_URL=redis_url)
    project = run_job(backend, "PostgreSQL and Redis", components=3)
    annotations = answer_all(project)
    wait_for(lambda: backend.status(project)["annotations"] == 6, 30, "the webhooks")
    label_studio.api("DELETE", f"api/annotations/{next(iter(annotations.values()))}/")
    wait_for(lambda: backend.status(project)["annotations"] == 5, 30, "the deletion")
    assert not list((backend.log.parent).glob("*.db"))
