"""Workers: one live worker a name, and jobs that lose no case and quote no patient."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from plugin.cases import CaseState
from plugin.db import Database, now
from plugin.orders import take_order, take_study
from plugin.settings import Settings
from plugin.tables import AuditLeaf, Case, WorkerLease
from plugin.worker import NameTaken, Worker
from tests.case_samples import Jobs, a_study, an_order, fresh_database, holds, state_of

LEASE_SECONDS = 15.0
SETTINGS = Settings(worker_name="node-1", worker_lease_seconds=LEASE_SECONDS)
SECRET = "Example^Ada PAT-1"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with fresh_database(tmp_path) as database:
        yield database


class Waits:
    """Stands where the worker waits: something happens instead of time going by."""

    def __init__(self, happens: Callable[[int], None]) -> None:
        self._happens = happens
        self.count = 0

    def wait(self, _seconds: float) -> bool:
        self.count += 1
        assert self.count < 10, "waited for ever"
        self._happens(self.count)
        return False


def a_worker(database: Database, happens: Callable[[int], None] = lambda _: None) -> tuple[Worker, Waits]:
    worker = Worker(SETTINGS, database, {})
    waits = Waits(happens)
    worker._stopping = waits  # type: ignore[assignment]
    return worker, waits


def seen(database: Database, seconds_ago: float, name: str = "node-1") -> None:
    """A lease as its worker left it."""
    with database.write() as session:
        session.merge(WorkerLease(executor_id=name, seen_at=now() - timedelta(seconds=seconds_ago)))


def leases(database: Database) -> dict[str, float]:
    """Worker -> seconds since it was seen."""
    with database.read() as session:
        rows = session.scalars(sa.select(WorkerLease)).all()
    return {row.executor_id: (now() - row.seen_at).total_seconds() for row in rows}


def test_a_name_that_a_live_worker_has_is_refused(database: Database) -> None:
    """A lease that is renewed while we wait belongs to somebody who lives: the sentence names the setting."""
    seen(database, 5)
    worker, waits = a_worker(database, lambda _: seen(database, 0))
    with pytest.raises(NameTaken, match="PRELIM_WORKER_NAME"):
        worker._take_lease()
    assert waits.count == 1


def test_a_restart_waits_for_its_own_old_lease(database: Database) -> None:
    """After a crash the lease is fresh but nobody renews it: it is taken once it has run out."""
    seen(database, 1)
    old = now() - timedelta(seconds=LEASE_SECONDS + 1)

    def passes(count: int) -> None:
        if count == 3:
            with database.write() as session:
                session.execute(sa.update(WorkerLease).values(seen_at=old))

    worker, waits = a_worker(database, passes)
    worker._take_lease()
    assert waits.count == 3
    assert leases(database)["node-1"] < LEASE_SECONDS


def test_a_lease_that_ran_out_is_taken_at_once(database: Database) -> None:
    """Nobody is waited for who has been silent for longer than a lease."""
    seen(database, LEASE_SECONDS + 1)
    worker, waits = a_worker(database)
    worker._take_lease()
    assert waits.count == 0
    assert leases(database)["node-1"] < LEASE_SECONDS


def test_another_name_does_not_wait(database: Database) -> None:
    """Workers of different names are no business of each other."""
    seen(database, 0, "node-2")
    worker, waits = a_worker(database)
    worker._take_lease()
    assert (waits.count, set(leases(database))) == (0, {"node-1", "node-2"})


@pytest.mark.parametrize(("silent", "lost"), [(LEASE_SECONDS - 2, False), (LEASE_SECONDS + 1, True)])
def test_only_the_silent_are_taken_over(
    database: Database, monkeypatch: pytest.MonkeyPatch, silent: float, lost: bool
) -> None:
    """A worker silent for longer than its lease loses its jobs, once, and the log says to whom."""
    seen(database, silent, "node-2")
    asked: list[list[str]] = []
    monkeypatch.setattr("plugin.worker.DBOS._recover_pending_workflows", asked.append)
    worker, _ = a_worker(database)
    for _ in range(2):
        worker._renew()
    assert asked == ([["node-2"]] if lost else [])
    assert set(leases(database)) == ({"node-1"} if lost else {"node-1", "node-2"})
    with database.read() as session:
        told = session.scalars(sa.select(AuditLeaf.entry)).all()
    assert len(told) == lost
    assert not lost or '"taken_over_by":"node-1"' in told[0]


def ready(database: Database) -> Case:
    with database.write() as session:
        take_study(session, a_study(), Jobs().enqueue, "archive")
        return take_order(session, an_order(), Jobs().enqueue, "hl7:RIS")


def run(database: Database, function: Callable[..., Any], case: Case) -> Waits:
    worker, waits = a_worker(database)
    worker._guarded("draft", function)(case.id, 1, 0)
    return waits


def test_a_job_that_fails_by_surprise_fails_its_case(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """FAILED with the kind of error: its words, which may name a patient, are nowhere."""
    case = ready(database)

    def broken(*_: object) -> None:
        raise ZeroDivisionError(SECRET)

    with caplog.at_level(logging.DEBUG):
        run(database, broken, case)
    assert state_of(database) is CaseState.FAILED
    with database.read() as session:
        told = " ".join([session.get_one(Case, case.id).reason, *session.scalars(sa.select(AuditLeaf.entry))])
    assert "ZeroDivisionError" in told
    assert "ZeroDivisionError" in caplog.text
    assert not [word for word in SECRET.split() if word in told + caplog.text]
    assert holds(database)


@pytest.mark.parametrize("state", [CaseState.SIGNED, CaseState.SUPERSEDED, CaseState.PUBLISHED])
def test_a_job_that_fails_late_leaves_a_finished_case_alone(database: Database, state: CaseState) -> None:
    """A case that a human has, or that is published, does not fail because a leftover job does."""
    case = ready(database)
    with database.write() as session:
        session.get_one(Case, case.id).state = state.value

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    run(database, broken, case)
    assert state_of(database) is state


def test_a_job_waits_for_a_database_that_is_away(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """It is done again until the database answers; the case does not fail, and no statement is logged."""
    case = ready(database)
    calls: list[tuple[object, ...]] = []

    def away_twice(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) < 3:
            raise sa.exc.OperationalError(f"SELECT {SECRET}", {}, Exception(SECRET))

    waits = run(database, away_twice, case)
    assert (calls, waits.count) == ([(case.id, 1, 0)] * 3, 2)
    assert state_of(database) is CaseState.READY
    assert "PAT-1" not in caplog.text


def test_a_job_that_was_overtaken_fails_nobody(database: Database) -> None:
    """An old job that breaks says nothing of a case whose newer draft is due."""
    case = ready(database)
    with database.write() as session:
        session.get_one(Case, case.id).draft_number = 2

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    run(database, broken, case)
    assert state_of(database) is CaseState.READY


def test_a_worker_that_stops_with_a_job_in_hand_leaves_its_lease_to_run_out(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a lease that runs out makes another worker take over; one given back would hide the job."""
    monkeypatch.setattr("plugin.worker.DBOS.destroy", lambda **_: None)
    worker = Worker(Settings(worker_name="stopping"), database, {})
    worker._take_lease()
    inside: list[bool] = []

    def stops(*_: object) -> None:
        worker.stop()
        with database.read() as session:
            inside.append(session.get(WorkerLease, worker._settings.executor_id) is not None)

    worker._guarded("draft", stops)(ready(database).id, 1, 0)
    assert inside == [True]
    worker.stop()
    with database.read() as session:
        assert session.get(WorkerLease, worker._settings.executor_id) is None


@pytest.mark.parametrize("kind", ["retire", "attest"])
def test_a_job_about_a_humans_report_is_told_whichever_draft_is_the_newest(
    database: Database, kind: str
) -> None:
    """Its number is none of a draft that is due: the case says that it failed, beside its own reason."""
    case = ready(database)
    with database.write() as session:
        row = session.get_one(Case, case.id)
        row.state, row.reason, row.draft_number = "SIGNED", "Final report, signed.", 2

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    worker, _ = a_worker(database)
    worker._guarded(kind, broken)(case.id, 7, 0)
    with database.read() as session:
        told = session.get_one(Case, case.id).reason
        actions = session.scalars(sa.select(AuditLeaf.action).order_by(AuditLeaf.position)).all()
    assert told.startswith("Final report, signed. An error that nobody foresaw (ZeroDivisionError)")
    assert (actions[-1], state_of(database)) == (f"{kind}.failed", CaseState.SIGNED)
