"""HL7 messages: applied, stored and logged in one transaction, then acknowledged.

The acknowledgement is the return value, so it cannot be sent before the commit. Messages that come at the
same time share a transaction: a commit costs the same for one as for fifty.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from connectors.hl7 import ack
from connectors.hl7.ack import AckError, Answers, Verdict
from connectors.hl7.message import NotHl7
from plugin import outbox
from plugin.audit.log import record
from plugin.casework import Enqueue, remember_cases
from plugin.db import Database, now
from plugin.incoming import Arrival, Incoming, Rules, read
from plugin.links import surviving
from plugin.messages import (
    ADD_MESSAGES,
    ADD_SUBJECTS,
    IN,
    PROCESSED,
    QUARANTINED,
    REFUSED,
    next_number,
    subject_rows,
)
from plugin.orders import remember_studies, take_order
from plugin.patients import Ambiguous, MergeRefused, check_merge, check_one, take_merge, take_update
from plugin.reports import Mismatch, check_report, take_report
from plugin.tables import Message

GROUP = 256
"""The most messages of one transaction."""
REMEMBERED = 5_000
"""The most orders and reports that are looked up with one query: a database takes no more values than it
likes. Of more, each is looked up by itself."""

log = logging.getLogger(__name__)


class UnknownMessage(Exception):
    """No message has this number, or it cannot be taken again."""


class Intake:
    """Takes HL7 messages in."""

    def __init__(
        self, database: Database, enqueue: Enqueue, rules: Mapping[str, Rules] | None = None
    ) -> None:
        """rules: by the name of the listener."""
        self._database = database
        self._enqueue = enqueue
        self._rules = rules or {"default": Rules()}

    def rules(self, listener: str) -> Rules:
        """The rules of a listener; those of the first one for a listener that is there no longer."""
        return self._rules.get(listener) or next(iter(self._rules.values()))

    def receive(self, body: bytes, peer: str, listener: str = "default") -> Answers:
        """Take one message and return its acknowledgements."""
        (answers,) = self.receive_all([Arrival(body, peer, self.rules(listener))])
        return answers

    def receive_all(self, arrivals: Sequence[Arrival]) -> list[Answers]:
        """Take messages in their order and return the acknowledgements of each.

        1. Read them. What cannot be read is refused with AE or AR, and kept.
        2. A message that was processed before (same sender, MSH-10 and body) gets the same acknowledgements
           again and changes nothing. The same sender and MSH-10 with another body is put into quarantine.
        3. Apply it, store it with its acknowledgements, add the leaf, enqueue the work: one transaction for
           at most GROUP of them.
        4. If the database is at fault, nothing is stored and the senders are told to send again (AR/CR).
        5. Any other error would come again with the same message: each message of the group is then taken
           in a transaction of its own, and the one at fault is kept as refused (AE/CE).
        """
        taken: list[Answers] = []
        for start in range(0, len(arrivals), GROUP):
            taken += self._receive_group(arrivals[start : start + GROUP])
        return taken

    def _receive_group(self, arrivals: Sequence[Arrival]) -> list[Answers]:
        incoming = [_read(arrival) for arrival in arrivals]  # 1
        try:
            with self._database.write() as session:
                return _Taking(session, incoming, self._enqueue).all()  # 2, 3
        except Exception as error:
            # The words of an error may quote a patient: only its kind is written.
            kind = type(error).__name__
            if isinstance(error, sa.exc.SQLAlchemyError) and not isinstance(error, _OF_CONTENT):  # 4
                log.error("%d messages could not be stored (%s); to be repeated.", len(incoming), kind)
                return [_answers(one, _NOT_NOW, Verdict.REJECT) for one in incoming]
            if len(arrivals) > 1:  # 5
                return [self._receive_group([arrival])[0] for arrival in arrivals]
            log.error("A message could not be applied (%s); it is kept as refused.", kind)
            return [self._keep_refused(arrivals[0])]

    def _keep_refused(self, arrival: Arrival) -> Answers:
        one = _read(arrival)
        kept = Incoming(arrival, one.sha256, one.message, refusal=_UNFORESEEN)
        try:
            with self._database.write() as session:
                return _Taking(session, [kept], self._enqueue).all()[0]
        except sa.exc.SQLAlchemyError as error:
            log.error("A refused message could not be stored (%s); to be repeated.", type(error).__name__)
            return _answers(kept, _NOT_NOW, Verdict.REJECT)

    def replay(self, message_id: int, why: str, who: str) -> Answers:
        """Take a stored message again, as a new one linked to the original.

        One that left is put in the outbox again. Raises UnknownMessage for a number that no message has, and
        for one whose body was erased.
        """
        with self._database.write() as session:
            original = session.get(Message, message_id)
            if original is None:
                raise UnknownMessage(f"There is no message {message_id}; `prelim message list` shows them.")
            if original.pruned_at is not None:
                raise UnknownMessage(
                    f"The body of message {message_id} was erased on {original.pruned_at.date()}."
                )
            record(session, who, "message.replayed", message_id=message_id, details={"why": why})
            if original.direction != IN:
                outbox.send_again(session, original, who)
                return Answers()
            rules = self.rules(original.channel)
            arrival = Arrival(original.body, original.peer, rules, replay_of=message_id)
            return _Taking(session, [_read(arrival)], self._enqueue).all()[0]


class _Taking:
    """Some messages in one transaction."""

    def __init__(self, session: Session, incoming: Sequence[Incoming], enqueue: Enqueue) -> None:
        self._session = session
        self._incoming = incoming
        self._enqueue = enqueue
        self._rows: list[dict[str, object]] = []
        self._subjects: list[dict[str, object]] = []
        self._earlier: dict[tuple[str, str], list[_Earlier]] = {}

    def all(self) -> list[Answers]:
        """Take every message; what the transaction holds at its end is written with one statement a table."""
        session = self._session
        self._look_up()
        answers = [self._take(one) for one in self._incoming]
        for one in self._incoming:
            one.message = None  # some are of megabytes, and the database is about to copy them
        if self._rows:
            session.connection().execute(ADD_MESSAGES, self._rows)
        if self._subjects:
            session.connection().execute(ADD_SUBJECTS, self._subjects)
        return answers

    def _look_up(self) -> None:
        """Everything that the messages will ask for, with one query each instead of one a message."""
        names = sorted({one.control_id for one in self._incoming} - {""})
        if names:
            known = self._session.connection().execute(_EARLIER, {"names": names})
            for number, sender, control_id, sha256, state, direction, first, second in known:
                if (state, direction) != (PROCESSED, IN):
                    continue
                earlier = _Earlier(number, sha256, Answers(first, second))
                self._earlier.setdefault((sender, control_id), []).append(earlier)
        taken = [one for one in self._incoming if one.refusal is None]
        orders = [order for one in taken for order in one.orders]
        reported = [report.accession for one in taken for report in one.reports]
        if len(orders) + len(reported) > REMEMBERED:
            return
        remember_cases(self._session, {*reported, *(order.accession for order in orders)})
        remember_studies(self._session, orders)

    def _take(self, one: Incoming) -> Answers:
        replay = one.arrival.replay_of is not None
        before = [] if replay else self._earlier.get((one.sender, one.control_id), [])
        same = next((earlier for earlier in before if earlier.sha256 == one.sha256), None)
        if same is not None:
            record(self._session, one.actor, "message.repeated", message_id=same.number)
            return self._route(one, same.answers)
        if before:
            one.refusal = NotHl7(
                "another message with this MSH-10 was taken before; have the sender give each its own, and "
                "replay this one if it is meant",
                location="MSH-10",
                code=205,
            )
            return self._keep(one, QUARANTINED)
        return self._keep(one, PROCESSED)

    def _keep(self, one: Incoming, state: str) -> Answers:
        number = next_number(self._session)
        refusal = one.refusal or self._apply(one, number)
        if refusal is not None and state == PROCESSED:
            state = REFUSED
        reason = str(refusal) if refusal else ""
        answers = _answers(one, refusal)
        self._rows.append(
            {
                "id": number,
                "direction": IN,
                "received_at": now(),
                "channel": one.arrival.rules.listener,
                "peer": one.arrival.peer,
                "sender": one.sender,
                "control_id": one.control_id,
                "message_type": one.type,
                "state": state,
                "reason": reason,
                "replay_of": one.arrival.replay_of,
                "pruned_at": None,
                "body_bytes": len(one.arrival.body),
                "body_sha256": one.sha256,
                "ack": answers.accept,
                "application_ack": answers.application,
                "body": one.arrival.body,
            }
        )
        self._subjects += subject_rows(number, one.subjects)
        record(
            self._session,
            one.actor,
            f"message.{state.lower()}",
            message_id=number,
            details={"type": one.type, "sha256": one.sha256, "reason": reason},
        )
        if state == PROCESSED and one.control_id:
            earlier = _Earlier(number, one.sha256, answers)
            self._earlier.setdefault((one.sender, one.control_id), []).append(earlier)
        return self._route(one, answers)

    def _apply(self, one: Incoming, number: int) -> NotHl7 | None:
        """Bring everything in a message where it belongs, or nothing: what may refuse is asked first."""
        session, actor = self._session, one.actor
        try:
            for report in one.reports:
                check_report(session, report)
            for update in one.updates:
                patient = surviving(session, update.patient)
                check_one(session, patient.identifier, patient.assigning_authority)
            for merge in one.merges:
                check_merge(session, merge)
        except Mismatch as error:
            return NotHl7(str(error), location="PID-3", code=204)
        except Ambiguous as error:
            return NotHl7(str(error), location="PID-3", code=204)
        except MergeRefused as error:
            return NotHl7(str(error), location="MRG-1", code=204)
        for order in one.orders:
            take_order(session, order, self._enqueue, actor, number)
        for ordinal, report in enumerate(one.reports):
            take_report(session, report, f"message {number}:{ordinal}", actor, number, enqueue=self._enqueue)
        for update in one.updates:
            take_update(session, update, self._enqueue, actor, number)
        for merge in one.merges:
            take_merge(session, merge, self._enqueue, actor, number)
        if one.answer is not None:
            outbox.answered(session, one.answer, actor, number)
        return None

    def _route(self, one: Incoming, answers: Answers) -> Answers:
        """Put an application acknowledgement in the outbox where its listener sends it elsewhere."""
        elsewhere = one.arrival.rules.application_acks
        if not elsewhere or not answers.application or one.arrival.replay_of is not None:
            return answers
        outbox.put(self._session, elsewhere, one.sender, answers.application)
        return Answers(accept=answers.accept)


class _Earlier:
    """A message that was processed before."""

    __slots__ = ("answers", "number", "sha256")

    def __init__(self, number: int, sha256: str, answers: Answers) -> None:
        self.number = number
        self.sha256 = sha256
        self.answers = answers


_EARLIER = sa.select(
    Message.id,
    Message.sender,
    Message.control_id,
    Message.body_sha256,
    Message.state,
    Message.direction,
    Message.ack,
    Message.application_ack,
    # State and direction are looked at afterwards: asked for here, SQLite would go by the index of the state.
).where(Message.control_id.in_(sa.bindparam("names", expanding=True)))
_OF_CONTENT = (sa.exc.DataError, sa.exc.IntegrityError)
"""Errors of the database that the message brings about, and would again."""
_NOT_NOW = NotHl7("the message could not be stored now; send it again unchanged", code=207)
_UNFORESEEN = NotHl7("an error that nobody foresaw; the message is kept", code=207)
_UNSUPPORTED = 200


def _read(arrival: Arrival) -> Incoming:
    try:
        return read(arrival)
    except Exception as error:
        log.error("A message could not be read (%s); it is kept as refused.", type(error).__name__)
        return Incoming(arrival, hashlib.sha256(arrival.body).hexdigest(), refusal=_UNFORESEEN)


def _answers(one: Incoming, refusal: NotHl7 | None, verdict: Verdict | None = None) -> Answers:
    """The acknowledgements that the sender asked for.

    A message without a readable MSH, or of a type that is not taken, is rejected; any other refusal is an
    error in its content (HL7 v2.5.1 section 2.9.2.2), and so is a batch that does not hold what it counts.
    """
    if verdict is None:
        if refusal is None:
            verdict = Verdict.ACCEPT
        elif one.arrival.refusal is None and (one.message is None or refusal.code == _UNSUPPORTED):
            verdict = Verdict.REJECT
        else:
            verdict = Verdict.ERROR
    error = AckError.of(refusal) if refusal else None
    rules = one.arrival.rules
    return ack.answers(
        one.message,
        verdict,
        error,
        # A batch is no message: the MSH in it is that of a part, which is not what is refused.
        raw=b"" if one.arrival.refusal else one.arrival.body,
        mode=rules.ack_mode,
        elsewhere=bool(rules.application_acks),
    )
