"""One HL7 message: read, applied and stored with its leaf in one transaction, then acknowledged.

The ack is the return value, so it cannot be sent before the commit.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from connectors.exchange import Order, SignedReport
from connectors.hl7 import ack, orders, results
from connectors.hl7.identifiers import Places
from connectors.hl7.message import Message as Hl7Message
from connectors.hl7.message import NotHl7, parse
from plugin.audit.log import record
from plugin.casework import Enqueue
from plugin.db import Database, now
from plugin.orders import take_order
from plugin.reports import Mismatch, take_report
from plugin.tables import Message

PROCESSED, REFUSED, QUARANTINED = "PROCESSED", "REFUSED", "QUARANTINED"

log = logging.getLogger(__name__)


class UnknownMessage(Exception):
    """No message has this number."""


@dataclass(frozen=True, slots=True)
class _Read:
    """What a message turned out to be."""

    message: Hl7Message | None
    orders: Sequence[Order] = ()
    reports: Sequence[SignedReport] = ()
    refusal: NotHl7 | None = None

    @property
    def accession(self) -> str:
        found = [order.accession for order in self.orders] + [report.accession for report in self.reports]
        return found[0] if found else ""


class Intake:
    """Takes HL7 messages in."""

    def __init__(self, database: Database, enqueue: Enqueue, places: Places) -> None:
        self._database = database
        self._enqueue = enqueue
        self._places = places

    def receive(self, body: bytes, peer: str) -> bytes:
        """Take one message and return its acknowledgement.

        1. Read it. What cannot be read is refused with AE or AR, and kept.
        2. A message that was processed before (same sender, MSH-10 and body) gets the same ack again and
           changes nothing. The same sender and MSH-10 with another body is put into quarantine.
        3. Apply it, store it with its ack, add the leaf, enqueue the work: one transaction.
        4. If the database is at fault, nothing is stored and the sender is told to send it again (AR/CR).
        5. Any other error would come again with the same message: it is kept as refused (AE/CE).
        """
        read = self._read(body)  # 1
        try:
            with self._database.write() as session:
                return self._take(session, read, body, peer)  # 2, 3
        except Exception as error:
            # The words of an error may quote a patient: only its kind is written.
            kind = type(error).__name__
            if isinstance(error, sa.exc.SQLAlchemyError) and not isinstance(error, _OF_CONTENT):  # 4
                log.error("A message could not be stored (%s); it is to be repeated.", kind)
                return _answer(read.message, body, _NOT_NOW, ack.Verdict.REJECT)
            log.error("A message could not be applied (%s); it is kept as refused.", kind)  # 5
            unforeseen = NotHl7("an error that nobody foresaw; the message is kept", code=207)
            with self._database.write() as session:
                return self._store(
                    session, _Read(read.message, refusal=unforeseen), body, peer, REFUSED, None
                )

    def replay(self, message_id: int, why: str, who: str) -> bytes:
        """Take a stored message again, as a new one linked to the original. Raises UnknownMessage."""
        with self._database.write() as session:
            original = session.get(Message, message_id)
            if original is None:
                raise UnknownMessage(f"There is no message {message_id}; `prelim message list` shows them.")
            record(
                session,
                who,
                "message.replayed",
                message_id=message_id,
                details={"why": why},
            )
            return self._take(session, self._read(original.body), original.body, original.peer, message_id)

    def _read(self, body: bytes) -> _Read:
        message = None
        try:
            message = parse(body)
            if message.type in orders.MESSAGE_TYPES:
                return _Read(message, orders=orders.orders(message, self._places))
            if message.type == results.MESSAGE_TYPE:
                return _Read(message, reports=results.signed_reports(message, self._places))
            raise NotHl7(
                "this type of message is not taken here; orders (ORM^O01, OMG^O19, OMI^O23) and results "
                "(ORU^R01) are",
                location="MSH-9",
                code=200,
            )
        except NotHl7 as refusal:
            return _Read(message, refusal=refusal)

    def _take(
        self, session: Session, read: _Read, body: bytes, peer: str, replay_of: int | None = None
    ) -> bytes:
        digest = hashlib.sha256(body).hexdigest()
        if replay_of is None and read.message is not None:
            earlier = self._earlier(session, read.message, digest)
            if earlier is not None and earlier.body_sha256 == digest:
                record(session, _actor(read), "message.repeated", message_id=earlier.id)
                return earlier.ack
            if earlier is not None:
                clash = NotHl7(
                    "another message with this MSH-10 was taken before", location="MSH-10", code=205
                )
                read = _Read(read.message, refusal=clash)
                return self._store(session, read, body, peer, QUARANTINED, replay_of)
        state = PROCESSED if read.refusal is None else REFUSED
        return self._store(session, read, body, peer, state, replay_of)

    def _earlier(self, session: Session, message: Hl7Message, digest: str) -> Message | None:
        """The processed message of the same sender and MSH-10, the very same body first."""
        if not message.control_id:
            return None
        same = sa.select(Message).where(
            Message.sender == message.source,
            Message.control_id == message.control_id,
            Message.state == PROCESSED,
        )
        return session.scalars(same.order_by((Message.body_sha256 != digest), Message.id)).first()

    def _store(
        self, session: Session, read: _Read, body: bytes, peer: str, state: str, replay_of: int | None
    ) -> bytes:
        row = Message(
            received_at=now(),
            peer=peer,
            sender=_plain(read.message.source) if read.message else "",
            control_id=_plain(read.message.control_id) if read.message else "",
            message_type=_plain(read.message.type) if read.message else "",
            accession=read.accession,
            body=body,
            body_sha256=hashlib.sha256(body).hexdigest(),
            state=state,
            reason=str(read.refusal) if read.refusal else "",
            ack=b"",
            replay_of=replay_of,
        )
        session.add(row)
        session.flush()
        refusal = read.refusal
        if refusal is None:
            refusal = self._apply(session, read, row.id)
            if refusal is not None:
                row.state, row.reason = REFUSED, str(refusal)
        row.ack = _answer(read.message, body, refusal)
        record(
            session,
            _actor(read),
            f"message.{row.state.lower()}",
            message_id=row.id,
            details={"type": row.message_type, "sha256": row.body_sha256, "reason": row.reason},
        )
        return row.ack

    def _apply(self, session: Session, read: _Read, message_id: int) -> NotHl7 | None:
        """Bring orders and reports to their cases; a savepoint undoes all when a report cannot be."""
        actor = _actor(read)
        try:
            with session.begin_nested() if read.reports else nullcontext():
                for order in read.orders:
                    take_order(session, order, self._enqueue, actor, message_id)
                for ordinal, report in enumerate(read.reports):
                    take_report(session, report, f"message {message_id}:{ordinal}", actor, message_id)
        except Mismatch as error:
            return NotHl7(str(error), location="PID-3", code=204)
        return None


_OF_CONTENT = (sa.exc.DataError, sa.exc.IntegrityError)
"""Errors of the database that the message brings about, and would again."""
_NOT_NOW = NotHl7("the message could not be stored now; send it again unchanged", code=207)
_UNSUPPORTED = 200


def _answer(
    message: Hl7Message | None, body: bytes, refusal: NotHl7 | None, verdict: ack.Verdict | None = None
) -> bytes:
    """The acknowledgement that the sender asked for; empty when it wants none.

    A message without a readable MSH, or of a type that is not taken, is rejected; any other refusal is an
    error in its content (HL7 v2.5.1 section 2.9.2.2).
    """
    if verdict is None:
        if refusal is None:
            verdict = ack.Verdict.ACCEPT
        elif message is None or refusal.code == _UNSUPPORTED:
            verdict = ack.Verdict.REJECT
        else:
            verdict = ack.Verdict.ERROR
    code = ack.code_for(message, verdict)
    if code is None:
        return b""
    error = ack.AckError.of(refusal) if refusal else None
    return ack.acknowledge(message, code, error, raw=body)


def _actor(read: _Read) -> str:
    return f"hl7:{_plain(read.message.source)}" if read.message else "hl7:unreadable"


def _plain(text: str) -> str:
    """The text without NUL, which PostgreSQL keeps in no text; the message itself is kept as it came."""
    return text.replace("\x00", "\ufffd")
