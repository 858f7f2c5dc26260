"""The database: moments with a time zone, one writer at a time, and errors that quote nobody."""

from __future__ import annotations

import sqlite3
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa

from plugin.casework import open_case
from plugin.db import Database, _use_wal
from plugin.tables import Case
from tests.case_samples import fresh_database


def test_the_switch_to_the_write_ahead_log_waits_for_a_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal for a lock makes the switch try again, as when two processes open a new database at once."""
    file = tmp_path / "new.sqlite"
    reader = sqlite3.connect(file, isolation_level=None)
    reader.execute("CREATE TABLE t (a)")
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM t").fetchall()
    waits: list[float] = []

    def release(seconds: float) -> None:
        waits.append(seconds)
        reader.close()

    monkeypatch.setattr(time, "sleep", release)
    # No patience of SQLite's own: it is refused at once, as the losing one of two switchers is.
    connection = sqlite3.connect(file, isolation_level=None, timeout=0)
    _use_wal(connection)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert len(waits) == 1
    connection.close()


def test_no_acknowledged_commit_is_lost_with_the_power(tmp_path: Path) -> None:
    """Every connection writes ahead with synchronous FULL and keeps foreign keys."""
    with fresh_database(tmp_path) as database, database.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_a_file_that_is_no_database_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a lock is worth waiting for: any other refusal is told at once."""
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("waited"))
    (tmp_path / "x.sqlite").write_bytes(b"no database " * 100)
    with pytest.raises(sa.exc.DatabaseError):
        Database(f"sqlite:///{tmp_path / 'x.sqlite'}").engine.connect()


def test_an_error_of_the_database_quotes_no_patient(tmp_path: Path) -> None:
    """The words of a failed statement leave out what was to be stored."""
    with fresh_database(tmp_path) as database:
        with database.write() as session:
            open_case(session, "ACC-SECRET", "test", None, "order")
        with pytest.raises(sa.exc.IntegrityError) as caught, database.write() as session:
            open_case(session, "ACC-SECRET", "test", None, "order")
    assert "ACC-SECRET" not in str(caught.value)


def test_a_moment_needs_a_time_zone(tmp_path: Path) -> None:
    """A naive moment is refused; any zone is stored as UTC and comes back with it."""
    with fresh_database(tmp_path) as database:
        east = datetime(2026, 1, 6, 9, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
        with database.write() as session:
            case = open_case(session, "ACC1", "test", None, "order")
            case.created_at = east
        with database.read() as session:
            back = session.get_one(Case, case.id).created_at
        assert (back, back.utcoffset()) == (east, UTC.utcoffset(None))
        with pytest.raises(sa.exc.StatementError, match="time zone"), database.write() as session:
            session.get_one(Case, case.id).created_at = datetime(2026, 1, 6)  # noqa: DTZ001
