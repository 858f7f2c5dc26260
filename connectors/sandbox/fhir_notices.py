"""What the sandbox FHIR server says of a subscription: status Parameters in a Bundle. Pure.

Subscriptions R5 Backport 1.1.0, backport-subscription-notification-r4, content id-only.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

Resource = dict[str, Any]

BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition"


@dataclass(frozen=True, slots=True)
class Happening:
    """One event of one subscription."""

    number: int
    at: str
    reference: str
    """Relative: DiagnosticReport/17."""
    created: bool


def notice(
    kind: str, subscription: Resource, total: int, happenings: list[Happening], *, base_url: str
) -> Resource:
    """The Bundle of one notification, or of an answer to $status or $events.

    kind: handshake, heartbeat, event-notification, query-status or query-event. total: events so far.
    """
    reference = f"{base_url}/Subscription/{subscription['id']}"
    status: Resource = {
        "fullUrl": uuid.uuid4().urn,
        "resource": {
            "resourceType": "Parameters",
            "meta": {"profile": [f"{BACKPORT}/backport-subscription-status-r4"]},
            "parameter": [
                {"name": "subscription", "valueReference": {"reference": reference}},
                {"name": "topic", "valueCanonical": subscription["criteria"]},
                {"name": "status", "valueCode": subscription["status"]},
                {"name": "type", "valueCode": kind},
                {"name": "events-since-subscription-start", "valueString": str(total)},
                *(_event(happening, base_url) for happening in happenings),
            ],
        },
    }
    if kind == "query-status":
        return {"resourceType": "Bundle", "type": "searchset", "total": 1, "entry": [status]}
    status |= {"request": {"method": "GET", "url": f"{reference}/$status"}, "response": {"status": "200"}}
    return {
        "resourceType": "Bundle",
        "type": "history",
        "entry": [status, *(_place(happening, base_url) for happening in happenings)],
    }


def _event(happening: Happening, base_url: str) -> Resource:
    return {
        "name": "notification-event",
        "part": [
            {"name": "event-number", "valueString": str(happening.number)},
            {"name": "timestamp", "valueInstant": happening.at},
            {"name": "focus", "valueReference": {"reference": f"{base_url}/{happening.reference}"}},
        ],
    }


def _place(happening: Happening, base_url: str) -> Resource:
    kind = happening.reference.partition("/")[0]
    created = happening.created
    return {
        "fullUrl": f"{base_url}/{happening.reference}",
        "request": {
            "method": "POST" if created else "PUT",
            "url": kind if created else happening.reference,
        },
        "response": {"status": "201" if created else "200"},
    }
