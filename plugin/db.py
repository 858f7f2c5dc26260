"""The database, and the one way to change it.

Every change goes through `Database.write`: one transaction at a time over the whole site (SQLite's write
lock; on PostgreSQL the lock on the audit head, which every change needs anyway). That gives one order of
all changes, in which the audit leaves lie as well, and leaves no race between two messages of one accession.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session

from plugin.audit.tail import Tail
from plugin.audit.tree import Frontier
from plugin.settings import SettingError
from plugin.tables import AuditHead, AuditLeaf, Base


def now() -> datetime:
    """This moment in UTC."""
    return datetime.now(UTC)


BUSY_SECONDS = 30
"""How long SQLite waits for another process's lock."""
BUSY_PAUSE_SECONDS = 0.02
TAIL = "audit tail"
"""Where a writing session keeps the end of the log, which it locked."""
METADATA = Base.metadata
"""Every table, for the migrations."""


class Database:
    """The site's database: SQLite for one machine, PostgreSQL for many."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            # hide_parameters: an error of the database must not quote the patient that it was given.
            self.engine = sa.create_engine(
                url, pool_pre_ping=not url.startswith("sqlite"), hide_parameters=True
            )
        except ModuleNotFoundError as error:
            raise SettingError(
                f"PRELIM_DATABASE_URL names a database whose driver {error.name} is not installed: "
                "`pip install prelim[postgres]`."
            ) from None
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        # Writers of one process queue here: SQLite's own waiting is a sleep that others overtake.
        self._turn = threading.Lock()
        self._writing = self.engine.execution_options(prelim_write=True)
        # SQLite's reads are snapshots by themselves in WAL mode.
        snapshot = {} if self.engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        self._reading = self.engine.execution_options(**snapshot)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction that may change things; commits at the end, rolls back on any exception."""
        with (
            self._turn,
            Session(self._writing, expire_on_commit=False) as session,
            session.begin(),
        ):
            # On PostgreSQL this row is the lock; on both it is what every leaf is appended to.
            size, roots = session.connection().execute(_HEAD).one()
            tail = Tail(Frontier(size, tuple(bytes.fromhex(root) for root in roots)))
            session.info[TAIL] = tail
            yield session
            write_leaves(session)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One transaction that only reads, and sees the database as it was when it began."""
        with Session(self._reading, expire_on_commit=False) as session:
            yield session

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def write_leaves(session: Session) -> None:
    """Write everything that the session holds, the leaves of its log with one statement.

    A transaction ends with it; one that shows what it has just logged calls it itself.
    """
    session.flush()
    tail: Tail = session.info[TAIL]
    if tail.leaves:
        connection = session.connection()
        connection.execute(_LEAVES, tail.leaves)
        roots = [root.hex() for root in tail.tree.roots]
        connection.execute(_GROWN, {"size": tail.tree.size, "roots": roots})
        tail.leaves.clear()


_HEAD = sa.select(AuditHead.size, AuditHead.roots).with_for_update()
_LEAVES = sa.insert(AuditLeaf.__table__)  # type: ignore[arg-type]
_GROWN = sa.update(AuditHead.__table__)  # type: ignore[arg-type]


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # pysqlite's own transaction handling begins too late (only before the first change): a decision
    # would rest on a read outside of the transaction. Prelim begins its transactions itself.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    _use_wal(connection)
    # NORMAL loses acknowledged commits when the power goes; FULL does not.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    # A commit of one message touches some twenty pages: at SQLite's own 1,000 every fiftieth would wait for
    # the file itself to be written. 32 MiB of log are read back in a moment after a crash.
    connection.execute("PRAGMA wal_autocheckpoint = 8000")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log. Alone among SQLite's waits for a lock, this one fails at once."""
    ends = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > ends:
                raise
            time.sleep(BUSY_PAUSE_SECONDS)


def _begin_sqlite(connection: sa.Connection) -> None:
    writing = connection.get_execution_options().get("prelim_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
