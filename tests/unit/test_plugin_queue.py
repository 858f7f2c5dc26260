"""Durable jobs: they come and go with the transaction, once each, and carry no patient."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from plugin.casework import Job
from plugin.db import Database
from plugin.orders import take_order, take_study
from plugin.queue import DRAFTS, REPORTS, WorkQueue
from plugin.tables import Base
from tests.case_samples import a_study, an_order, fresh_database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with fresh_database(tmp_path) as database:
        yield database


@pytest.fixture
def queue(database: Database) -> Iterator[WorkQueue]:
    queue = WorkQueue(database)
    yield queue
    queue.close()


def rows(database: Database) -> list[tuple[str, str, str, str]]:
    """(workflow id, name, queue, partition) of every job."""
    with database.engine.connect() as connection:
        found = connection.exec_driver_sql(
            "SELECT workflow_uuid, name, queue_name, queue_partition_key FROM workflow_status ORDER BY 1"
        ).all()
    return [tuple(row) for row in found]  # type: ignore[misc]


def test_a_job_is_enqueued_with_its_transaction(database: Database, queue: WorkQueue) -> None:
    """It is there after the commit and not after a rollback."""
    with pytest.raises(ZeroDivisionError), database.write() as session:  # noqa: PT012
        queue.enqueue(session, Job("draft", "c1", 1))
        raise ZeroDivisionError
    assert rows(database) == []
    with database.write() as session:
        queue.enqueue(session, Job("draft", "c1", 1))
        queue.enqueue(session, Job("publish", "c1", 1))
    assert rows(database) == [
        ("draft-c1-1-0", "draft", DRAFTS, "c1"),
        ("publish-c1-1-0", "publish", REPORTS, "c1"),
    ]


def test_a_savepoint_takes_its_job_back(database: Database, queue: WorkQueue) -> None:
    """A job asked for inside a savepoint that is rolled back is gone; those around it stay."""
    with database.write() as session:
        queue.enqueue(session, Job("draft", "c1", 1))
        with session.begin_nested() as savepoint:
            queue.enqueue(session, Job("draft", "c2", 1))
            savepoint.rollback()
    assert [row[3] for row in rows(database)] == ["c1"]


def test_the_same_job_twice_is_one_job(database: Database, queue: WorkQueue) -> None:
    """In one transaction or in two; another number or attempt is another job."""
    for _ in range(2):
        with database.write() as session:
            for _ in range(2):
                queue.enqueue(session, Job("draft", "c1", 1))
    assert len(rows(database)) == 1
    with database.write() as session:
        for job in (
            Job("draft", "c1", 2),
            Job("draft", "c1", 1, attempt=1, delay_seconds=9.0),
        ):
            queue.enqueue(session, job)
    assert len(rows(database)) == 3


def test_the_queue_holds_no_patient(database: Database, queue: WorkQueue) -> None:
    """Neither patient nor accession nor study stands in any table that is the queue's."""
    with database.write() as session:
        take_study(session, a_study("ACC-SECRET"), queue.enqueue, "archive")
        case = take_order(session, an_order("ACC-SECRET"), queue.enqueue, "hl7:RIS")
    (found,) = rows(database)
    assert found[3] == case.id
    with database.engine.connect() as connection:
        names = set(sa.inspect(connection).get_table_names()) - set(Base.metadata.tables)
        told = " ".join(
            str(connection.exec_driver_sql(f"SELECT * FROM {name}").all()) for name in sorted(names)
        )
    assert case.id in told
    assert not [
        word
        for word in ("ACC-SECRET", "PAT-1", "Example", "Ada", a_study().study_instance_uid)
        if word in told
    ]
