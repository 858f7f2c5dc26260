"""HL7 messages in the store: numbered, kept, and found again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, defer

from connectors.exchange import Patient
from plugin.tables import Message, MessageSubject

PROCESSED, REFUSED, QUARANTINED = "PROCESSED", "REFUSED", "QUARANTINED"
"""What became of a message that came in."""
WAITING, SENT = "WAITING", "SENT"
"""What became of one that leaves; REFUSED where its receiver refused it."""
STATES = (PROCESSED, REFUSED, QUARANTINED, WAITING, SENT)
DEAD_LETTERS = frozenset({REFUSED, QUARANTINED, WAITING})
"""States of messages that a person may still have to deal with: they are never pruned."""
IN, OUT = "in", "out"
SEARCH_LIMIT = 1000

_LAST = "last message"


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
    """The number of the next message of this writing transaction."""
    last = session.info.get(_LAST)
    if last is None:
        last = session.scalar(sa.select(sa.func.max(Message.id))) or 0
    session.info[_LAST] = last + 1
    return int(last) + 1


def subject_rows(message_id: int, subjects: Sequence[Subject]) -> list[dict[str, object]]:
    """The rows that make a message findable by what it is about; those that say the same are one row."""
    told = dict.fromkeys((s.accession, *_patient_keys(s.patient)) for s in subjects)
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
    return patient.identifier, folded(f"{patient.family_name} {patient.given_name}")


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
        found = found.where(_about(MessageSubject.accession == query.accession))
    if query.patient:
        by_name = MessageSubject.patient_name.startswith(folded(query.patient), autoescape=True)
        found = found.where(_about(sa.or_(MessageSubject.patient_identifier == query.patient, by_name)))
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


def _about(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return Message.id.in_(sa.select(MessageSubject.message_id).where(condition))


def subjects_of(session: Session, message_id: int) -> Sequence[MessageSubject]:
    """Whom and what a message is about, in its order."""
    chosen = sa.select(MessageSubject).where(MessageSubject.message_id == message_id)
    return session.scalars(chosen.order_by(MessageSubject.ordinal)).all()
