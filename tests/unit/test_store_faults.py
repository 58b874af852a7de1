"""The store between several processes: leases, locks, and jobs that die, are cancelled or asked for many times."""

import multiprocessing
import os
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from ml_backend.errors import ConfigError
from ml_backend.jobs import FAILED, QUEUED, RUNNING, BusyError, Jobs, LockedError, Project, Store, open_store, queue
from ml_backend.jobs import store as store_module
from ml_backend.jobs.queue import MOST_DEATHS, CancelledError, StoredProgress
from ml_backend.jobs.store import CANCELLED, Lease, LostError
from ml_backend.labelstudio import GoneError, TaskAnswer
from ml_backend.settings import Settings
from ml_backend.web.pages import Pages
from ml_backend.web.report import Part


def test_a_lease_is_by_the_databases_clock(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clocks of two machines differ: this one is half a minute ahead."""
    with store.lease(1):
        ahead = time.time() + 30
        monkeypatch.setattr(time, "time", lambda: ahead)
        with pytest.raises(BusyError), store.lease(1):
            pass


def test_who_lost_the_lease_is_told_before_the_next_write(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "LEASE_SECONDS", 3600.0)  # nothing is renewed meanwhile

    def stand_still() -> None:
        with store.lease(1) as check:
            check()
            with Session(store.engine) as session, session.begin():
                session.get_one(Lease, 1).expires_at = 0.0
            with store.lease(1) as other:
                other()
                with pytest.raises(LostError, match="stood still for too long"):
                    check()
            raise FileNotFoundError("what the other removed")

    with pytest.raises(LostError):  # not the error that follows from it
        stand_still()
    assert not store.leased(1)


def take(url: str, folder: Path, together: threading.Barrier, won: "multiprocessing.Queue[bool]") -> None:
    own = open_store(url, folder)
    together.wait(300)
    won.put(own._take_lease(7, str(os.getpid())))


@pytest.mark.processes
def test_an_expired_lease_has_one_new_owner_among_processes(settings: Settings, store: Store) -> None:
    context = multiprocessing.get_context("spawn")
    won: multiprocessing.Queue[bool] = context.Queue()
    with Session(store.engine) as session, session.begin():
        session.add(Lease(project_id=7, owner="dead", expires_at=1.0))
    arguments = (settings.database, settings.model_dir, context.Barrier(4), won)
    processes = [context.Process(target=take, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    assert Counter(won.get(timeout=300) for _ in processes) == {True: 1, False: 3}
    for process in processes:
        process.join()


def test_the_newer_of_two_webhooks_wins_however_they_collide(settings: Settings, store: Store) -> None:
    stores = [store, open_store(settings.database, settings.model_dir)]
    for number in range(1, 41):
        answers = [TaskAnswer(number, 1, (("a", ((when,),)),), False, float(when)) for when in ("1", "2")]
        threads = [
            threading.Thread(target=own.upsert_annotation, args=(1, answer))
            for own, answer in zip(stores, answers, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    store.add_tasks(1, [(1, "p", "r|0.000|4.000")])
    assert {given.updated_at for _, given in store.annotations(1)} == {2.0}


def press(store: Store, project: int, won: list[bool]) -> None:
    won.append(store.request_job(project))


def test_of_two_presses_at_once_one_starts_a_job(settings: Settings, store: Store) -> None:
    stores = [store, open_store(settings.database, settings.model_dir)]
    for project in range(1, 21):
        won: list[bool] = []
        threads = [threading.Thread(target=press, args=(one, project, won)) for one in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(won) == [False, True]


def test_a_database_that_stays_locked_is_told_in_time_and_loses_nothing(settings: Settings, store: Store) -> None:
    hasty = open_store(settings.database, settings.model_dir, patience=0.3)
    with sqlite3.connect(settings.model_dir / "weakhar.db", isolation_level=None) as holder:
        holder.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(LockedError) as error:
            hasty.request_job(1)
        assert error.value.status == 503
        assert time.monotonic() - began < 3
        assert hasty.job(1) is None  # reading goes on
        holder.execute("ROLLBACK")
    assert store.request_job(1)


def test_a_job_whose_process_dies_again_and_again_stops_with_what_is_known(settings: Settings, store: Store) -> None:
    store.save_project(1)
    jobs = Jobs(settings, store)
    assert store.request_job(1)
    for death in range(1, MOST_DEATHS + 1):
        store.set_job(1, RUNNING, step="embedding by clip")
        jobs.resume()
        job = store.job(1)
        assert job is not None
        assert job.state == (QUEUED if death < MOST_DEATHS else FAILED)
    assert "died 3 times, the last time at: embedding by clip; out of memory" in job.message
    assert store.request_job(1)
    fresh = store.job(1)
    assert fresh is not None
    assert fresh.deaths == 0


class Deleted:
    """A Label Studio whose project is deleted, and forgotten here, while it is asked."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def project(self, project_id: int) -> None:
        self.store.delete_project(project_id)
        raise GoneError("no such project")


def test_nothing_that_is_still_at_work_brings_a_forgotten_project_back(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save_project(1, backend_url="http://127.0.0.1:9090")
    progress = StoredProgress(store, 1)
    monkeypatch.setattr(queue, "client_for", lambda *_: Deleted(store))
    with pytest.raises(GoneError):
        Jobs(settings, store).connect(1)
    with pytest.raises(CancelledError):
        progress("embedding", 0, 10)
    store.change_project(1, title="late")
    store.set_job(1, FAILED, message="late")
    assert store.projects() == []
    assert store.job(1) is None


def test_a_cancelled_job_ends_at_its_next_step(store: Store) -> None:
    store.save_project(1)
    assert not store.cancel_job(1)
    store.request_job(1)
    assert store.cancel_job(1)
    assert store.job(1).state == CANCELLED  # type: ignore[union-attr]
    store.request_job(1)
    progress = StoredProgress(store, 1)
    with store.lease(1):
        progress("embedding", 0, 10)
        assert store.cancel_job(1)
        with pytest.raises(CancelledError):
            progress("embedding", 10, 10)


def test_a_hundred_wishes_for_a_reconciliation_are_one(settings: Settings, store: Store) -> None:
    store.save_project(1)
    jobs = Jobs(settings, store)
    for _ in range(100):
        jobs.request_sync(1)
    assert jobs.huey.pending_count() == 1
    assert not store.begin_sync(1)  # the last wish is of just now
    time.sleep(store_module.QUIET + 0.1)
    assert store.begin_sync(1)
    jobs.request_sync(1)
    assert jobs.huey.pending_count() == 2


def test_a_reconciliation_that_meets_a_busy_database_is_not_lost(settings: Settings) -> None:
    store = open_store(settings.database, settings.model_dir, patience=0.1)
    store.save_project(1)
    jobs = Jobs(settings, store)
    jobs.request_sync(1)
    with closing(sqlite3.connect(settings.model_dir / "weakhar.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        jobs.sync(1)
    assert jobs.huey.pending_count() == 2  # it is asked for again: the wish stays noted, so nobody else would


def test_a_store_of_a_newer_version_is_refused_in_one_line(settings: Settings, store: Store) -> None:
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match="made by a newer version of weakhar") as error:
        open_store(settings.database, settings.model_dir)
    assert "\n" not in str(error.value)


def test_pages_are_made_once_a_change_and_never_while_another_is() -> None:
    made: list[int] = []
    stamp = ["a"]

    def make(project: Project, part: Part) -> str:
        assert part == Part(2)
        made.append(project.id)
        time.sleep(0.05)
        return f"{stamp[0]} {len(made)}"

    pages, one = Pages(make, lambda _: stamp[0]), Project(id=1)
    threads = [threading.Thread(target=pages.page, args=(one, Part(2))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]
    stamp[0] = "b"
    assert pages.page(one, Part(2)) == ("a 1", False)  # nobody waits
    for _ in range(400):  # the next is made after a rest
        if pages.page(one, Part(2))[1]:
            break
        time.sleep(0.02)
    assert pages.page(one, Part(2)) == ("b 2", True)
    assert len(made) == 2
