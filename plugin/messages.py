"""HL7 messages in the store: numbered, kept, and found again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, defer

from connectors.exchange import Patient
from plugin.db import now
from plugin.tables import Message, MessageSubject

PROCESSED, REFUSED, QUARANTINED = "PROCESSED", "REFUSED", "QUARANTINED"
"""What became of a message that came in."""
WAITING, SENT, DROPPED = "WAITING", "SENT", "DROPPED"
"""What became of one that leaves; REFUSED where its receiver refused it, DROPPED where it was overtaken."""
STATES = (PROCESSED, REFUSED, QUARANTINED, WAITING, SENT, DROPPED)
DEAD_LETTERS = frozenset({REFUSED, QUARANTINED, WAITING})
"""States of messages that a person may still have to deal with: they are never pruned."""
IN, OUT = "in", "out"
SEARCH_LIMIT = 1000

LONGEST = 199
"""Characters of what identifies a message, order or patient: EI-1 (v2.7) is no longer, and PostgreSQL keeps
nothing in an index that is much longer."""

_LAST = "last message"
_HIGHEST = sa.select(sa.func.coalesce(sa.func.max(Message.id), 0))
_LAST_CHARACTER = "\U0010ffff"
ADD_MESSAGES = sa.insert(Message.__table__)  # type: ignore[arg-type]
ADD_SUBJECTS = sa.insert(MessageSubject.__table__)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom and what one part of a message is about."""

    accession: str = ""
    patient: Patient | None = None


@dataclass(frozen=True, slots=True)
class MessageQuery:
    """What an operator looks for; everything given must hold."""

    patient: str = ""
    """An identifier, or the beginning of a family name (and given name), in any case."""
    accession: str = ""
    control_id: str = ""
    message_type: str = ""
    """MSH-9, or the beginning of it: ORM finds ORM^O01."""
    state: str = ""
    direction: str = ""
    channel: str = ""
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None
    """Only messages with a smaller number: where the page before ended."""
    limit: int = 50


def next_number(session: Session) -> int:
    """The number of the next message of this writing transaction: there is one at a time."""
    last: int | None = session.info.get(_LAST)
    if last is None:
        # A statement of its own, behind the one that took the lock: on PostgreSQL a statement that waited for
        # the lock sees everything but the locked row as it was before it waited.
        last = session.connection().execute(_HIGHEST).scalar_one()
    session.info[_LAST] = last + 1
    return last + 1


def message_row(number: int, direction: str, body: bytes, **columns: object) -> dict[str, object]:
    """The row of a message that came or leaves now.

    columns: those with another value than most; to be given are channel, sender, control_id, message_type,
    state and body_sha256.
    """
    return {
        "id": number,
        "direction": direction,
        "received_at": now(),
        "peer": "",
        "reason": "",
        "attempts": 0,
        "draft_id": None,
        "replay_of": None,
        "pruned_at": None,
        "body_bytes": len(body),
        "ack": b"",
        "application_ack": b"",
        "body": body,
        **columns,
    }


def subject_rows(message_id: int, subjects: Sequence[Subject]) -> list[dict[str, object]]:
    """The rows that make a message findable by what it is about; those that say the same are one row."""
    told = dict.fromkeys((s.accession[:LONGEST], *_patient_keys(s.patient)) for s in subjects)
    return [
        {
            "message_id": message_id,
            "ordinal": ordinal,
            "accession": accession,
            "patient_identifier": identifier,
            "patient_name": name,
        }
        for ordinal, (accession, identifier, name) in enumerate(told)
    ]


def _patient_keys(patient: Patient | None) -> tuple[str, str]:
    if patient is None:
        return "", ""
    name = folded(f"{patient.family_name} {patient.given_name}")
    return patient.identifier[:LONGEST], name[:LONGEST]


def folded(name: str) -> str:
    """A name as it is searched for: case folded, single spaces."""
    return " ".join(name.casefold().split())


def find_messages(session: Session, query: MessageQuery) -> Sequence[Message]:
    """The messages that match, latest first, at most `query.limit` (1 to 1,000), without their bodies."""
    if not 1 <= query.limit <= SEARCH_LIMIT:
        raise ValueError(f"The limit must be from 1 to {SEARCH_LIMIT}; it is {query.limit}.")
    found = sa.select(Message).options(
        defer(Message.body), defer(Message.ack), defer(Message.application_ack)
    )
    if query.accession:
        about = sa.select(MessageSubject.message_id).where(MessageSubject.accession == query.accession)
        found = found.where(Message.id.in_(about))
    if query.patient:
        name = folded(query.patient)
        # As a range, and each way by itself: an index serves neither LIKE nor an OR of two columns.
        # Two comparisons, for PostgreSQL takes no collation after BETWEEN.
        named = sa.and_(
            MessageSubject.patient_name >= name, MessageSubject.patient_name <= name + _LAST_CHARACTER
        )
        numbers = sa.union(
            sa.select(MessageSubject.message_id).where(MessageSubject.patient_identifier == query.patient),
            sa.select(MessageSubject.message_id).where(named),
        )
        found = found.where(Message.id.in_(sa.select(numbers.subquery().c.message_id)))
    for column, value in (
        (Message.control_id, query.control_id),
        (Message.state, query.state),
        (Message.direction, query.direction),
        (Message.channel, query.channel),
    ):
        if value:
            found = found.where(column == value)
    if query.message_type:
        found = found.where(Message.message_type.startswith(query.message_type, autoescape=True))
    if query.since:
        found = found.where(Message.received_at >= query.since)
    if query.until:
        found = found.where(Message.received_at <= query.until)
    if query.before is not None:
        found = found.where(Message.id < query.before)
    return session.scalars(found.order_by(Message.id.desc()).limit(query.limit)).all()


def subjects_of(session: Session, message_id: int) -> Sequence[MessageSubject]:
    """Whom and what a message is about, in its order."""
    chosen = sa.select(MessageSubject).where(MessageSubject.message_id == message_id)
    return session.scalars(chosen.order_by(MessageSubject.ordinal)).all()
