"""Background jobs (huey): the main job, the reconciliation, and the connection of webhooks.

The queue lies in SQLite, or in Redis by URL. A job's state lies in the store; a lease says whether somebody works on
it, so that a killed job is seen and taken up again.
"""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from huey import Huey, RedisHuey, SqliteHuey, crontab
from huey.serializer import SignedSerializer

from ml_backend.errors import WeakHARError
from ml_backend.files import private_file
from ml_backend.jobs.connecting import Wish, Wishes, connect_study
from ml_backend.jobs.exports import Export
from ml_backend.jobs.pipeline import run_project, sync_project
from ml_backend.jobs.projects import client_for, project_parameters, webhook_fields
from ml_backend.jobs.reviews import open_review
from ml_backend.jobs.store import (
    CANCELLED,
    DONE,
    FAILED,
    LEASE_SECONDS,
    QUEUED,
    QUIET,
    RUNNING,
    BusyError,
    LockedError,
    Store,
)
from ml_backend.jobs.upkeep import forget_project
from ml_backend.labelstudio import GoneError, describe_model
from ml_backend.settings import Settings

log = logging.getLogger(__name__)

WORKER_THREADS = 4
PROGRESS_SECONDS = 0.5
NICENESS = 10
MOST_DEATHS = 3
"""A job whose process died so often is not begun again by itself."""


class Jobs:
    """The queue and what runs from it. `huey` is what a consumer works on."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.settings = settings
        self.store = store
        # Messages are pickles: whoever reaches Redis must not be able to write one that is unpacked here.
        signed = SignedSerializer(secret=store.secret("queue"))
        if settings.redis_url:
            self.huey: Huey = RedisHuey("weakhar", url=settings.redis_url, serializer=signed)
        else:
            private_file(settings.model_dir / "queue.db")
            self.huey = SqliteHuey("weakhar", filename=str(settings.model_dir / "queue.db"), serializer=signed)
        self._run = self.huey.task(name="run")(self.run)
        self._sync = self.huey.task(name="sync")(self.sync)
        self._export = self.huey.task(name="export")(self.export)
        self._fulfil = self.huey.task(name="fulfil")(self.fulfil)
        self._review = self.huey.task(name="review")(self.review)
        self._forget = self.huey.task(name="forget")(self.forget)
        self._connect = self.huey.task(name="connect", retries=5, retry_delay=3)(self.connect)
        self._resume = self.huey.task(name="resume")(self.resume)
        self.huey.periodic_task(crontab(), name="resume_every_minute")(self.resume)
        every = crontab(minute=f"*/{settings.sync_minutes}")
        self.huey.periodic_task(every, name="sync_all")(self.sync_all)

    # --- what requests call: milliseconds

    def start(self, project_id: int) -> bool:
        """Queue the main job; False if it is queued or running already."""
        if not self.store.request_job(project_id):
            return False
        self._run(project_id)
        return True

    def request_sync(self, project_id: int) -> None:
        """Queue a reconciliation; many wishes become one, a moment after the last."""
        if self.store.ask_for_sync(project_id):
            self._sync.schedule((project_id,), delay=QUIET)

    def request_connect(self, project_id: int) -> None:
        """Queue the look for the project's webhook; Label Studio makes it only after `/setup` has answered."""
        self._connect.schedule((project_id,), delay=1)

    def request_export(self, wanted: Export) -> None:
        """Queue an export unless it is at work."""
        if wanted.state()["state"] != "running":
            wanted.note("running", message="queued")
            self._export(asdict(wanted))

    def request_study(self, wish: Wish) -> None:
        """Queue the connection of a study."""
        Wishes(self.settings).note(wish.title, "running")
        self._fulfil(asdict(wish))

    def request_review(self, project_id: int) -> None:
        """Queue the making of the project in which recordings are gone through, unless a job is at work."""
        if self.store.request_job(project_id):
            self._review(project_id)

    def request_forget(self, project_id: int) -> None:
        """Queue the removal of a project's files."""
        self._forget(project_id)

    # --- what the worker runs

    def work(self) -> None:
        """Serve the queue until the process is told to stop; who waits for an answer goes first."""
        os.nice(NICENESS)
        self.sync_all()
        self._resume()
        self._resume.schedule(delay=int(LEASE_SECONDS) + 1)  # leases of a killed worker have lapsed by then
        self.huey.create_consumer(
            workers=WORKER_THREADS, worker_type="thread", initial_delay=0.05, max_delay=0.5
        ).run()

    def run(self, project_id: int) -> None:
        """The main job, with its progress in the store."""
        self._work_on(project_id, run_project)

    def review(self, project_id: int) -> None:
        """Make the project in which recordings are gone through, as a job of the project."""
        self._work_on(project_id, open_review)

    def _work_on(self, project_id: int, do: Callable[..., Any]) -> None:
        job = self.store.job(project_id)
        if job is None or job.state not in (QUEUED, RUNNING):
            return
        log.info("project %s: job started", project_id)
        try:
            project = self.store.project(project_id)
            progress = StoredProgress(self.store, project_id)
            client = client_for(self.settings, project).patient(progress.waiting)
            self.describe(project_id)
            result = do(self.store, self.settings, client, project_id, progress)
            self.store.set_job(project_id, DONE, message=str(result), step="", done=1, total=1)
            log.info("project %s: job done, %s", project_id, result)
        except BusyError as error:
            log.info("%s", error)
        except CancelledError:
            self.store.set_job(
                project_id, CANCELLED, message="what was done stays; Start Training goes on from there"
            )
            log.info("project %s: job cancelled", project_id)
        except WeakHARError as error:
            self.store.set_job(project_id, FAILED, message=str(error))
            log.error("project %s: job failed: %s", project_id, error)
        except Exception as error:
            message = f"internal error: {type(error).__name__}: {error}; see the worker's log"
            self.store.set_job(project_id, FAILED, message=message)
            raise
        finally:
            self.describe(project_id)

    def describe(self, project_id: int) -> None:
        """Write how a job stands into the model's description in Label Studio, which shows nothing else of it;
        without the message where participants are not to be named there."""
        job = self.store.job(project_id)
        if job is None:  # of a project that was forgotten meanwhile, too
            return
        project = self.store.project(project_id)
        if not project.backend_url:
            return
        user, password = self.settings.basic_auth_user, self.settings.basic_auth_pass
        try:
            named = project_parameters(self.settings, project).show_participant
            text = f"{job.state}{f': {job.message}' if job.message and named else ''} · {project.backend_url}"
            describe_model(client_for(self.settings, project), project_id, project.backend_url, text, user, password)
        except WeakHARError as error:
            log.warning("project %s: Label Studio does not show how the job stands: %s", project_id, error)

    def sync(self, project_id: int) -> None:
        """Reconcile one project, unless a job works on it: that ends with a reconciliation."""
        try:
            ready = self.store.begin_sync(project_id)
        except LockedError:
            ready = False
        if not ready:
            self._sync.schedule((project_id,), delay=QUIET)
            return
        try:
            client = client_for(self.settings, self.store.project(project_id))
            sync_project(self.store, self.settings, client, project_id, lambda *_: None)
        except BusyError:
            self._sync.schedule((project_id,), delay=5)
        except GoneError:
            message = (
                "Label Studio has no such project (any more), or the access token's user may not see it; "
                f"`weakhar forget --project {project_id}` removes what is kept of it"
            )
            self.store.set_job(project_id, FAILED, message=message)
            log.warning("project %s: %s", project_id, message)
        except WeakHARError as error:
            log.warning("project %s: not synchronised: %s", project_id, error)

    def export(self, wanted: dict[str, Any]) -> None:
        """Write an export, with its progress beside it."""
        Export(**wanted).run(self.store, self.settings)

    def fulfil(self, wish: dict[str, Any]) -> None:
        """Connect a study; what is wrong with it is noted for the page."""
        wishes = Wishes(self.settings)
        try:
            found = connect_study(self.settings, Wish(**wish))
            wishes.note(wish["title"], "done")
            log.info("project %s: %s", found.project, "; ".join(found.done))
        except WeakHARError as error:
            wishes.note(wish["title"], "failed", str(error))
            log.warning("'%s' was not connected: %s", wish["title"], error)
        except Exception as error:
            wishes.note(wish["title"], "failed", f"internal error: {type(error).__name__}; see the worker's log")
            raise

    def forget(self, project_id: int) -> None:
        """Remove the files of a project that Label Studio deleted."""
        self.store.cancel_job(project_id)
        try:
            for line in forget_project(self.store, self.settings, None, project_id):
                log.info("project %s: removed %s", project_id, line)
        except BusyError:
            self._forget.schedule((project_id,), delay=10)

    def sync_all(self) -> None:
        """Queue a reconciliation of every project; and look whether webhooks still reach us."""
        for project in self.store.projects():
            self._sync(project.id)
            self.request_connect(project.id)

    def resume(self) -> None:
        """Take up jobs that were killed."""
        for project_id in self.store.interrupted_jobs():
            job = self.store.job(project_id)
            # A job queued a moment ago is in the queue and needs no second entry.
            if job is None or not (job.state == RUNNING or time.time() - job.changed_at > LEASE_SECONDS):
                continue
            job = self.store.note_death(project_id) if job.state == RUNNING else job
            if job is not None and job.deaths >= MOST_DEATHS:
                message = (
                    f"its process died {job.deaths} times, the last time at: {job.step or 'the start'}; out of "
                    "memory, or killed? See the system's log; then Start Training goes on from there"
                )
                self.store.set_job(project_id, FAILED, message=message)
                log.error("project %s: job failed: %s", project_id, message)
                continue
            log.info("project %s: the job was interrupted and goes on", project_id)
            self.store.set_job(project_id, QUEUED)
            self._run(project_id)

    def connect(self, project_id: int) -> None:
        """Look whether Label Studio can be spoken with; and give the project's webhook to us the secret header, where
        one is asked for, and only the actions we use."""
        project = self.store.project(project_id)
        if not project.backend_url:
            return
        try:
            client = client_for(self.settings, project)
            client.project(project_id)
        except WeakHARError as error:
            self.store.change_project(project_id, connection=str(error))
            raise
        if project.connection:
            self.store.change_project(project_id, connection="")
        ours = [
            hook
            for hook in client.webhooks(project_id)
            if hook["url"].rstrip("/") == f"{project.backend_url}/webhook"
        ]
        if not ours:
            raise WeakHARError(f"project {project_id}: no webhook to {project.backend_url} yet")
        wanted = webhook_fields(self.store, self.settings, project_id)
        for hook in ours:
            if any(_as_compared(hook.get(name)) != _as_compared(value) for name, value in wanted.items()):
                client.update_webhook(hook["id"], **wanted)
                self.request_sync(project_id)  # what came before the header was refused


class CancelledError(WeakHARError):
    """Somebody wants the job to end."""


class StoredProgress:
    """Writes progress to the store, at most twice a second and at each step's begin and end; CancelledError where
    somebody wants the job to end."""

    def __init__(self, store: Store, project_id: int) -> None:
        self._write = partial(store.set_job, project_id, RUNNING)
        self._step = ""
        self._written = 0.0

    def __call__(self, step: str, done: float, total: float) -> None:
        """Note that `done` of `total` is done of a step."""
        now = time.monotonic()
        if step != self._step or done >= total or now - self._written > PROGRESS_SECONDS:
            self._note(step=step, done=float(done), total=float(total), message="")
            self._step, self._written = step, now

    def waiting(self, reason: str) -> None:
        """Note that the job waits for something to heal."""
        self._note(message=reason)

    def _note(self, **fields: Any) -> None:
        if self._write(**fields):
            raise CancelledError("the job was cancelled")


def _as_compared(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) else value
