"""The tables, and the one way to change them.

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
from datetime import UTC, date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from plugin.cases import CaseState
from plugin.settings import SettingError


class UtcDateTime(sa.TypeDecorator[datetime]):
    """A moment, stored in UTC and given back with its time zone (SQLite has none of its own)."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("A moment needs a time zone.")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def now() -> datetime:
    """This moment in UTC."""
    return datetime.now(UTC)


NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
Serial = sa.BigInteger().with_variant(sa.Integer, "sqlite")


class Base(DeclarativeBase):
    """Root of all tables."""

    metadata = sa.MetaData(naming_convention=NAMES)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own name
        datetime: UtcDateTime(),
        dict[str, Any]: sa.JSON(),
        list[Any]: sa.JSON(),
        bytes: sa.LargeBinary(),
        str: sa.Text(),
    }


class Message(Base):
    """One HL7 message as it came, what was answered, and what came of it."""

    __tablename__ = "messages"
    __table_args__ = (sa.Index(None, "sender", "control_id"),)

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    received_at: Mapped[datetime] = mapped_column(index=True)
    peer: Mapped[str]
    sender: Mapped[str]
    """MSH-3 and MSH-4."""
    control_id: Mapped[str]
    """MSH-10."""
    message_type: Mapped[str]
    accession: Mapped[str] = mapped_column(index=True)
    body: Mapped[bytes]
    body_sha256: Mapped[str]
    state: Mapped[str]
    """PROCESSED, REFUSED or QUARANTINED."""
    reason: Mapped[str]
    ack: Mapped[bytes]
    replay_of: Mapped[int | None] = mapped_column(sa.ForeignKey("messages.id"))


class Study(Base):
    """A study that the archive announced."""

    __tablename__ = "studies"

    study_instance_uid: Mapped[str] = mapped_column(primary_key=True)
    accession: Mapped[str] = mapped_column(index=True)
    patient_identifier: Mapped[str]
    assigning_authority: Mapped[str]
    modalities: Mapped[str]
    description: Mapped[str]
    instance_count: Mapped[int | None]
    announced_at: Mapped[datetime]


_STATES = ", ".join(f"'{state}'" for state in CaseState)


class Case(Base):
    """One report from order to signature."""

    __tablename__ = "cases"
    __table_args__ = (sa.CheckConstraint(f"state IN ({_STATES})", name="state"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    accession: Mapped[str] = mapped_column(unique=True)
    state: Mapped[str] = mapped_column(index=True)
    reason: Mapped[str]
    """Why the case is where it is, or what it waits for; a sentence without patient data."""
    order: Mapped[dict[str, Any]]
    """The order's clinical words; empty when only images or a report came."""
    study_instance_uid: Mapped[str] = mapped_column(index=True)
    """The study that the order names, or that was matched to it; empty while neither has happened."""
    draft_number: Mapped[int]
    """Number of the draft that is due or done; 0 before the first."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime] = mapped_column(index=True)


class DraftRecord(Base):
    """One draft as it was written."""

    __tablename__ = "drafts"
    __table_args__ = (
        sa.UniqueConstraint("case_id", "number"),
        # The last of the four places where a machine's word is kept from becoming final.
        sa.CheckConstraint("status IN ('preliminary', 'partial')", name="status"),
    )

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    case_id: Mapped[str] = mapped_column(sa.ForeignKey("cases.id"))
    number: Mapped[int]
    status: Mapped[str]
    sections: Mapped[list[Any]]
    """[[title, text], ...] in reading order."""
    sentences: Mapped[list[Any]]
    """Each sentence with its evidence."""
    findings: Mapped[dict[str, Any]]
    conclusion: Mapped[str]
    notice: Mapped[str]
    text: Mapped[str]
    text_sha256: Mapped[str]
    model_name: Mapped[str]
    model_version: Mapped[str]
    weights_sha256: Mapped[str]
    prompt_version: Mapped[str]
    tokens: Mapped[int]
    seconds: Mapped[float]
    studied_on: Mapped[date | None]
    """The day on which the images were taken, as they say."""
    written_at: Mapped[datetime]
    reference: Mapped[str]
    """DiagnosticReport/ID once published, else empty."""
    version: Mapped[str]
    url: Mapped[str]
    published_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    """When the RIS acknowledged it; None where no RIS is set."""


class Picture(Base):
    """One slice of the study as the case page shows it."""

    __tablename__ = "pictures"

    draft_id: Mapped[int] = mapped_column(sa.ForeignKey("drafts.id"), primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True)
    slice_index: Mapped[int]
    """0 for the slice nearest to the feet."""
    caption: Mapped[str]
    png: Mapped[bytes]


class SignOff(Base):
    """A human's report as it was seen on one channel: evidence, judged but never altered."""

    __tablename__ = "signoffs"
    __table_args__ = (sa.UniqueConstraint("channel", "evidence"),)

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    case_id: Mapped[str] = mapped_column(sa.ForeignKey("cases.id"), index=True)
    draft_id: Mapped[int | None] = mapped_column(sa.ForeignKey("drafts.id"))
    channel: Mapped[str]
    evidence: Mapped[str]
    """Where it can be read again: message ID:ordinal, or the resource and its version."""
    source: Mapped[str]
    verdict: Mapped[str]
    status: Mapped[str]
    signer_identifier: Mapped[str]
    signer_name: Mapped[str]
    signed_at: Mapped[datetime | None]
    seen_at: Mapped[datetime]
    text: Mapped[str]
    text_sha256: Mapped[str]
    draft_sha256: Mapped[str]
    changes: Mapped[list[Any]]
    """The difference to the draft, section by section."""
    edit_distance: Mapped[int | None]
    """Words inserted, deleted or replaced; None without a draft."""


class AuditLeaf(Base):
    """One entry of the audit log. Rows are only ever added: a trigger refuses anything else."""

    __tablename__ = "audit_leaves"

    position: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=False)
    """0 for the first entry."""
    at: Mapped[datetime] = mapped_column(index=True)
    actor: Mapped[str]
    action: Mapped[str] = mapped_column(index=True)
    case_id: Mapped[str | None] = mapped_column(index=True)
    message_id: Mapped[int | None] = mapped_column(sa.BigInteger)
    entry: Mapped[str]
    """The canonical JSON text that was hashed."""
    leaf_hash: Mapped[str]


class AuditHead(Base):
    """The tree over all leaves; one row, locked by every change."""

    __tablename__ = "audit_head"
    __table_args__ = (sa.CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    size: Mapped[int] = mapped_column(sa.BigInteger)
    roots: Mapped[list[Any]]
    """Roots of the perfect subtrees, largest first, in hexadecimal."""


class WorkerLease(Base):
    """A worker, and when it was last alive."""

    __tablename__ = "workers"

    executor_id: Mapped[str] = mapped_column(primary_key=True)
    seen_at: Mapped[datetime]


class Cursor(Base):
    """How far a feed has been read."""

    __tablename__ = "cursors"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]


APPEND_ONLY = {
    "sqlite": (
        "CREATE TRIGGER audit_leaves_no_update BEFORE UPDATE ON audit_leaves "
        "BEGIN SELECT RAISE(ABORT, 'audit leaves are only ever added'); END",
        "CREATE TRIGGER audit_leaves_no_delete BEFORE DELETE ON audit_leaves "
        "BEGIN SELECT RAISE(ABORT, 'audit leaves are only ever added'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION audit_leaves_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'audit leaves are only ever added'; END $$",
        "CREATE TRIGGER audit_leaves_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_leaves "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_leaves_append_only()",
    ),
}
"""By dialect, what makes the log append-only; declared with its table, as a migration creates it."""

for _dialect, _statements in APPEND_ONLY.items():
    for _statement in _statements:
        event.listen(AuditLeaf.__table__, "after_create", sa.DDL(_statement).execute_if(dialect=_dialect))  # type: ignore[no-untyped-call]


BUSY_SECONDS = 30
"""How long SQLite waits for another process's lock."""
BUSY_PAUSE_SECONDS = 0.02
HEAD = "audit head"
"""Where a writing session keeps the AuditHead that it locked."""


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
            session.info[HEAD] = session.scalars(sa.select(AuditHead).with_for_update()).one()
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One transaction that only reads, and sees the database as it was when it began."""
        with Session(self._reading, expire_on_commit=False) as session:
            yield session

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # pysqlite's own transaction handling begins too late (only before the first change): a decision
    # would rest on a read outside of the transaction. Prelim begins its transactions itself.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    _use_wal(connection)
    # NORMAL loses acknowledged commits when the power goes; FULL does not.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


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
