"""The status of a subscription, whichever resource says it: Parameters in R4, SubscriptionStatus since R4B.

Pure, and lenient: what is misshapen reads as absent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from connectors.fhir.elements import record, records, text

Resource = dict[str, Any]

MAX_NUMBER = 2**63 - 1
"""Largest integer64, the type of an event's number (FHIR R5 datatypes.html)."""


@dataclass(frozen=True, slots=True)
class StatusTold:
    """What a server says of a subscription, as it says it: nothing is checked yet."""

    type: str
    """handshake, heartbeat, event-notification, query-status or query-event."""
    subscription: str
    topic: str
    status: str
    since_start: int | None
    events: list[tuple[int, list[str]]]
    """(number, references of focus and additional context) of each event that has a number from 1."""
    errors: list[str]

    @classmethod
    def of(cls, resource: Resource) -> StatusTold | None:
        """Read it; None when this is another resource."""
        match text(resource, "resourceType"):
            case "Parameters":
                return cls._of_parameters(resource)
            case "SubscriptionStatus":
                return cls._of_status(resource)
        return None

    @classmethod
    def _of_parameters(cls, resource: Resource) -> StatusTold:
        told = records(resource, "parameter")
        return cls(
            type=text(_one(told, "type"), "valueCode"),
            subscription=text(record(_one(told, "subscription"), "valueReference"), "reference"),
            topic=text(_one(told, "topic"), "valueCanonical"),
            status=text(_one(told, "status"), "valueCode"),
            since_start=_value(_one(told, "events-since-subscription-start")),
            events=[
                (number, [text(record(part, "valueReference"), "reference") for part in _focus(parts)])
                for parts in (records(event, "part") for event in _all(told, "notification-event"))
                if (number := _value(_one(parts, "event-number")))
            ],
            errors=_codes(record(one, "valueCodeableConcept") for one in _all(told, "error")),
        )

    @classmethod
    def _of_status(cls, resource: Resource) -> StatusTold:
        return cls(
            type=text(resource, "type"),
            subscription=text(record(resource, "subscription"), "reference"),
            topic=text(resource, "topic"),
            status=text(resource, "status"),
            since_start=_whole(resource.get("eventsSinceSubscriptionStart")),
            events=[
                (
                    number,
                    [
                        text(named, "reference")
                        for named in (record(event, "focus"), *records(event, "additionalContext"))
                        if named
                    ],
                )
                for event in records(resource, "notificationEvent")
                if (number := _whole(event.get("eventNumber")))
            ],
            errors=_codes(iter(records(resource, "error"))),
        )


def _focus(parts: list[Resource]) -> list[Resource]:
    return [*_all(parts, "focus"), *_all(parts, "additional-context")]


def _all(parameters: list[Resource], name: str) -> list[Resource]:
    return [parameter for parameter in parameters if parameter.get("name") == name]


def _one(parameters: list[Resource], name: str) -> Resource:
    return next(iter(_all(parameters, name)), {})


def _value(parameter: Resource) -> int | None:
    # The backport says string (1.1.0); servers have also sent numbers.
    values = (parameter.get(f"value{kind}") for kind in ("String", "UnsignedInt", "Integer", "Integer64"))
    return next((number for number in map(_whole, values) if number is not None), None)


def _whole(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
        value = int(value)
    right = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_NUMBER
    return int(value) if right and isinstance(value, int) else None


def _codes(concepts: Iterator[Resource]) -> list[str]:
    return [text(coding, "code") for concept in concepts for coding in records(concept, "coding")]
