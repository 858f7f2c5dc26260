"""Finding one message among a million, as an operator does it: by accession, by patient, by control id.

The database is SQLite with Prelim's own tables and indexes, filled in bulk; each search is a read transaction
of its own, as a page or a command makes one.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from connectors.exchange import Patient
from plugin.db import Database
from plugin.messages import IN, PROCESSED, MessageQuery, Subject, find_messages, message_row, subject_rows
from plugin.migrate import migrate
from plugin.tables import Message, MessageSubject
from tests.benchmarks.messages import imaging_order
from tests.benchmarks.table import Progress, Row, figure

STORED = 1_000_000
SEARCHES = 200
"""Of each kind, each for another message."""
GOAL = "< 100"
"""Milliseconds."""
_BATCH = 10_000
_FIRST_AT = datetime(2026, 1, 1, tzinfo=UTC)
_FAMILIES, _GIVEN = 5_000, 100
"""Different names: many patients share one, and none shares an identifier."""


@dataclass(frozen=True, slots=True)
class _Numbered:
    """What the message of one number is about."""

    accession: str
    patient: str
    control_id: str


KINDS: dict[str, Callable[[_Numbered], MessageQuery]] = {
    "accession": lambda of: MessageQuery(accession=of.accession),
    "patient identifier": lambda of: MessageQuery(patient=of.patient),
    "control id": lambda of: MessageQuery(control_id=of.control_id),
}
"""By what is searched, and what an operator asks for to find one message."""


def run(stored: int = STORED, searches: int = SEARCHES, progress: Progress = print) -> list[Row]:
    """One row for each kind of search. Raises RuntimeError when a search does not find its one message."""
    with tempfile.TemporaryDirectory(prefix="prelim-bench-") as folder:
        database = Database(f"sqlite:///{Path(folder) / 'prelim.sqlite'}")
        try:
            migrate(database)
            fill(database, stored, progress)
            return [
                figure(
                    "search",
                    f"by {kind}, {stored:,} messages, SQLite",
                    "ms",
                    _milliseconds(database, kind, stored, searches, progress),
                    goal=GOAL,
                )
                for kind in KINDS
            ]
        finally:
            database.close()


def fill(database: Database, stored: int, progress: Progress) -> None:
    """Store messages with the numbers from 1 to `stored`, the latest last."""
    for first in range(1, stored + 1, _BATCH):
        last = min(first + _BATCH - 1, stored)
        with database.engine.begin() as connection:
            for table, rows in _rows(first, last):
                connection.execute(sa.insert(table), rows)
        progress(f"search: {last:,} of {stored:,} messages stored")


def _rows(first: int, last: int) -> Iterator[tuple[Any, Sequence[dict[str, Any]]]]:
    """The rows of the messages with these numbers, table by table: what changes when the tables do."""
    body = imaging_order("C000000000")
    ack = b"MSH|^~\\&|PRELIM||BENCH|HOSP|20260101120000+0000||ACK^O23|1|P|2.5.1\rMSA|AA|1\r"
    numbers = range(first, last + 1)
    yield (
        Message,
        [
            message_row(
                number,
                IN,
                body,
                received_at=_FIRST_AT + timedelta(seconds=number),
                channel="orders",
                peer="127.0.0.1:50000",
                sender="BENCH|HOSP",
                control_id=_numbered(number).control_id,
                message_type="OMI^O23",
                state=PROCESSED,
                body_sha256=hashlib.sha256(str(number).encode()).hexdigest(),
                ack=ack,
            )
            for number in numbers
        ],
    )
    yield MessageSubject, [row for number in numbers for row in subject_rows(number, [_subject(number)])]


def _numbered(number: int) -> _Numbered:
    return _Numbered(f"A{number:09}", f"P{number:09}", f"C{number:09}")


def _subject(number: int) -> Subject:
    family, given = f"Family{number % _FAMILIES}", f"Given{number % _GIVEN}"
    told = _numbered(number)
    return Subject(told.accession, Patient(told.patient, "HOSP", family, given))


def find(session: Session, query: MessageQuery) -> Sequence[Message]:
    """What the pages and `prelim message list` call."""
    return find_messages(session, query)


def _milliseconds(
    database: Database, kind: str, stored: int, searches: int, progress: Progress
) -> list[float]:
    progress(f"search: {searches} times by {kind}")
    chosen = Random(kind)
    taken = []
    for _ in range(searches):
        number = chosen.randrange(1, stored + 1)
        query = KINDS[kind](_numbered(number))
        began = time.perf_counter()
        with database.read() as session:
            found = [message.id for message in find(session, query)]
        taken.append((time.perf_counter() - began) * 1000)
        if found != [number]:
            raise RuntimeError(f"expected one message by {kind}, found {len(found)}")
    return taken
