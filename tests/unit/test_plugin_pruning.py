"""Erasing old bodies: never of what a person has to deal with, never unlogged, and for good."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from connectors.sandbox.ris import order_message
from plugin.audit.verify import verify
from plugin.db import Database, now
from plugin.intake import Intake, UnknownMessage
from plugin.messages import STATES, MessageQuery, find_messages, subjects_of
from plugin.pruning import BATCH, Pruned, prunable, prune, prune_due
from plugin.settings import Settings
from plugin.tables import AuditLeaf, Message
from tests.case_samples import AT, Jobs, an_order, fresh_database

KEPT = ("REFUSED", "QUARANTINED", "WAITING")
ERASED = ("PROCESSED", "SENT", "DROPPED")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with fresh_database(tmp_path) as database:
        yield database


@pytest.fixture
def intake(database: Database) -> Intake:
    return Intake(database, Jobs().enqueue)


def take(intake: Intake, count: int) -> None:
    """Take orders; their numbers are 1 to count."""
    for number in range(1, count + 1):
        intake.receive(order_message(an_order(f"ACC{number}"), f"M{number}", AT), "127.0.0.1:1")


def changed(database: Database, number: int | None = None, **values: object) -> None:
    """Change columns of one message, or of all."""
    with database.write() as session:
        rows = sa.update(Message)
        session.execute((rows.where(Message.id == number) if number else rows).values(**values))


def aged(database: Database, age: timedelta) -> datetime:
    """Make every message so old."""
    at = now() - age
    changed(database, received_at=at)
    return at


def bodies(database: Database) -> dict[int, bytes]:
    with database.read() as session:
        return {row.id: row.body for row in session.scalars(sa.select(Message))}


def leaves(database: Database) -> list[AuditLeaf]:
    with database.read() as session:
        pruned = sa.select(AuditLeaf).where(AuditLeaf.action == "messages.pruned")
        return list(session.scalars(pruned.order_by(AuditLeaf.position)))


@pytest.mark.parametrize(("minutes", "erased"), [(-1, False), (1, True)])
def test_only_messages_older_than_the_days_are_pruned(
    database: Database, intake: Intake, minutes: int, erased: bool
) -> None:
    """A minute short of the age, and a minute over it."""
    take(intake, 1)
    aged(database, timedelta(days=30, minutes=minutes))
    assert prune(database, 30, "test").messages == int(erased)
    assert (bodies(database)[1] == b"") == erased


@pytest.mark.parametrize("state", STATES)
def test_what_a_person_has_to_deal_with_is_never_pruned(
    database: Database, intake: Intake, state: str
) -> None:
    """However old it is, a dead letter can be read and replayed."""
    take(intake, 1)
    aged(database, timedelta(days=9999))
    changed(database, state=state)
    assert prune(database, 1, "test").messages == (0 if state in KEPT else 1)
    assert (bodies(database)[1] == b"") == (state in ERASED)
    assert {*KEPT, *ERASED} == set(STATES)


def test_everything_but_the_body_stays(database: Database, intake: Intake) -> None:
    """Number, hash, length, acknowledgement and subjects, so that it is found as before."""
    take(intake, 1)
    with database.read() as session:
        before = session.get_one(Message, 1)
    aged(database, timedelta(days=2))
    prune(database, 1, "test")
    with database.read() as session:
        (after,) = find_messages(session, MessageQuery(accession="ACC1", patient="exam"))
        assert len(subjects_of(session, 1)) == 1
        for name in ("body_sha256", "body_bytes", "ack", "application_ack", "control_id", "state"):
            assert getattr(session.get_one(Message, 1), name) == getattr(before, name)
    assert after.pruned_at is not None


def test_a_pruned_message_is_still_known_as_taken(database: Database, intake: Intake) -> None:
    """Sent again it gets the same acknowledgement and changes nothing; replayed it cannot be."""
    body = order_message(an_order("ACC1"), "M1", AT)
    first = intake.receive(body, "127.0.0.1:1")
    aged(database, timedelta(days=2))
    prune(database, 1, "test")
    assert intake.receive(body, "127.0.0.1:1") == first
    assert len(bodies(database)) == 1
    with pytest.raises(UnknownMessage, match="was erased"):
        intake.replay(1, "test", "test")


def test_each_batch_is_logged_with_who_how_many_and_from_where_to_where(
    database: Database, intake: Intake
) -> None:
    """Nothing is erased without its leaf, in the transaction that erases it; the log verifies."""
    take(intake, 5)
    at = aged(database, timedelta(days=2))
    sizes = {number: len(body) for number, body in bodies(database).items()}
    done = prune(database, 1, "operator:kim", batch=2)
    assert (done.messages, done.size, done.first, done.last) == (5, sum(sizes.values()), 1, 5)
    found = [json.loads(leaf.entry) for leaf in leaves(database)]
    assert [leaf["actor"] for leaf in found] == ["operator:kim"] * 3
    told = [leaf["details"] for leaf in found]
    assert [(one["messages"], one["first"], one["last"]) for one in told] == [(2, 1, 2), (2, 3, 4), (1, 5, 5)]
    assert told[0]["bytes"] == sizes[1] + sizes[2]
    assert {datetime.fromisoformat(one["from"]) for one in told} == {at}
    with database.read() as session:
        assert verify(session).verified


def test_a_batch_that_fails_changes_nothing_and_says_nothing(
    database: Database, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Erasure and leaf are one transaction."""
    take(intake, 1)
    aged(database, timedelta(days=2))

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("plugin.pruning.record", fail)
    with pytest.raises(RuntimeError):
        prune(database, 1, "test")
    assert bodies(database)[1]
    assert leaves(database) == []


def test_nothing_to_prune_is_not_logged(database: Database, intake: Intake) -> None:
    """An hourly look leaves no trace where nothing was done; the second one finds nothing more."""
    assert prune(database, 1, "test") == Pruned()
    take(intake, 1)
    aged(database, timedelta(days=2))
    prune(database, 1, "test")
    assert prune(database, 1, "test").messages == 0
    assert len(leaves(database)) == 1


def test_counting_says_what_pruning_would_do(database: Database, intake: Intake) -> None:
    """The dry run and the run agree, and the dry run erases nothing."""
    take(intake, 3)
    aged(database, timedelta(days=2))
    changed(database, 2, state="REFUSED")
    with database.read() as session:
        counted = prunable(session, 1)
    assert all(bodies(database).values())
    assert prune(database, 1, "test") == counted
    assert counted.messages == 2


def test_progress_is_told_after_each_batch(database: Database, intake: Intake) -> None:
    """For whoever watches."""
    take(intake, 3)
    aged(database, timedelta(days=2))
    told: list[int] = []
    prune(database, 1, "test", batch=2, told=told.append)
    assert told == [2, 3]
    assert BATCH > 2


@pytest.mark.parametrize(("days", "erased"), [(0, 0), (1, 1), (3, 0)])
def test_the_setting_says_what_is_due(database: Database, intake: Intake, days: int, erased: int) -> None:
    """0 is never."""
    take(intake, 1)
    aged(database, timedelta(days=2))
    assert prune_due(database, Settings(message_days=days)).messages == erased


@pytest.mark.parametrize("days", [0, -1])
def test_less_than_a_day_is_refused(database: Database, days: int) -> None:
    """A mistake in a sign must not erase everything."""
    with pytest.raises(ValueError, match="1 or more"):
        prune(database, days, "test")


def test_what_is_erased_is_not_in_the_file_any_more(tmp_path: Path) -> None:
    """SQLite would otherwise leave it in free pages for anybody who has the file."""
    marker = b"ZZERASEME" * 2000
    with fresh_database(tmp_path) as database:
        body = (
            b"MSH|^~\\&|RIS|HOSP|||2026||ADT^A08|M1|P|2.5.1\rPID|1||MRN1||Doe^Jane\rNTE|1||" + marker + b"\r"
        )
        Intake(database, Jobs().enqueue).receive(body, "127.0.0.1:1")
        aged(database, timedelta(days=2))
        path = tmp_path / "prelim.sqlite"
        _settle(path)
        assert b"ZZERASEME" in path.read_bytes()
        assert prune(database, 1, "test").messages == 1
    _settle(path)
    assert b"ZZERASEME" not in path.read_bytes()


def _settle(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
