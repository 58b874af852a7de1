"""What the backend remembers: projects, jobs, and a copy of Label Studio's tasks and annotations.

SQLite by default, PostgreSQL by URL. Label Studio owns the annotations: a webhook upserts one here, a reconciliation
makes the copy exact. Clusters are files, labels are computed when asked for.
"""

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from uuid import uuid4

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import (
    BigInteger,
    Engine,
    MetaData,
    create_engine,
    delete,
    event,
    func,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from ml_backend.errors import ConfigError, WeakHARError
from ml_backend.files import DiskError, locked, private_file
from ml_backend.labelstudio import Place, TaskAnswer, place_of
from ml_backend.recordings import stretch_of_key

log = logging.getLogger(__name__)
T = TypeVar("T")

LEASE_SECONDS = 20.0
PATIENCE = 60.0
"""Seconds to wait for a reconciliation to end, which holds a project for a moment."""
QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
QUIET, LONGEST_WAIT, FORGOTTEN = 2.0, 60.0, 120.0
"""Seconds without a further wish after which a reconciliation begins; how long the first one waits at most; and after
which it is taken for forgotten."""


class BusyError(WeakHARError):
    """Another job works on the project."""

    status = 409


class LostError(BusyError):
    """The job's lease lapsed: another may be at work."""


class LockedError(WeakHARError):
    """The database is busy, and what was to be written is not."""

    status = 503


IDS_AT_ONCE = 500
"""SQLite takes no more than a thousand values in a statement."""


class Base(DeclarativeBase):
    """Base of the tables."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {int: BigInteger}


class Project(Base):
    """A Label Studio project that is connected. As JSON: `parameters`, its Extra params; `set_parameters`, what
    `weakhar run --set` set; `meanings`, what choices mean that are not what they are called; `classes_seen`, the
    classes there were, and those that came later; `withdrawn`, participants who are not to be read again. connection:
    what is wrong with the one to Label Studio; `sync_found`, as JSON, what the last reconciliation of all found, from
    which the next goes on; review_project: number of the one there in which recordings are gone
    through, whose tasks and annotations are kept under that number."""

    __tablename__ = "projects"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    title: Mapped[str] = mapped_column(default="")
    label_config: Mapped[str] = mapped_column(default="")
    parameters: Mapped[str] = mapped_column(default="{}")
    set_parameters: Mapped[str] = mapped_column(default="{}")
    meanings: Mapped[str] = mapped_column(default="{}")
    classes_seen: Mapped[str] = mapped_column(default="{}")
    withdrawn: Mapped[str] = mapped_column(default="[]")
    dataset: Mapped[str] = mapped_column(default="")
    hostname: Mapped[str] = mapped_column(default="")
    access_token: Mapped[str] = mapped_column(default="")
    backend_url: Mapped[str] = mapped_column(default="")
    connection: Mapped[str] = mapped_column(default="")
    review_project: Mapped[int | None]
    synced_at: Mapped[float | None]
    sync_found: Mapped[str] = mapped_column(default="{}")
    sync_first_asked: Mapped[float | None]
    sync_last_asked: Mapped[float | None]


class Job(Base):
    """The latest job of a project: its state and progress, how often its process died under it, and whether somebody
    wants it to end."""

    __tablename__ = "jobs"
    project_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    state: Mapped[str]
    step: Mapped[str] = mapped_column(default="")
    done: Mapped[float] = mapped_column(default=0.0)
    total: Mapped[float] = mapped_column(default=0.0)
    message: Mapped[str] = mapped_column(default="")
    changed_at: Mapped[float]
    deaths: Mapped[int] = mapped_column(default=0)
    cancelled: Mapped[bool] = mapped_column(default=False)


class Lease(Base):
    """Who works on a project; lapses when its owner stops renewing it, so a killed job blocks nobody for long. By the
    database's clock: those of machines differ."""

    __tablename__ = "leases"
    project_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    owner: Mapped[str]
    expires_at: Mapped[float]


class Secret(Base):
    """What the processes of one installation share, by its name."""

    __tablename__ = "secrets"
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]


class Task(Base):
    """A task of ours in Label Studio; `clip` is the key of the clip, or of the part of a recording, that it shows."""

    __tablename__ = "tasks"
    project_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    participant: Mapped[str]
    clip: Mapped[str]

    @property
    def place(self) -> Place:
        """What it shows."""
        return place_of(self.participant, stretch_of_key(self.clip))


class Annotation(Base):
    """One annotator's answer, as JSON `given`, what was taken in which control, and `regions`, what was drawn; a
    deleted one stays as a tombstone, so that a late webhook cannot bring it back."""

    __tablename__ = "annotations"
    project_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    task_id: Mapped[int | None]
    given: Mapped[str] = mapped_column(default="[]")
    regions: Mapped[str] = mapped_column(default="[]")
    annotator: Mapped[int | None]
    seconds: Mapped[float | None]
    skipped: Mapped[bool] = mapped_column(default=False)
    deleted: Mapped[bool] = mapped_column(default=False)
    updated_at: Mapped[float] = mapped_column(default=0.0)
    received_at: Mapped[float]


class Store:
    """All reads and writes of the database, each in its own transaction."""

    def __init__(self, url: str, patience: float = 10.0) -> None:
        """`patience`: seconds to wait for another writer of SQLite."""
        self.engine = _engine(url, patience)
        self._writing = self.engine.execution_options(weakhar_writes=True)
        self._one_writer = threading.Lock()
        sqlite = self.engine.dialect.name == "sqlite"
        self._clock = text(
            "SELECT (julianday('now') - 2440587.5) * 86400"
            if sqlite
            else "SELECT extract(epoch FROM clock_timestamp())"
        )

    # --- projects

    def project(self, project_id: int) -> Project:
        """The project; ConfigError if it was never connected."""
        with Session(self.engine, expire_on_commit=False) as session:
            found = session.get(Project, project_id)
        if found is None:
            raise ConfigError(f"project {project_id}: not connected; add this backend to it in Label Studio")
        return found

    def told_by(self, project_id: int) -> Project:
        """The project that an event of Label Studio's project is about: that itself, or the one whose recordings are
        gone through there; ConfigError if it is none of ours."""
        with Session(self.engine, expire_on_commit=False) as session:
            found = session.scalars(select(Project).where(Project.review_project == project_id)).first()
        return found or self.project(project_id)

    def projects(self) -> list[Project]:
        """All connected projects by id."""
        with Session(self.engine, expire_on_commit=False) as session:
            return list(session.scalars(select(Project).order_by(Project.id)))

    def save_project(self, project_id: int, **fields: Any) -> None:
        """Create or change a project."""

        def write(session: Session) -> None:
            project = session.get(Project, project_id) or Project(id=project_id)
            for name, value in fields.items():
                setattr(project, name, value)
            session.add(project)

        self._write(write)

    def change_project(self, project_id: int, **fields: Any) -> None:
        """Change a project, unless it was forgotten meanwhile: what was still at work must not bring it back."""

        def write(session: Session) -> None:
            project = session.get(Project, project_id, with_for_update=True)
            for name, value in fields.items() if project is not None else ():
                setattr(project, name, value)

        self._write(write)

    def set_extra_params(self, project_id: int, extra: dict[str, Any]) -> None:
        """Take over what stands in the project's Extra params. What `weakhar run --set` set stays, unless Extra
        params name it and have changed there."""

        def write(session: Session) -> None:
            project = session.get(Project, project_id) or Project(id=project_id)
            before = json.loads(project.parameters or "{}")
            own = json.loads(project.set_parameters or "{}")
            kept = {
                name: value for name, value in own.items() if name not in extra or before.get(name) == extra[name]
            }
            project.parameters, project.set_parameters = json.dumps(extra), json.dumps(kept)
            session.add(project)

        self._write(write)

    def set_meaning(self, project_id: int, choice: str, means: str) -> None:
        """Say what a choice means: a class, or NO_CLASS."""

        def write(session: Session) -> None:
            project = session.get(Project, project_id, with_for_update=True)
            if project is not None:
                project.meanings = json.dumps({**json.loads(project.meanings), choice: means}, ensure_ascii=False)

        self._write(write)

    def classes_are_known(self, project_id: int) -> None:
        """Somebody read which classes were added."""

        def write(session: Session) -> None:
            project = session.get(Project, project_id, with_for_update=True)
            if project is not None:
                project.classes_seen = json.dumps({**json.loads(project.classes_seen), "added": []})

        self._write(write)

    def withdraw(self, project_id: int, participant: str, videos: Collection[str]) -> None:
        """Note that a participant, and videos by their content, are not to be read again."""

        def write(session: Session) -> None:
            project = session.get(Project, project_id, with_for_update=True)
            if project is not None:
                names = {*json.loads(project.withdrawn), participant, *videos}
                project.withdrawn = json.dumps(sorted(names), ensure_ascii=False)

        self._write(write)

    def forget_tasks(self, project_id: int, participant: str, videos: Collection[str]) -> None:
        """Remove what is known of a participant's tasks, and of those about `videos`, and of their answers."""

        def write(session: Session) -> None:
            own = Task.project_id.in_(_numbers(session, project_id))
            for task in session.scalars(select(Task).where(own)).all():
                if task.participant == participant or stretch_of_key(task.clip).video in videos:
                    theirs = (Annotation.project_id == task.project_id, Annotation.task_id == task.id)
                    session.execute(delete(Annotation).where(*theirs))
                    session.delete(task)

        self._write(write)

    def dump(self) -> dict[str, Any]:
        """All rows of all tables, and the version of their layout."""
        with self.engine.connect() as connection:
            version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
            rows = {
                table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
                for table in Base.metadata.sorted_tables
                if table.name != Lease.__tablename__
            }
        return {"version": version, "rows": rows}

    def delete_project(self, project_id: int) -> None:
        """Forget a project that Label Studio deleted; its files stay."""

        def write(session: Session) -> None:
            numbers = _numbers(session, project_id)
            for table in (Annotation, Task, Job):
                session.execute(delete(table).where(table.project_id.in_(numbers)))
            session.execute(delete(Project).where(Project.id == project_id))
            session.execute(delete(Secret).where(Secret.name == webhook_name(project_id)))

        self._write(write)

    # --- jobs

    def job(self, project_id: int) -> Job | None:
        """The project's latest job."""
        with Session(self.engine, expire_on_commit=False) as session:
            return session.get(Job, project_id)

    def request_job(self, project_id: int) -> bool:
        """Mark a job as queued; False if one is queued or at work already."""

        def write(session: Session) -> bool:
            job = session.get(Job, project_id, with_for_update=True)
            if job is not None and (
                job.state == QUEUED or (job.state == RUNNING and self._leased(session, project_id))
            ):
                return False
            fresh = {"step": "", "message": "", "deaths": 0, "cancelled": False, "done": 0.0, "total": 0.0}
            session.merge(Job(project_id=project_id, state=QUEUED, changed_at=time.time(), **fresh))
            return True

        return self._write(write)

    def set_job(self, project_id: int, state: str, **fields: Any) -> bool:
        """Record a job's state and progress; True if somebody wants it to end, or the project was forgotten."""

        def write(session: Session) -> bool:
            if session.get(Project, project_id, with_for_update=True) is None:
                return True
            job = session.merge(Job(project_id=project_id, state=state, changed_at=time.time(), **fields))
            return bool(job.cancelled)

        return self._write(write)

    def cancel_job(self, project_id: int) -> bool:
        """Ask that a job ends; one that nobody has begun ends at once. False if none is queued or running."""

        def write(session: Session) -> bool:
            job = session.get(Job, project_id, with_for_update=True)
            if job is None or job.state not in (QUEUED, RUNNING):
                return False
            job.cancelled = True
            if not self._leased(session, project_id):
                job.state, job.message, job.step = CANCELLED, "", ""
            return True

        return self._write(write)

    def note_death(self, project_id: int) -> Job | None:
        """Note that a running job's process died; the job as it then is."""

        def write(session: Session) -> Job | None:
            job = session.get(Job, project_id, with_for_update=True)
            if job is not None:
                job.deaths += 1
            return job

        return self._write(write)

    def ask_for_sync(self, project_id: int) -> bool:
        """Note that a reconciliation is wanted; True if none was."""

        def write(session: Session) -> bool:
            project, now = session.get(Project, project_id, with_for_update=True), self._now(session)
            if project is None:
                return False
            first = project.sync_first_asked is None or now - project.sync_first_asked > FORGOTTEN
            project.sync_first_asked = now if first else project.sync_first_asked
            project.sync_last_asked = now
            return first

        return self._write(write)

    def begin_sync(self, project_id: int) -> bool:
        """True if it is time for the reconciliation that was asked for: nobody asked for a moment, or waits long."""

        def write(session: Session) -> bool:
            project, now = session.get(Project, project_id, with_for_update=True), self._now(session)
            if project is None or project.sync_first_asked is None or project.sync_last_asked is None:
                return True
            if now - project.sync_last_asked < QUIET and now - project.sync_first_asked < LONGEST_WAIT:
                return False
            project.sync_first_asked = project.sync_last_asked = None
            return True

        return self._write(write)

    def interrupted_jobs(self) -> list[int]:
        """Projects whose job is said to be queued or running though nobody works on it."""
        with Session(self.engine) as session:
            unfinished = session.scalars(select(Job.project_id).where(Job.state.in_((QUEUED, RUNNING))))
            return [project_id for project_id in unfinished if not self._leased(session, project_id)]

    def leased(self, project_id: int) -> bool:
        """True while somebody works on the project."""
        with Session(self.engine) as session:
            return self._leased(session, project_id)

    @contextmanager
    def lease(self, project_id: int, patience: float = 0.0) -> Iterator[Callable[[], None]]:
        """Hold the project for one worker; BusyError if another holds it, and does so for `patience` seconds.

        Renewed in the background. Yields what is to be called before each write elsewhere: it raises LostError where
        the lease lapsed, as after a stop of the machine, and another may be at work.
        """
        owner, until = uuid4().hex, time.monotonic() + patience
        while not (taken := self._take_lease(project_id, owner)) and time.monotonic() < until:
            time.sleep(0.2)
        if not taken:
            raise BusyError(f"project {project_id}: another job is at work; wait until it has finished")
        released = threading.Event()

        def renew() -> None:
            while not released.wait(LEASE_SECONDS / 4):
                try:
                    if not self._renew_lease(project_id, owner):
                        return  # the next check says so
                except Exception:  # a busy or vanished database must not end the renewing
                    log.exception("project %s: the lease could not be renewed", project_id)

        def check() -> None:
            if not self._renew_lease(project_id, owner):
                raise LostError(f"project {project_id}: this job stood still for too long, and another took over")

        thread = threading.Thread(target=renew, daemon=True)
        thread.start()
        try:
            yield check
            check()
        except Exception:
            check()  # what went wrong went wrong because another is at work: that is to be said
            raise
        finally:
            released.set()
            thread.join()
            owned = (Lease.project_id == project_id, Lease.owner == owner)
            self._write(lambda session: session.execute(delete(Lease).where(*owned)))

    def _take_lease(self, project_id: int, owner: str) -> bool:
        def write(session: Session) -> bool:
            lease, now = session.get(Lease, project_id, with_for_update=True), self._now(session)
            if lease is not None and lease.owner != owner and lease.expires_at > now:
                return False
            session.merge(Lease(project_id=project_id, owner=owner, expires_at=now + LEASE_SECONDS))
            return True

        return self._write(write)

    def _renew_lease(self, project_id: int, owner: str) -> bool:
        """False where the lease lapsed: nobody knows what happened since."""

        def write(session: Session) -> bool:
            lease, now = session.get(Lease, project_id, with_for_update=True), self._now(session)
            if lease is None or lease.owner != owner or lease.expires_at <= now:
                return False
            lease.expires_at = now + LEASE_SECONDS
            return True

        return self._write(write)

    def _leased(self, session: Session, project_id: int) -> bool:
        lease = session.get(Lease, project_id)
        return lease is not None and lease.expires_at > self._now(session)

    def _now(self, session: Session) -> float:
        """Seconds since 1970 by the database's clock."""
        return float(session.execute(self._clock).scalar_one())

    def secret(self, name: str) -> str:
        """A random text that the processes of this installation share; made when it is first asked for."""

        def write(session: Session) -> str:
            known = session.get(Secret, name, with_for_update=True)
            if known is None:
                known = Secret(name=name, value=secrets.token_urlsafe(32))
                session.add(known)
            return known.value

        with Session(self.engine) as session:
            known = session.get(Secret, name)
        return known.value if known is not None else self._write(write)

    # --- tasks and annotations

    def add_tasks(self, project_id: int, tasks: Iterable[tuple[int, str, str]]) -> None:
        """Remember created tasks: (task id, participant, clip key)."""
        rows = [
            Task(project_id=project_id, id=i, participant=participant, clip=clip) for i, participant, clip in tasks
        ]
        self._write(lambda session: [session.merge(row) for row in rows])

    def upsert_annotation(self, project_id: int, answer: TaskAnswer) -> bool:
        """Take one annotation over unless a newer state of it is known; True if anything changed."""

        def write(session: Session) -> bool:
            known = session.get(Annotation, (project_id, answer.id), with_for_update=True)
            if known is not None and (known.deleted or known.updated_at >= answer.updated_at):
                return False
            session.merge(_row(project_id, answer))
            return True

        return self._write(write)

    def delete_annotations(self, project_id: int, ids: Iterable[int]) -> None:
        """Leave tombstones, also for annotations that were never seen: events may come out of order."""
        now = time.time()
        rows = [Annotation(project_id=project_id, id=i, deleted=True, received_at=now) for i in ids]
        self._write(lambda session: [session.merge(row) for row in rows])

    def reconcile(
        self,
        project_id: int,
        asked_at: float,
        tasks: Iterable[tuple[int, str, str]],
        answers: Iterable[TaskAnswer],
        whole: bool = True,
    ) -> None:
        """Make tasks and annotations exactly those that Label Studio held when asked at `asked_at`; if that is not
        the `whole` project, those of these tasks.

        What a webhook brought after that moment is newer than the snapshot and stays.
        """
        task_rows = [Task(project_id=project_id, id=i, participant=p, clip=clip) for i, p, clip in tasks]
        fresh = [_row(project_id, answer) for answer in answers]
        numbers = [task.id for task in task_rows]
        parts = [numbers[begin : begin + IDS_AT_ONCE] for begin in range(0, len(numbers), IDS_AT_ONCE)]

        def write(session: Session) -> None:
            for some in [None] if whole else parts:
                of_tasks = [Task.id.in_(some)] if some is not None else []
                of_answers = [Annotation.task_id.in_(some)] if some is not None else []
                session.execute(delete(Task).where(Task.project_id == project_id, *of_tasks))
                old = (Annotation.project_id == project_id, Annotation.received_at < asked_at, *of_answers)
                session.execute(delete(Annotation).where(*old))
            session.add_all(task_rows)
            newer = set(session.scalars(select(Annotation.id).where(Annotation.project_id == project_id)))
            session.add_all(row for row in fresh if row.id not in newer)
            if (project := session.get(Project, project_id)) is not None:
                project.synced_at = asked_at

        self._write(write)

    def counted(self, project_id: int) -> tuple[int, int]:
        """Tasks of a project, and annotations of these."""
        of_ours = (Annotation.task_id == Task.id) & (Annotation.project_id == Task.project_id)
        own = Task.project_id == project_id
        with Session(self.engine) as session:
            tasks = session.scalar(select(func.count()).select_from(Task).where(own))
            joined = select(func.count()).select_from(Annotation).join(Task, of_ours)
            return int(tasks or 0), int(session.scalar(joined.where(own, ~Annotation.deleted)) or 0)

    def annotations(self, project_id: int) -> list[tuple[Task, Annotation]]:
        """Every annotation of our tasks, by task and annotation id."""
        query = (
            select(Task, Annotation)
            .join(Annotation, (Annotation.task_id == Task.id) & (Annotation.project_id == Task.project_id))
            .where(Task.project_id == project_id, ~Annotation.deleted)
            .order_by(Task.id, Annotation.id)
        )
        with Session(self.engine, expire_on_commit=False) as session:
            return [(task, annotation) for task, annotation in session.execute(query)]

    def disagreed(self, project_id: int, task_id: int) -> bool:
        """True where annotators gave a task different answers."""
        own = (Annotation.project_id == project_id, Annotation.task_id == task_id)
        with Session(self.engine) as session:
            given = select(Annotation.given).where(*own, ~Annotation.deleted, ~Annotation.skipped).distinct()
            return len(session.scalars(given).all()) > 1

    def stamp(self, project_id: int) -> tuple[Any, ...]:
        """Changes when a project's tasks or annotations do."""
        with Session(self.engine) as session:
            numbers = _numbers(session, project_id)
            own = Annotation.project_id.in_(numbers)
            queries = (
                select(func.count(), func.max(Annotation.received_at), func.sum(Annotation.updated_at)).where(own),
                select(func.count()).where(own, Annotation.deleted),
                select(func.count(), func.max(Task.id), func.sum(Task.id)).where(Task.project_id.in_(numbers)),
            )
            return tuple(tuple(session.execute(query).one()) for query in queries)

    def tasks(self, project_id: int) -> list[Task]:
        """Our tasks of a project by id."""
        with Session(self.engine, expire_on_commit=False) as session:
            return list(session.scalars(select(Task).where(Task.project_id == project_id).order_by(Task.id)))

    def _write(self, change: Callable[[Session], T]) -> T:
        """Run `change` in a transaction that no other writer gets between; once more where two met on a new row.
        LockedError where the database stays busy."""
        for attempt in range(5):
            try:
                with self._one_writer, Session(self._writing, expire_on_commit=False) as session, session.begin():
                    return change(session)
            except IntegrityError:
                if attempt == 4:
                    raise
                time.sleep(0.02 * 2**attempt)
            except OperationalError as error:
                if "locked" in str(error):
                    raise LockedError("the database is busy; nothing is lost: try again in a moment") from error
                if "full" in str(error):
                    raise DiskError("the disk of the database is full; free some space and run again") from error
                raise
        raise AssertionError("unreachable")


def open_store(url: str, folder: Path, patience: float = 10.0) -> Store:
    """The store at `url`, its tables brought up to date; one process at a time, by a lock file in `folder`.

    `patience` as of Store. ConfigError if it cannot be opened, or a newer version of weakhar made it.
    """
    with locked(folder / "migrate.lock"):
        if (file := make_url(url).database) and url.startswith("sqlite"):
            private_file(Path(file))
        try:
            command.upgrade(_migrations(url), "head")
        except CommandError as error:
            raise ConfigError(
                f"{_without_password(url)}: was made by a newer version of weakhar than this ({error}); install that "
                "version, or restore a backup of this one"
            ) from None
        except OperationalError as error:
            reason = str(error.orig).splitlines()[0]
            raise ConfigError(f"WEAKHAR_DATABASE_URL: the database cannot be opened ({reason})") from None
        store = Store(url, patience)
        store.engine.connect().close()  # in SQLite the journal's mode is set now, while nobody else writes
    return store


def create_store(url: str, folder: Path, dumped: dict[str, Any]) -> None:
    """A store with the rows that `Store.dump` gave, also where an older version did; ConfigError if a store is there
    already, or a newer version dumped it."""
    with locked(folder / "migrate.lock"):
        if (file := make_url(url).database) and url.startswith("sqlite"):
            private_file(Path(file))
        engine = create_engine(url)
        try:
            if inspect(engine).has_table("projects"):
                raise ConfigError(f"{_without_password(url)}: holds a store already; name an empty database")
            try:
                command.upgrade(_migrations(url), dumped["version"])
            except CommandError:
                raise ConfigError(
                    f"the backup was made by a newer version of weakhar (layout {dumped['version']}); install that"
                ) from None
            tables = MetaData()
            tables.reflect(engine)
            with engine.begin() as connection:
                for name, rows in dumped["rows"].items():
                    if rows:
                        connection.execute(tables.tables[name].insert(), rows)
        finally:
            engine.dispose()


def _migrations(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def webhook_name(project_id: int) -> str:
    """What the secret of a project's webhook is called."""
    return f"webhook-{project_id}"


def _without_password(url: str) -> str:
    return make_url(url).render_as_string(hide_password=True)


def _engine(url: str, patience: float) -> Engine:
    engine = create_engine(url, pool_pre_ping=True)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _prepare(connection: Any, _record: Any) -> None:
            connection.isolation_level = None  # transactions are begun below, not by the driver at the first write
            connection.execute(f"PRAGMA busy_timeout={round(1000 * patience)}")
            # What a power cut may lose, the next reconciliation brings back; a webhook need not wait for the disk.
            connection.execute("PRAGMA synchronous=NORMAL")
            if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):  # to set it wants the database alone
                connection.execute("PRAGMA journal_mode=WAL")

        @event.listens_for(engine, "begin")
        def _begin(connection: Any) -> None:
            writes = connection.get_execution_options().get("weakhar_writes")
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _numbers(session: Session, project_id: int) -> list[int]:
    """Under which numbers a project's tasks and annotations are kept: its own, and that of its review."""
    review = session.scalar(select(Project.review_project).where(Project.id == project_id))
    return [project_id] if review is None else [project_id, review]


def _row(project_id: int, answer: TaskAnswer) -> Annotation:
    return Annotation(
        project_id=project_id,
        id=answer.id,
        task_id=answer.task_id,
        given=json.dumps(answer.given, ensure_ascii=False),
        regions=json.dumps(answer.regions, ensure_ascii=False),
        annotator=answer.annotator,
        seconds=answer.seconds,
        skipped=answer.skipped,
        deleted=False,
        updated_at=answer.updated_at,
        received_at=time.time(),
    )


def project_overrides(project: Project) -> dict[str, Any]:
    """A project's parameters as a dict: Extra params, and over them what `weakhar run --set` set."""
    return {**json.loads(project.parameters or "{}"), **set_by_hand(project)}


def set_by_hand(project: Project) -> dict[str, Any]:
    """What `weakhar run --set` set of a project's parameters."""
    own: dict[str, Any] = json.loads(project.set_parameters or "{}")
    return own
