"""What the embedded FHIRcast hub remembers of a session, and how it words its messages. Pure."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from websockets.sync.server import ServerConnection

Resource = dict[str, Any]


@dataclass(slots=True)
class Session:
    """What is open in one topic."""

    version: str = ""
    context: list[Resource] = field(default_factory=list)
    """Of the latest open event; empty when nothing is open."""
    content: dict[str, Resource] = field(default_factory=dict)
    """Shared resources by Type/ID."""
    opened: Resource = field(default_factory=dict)
    """The open event, for those who subscribe later."""


@dataclass(slots=True)
class Subscription:
    """One subscriber of one topic."""

    topic: str
    ends_at: float
    connection: ServerConnection | None = None


def anchor(session: Session) -> Resource:
    """The context entry that names the open report (3.0.0: by reference, not by value)."""
    return {
        "key": "report",
        "reference": {"reference": f"DiagnosticReport/{session.context[0]['resource']['id']}"},
    }


def new_event(topic: str, name: str, context: list[Resource], version: str = "") -> Resource:
    """An event as a hub sends it, under an id of its own."""
    event = {"hub.topic": topic, "hub.event": name, "context": context}
    versioned = {"context.versionId": version} if version else {}
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"timestamp": at, "id": secrets.token_hex(12), "event": {**event, **versioned}}


def confirmation(topic: str, lease_seconds: float) -> str:
    """What a new or renewed subscription is told (section 2.4)."""
    told = {"hub.mode": "subscribe", "hub.topic": topic, "hub.events": "DiagnosticReport-open"}
    return json.dumps({**told, "hub.lease_seconds": lease_seconds})


def denial(topic: str) -> str:
    """What a subscription is told at its end (section 2.4)."""
    return json.dumps({"hub.mode": "denied", "hub.topic": topic, "hub.events": "all"})


def context_of(session: Session) -> Resource:
    """The answer to who asks what is open (section 2.9)."""
    if not session.context:
        return {"context.type": "", "context": []}
    held = [{"resource": one} for one in session.content.values()]
    content = {"resourceType": "Bundle", "type": "collection", "entry": held}
    return {
        "context.type": "DiagnosticReport",
        "context.versionId": session.version,
        "context": [*session.context, {"key": "content", "resource": content}],
    }


@dataclass(frozen=True, slots=True)
class Update:
    """A request to share content, as a subscriber sent it."""

    id: str
    topic: str
    name: str
    version: str
    reference: str
    bundle: Resource


def read_update(data: bytes) -> Update | None:
    """The request; None when it is not one (section 3.6.3)."""
    try:
        body = json.loads(data)
        event = body["event"]
        shared = {entry["key"]: entry for entry in event["context"]}
        return Update(
            body["id"],
            event["hub.topic"],
            event["hub.event"],
            event["context.versionId"],
            shared["report"]["reference"]["reference"],
            shared["updates"]["resource"],
        )
    except (ValueError, KeyError, TypeError):
        return None
