"""What a FHIR server sent to tell that something changed, read as a hint and nothing more. Pure.

Three dialects: the R4 rest-hook (FHIR R4 subscription.html), empty or with a resource; the R4 backport of
topics (Subscriptions R5 Backport 1.1.0: a Bundle that opens with a Parameters resource); and the
SubscriptionStatus of R4B and R5. Of a resource that came along only its type and id are read: it is fetched
by our own base URL.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from connectors.errors import Malformed
from connectors.fhir.base import LITERAL
from connectors.fhir.elements import record, records, text
from connectors.fhir.notices.status import StatusTold

Resource = dict[str, Any]

MAX_NOTIFICATION_BYTES = 2**20
MAX_EVENTS = 2000
MAX_REFERENCES = 2000

_NAME = re.compile(r"[a-z][a-z0-9\-]{0,31}")
_CODE = re.compile(r"[A-Za-z0-9\-]{1,64}")
_CANONICAL = re.compile(r"(?:https?://|urn:)[!-~]{1,500}")


class Kind(StrEnum):
    """Why a server called."""

    HOOK = "hook"
    """R4 rest-hook: something matched; nothing is numbered."""
    HANDSHAKE = "handshake"
    """The server tries the endpoint: events count from here."""
    HEARTBEAT = "heartbeat"
    """Nothing happened for a while; the count is told all the same."""
    EVENT = "event"
    QUERY = "query"
    """The answer to $status or $events."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, as a topic counts it."""

    number: int
    """From 1, for each subscription."""
    references: tuple[str, ...] = ()
    """Type/id on our own server; empty where the server names nothing (content empty)."""


@dataclass(frozen=True, slots=True)
class Notification:
    """What a notification says. Nobody's word is taken for more than: look there."""

    kind: Kind
    name: str = ""
    """Of our subscription, as the path that was called says it; empty when it says none."""
    subscription: str = ""
    """Subscription/id on our own server; empty when it is not told or lies elsewhere."""
    topic: str = ""
    """Canonical URL of the topic. An identifier: it is never opened."""
    status: str = ""
    """Of the subscription: requested, active, error, off; empty when it is not told."""
    events: tuple[Event, ...] = ()
    """By rising number, each once."""
    since_start: int | None = None
    """How many events there were since the subscription started; None when it is not told."""
    references: tuple[str, ...] = ()
    """Type/id of every resource on our own server that is named, each once."""
    strangers: int = 0
    """References that do not lie on our own server: they were dropped."""
    errors: tuple[str, ...] = ()
    """Codes of what the server says went wrong with the subscription."""

    @property
    def unnamed(self) -> bool:
        """Whether something happened of which no place on our own server is told: then look at all of it."""
        if self.kind is Kind.HOOK:
            return not self.references
        return any(not event.references for event in self.events)


def read_notification(body: bytes, path_rest: str, *, base_url: str) -> Notification:
    """Read what came to the notification endpoint.

    path_rest: of the path that was called, what follows the endpoint: /NAME, /Type/id or /NAME/Type/id, or
    nothing. base_url: of our own FHIR server; a reference anywhere else is not taken over.

    Raises Malformed, and nothing else.
    """
    name, told = _path(path_rest)
    found = _References(base_url)
    if told:
        found.own(told)
    if len(body) > MAX_NOTIFICATION_BYTES:
        raise Malformed(
            f"Expected a notification of at most {MAX_NOTIFICATION_BYTES} bytes, came a longer one."
        )
    if not body.strip():
        return Notification(Kind.HOOK, name=name, references=found.all)
    resource = _resource(body)
    if resource["resourceType"] != "Bundle":
        found.own(f"{resource['resourceType']}/{text(resource, 'id')}")
        return Notification(Kind.HOOK, name=name, references=found.all, strangers=found.strangers)
    return _topical(resource, name, found)


def read_answer(bundle: Resource, *, base_url: str) -> Notification:
    """Read the answer to $status or $events, a Bundle like those that are sent by themselves.

    Raises Malformed.
    """
    return _topical(bundle, "", _References(base_url))


def gap(last_seen: int, notification: Notification) -> range | None:
    """Numbers of the events that happened after last_seen and that this notification does not bring.

    The smallest range that holds them all; None when nothing is missing. An event that comes late is no gap.
    """
    start = _counted_from(last_seen, notification)
    brought = {event.number for event in notification.events}
    known = max([start, notification.since_start or 0, *brought])
    first, last = start + 1, known
    while first in brought:
        first += 1
    while last in brought:
        last -= 1
    return range(first, last + 1) if first <= last else None


def newest(last_seen: int, notification: Notification) -> int:
    """The number to pass as last_seen next time, once the events and the gap are taken care of."""
    numbers = [event.number for event in notification.events]
    return max([_counted_from(last_seen, notification), notification.since_start or 0, *numbers])


def _counted_from(last_seen: int, notification: Notification) -> int:
    # A handshake or an answer to a question cannot be late: a lower count means that it began anew.
    told = notification.since_start
    anew = notification.kind in {Kind.HANDSHAKE, Kind.QUERY} and told is not None and told < last_seen
    return 0 if anew else last_seen


class _References:
    """References gathered from one notification: those on our own server, each once."""

    def __init__(self, base_url: str) -> None:
        self._below = f"{base_url.rstrip('/')}/"
        self._found: dict[str, None] = {}
        self.strangers = 0

    @property
    def all(self) -> tuple[str, ...]:
        return tuple(self._found)

    def own(self, reference: str) -> str:
        """Type/id of a reference, kept; empty, and counted, when it does not lie on our own server."""
        inside = self.inside(reference)
        if not inside:
            self.strangers += 1
            return ""
        self._found[inside] = None
        if len(self._found) > MAX_REFERENCES:
            raise Malformed(f"Expected at most {MAX_REFERENCES} references in a notification, came more.")
        return inside

    def inside(self, reference: str) -> str:
        """Type/id of a reference on our own server; empty for any other."""
        matched = LITERAL.fullmatch(reference.removeprefix(self._below))
        return matched[1] if matched else ""


def _path(path_rest: str) -> tuple[str, str]:
    """Return (name, Type/id) of a path; each may be empty."""
    parts = path_rest.strip("/").split("/") if path_rest.strip("/") else []
    name = parts.pop(0) if parts and _NAME.fullmatch(parts[0]) else ""
    reference = "/".join(parts)
    if reference and not (len(parts) == 2 and LITERAL.fullmatch(reference)):
        raise Malformed("Expected /NAME, /Type/id or /NAME/Type/id after the endpoint, came another path.")
    return name, reference


def _resource(body: bytes) -> Resource:
    if body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise Malformed(
            "Expected a notification in JSON, came XML. Set the payload of the subscription to none or to "
            "application/fhir+json."
        )
    try:
        resource = json.loads(body)
    except (ValueError, RecursionError):
        raise Malformed("Expected a notification in JSON, came something unreadable.") from None
    if not isinstance(resource, dict) or not text(resource, "resourceType"):
        raise Malformed("Expected a FHIR resource as notification, came other JSON.")
    return resource


def _topical(bundle: Resource, name: str, found: _References) -> Notification:
    entries = records(bundle, "entry")
    status = record(entries[0], "resource") if entries else {}
    told = StatusTold.of(status)
    if text(bundle, "resourceType") != "Bundle" or told is None:
        raise Malformed(
            "Expected a Bundle that opens with the status of a subscription (Parameters or "
            "SubscriptionStatus), came another one."
        )
    kind = _KINDS.get(told.type)
    if kind is None:
        raise Malformed(
            "Expected handshake, heartbeat, event-notification, query-status or query-event as the type of a "
            "notification, came another."
        )
    numbered: dict[int, dict[str, None]] = {}
    for number, references in told.events:
        kept = numbered.setdefault(number, {})
        if len(numbered) > MAX_EVENTS:
            raise Malformed(f"Expected at most {MAX_EVENTS} events in a notification, came more.")
        kept.update((inside, None) for inside in map(found.own, references) if inside)
    for entry in entries[1:]:
        found.own(_place(entry))
    return Notification(
        kind,
        name=name,
        subscription=found.inside(told.subscription),
        topic=told.topic if _CANONICAL.fullmatch(told.topic) else "",
        status=told.status if _CODE.fullmatch(told.status) else "",
        events=tuple(Event(number, tuple(numbered[number])) for number in sorted(numbered)),
        since_start=told.since_start,
        references=found.all,
        strangers=found.strangers,
        errors=tuple(code for code in told.errors if _CODE.fullmatch(code)),
    )


_KINDS = {
    "handshake": Kind.HANDSHAKE,
    "heartbeat": Kind.HEARTBEAT,
    "event-notification": Kind.EVENT,
    "query-status": Kind.QUERY,
    "query-event": Kind.QUERY,
}


def _place(entry: Resource) -> str:
    """Where the resource of an entry stands: its fullUrl, or its own type and id."""
    url, resource = text(entry, "fullUrl"), record(entry, "resource")
    return (
        url
        if url and not url.startswith("urn:")
        else f"{text(resource, 'resourceType')}/{text(resource, 'id')}"
    )
