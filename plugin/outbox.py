"""HL7 messages that leave: kept first, sent later, in order, until they are acknowledged.

Everything here is a change inside the caller's transaction; `plugin.sending` talks to the peers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from connectors.hl7.ack import Ack, read_ack
from connectors.hl7.message import parse
from plugin.audit.log import record
from plugin.cases import OF_A_HUMAN, CaseState
from plugin.db import now
from plugin.messages import (
    ADD_MESSAGES,
    ADD_SUBJECTS,
    DROPPED,
    OUT,
    REFUSED,
    SENT,
    WAITING,
    Subject,
    message_row,
    next_number,
    subject_rows,
    subjects_of,
)
from plugin.tables import CONCLUSION, Case, Delivery, DraftRecord, Message, MessageSubject

RIS = "ris"
"""The destination that PRELIM_RIS names."""
ACTOR = "prelim/sender"
_OVERTAKEN = "It was overtaken: the draft stands no longer."
_OVERTAKEN_LATE = "It was overtaken after it had been tried: its receiver may have it."
_NOTHING_LEFT = "It was overtaken: a human's report stands, and nothing of ours is left to take back."


class Overtaken(Exception):
    """A message that may not be sent any more."""


def offer_id(draft_id: int) -> str:
    """MSH-10 of the message that offers a draft: the same for every attempt, and for a replay."""
    return f"PRELIM{draft_id}"


def withdrawal_id(draft_id: int) -> str:
    """MSH-10 of the message that takes a draft back."""
    return f"PRELIM{draft_id}X"


@dataclass(frozen=True, slots=True)
class Due:
    """A message whose turn it is."""

    message_id: int
    body: bytes
    attempts: int


def put(
    session: Session,
    destination: str,
    lane: str,
    body: bytes,
    *,
    subjects: Sequence[Subject] = (),
    about: DraftRecord | None = None,
    offers: bool = False,
    replay_of: int | None = None,
    actor: str = ACTOR,
) -> int:
    """Keep a message that is to be sent; return its number.

    destination: `RIS` or HOST:PORT. lane: messages of one lane are sent in their order. about: the draft that
    it speaks of. offers: it offers that draft, so it is sent only while the draft still stands.
    """
    message = parse(body)
    number = next_number(session)
    row = message_row(
        number,
        OUT,
        body,
        channel=destination,
        sender=message.source,
        control_id=message.control_id,
        message_type=message.type,
        state=WAITING,
        draft_id=about.id if about else None,
        replay_of=replay_of,
        body_sha256=hashlib.sha256(body).hexdigest(),
    )
    session.execute(ADD_MESSAGES, [row])
    rows = subject_rows(number, subjects)
    if rows:
        session.execute(ADD_SUBJECTS, rows)
    session.add(
        Delivery(
            message_id=number,
            destination=destination,
            lane=lane,
            draft_id=about.id if about and offers else None,
            next_attempt_at=now(),
        )
    )
    record(
        session,
        actor,
        "message.waiting",
        case_id=about.case_id if about else None,
        message_id=number,
        details={"type": message.type, "sha256": row["body_sha256"], "destination": destination},
    )
    return number


def offers_of(session: Session, draft_id: int) -> Sequence[Message]:
    """Every message that offered or withdrew a draft, in order."""
    ids = (offer_id(draft_id), withdrawal_id(draft_id))
    chosen = sa.select(Message).where(Message.control_id.in_(ids), Message.draft_id == draft_id)
    return session.scalars(chosen.order_by(Message.id)).all()


def is_any_due(session: Session, destination: str) -> bool:
    """Whether it is worth a writing transaction to look whose turn it is."""
    due = sa.select(Delivery.message_id).where(
        Delivery.destination == destination, Delivery.next_attempt_at <= now()
    )
    return session.scalars(due.limit(1)).first() is not None


def claim(session: Session, destination: str, in_hand: timedelta) -> Due | None:
    """Take in hand the next message whose turn it is; None when there is none.

    Only the first of each lane can be next. A draft that no longer stands is dropped instead of offered, and
    so is a withdrawal that a human's report was quicker than.
    in_hand: another sender may take the message again after this long, when it was neither acknowledged nor
    put off: its first sender is then thought dead.
    """
    earlier = aliased(Delivery)
    at = now()
    behind = sa.exists().where(
        earlier.destination == Delivery.destination,
        earlier.lane == Delivery.lane,
        earlier.message_id < Delivery.message_id,
    )
    due = sa.select(Delivery).where(
        Delivery.destination == destination, Delivery.next_attempt_at <= at, sa.not_(behind)
    )
    while True:
        found = session.scalars(due.order_by(Delivery.message_id).limit(1)).first()
        if found is None:
            return None
        message = session.get_one(Message, found.message_id)
        if _may_go(session, found, message):
            found.next_attempt_at = at + in_hand
            message.attempts += 1
            return Due(message.id, message.body, message.attempts)
        drop(session, found)


def offerable(session: Session, draft_id: int) -> bool:
    """Whether a draft still stands: it is the newest of its case, and no human's word went past it."""
    draft = session.get_one(DraftRecord, draft_id)
    case = session.get_one(Case, draft.case_id)
    newest = sa.select(sa.func.max(DraftRecord.number)).where(DraftRecord.case_id == case.id)
    stands = CaseState.SUPERSEDED if draft.task == CONCLUSION else CaseState.PUBLISHED
    return case.state == stands and session.scalar(newest) == draft.number


def _may_go(session: Session, delivery: Delivery, message: Message) -> bool:
    if delivery.draft_id is not None:
        return offerable(session, delivery.draft_id)
    # A withdrawal would take a human's report back.
    return not _withdraws(message) or _case(session, message).state not in OF_A_HUMAN


def _withdraws(message: Message) -> bool:
    return message.draft_id is not None and message.control_id == withdrawal_id(message.draft_id)


def may_have(message: Message) -> bool:
    """Whether the receiver may have a message, as far as it was sent and answered."""
    if message.state == REFUSED and message.ack:
        return False  # where nothing was kept, what came back was no acknowledgement
    return message.attempts > 0


def drop(session: Session, delivery: Delivery) -> None:
    """Do not send a message that events have overtaken."""
    message = session.get_one(Message, delivery.message_id)
    message.state, message.reason = DROPPED, _OVERTAKEN_LATE if message.attempts else _OVERTAKEN
    if _withdraws(message):
        message.reason = _NOTHING_LEFT
    _close(session, delivery, "message.dropped", {"reason": message.reason})


def sent(session: Session, message_id: int, ack: Ack) -> None:
    """The receiver has it in its safe storage."""
    delivery = session.get(Delivery, message_id)
    if delivery is None:
        return  # Another sender, that took this one for dead, was quicker.
    message = session.get_one(Message, message_id)
    message.state, message.reason, message.ack = SENT, "", ack.raw
    if delivery.draft_id is not None:
        session.get_one(DraftRecord, delivery.draft_id).delivered_at = now()
        _say(session, delivery.draft_id, "")
    _close(session, delivery, "message.sent", {"code": ack.code.value, "attempts": message.attempts})


def refused(session: Session, message_id: int, reason: str, ack: Ack | None) -> None:
    """The receiver will never take it as it is; it stays, as a dead letter, for a person."""
    delivery = session.get(Delivery, message_id)
    if delivery is None:
        return
    message = session.get_one(Message, message_id)
    message.state, message.reason, message.ack = REFUSED, reason, ack.raw if ack else b""
    _say(session, delivery.draft_id, f"The RIS refused the draft: {reason}")
    _close(session, delivery, "message.refused", {"reason": reason})


def put_off(session: Session, message_id: int, reason: str, until: datetime) -> None:
    """It was not taken this time; it is tried again, and no message of its lane before it."""
    delivery = session.get(Delivery, message_id)
    if delivery is None:
        return
    delivery.next_attempt_at = until
    message = session.get_one(Message, message_id)
    message.reason = reason
    _say(session, delivery.draft_id, f"Waiting: {reason}")
    record(
        session,
        ACTOR,
        "message.waits",
        case_id=_case_of(session, message),
        message_id=message_id,
        details={"attempt": message.attempts, "again_at": until.isoformat(), "reason": reason},
    )


def _close(session: Session, delivery: Delivery, action: str, details: dict[str, object]) -> None:
    message = session.get_one(Message, delivery.message_id)
    session.delete(delivery)
    # Of a lane, the next one is looked for by what is there.
    session.flush()
    record(
        session,
        ACTOR,
        action,
        case_id=_case_of(session, message),
        message_id=message.id,
        details=details,
    )


def _case_of(session: Session, message: Message) -> str | None:
    return session.get_one(DraftRecord, message.draft_id).case_id if message.draft_id else None


def _case(session: Session, message: Message) -> Case:
    return session.get_one(Case, _case_of(session, message))


def _say(session: Session, draft_id: int | None, said: str) -> None:
    """Tell the case of an offered draft what it waits for; one that moved on has a reason of its own."""
    if draft_id is not None and offerable(session, draft_id):
        case = session.get_one(Case, session.get_one(DraftRecord, draft_id).case_id)
        case.reason = said
        case.updated_at = now()


def answered(session: Session, ack: Ack, actor: str, message_id: int) -> None:
    """An acknowledgement that came as a message of its own: what it answers is looked up and told in the log.

    message_id: the number of the acknowledgement. It counts where its sender is the one that gave the accept
    acknowledgement, and so may still speak at the application level (v2.5.1 section 2.9.3): nobody else can
    undo a delivery. An error or rejection then makes a dead letter of a message that had been sent: its
    receiver stored it and could not process it.
    """
    same = sa.select(Message).where(Message.control_id == ack.control_id, Message.direction == OUT)
    message = session.scalars(same.order_by(Message.id.desc()).limit(1)).first()
    details: dict[str, object] = {"code": ack.code.value, "answers": message.id if message else None}
    record(session, actor, "message.answered", message_id=message_id, details=details)
    if message is not None and message.state == SENT and _speaks_for_receiver(ack, message):
        message.application_ack = ack.raw
        if not ack.accepted:
            message.state = REFUSED
            message.reason = f"The receiver answered {ack.code.value} after it had stored the message."
            if not _withdraws(message):
                _say(session, message.draft_id, f"The RIS refused the draft: {message.reason}")
            of, why = _case_of(session, message), {"reason": message.reason}
            record(session, actor, "message.refused", case_id=of, message_id=message.id, details=why)


def _speaks_for_receiver(ack: Ack, message: Message) -> bool:
    accept = read_ack(message.ack)
    return accept.code.value[0] == "C" and parse(accept.raw).source == parse(ack.raw).source


def send_again(session: Session, original: Message, actor: str) -> int:
    """Put a message that left, or could not, in the outbox once more: as it was, linked to the original.

    Raises Overtaken for one that still waits, for the offer of a draft that stands no longer, and for a
    withdrawal unless the case is still cancelled: it would take back what came since.
    """
    if original.state == WAITING:
        raise Overtaken(f"Message {original.id} still waits in the outbox and is sent by itself.")
    draft = session.get(DraftRecord, original.draft_id) if original.draft_id else None
    offers = draft is not None and original.control_id == offer_id(draft.id)
    if draft is not None and offers and not offerable(session, draft.id):
        raise Overtaken(f"Message {original.id} offers a draft that stands no longer; it is not sent again.")
    if _withdraws(original) and _case(session, original).state != CaseState.CANCELLED:
        raise Overtaken(
            f"Message {original.id} withdraws a draft of a case that is cancelled no longer; it would take "
            "back what came since, and is not sent again."
        )
    number = put(
        session,
        original.channel,
        draft.case_id if draft else original.sender,
        original.body,
        about=draft,
        offers=offers,
        replay_of=original.id,
        actor=actor,
    )
    for row in subjects_of(session, original.id):
        session.add(
            MessageSubject(
                message_id=number,
                ordinal=row.ordinal,
                accession=row.accession,
                patient_identifier=row.patient_identifier,
                patient_name=row.patient_name,
            )
        )
    return number
