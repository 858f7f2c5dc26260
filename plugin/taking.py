"""Some messages in the caller's transaction: each applied, kept with its acknowledgements, and logged."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from connectors.errors import Malformed
from connectors.hl7.ack import Answers
from connectors.hl7.message import NotHl7
from plugin import outbox
from plugin.answering import answers_to
from plugin.audit.log import record
from plugin.cases import OF_A_HUMAN, CaseState
from plugin.casework import Enqueue, find_case, move, remember_cases
from plugin.incoming import Incoming
from plugin.messages import (
    ADD_MESSAGES,
    ADD_SUBJECTS,
    IN,
    PROCESSED,
    QUARANTINED,
    REFUSED,
    message_row,
    next_number,
    subject_rows,
)
from plugin.orders import remember_studies, take_order, take_study
from plugin.patients import Ambiguous, MergeRefused, check_merge, check_update, take_merge, take_update
from plugin.reports import Mismatch, check_report, take_report
from plugin.tables import Message

REMEMBERED = 5_000
"""The most orders and reports that are looked up with one query: a database takes no more values than it
likes. Of more, each is looked up by itself."""

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


class Taking:
    """Messages that share one transaction."""

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
                if direction != IN or state == QUARANTINED:
                    continue
                earlier = _Earlier(number, sha256, state, Answers(first, second))
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
        if one.is_resource:
            # One version of one resource: what it names may have changed since, it itself has not.
            same = next(iter(before), None)
        else:
            before = [earlier for earlier in before if earlier.state == PROCESSED]
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
        answers = answers_to(one, refusal)
        row = message_row(
            number,
            IN,
            one.arrival.body,
            channel=one.arrival.rules.listener,
            peer=one.arrival.peer,
            sender=one.sender,
            control_id=one.control_id,
            message_type=one.type,
            state=state,
            reason=reason,
            replay_of=one.arrival.replay_of,
            body_sha256=one.sha256,
            ack=answers.accept,
            application_ack=answers.application,
        )
        self._rows.append(row)
        self._subjects += subject_rows(number, one.subjects)
        if refusal is not None and one.is_resource:
            self._say(one, number, reason)
        record(
            self._session,
            one.actor,
            f"message.{state.lower()}",
            message_id=number,
            details={"type": one.type, "sha256": one.sha256, "reason": reason},
        )
        if state != QUARANTINED and one.control_id:
            earlier = _Earlier(number, one.sha256, state, answers)
            self._earlier.setdefault((one.sender, one.control_id), []).append(earlier)
        return self._route(one, answers)

    def _say(self, one: Incoming, number: int, reason: str) -> None:
        """Let the cases say what could not be taken: no sender is told, so somebody must see it here."""
        named = [subject.accession for subject in one.subjects]
        # What names no case was fetched because of one, by its place.
        for accession in dict.fromkeys([*named, *one.arrival.expected]):
            case = find_case(self._session, accession) if accession else None
            if case is None:
                continue
            told = f"A {one.type or 'resource'} of the FHIR server could not be taken: {reason}"
            state = CaseState(case.state)
            if state in OF_A_HUMAN:
                # Who signed stays to be read; the log has the rest.
                record(
                    self._session,
                    one.actor,
                    "case.unreadable-resource",
                    case_id=case.id,
                    message_id=number,
                    details={"reason": told},
                )
            else:
                move(self._session, case, state, one.actor, reason=told, message_id=number)

    def _apply(self, one: Incoming, number: int) -> Malformed | None:
        """Bring everything in a message where it belongs, or nothing: what may refuse is asked first."""
        session, actor = self._session, one.actor
        try:
            for report in one.reports:
                check_report(session, report)
            for update in one.updates:
                check_update(session, update)
            for merge in one.merges:
                check_merge(session, merge)
        except (Mismatch, Ambiguous) as error:
            return NotHl7(str(error), location="PID-3", code=204)
        except MergeRefused as error:
            return NotHl7(str(error), location="MRG-1", code=204)
        for order in one.orders:
            take_order(session, order, self._enqueue, actor, number)
        for study in one.studies:
            take_study(session, study, self._enqueue, actor)
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
    """A message, or a version of a resource, that was taken before."""

    __slots__ = ("answers", "number", "sha256", "state")

    def __init__(self, number: int, sha256: str, state: str, answers: Answers) -> None:
        self.number = number
        self.sha256 = sha256
        self.state = state
        self.answers = answers
