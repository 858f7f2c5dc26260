"""What we ask a FHIR server to tell us of, and the Subscription resource that asks for it. Pure.

Three shapes: the R4 rest-hook (FHIR R4 subscription.html), the R4 backport of topics (Subscriptions R5
Backport 1.1.0, backport-subscription) and R5 (FHIR R5 subscription.html). A notification carries no patient
data in any of them: nothing at all, or the place of what changed.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from connectors.errors import Rejected
from connectors.fhir.elements import record, records, text, texts

Resource = dict[str, Any]

JSON = "application/fhir+json"
TAG_SYSTEM = "urn:prelim:subscription"
BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition"
BACKPORT_PROFILE = f"{BACKPORT}/backport-subscription"
CHANNEL_TYPE = "http://terminology.hl7.org/CodeSystem/subscription-channel-type"
HEARTBEAT_SECONDS = 300
"""A server that counts events tells its count at least this often, so that a lost one is missed soon."""

_REASON = "Prelim follows"
_TOKEN = re.compile(r"[!-~]{1,500}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One kind of thing that we want to be told of."""

    name: str
    """The last step of the endpoint, and the code of our tag."""
    kind: str
    """Resource type."""
    criteria: str
    """Type?parameters. Servers match them in memory, one resource at a time: no chains, no modifiers."""
    topic: str
    """Canonical URL of the topic that a server with topics must offer."""
    site: str = ""
    """Tells installations that share one server apart: each leaves the others' subscriptions alone."""

    @property
    def tag(self) -> Resource:
        """The meta.tag by which we know a subscription of ours again."""
        return {"system": TAG_SYSTEM, "code": f"{self.site}.{self.name}" if self.site else self.name}


REPORTS = Wanted(
    "reports", "DiagnosticReport", "DiagnosticReport?category=RAD,LP29684-5", "urn:prelim:topic:reports"
)
"""Radiology in table 0074 and in LOINC, as US Core has it. No status: that would miss the change to final."""
ORDERS = Wanted(
    "orders",
    "ServiceRequest",
    "ServiceRequest?intent=order,original-order,reflex-order,filler-order,instance-order",
    "urn:prelim:topic:orders",
)
"""Orders of every department: few servers say of an order that it is one for imaging. The reader sorts."""
STUDIES = Wanted("studies", "ImagingStudy", "ImagingStudy?status=available", "urn:prelim:topic:studies")


def subscription(wanted: Wanted, *, endpoint: str, secret: str, mechanism: str, release: str) -> Resource:
    """The Subscription resource that asks for it, with status requested.

    endpoint: where the server reaches us; the name is added as a further step.
    secret: bearer token that notifications shall carry; empty: none.
    mechanism: rest-hook or topic; R5 knows topics alone.

    Raises Rejected for an endpoint or secret that could not be sent as a header or URL.
    """
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query:
        raise Rejected("Expected the http or https URL of our endpoint without user or query, came another.")
    if secret and not _TOKEN.fullmatch(secret):
        raise Rejected("Expected a secret of printable characters without spaces, came another kind.")
    place = f"{endpoint.rstrip('/')}/{wanted.name}"
    common: Resource = {
        "resourceType": "Subscription",
        "meta": {"tag": [wanted.tag]},
        "status": "requested",
        "reason": f"{_REASON} {wanted.name}, key {_fingerprint(secret, place)}",
    }
    if release == "R5":
        return {**common, **_r5(wanted, place, secret)}
    header = {"header": [f"Authorization: Bearer {secret}"]} if secret else {}
    channel: Resource = {"type": "rest-hook", "endpoint": place, **header}
    if mechanism != "topic":
        return {**common, "criteria": wanted.criteria, "channel": channel}
    common["meta"]["profile"] = [BACKPORT_PROFILE]
    return {
        **common,
        "criteria": wanted.topic,
        "_criteria": {
            "extension": [
                {"url": f"{BACKPORT}/backport-filter-criteria", "valueString": wanted.criteria},
            ]
        },
        "channel": {
            "extension": [
                {"url": f"{BACKPORT}/backport-heartbeat-period", "valueUnsignedInt": HEARTBEAT_SECONDS}
            ],
            **channel,
            "payload": JSON,
            "_payload": {
                "extension": [{"url": f"{BACKPORT}/backport-payload-content", "valueCode": "id-only"}]
            },
        },
    }


def _r5(wanted: Wanted, place: str, secret: str) -> Resource:
    pairs = [pair.partition("=") for pair in wanted.criteria.partition("?")[2].split("&") if pair]
    asked: Resource = {
        "topic": wanted.topic,
        # Without filterBy.resourceType: the last door takes an object with that name for a resource.
        "filterBy": [{"filterParameter": name, "value": value} for name, _, value in pairs],
        "channelType": {"system": CHANNEL_TYPE, "code": "rest-hook"},
        "endpoint": place,
        "heartbeatPeriod": HEARTBEAT_SECONDS,
        "contentType": JSON,
        "content": "id-only",
    }
    if secret:
        asked["parameter"] = [{"name": "Authorization", "value": f"Bearer {secret}"}]
    return asked


def is_ours(resource: Resource, wanted: Wanted, *, place: str = "") -> bool:
    """Whether a Subscription is the one of ours: by its tag, or where tags are lost by its endpoint."""
    tags = [(text(tag, "system"), text(tag, "code")) for tag in records(record(resource, "meta"), "tag")]
    if any(system == TAG_SYSTEM for system, _ in tags):
        return (TAG_SYSTEM, wanted.tag["code"]) in tags
    return bool(place) and place_of(resource) == place


def place_of(resource: Resource) -> str:
    """Where a Subscription's notifications go."""
    return text(record(resource, "channel"), "endpoint") or text(resource, "endpoint")


def differs(standing: Resource, asked: Resource) -> bool:
    """Whether what stands on the server asks for something else than we want now.

    Only what decides about what is told, where, and how much: a server may drop or add the rest. Where it
    hides the secret, the fingerprint tells whether it is another one.
    """
    if _essence(standing) != _essence(asked):
        return True
    shown = _secret(standing)
    if shown is not None and shown != _secret(asked):
        return True
    reason = text(standing, "reason")
    return reason.startswith(_REASON) and reason != text(asked, "reason")


def _essence(resource: Resource) -> tuple[str, ...]:
    channel = record(resource, "channel")
    return (
        text(resource, "criteria"),
        text(resource, "topic"),
        place_of(resource),
        text(channel, "type") or text(record(resource, "channelType"), "code"),
        text(channel, "payload"),
        _content(resource),
    )


def _content(resource: Resource) -> str:
    extensions = records(record(record(resource, "channel"), "_payload"), "extension")
    told = [text(one, "valueCode") for one in extensions if text(one, "url").endswith("payload-content")]
    return text(resource, "content") or next(iter(told), "")


def _secret(resource: Resource) -> str | None:
    """The bearer token that notifications carry, None when none is shown."""
    headers = [header.partition(":")[::2] for header in texts(record(resource, "channel"), "header")]
    headers += [(text(one, "name"), text(one, "value")) for one in records(resource, "parameter")]
    for name, value in headers:
        if name.strip().casefold() == "authorization":
            token = value.strip().removeprefix("Bearer").strip()
            return token if token.strip("*") else None
    return None


def _fingerprint(secret: str, place: str) -> str:
    # Slow and short, for whoever reads the subscription may try to guess from it.
    if not secret:
        return "none"
    return hashlib.scrypt(secret.encode(), salt=place.encode(), n=2**14, r=8, p=1, dklen=4).hex()
