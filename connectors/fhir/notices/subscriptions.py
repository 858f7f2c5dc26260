"""Our subscriptions on a FHIR server: one for each thing that is wanted, renewed when it no longer stands.

A subscription only makes us look sooner. Whatever a server cannot do, forgets or loses is found by polling.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from connectors.errors import Conflict, Rejected
from connectors.fhir.client import FhirClient, reference_of, version_of
from connectors.fhir.elements import records, text, texts
from connectors.fhir.identifiers import token
from connectors.fhir.notices.notifications import MAX_EVENTS, Notification, read_answer
from connectors.fhir.notices.wanted import (
    BACKPORT,
    BACKPORT_PROFILE,
    Wanted,
    differs,
    is_ours,
    place_of,
    subscription,
)

Resource = dict[str, Any]

ATTEMPTS = 3
"""How often a subscription is looked at anew that the server changes at the same moment: it activates it."""
RENEW_BEFORE_END = timedelta(hours=1)
MAX_ERROR_LENGTH = 200

_STANDS = frozenset({"requested", "active"})


@dataclass(frozen=True, slots=True)
class Standing:
    """How one of our subscriptions stands on the server."""

    name: str
    active: bool
    reference: str = ""
    """Subscription/id; empty when there is none."""
    status: str = ""
    why: str = ""
    """Why it is not active, and what that means; empty when it is."""
    error: str = ""
    """What the server says went wrong, in its own words, cut short."""

    def __str__(self) -> str:
        told = f"{self.name}: {'active' if self.active else self.why}"
        return f"{told} ({self.error})" if self.error else told


def ensure(
    client: FhirClient,
    wanted: Wanted,
    *,
    endpoint: str,
    secret: str,
    mechanism: str = "rest-hook",
    release: str = "R4",
) -> Standing:
    """See that exactly one subscription of ours stands, as it is wanted now. Safe to repeat at any time.

    Repeat it every few minutes: servers give up on an endpoint that was away for a while, and HAPI's
    activation can write back an older version over a change made in the same second.

    endpoint: where the server reaches us; the name of what is wanted is added. secret: bearer token that
    notifications shall carry. mechanism: rest-hook or topic. release: R4 or R5.

    1. Ask the server whether it has subscriptions, and topics if those are wanted.
    2. Find those of ours.
    3. None: create one, on the condition that there still is none.
    4. Several: the first stays, the others are switched off.
    5. In error, off, about to end, or asking for something else: replace the version that was looked at.
    6. Say how it stands.

    What the server cannot do or refuses is said in the Standing, not raised: polling covers it.
    Raises Unreachable, Malformed, Conflict when the subscription changes all the time, and Rejected when
    endpoint or secret cannot be sent at all or the server does not say what it can do.
    """
    asked = subscription(wanted, endpoint=endpoint, secret=secret, mechanism=mechanism, release=release)
    # 1.
    lacking = _lacking(client.capabilities(), asked)
    if lacking:
        return Standing(wanted.name, active=False, why=lacking)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _ensured(client, wanted, asked)
        except Conflict:
            if attempt == ATTEMPTS:
                raise
        except Rejected as refusal:
            return Standing(wanted.name, active=False, why=f"the server refuses it: {refusal}")
    raise AssertionError


def standing(client: FhirClient, wanted: Wanted, *, endpoint: str = "") -> Standing:
    """How our subscription stands now; changes nothing.

    Raises Unreachable, Malformed, Rejected.
    """
    lacking = _lacking(client.capabilities(), {})
    if lacking:
        return Standing(wanted.name, active=False, why=lacking)
    found = _found(client, wanted, _place(endpoint, wanted))
    return _standing(wanted, found[0]) if found else Standing(wanted.name, active=False, why="there is none")


def remove(client: FhirClient, wanted: Wanted, *, endpoint: str = "") -> bool:
    """Switch our subscription off; False when none stood. It stays on the server, and can be renewed.

    Raises Unreachable, Malformed, Rejected, and Conflict when it changes at the same moment.
    """
    standing_now = [one for one in _found(client, wanted, _place(endpoint, wanted)) if _status(one) != "off"]
    for one in standing_now:
        _switch_off(client, one)
    return bool(standing_now)


def missed(
    client: FhirClient, reference: str, first: int, last: int, *, release: str = "R4"
) -> Notification | None:
    """Ask for the events first to last, both included ($events; backport 1.1.0 and FHIR R5).

    reference: Subscription/id. None when the server has no $events, no longer knows all of them, or they
    are more than are worth asking for: then poll.

    Raises Unreachable, Malformed.
    """
    if not 1 <= first <= last or last - first >= MAX_EVENTS:
        return None
    kind = "valueInteger64" if release == "R5" else "valueString"
    bounds = {"eventsSinceNumber": first, "eventsUntilNumber": last}
    parameters: Resource = {
        "resourceType": "Parameters",
        "parameter": [
            *({"name": name, kind: str(number)} for name, number in bounds.items()),
            {"name": "content", "valueCode": "id-only"},
        ],
    }
    try:
        answer = client.operation(reference, "$events", parameters)
    except Rejected:
        return None
    told = read_answer(answer, base_url=client.base_url)
    return told if {event.number for event in told.events} >= set(range(first, last + 1)) else None


def _ensured(client: FhirClient, wanted: Wanted, asked: Resource) -> Standing:
    # 2.
    found = _found(client, wanted, place_of(asked))
    if not found:
        # 3.
        stored = client.create(asked, if_none_exist=urlencode(_by_tag(wanted)))
        return _standing(wanted, client.read(stored.reference))
    ours, *others = found
    # 4.
    for other in others:
        if _status(other) != "off":
            _switch_off(client, other)
    # 5.
    if _status(ours) not in _STANDS or _ends(ours) or differs(ours, asked):
        client.update({**asked, "id": ours.get("id")}, if_match=version_of(ours))
        ours = client.read(reference_of(ours))
    # 6.
    return _standing(wanted, ours)


def _found(client: FhirClient, wanted: Wanted, place: str) -> list[Resource]:
    """Subscriptions of ours, always in the same order: two workers keep the same one."""
    try:
        found = client.search("Subscription", _by_tag(wanted))
    except Rejected:
        # The backport demands a search by url alone.
        found = client.search("Subscription", {"url": place}) if place else []
    ours = [one for one in found if is_ours(one, wanted, place=place)]
    return sorted(ours, key=lambda one: (len(text(one, "id")), text(one, "id")))


def _by_tag(wanted: Wanted) -> dict[str, str]:
    return {"_tag": token(wanted.tag["system"], wanted.tag["code"])}


def _place(endpoint: str, wanted: Wanted) -> str:
    return f"{endpoint.rstrip('/')}/{wanted.name}" if endpoint else ""


def _switch_off(client: FhirClient, resource: Resource) -> None:
    # Not deleted: a DELETE leaves no version to read, and none ever leaves this client.
    client.update({**resource, "status": "off"}, if_match=version_of(resource))


def _lacking(statement: Resource, asked: Resource) -> str:
    """What the server cannot do of what is asked; empty when nothing is known to be missing."""
    resources = {
        text(one, "type"): one for rest in records(statement, "rest") for one in records(rest, "resource")
    }
    if "Subscription" not in resources:
        return "the server has no subscriptions: polling alone"
    topic = text(asked, "topic") or (text(asked, "criteria") if "_criteria" in asked else "")
    if not topic:
        return ""
    profiles = {one.partition("|")[0] for one in texts(resources["Subscription"], "supportedProfile")}
    offered = list(_topics(resources["Subscription"]))
    if not (BACKPORT_PROFILE in profiles or offered or "SubscriptionTopic" in resources):
        return "the server announces no topics: polling alone; ask for rest-hook if it is an R4 server"
    if offered and topic not in offered:
        return f"the server does not offer the topic {topic}: polling alone"
    return ""


def _topics(resource: Resource) -> Iterator[str]:
    for extension in records(resource, "extension"):
        if text(extension, "url") == f"{BACKPORT}/capabilitystatement-subscriptiontopic-canonical":
            yield text(extension, "valueCanonical")


def _status(resource: Resource) -> str:
    return text(resource, "status")


def _ends(resource: Resource) -> bool:
    try:
        end = datetime.fromisoformat(text(resource, "end"))
    except ValueError:
        return False
    return end.tzinfo is not None and end < datetime.now(UTC) + RENEW_BEFORE_END


def _standing(wanted: Wanted, resource: Resource) -> Standing:
    status = _status(resource)
    why = {
        "active": "",
        "requested": "the server has not activated it yet",
        "error": "the server could not deliver: polling alone until it is renewed",
        "off": "it is switched off: polling alone until it is renewed",
    }.get(status, "the server gives it no status that is known: polling alone")
    return Standing(
        wanted.name,
        active=status == "active",
        reference=reference_of(resource),
        status=status,
        why=why,
        error="".join(c for c in text(resource, "error") if c.isprintable())[:MAX_ERROR_LENGTH],
    )
