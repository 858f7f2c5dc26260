"""Every HL7 message, in and out, latest first: filters, pages, counts.

The list names no patient, so that looking at it is not looking at a patient's data; asking which messages are
about one is, and is logged with what was found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa
from flask import Blueprint, Flask, Response, jsonify, render_template, request, url_for
from sqlalchemy.orm import Session

from plugin.db import Database
from plugin.messages import STATES, MessageQuery, find_messages
from plugin.settings import Settings
from plugin.tables import Message, MessageSubject
from plugin.tally import DIRECTIONS, channels, count_states
from plugin.web.parameters import Parameters
from plugin.web.viewer import record_search
from plugin.web.words import MESSAGE_STATES, machine_moment

PAGE = 50
"""Messages on one page."""
NAMES = (
    "patient",
    "accession",
    "control_id",
    "type",
    "state",
    "direction",
    "channel",
    "since",
    "until",
    "before",
)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of messages."""

    query: MessageQuery
    messages: Sequence[Mapping[str, Any]]
    older: int | None
    """`before` of the next page; None on the last."""
    counts: Mapping[str, int]
    channels: Sequence[str]


def read_query() -> MessageQuery:
    """The search that the request's query string asks for. Raises BadQuery."""
    given = Parameters(request, NAMES)
    return MessageQuery(
        patient=given.text("patient"),
        accession=given.text("accession"),
        control_id=given.text("control_id"),
        message_type=given.text("type"),
        state=given.choice("state", STATES),
        direction=given.choice("direction", DIRECTIONS),
        channel=given.text("channel"),
        since=given.moment("since"),
        until=given.moment("until", end_of_day=True),
        before=given.whole("before", 0, 1) or None,
        limit=PAGE,
    )


def query_string(query: MessageQuery, **other: object) -> str:
    """The query string of a search with some values replaced; what is not given is left out."""
    values: dict[str, object] = {
        "patient": query.patient,
        "accession": query.accession,
        "control_id": query.control_id,
        "type": query.message_type,
        "state": query.state,
        "direction": query.direction,
        "channel": query.channel,
        "since": query.since.isoformat() if query.since else "",
        "until": query.until.isoformat() if query.until else "",
        "before": query.before or "",
    }
    return urlencode({name: value for name, value in {**values, **other}.items() if value not in ("", None)})


def message_summary(message: Message, accessions: Sequence[str] = ()) -> dict[str, Any]:
    """A message as lists show it; nobody is named."""
    return {
        "id": message.id,
        "direction": message.direction,
        "received_at": machine_moment(message.received_at),
        "channel": message.channel,
        "peer": message.peer,
        "sender": message.sender,
        "control_id": message.control_id,
        "type": message.message_type,
        "state": message.state,
        "reason": message.reason,
        "accessions": list(accessions),
        "replay_of": message.replay_of,
        "bytes": message.body_bytes,
        "sha256": message.body_sha256,
        "pruned_at": machine_moment(message.pruned_at) or None,
    }


def find_page(session: Session, query: MessageQuery) -> Page:
    """The messages that match, and whether there are older ones."""
    found = find_messages(session, query)
    older = found[-1].id if len(found) == query.limit else None
    if older is not None and not find_messages(session, replace(query, before=older, limit=1)):
        older = None
    counts = count_states(session)
    about = _accessions(session, [message.id for message in found])
    return Page(
        query,
        [message_summary(message, about.get(message.id, ())) for message in found],
        older,
        {state: counts[state] for state in MESSAGE_STATES},
        channels(session),
    )


def _accessions(session: Session, numbers: Sequence[int]) -> dict[int, list[str]]:
    """By message, the accession numbers that it is about, in its order."""
    chosen = (
        sa.select(MessageSubject.message_id, MessageSubject.accession)
        .where(MessageSubject.message_id.in_(numbers), MessageSubject.accession != "")
        .order_by(MessageSubject.message_id, MessageSubject.ordinal)
    )
    found: dict[int, list[str]] = {}
    for number, accession in session.execute(chosen):
        if accession not in found.setdefault(number, []):
            found[number].append(accession)
    return found


def register(app: Flask, database: Database, settings: Settings) -> None:
    """Add the list of messages and its JSON twin."""
    pages = Blueprint("messages", __name__)

    def look() -> Page:
        query = read_query()
        with database.read() as session:
            page = find_page(session, query)
        if query.patient and request.method != "HEAD":
            with database.write() as session:
                numbers = [message["id"] for message in page.messages]
                record_search(session, request, settings.web_user_header, numbers)
        return page

    @pages.get("/messages")
    def page() -> str:
        found = look()
        return render_template(
            "messages.html",
            query=found.query,
            messages=found.messages,
            counts=found.counts,
            channels=found.channels,
            permalink=query_string(found.query),
            older=query_string(found.query, before=found.older) if found.older else "",
            newest=query_string(found.query, before=""),
            by_state={state: query_string(MessageQuery(), state=state) for state in MESSAGE_STATES},
        )

    @pages.get("/api/messages")
    def twin() -> Response:
        found = look()
        following = query_string(found.query, before=found.older) if found.older else ""
        return jsonify(
            {
                "messages": found.messages,
                "counts": found.counts,
                "next": f"{url_for('messages.twin')}?{following}" if following else None,
            }
        )

    app.register_blueprint(pages)
