"""All that is known of one message, put together for its page and its JSON twin. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, defer

from connectors.errors import Malformed
from connectors.hl7.ack import read_ack
from plugin.fetched import FHIR
from plugin.messages import IN, QUARANTINED, WAITING, subjects_of
from plugin.tables import AuditLeaf, Case, Delivery, DraftRecord, Message
from plugin.web.fhirtext import shown_resource
from plugin.web.hl7text import Shown, shown_message
from plugin.web.leaf import leaf_fields
from plugin.web.messages import message_summary
from plugin.web.words import machine_moment, message_words

LEAVES = 100
"""Entries of the log on a message page."""
OTHERS = 20
"""Messages of the same sender and MSH-10, and replays, on a message page."""
VIEWED = "message.viewed"


def message_dossier(session: Session, message: Message, charset: str = "") -> dict[str, Any]:
    """The message, its parse, its answers, what came of it, and its relatives."""
    fetched = message.channel == FHIR
    words = message_words(message.state, message.direction, fetched=fetched)
    subjects = subjects_of(session, message.id)
    accessions = list(dict.fromkeys(subject.accession for subject in subjects if subject.accession))
    shown = None
    if message.pruned_at is None:
        shown = shown_resource(message.body) if fetched else shown_message(message.body, charset)
    of_message = sa.select(AuditLeaf).where(AuditLeaf.message_id == message.id)
    newest = of_message.order_by(AuditLeaf.position.desc()).limit(LEAVES)
    leaves = session.scalars(newest.where(AuditLeaf.action != VIEWED)).all()
    views = session.scalars(newest.where(AuditLeaf.action == VIEWED)).all()
    return {
        **message_summary(message, accessions),
        "fetched": fetched,
        "meaning": words.meaning,
        "advice": words.advice,
        "subjects": [
            {
                "accession": subject.accession,
                "patient_identifier": subject.patient_identifier,
                "patient_name": subject.patient_name,
            }
            for subject in subjects
        ],
        "body": _shown(shown) if shown else None,
        "answers": _answers(message),
        "delivery": _delivery(session, message),
        "cases": _cases(session, accessions),
        "draft": _draft(session, message),
        "original": _other(session, message.replay_of),
        "replays": _others(session, Message.replay_of == message.id),
        "same_control_id": _same_control_id(session, message),
        "audit": [leaf_fields(leaf) for leaf in reversed(leaves)],
        "views": [leaf_fields(leaf) for leaf in reversed(views)],
    }


def replayable(message: Message) -> str:
    """Why a message cannot be replayed, as a sentence; empty when it can."""
    if message.pruned_at is not None:
        return "Its body was erased, so it cannot be replayed."
    if message.state == WAITING:
        return "It still waits in the outbox and is sent by itself."
    return ""


def last_replay(session: Session, message_id: int) -> int:
    """The number of the latest replay of a message; 0 when there is none."""
    return session.scalar(sa.select(sa.func.max(Message.id)).where(Message.replay_of == message_id)) or 0


def _shown(shown: Shown) -> dict[str, Any]:
    return asdict(shown)


def _answers(message: Message) -> list[dict[str, Any]]:
    """The acknowledgements, ours to what came and the peer's to what we sent."""
    found = []
    for name, raw in (("accept", message.ack), ("application", message.application_ack)):
        if raw:
            try:
                ack = read_ack(raw)
                code, words = ack.code.value, ack.text
            except Malformed:
                code, words = "", ""
            # In original mode the only one is an application acknowledgement, wherever it is kept.
            kind = "application" if code.startswith("A") else name
            lines = shown_message(raw).lines
            found.append({"kind": kind, "code": code, "text": words, "lines": lines})
    return found


def _delivery(session: Session, message: Message) -> dict[str, Any] | None:
    delivery = session.get(Delivery, message.id)
    if delivery is None:
        return None
    return {
        "destination": delivery.destination,
        "attempts": message.attempts,
        "next_attempt_at": machine_moment(delivery.next_attempt_at),
    }


def _cases(session: Session, accessions: Sequence[str]) -> list[dict[str, str]]:
    chosen = sa.select(Case.id, Case.accession, Case.state).where(Case.accession.in_(accessions))
    rows = {accession: (case_id, state) for case_id, accession, state in session.execute(chosen)}
    return [
        {"id": rows[accession][0], "accession": accession, "state": rows[accession][1]}
        for accession in accessions
        if accession in rows
    ]


def _draft(session: Session, message: Message) -> dict[str, Any] | None:
    if message.draft_id is None:
        return None
    draft = session.get_one(DraftRecord, message.draft_id)
    return {"number": draft.number, "status": draft.status, "case": draft.case_id}


def _same_control_id(session: Session, message: Message) -> list[dict[str, Any]]:
    """Messages that its sender gave the same MSH-10: what a quarantined one is compared with."""
    if not message.control_id or (message.direction == IN and message.state != QUARANTINED):
        return []
    return _others(
        session,
        Message.control_id == message.control_id,
        Message.sender == message.sender,
        Message.direction == message.direction,
        Message.id != message.id,
    )


def _other(session: Session, number: int | None) -> dict[str, Any] | None:
    found = _others(session, Message.id == number) if number is not None else []
    return found[0] if found else None


def _others(session: Session, *conditions: sa.ColumnElement[bool]) -> list[dict[str, Any]]:
    chosen = sa.select(Message).where(*conditions).order_by(Message.id.desc()).limit(OTHERS)
    slim = chosen.options(defer(Message.body), defer(Message.ack), defer(Message.application_ack))
    return [message_summary(message) for message in session.scalars(slim)]
