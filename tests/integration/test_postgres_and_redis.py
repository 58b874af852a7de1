"""The same job with the store on PostgreSQL and the queue on Redis, as docker-compose runs it."""

from collections.abc import Callable

from ml_backend.sample import BackendServer, LabelStudioServer, wait_for


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
