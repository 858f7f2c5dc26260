"""What comes in: applied, stored and logged in one transaction, then acknowledged.

The acknowledgement is the return value, so it cannot be sent before the commit. Messages that come at the
same time share a transaction: a commit costs the same for one as for fifty.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import sqlalchemy as sa

from connectors.hl7.ack import Answers, Verdict
from connectors.hl7.message import NotHl7
from plugin import outbox
from plugin.answering import answers_to
from plugin.audit.log import record
from plugin.casework import Enqueue
from plugin.db import Database
from plugin.fetched import FHIR, FHIR_RULES, read_fetched
from plugin.incoming import Arrival, Form, Incoming, Rules, read
from plugin.messages import IN, subjects_of
from plugin.tables import Message
from plugin.taking import Taking

GROUP = 256
"""The most messages of one transaction."""

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
        self._rules = {**self._rules, FHIR: self._rules.get(FHIR, FHIR_RULES)}

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
           Nobody sends a resource that we fetched: its error is raised, and whoever fetched it does so again.
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
                return Taking(session, incoming, self._enqueue).all()  # 2, 3
        except Exception as error:
            # The words of an error may quote a patient: only its kind is written.
            kind = type(error).__name__
            if isinstance(error, sa.exc.SQLAlchemyError) and not isinstance(error, _OF_CONTENT):  # 4
                log.error("%d messages could not be stored (%s); to be repeated.", len(incoming), kind)
                if any(one.is_resource for one in incoming):
                    raise
                return [answers_to(one, _NOT_NOW, Verdict.REJECT) for one in incoming]
            if len(arrivals) > 1:  # 5
                return [self._receive_group([arrival])[0] for arrival in arrivals]
            log.error("A message could not be applied (%s); it is kept as refused.", kind)
            return [self._keep_refused(arrivals[0])]

    def _keep_refused(self, arrival: Arrival) -> Answers:
        one = _read(arrival)
        kept = replace(
            one, orders=(), studies=(), reports=(), updates=(), merges=(), answer=None, refusal=_UNFORESEEN
        )
        try:
            with self._database.write() as session:
                return Taking(session, [kept], self._enqueue).all()[0]
        except sa.exc.SQLAlchemyError as error:
            log.error("A refused message could not be stored (%s); to be repeated.", type(error).__name__)
            if kept.is_resource:
                raise
            return answers_to(kept, _NOT_NOW, Verdict.REJECT)

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
            about = tuple(one.accession for one in subjects_of(session, message_id) if one.accession)
            arrival = Arrival(
                original.body,
                original.peer,
                rules,
                replay_of=message_id,
                expected=tuple(dict.fromkeys(about)),
            )
            return Taking(session, [_read(arrival)], self._enqueue).all()[0]


_OF_CONTENT = (sa.exc.DataError, sa.exc.IntegrityError)
"""Errors of the database that the message brings about, and would again."""
_NOT_NOW = NotHl7("the message could not be stored now; send it again unchanged", code=207)
_UNFORESEEN = NotHl7("an error that nobody foresaw; the message is kept", code=207)


def _read(arrival: Arrival) -> Incoming:
    try:
        return read_fetched(arrival) if arrival.rules.form is Form.FHIR else read(arrival)
    except Exception as error:
        log.error("A message could not be read (%s); it is kept as refused.", type(error).__name__)
        return Incoming(arrival, hashlib.sha256(arrival.body).hexdigest(), refusal=_UNFORESEEN)
