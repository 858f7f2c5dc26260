"""What a FHIRcast hub says and what is said to it, as plain words (FHIRcast 3.0.0, sections 2.4 to 2.10).

Pure. Whatever comes is read with tolerance and with a cap on everything; a report that an event names is a
hint: of its reference only Type/ID is kept, and no address but our own FHIR base is ever made of it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from connectors.errors import Malformed
from connectors.exchange import ReportStatus
from connectors.fhir.elements import record, records, text
from connectors.fhir.identifiers import DICOM_UID, IdentifierSystems, values_of

Resource = dict[str, Any]

OPEN, UPDATE, SELECT, CLOSE = (f"DiagnosticReport-{what}" for what in ("open", "update", "select", "close"))
EVENTS = (OPEN, UPDATE, SELECT, CLOSE)
"""What we subscribe to. Names of events are compared without regard to case (section 2.6)."""
HEARTBEAT = "heartbeat"
"""Sent by hubs of the ballots of version 3, in lower case here."""

MAX_MESSAGE_BYTES = 4 * 2**20
"""Of one message of a hub."""
MAX_CONTEXT = 100
"""Entries of one event's context."""
MAX_ENTRIES = 1000
"""Of the Bundle in one event's context."""
MAX_ID = 256
"""Characters of an event's id, and of a context's version."""

_REFERENCE = re.compile(r"[A-Z][A-Za-z]{1,63}/(?!\.{1,2}$)[A-Za-z0-9\-.]{1,64}")
_REPORT = "DiagnosticReport/"
_ACCESSION = "ACSN"
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,6})?")


class UnreadableEvent(Malformed):
    """An event that cannot be read, but can be answered: its id could be."""

    def __init__(self, message: str, event_id: str) -> None:
        super().__init__(message)
        self.event_id = event_id


@dataclass(frozen=True, slots=True)
class Anchor:
    """The report that an event is about, as far as the event says. A hint, not a fact."""

    reference: str = ""
    """DiagnosticReport/ID; empty when it lies elsewhere or cannot be read."""
    identifiers: frozenset[tuple[str, str]] = frozenset()
    """(system, value) of the report's identifiers."""
    accessions: frozenset[str] = frozenset()
    """Accession numbers of the report, of its studies and of what either is based on."""
    studies: frozenset[str] = frozenset()
    """Study instance UIDs."""
    patients: tuple[frozenset[str], ...] = ()
    """The patient's identifiers, one set for each place of the event that gives any."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a session."""

    id: str
    topic: str
    name: str
    """As this file spells it when it is one of EVENTS, else in lower case."""
    version: str = ""
    """context.versionId; empty from a hub that shares no content."""
    anchor: Anchor = Anchor()
    finals: frozenset[str] = frozenset()
    """DiagnosticReport/ID of every report that the event says is final."""
    period_seconds: float = 0.0
    """Of a heartbeat: the longest time between two of them; 0 for any other event."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The hub confirms a subscription."""

    topic: str
    lease_seconds: float
    """0 when the hub does not say."""


@dataclass(frozen=True, slots=True)
class Denied:
    """The hub ends a subscription, or refuses it. Its reason is a stranger's text and is not kept."""

    topic: str


@dataclass(frozen=True, slots=True)
class Context:
    """What is open in a session, and what has been shared in it (section 2.9)."""

    anchor: Anchor
    version: str
    content: frozenset[str]
    """Type/ID of each resource that was shared, whoever shared it."""


def read_message(
    data: str | bytes, systems: IdentifierSystems, *, base_url: str
) -> Event | Confirmed | Denied:
    """One message of the websocket.

    base_url: of our own FHIR server; an absolute reference below it is one of ours.

    Raises UnreadableEvent when only the event's id could be read, else Malformed.
    """
    document = _object(data)
    match document.get("hub.mode"):
        case "subscribe":
            return Confirmed(_word(document, "hub.topic"), _seconds(document.get("hub.lease_seconds")))
        case "denied":
            return Denied(_word(document, "hub.topic"))
    event_id = _word(document, "id")
    event = record(document, "event")
    name = _word(event, "hub.event")
    if not event_id:
        raise Malformed("Expected an event with an id of at most 256 characters; came one without.")
    entries = event.get("context", [])
    if not name or not isinstance(entries, list) or len(entries) > MAX_CONTEXT:
        raise UnreadableEvent(
            f"Expected an event with a name and at most {MAX_CONTEXT} entries of context; came another one.",
            event_id,
        )
    known = {one.casefold(): one for one in EVENTS}
    name = known.get(name.casefold(), name.casefold())
    try:
        finals = _finals(entries, base_url) if name in EVENTS else frozenset()
    except Malformed as error:
        raise UnreadableEvent(str(error), event_id) from None
    return Event(
        id=event_id,
        topic=_word(event, "hub.topic"),
        name=name,
        version=_word(event, "context.versionId"),
        anchor=_anchor(entries, systems, base_url) if name in EVENTS else Anchor(),
        finals=finals,
        period_seconds=_period(entries) if name == HEARTBEAT else 0.0,
    )


def read_context(data: bytes, systems: IdentifierSystems, *, base_url: str) -> Context | None:
    """The answer to a request for the current context; None when no report is open. Raises Malformed."""
    document = _object(data)
    entries = document.get("context", [])
    if not isinstance(entries, list) or len(entries) > MAX_CONTEXT:
        raise Malformed(f"Expected a context of at most {MAX_CONTEXT} entries; came another one.")
    if document.get("context.type") != "DiagnosticReport":
        return None
    content = (_own(entry) for shared in _of(entries, "content") for entry in _bundled(shared))
    return Context(
        _anchor(entries, systems, base_url),
        _word(document, "context.versionId"),
        frozenset(filter(None, content)),
    )


def read_endpoint(data: bytes) -> str:
    """The address that the hub gives to a subscription, unjudged (section 2.4). Raises Malformed."""
    endpoint = text(_object(data), "hub.channel.endpoint")
    if not endpoint:
        raise Malformed("Expected hub.channel.endpoint in the hub's answer; came none.")
    return endpoint


def answer(event_id: str, status: int) -> str:
    """The answer to an event on the websocket (section 2.5). status: an HTTP status code."""
    return json.dumps({"id": event_id, "status": status})


def update_request(
    event_id: str, at: str, topic: str, reference: str, version: str, updates: Resource
) -> Resource:
    """A request that shares content in an open report (section 3.6.3).

    at: the moment in ISO 8601, UTC. reference: DiagnosticReport/ID of the open report. version: of the
    context as the hub last gave it. updates: a transaction Bundle of PUT entries.
    """
    return {
        "timestamp": at,
        "id": event_id,
        "event": {
            "hub.topic": topic,
            "hub.event": UPDATE,
            "context.versionId": version,
            "context": [
                {"key": "report", "reference": {"reference": reference}},
                {"key": "updates", "resource": updates},
            ],
        },
    }


def _object(data: str | bytes) -> Resource:
    if len(data) > MAX_MESSAGE_BYTES:
        raise Malformed(f"Expected at most {MAX_MESSAGE_BYTES} bytes from the hub; came more.")
    try:
        document = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Malformed("Expected JSON from the hub; came something unreadable.") from None
    if not isinstance(document, dict):
        raise Malformed("Expected a JSON object from the hub; came another JSON value.")
    return document


def _no_constant(_: str) -> NoReturn:
    raise ValueError


def _word(node: Resource, name: str) -> str:
    value = text(node, name)
    return value if len(value) <= MAX_ID else ""


def _seconds(value: object) -> float:
    """A number of seconds, also when it is written as text; 0 for anything else."""
    written = str(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else ""
    return float(written) if _SECONDS.fullmatch(written) else 0.0


def _period(entries: list[Any]) -> float:
    told = [_seconds(entry.get("decimal")) for entry in entries if _keyed(entry, "period")]
    return max(told, default=0.0)


def _keyed(entry: object, key: str) -> bool:
    return isinstance(entry, dict) and entry.get("key") == key


def _of(entries: list[Any], key: str) -> list[Resource]:
    """The resources of one key of a context."""
    found = (record(entry, "resource") for entry in entries if _keyed(entry, key))
    return [resource for resource in found if resource]


def _bundled(bundle: Resource) -> list[Resource]:
    held = records(bundle, "entry")
    if len(held) > MAX_ENTRIES:
        raise Malformed(f"Expected at most {MAX_ENTRIES} resources of shared content; came more.")
    return [record(entry, "resource") for entry in held]


def _own(resource: Resource) -> str:
    """Type/ID of a resource; empty when it has none that FHIR allows."""
    reference = f"{text(resource, 'resourceType')}/{text(resource, 'id')}"
    return reference if _REFERENCE.fullmatch(reference) else ""


def _relative(reference: str, base_url: str) -> str:
    """DiagnosticReport/ID of a reference that is relative or below our base; empty for any other."""
    path = reference.removeprefix(f"{base_url.rstrip('/')}/") if base_url else reference
    path = path.partition("/_history/")[0]
    return path if path.startswith(_REPORT) and _REFERENCE.fullmatch(path) else ""


def _anchor(entries: list[Any], systems: IdentifierSystems, base_url: str) -> Anchor:
    reports, studies, patients = (_of(entries, key) for key in ("report", "study", "patient"))
    named = {_relative(text(one, "reference"), base_url) for one in _references(entries, "report")}
    named |= {own for own in map(_own, reports) if own.startswith(_REPORT)}
    named.discard("")
    # Several reports at once are none: it could not be said which one is open.
    reference = named.pop() if len(named) == 1 else ""
    told = [values_of(patient) for patient in patients]
    told += [values_of(one) for one in _references(entries, "patient")]
    told += [values_of(record(one, "subject")) for one in [*reports, *studies]]
    based = [one for holder in [*reports, *studies] for one in records(holder, "basedOn")]
    return Anchor(
        reference=reference,
        identifiers=frozenset(pair for report in reports for pair in values_of(report)),
        accessions=frozenset(
            value for holder in [*reports, *studies, *based] for value in _accessions(holder, systems)
        ),
        studies=_uids([*studies, *(one for report in reports for one in records(report, "imagingStudy"))]),
        patients=tuple(frozenset(value for _, value in place) for place in told if place),
    )


def _references(entries: list[Any], key: str) -> list[Resource]:
    """The references of one key of a context; the standard's own examples write one bare and in a list."""
    found: list[Resource] = []
    for entry in entries:
        if _keyed(entry, key):
            found += [one for one in [record(entry, "reference")] if one]
            found += records(entry, "reference")
    return found


def _accessions(holder: Resource, systems: IdentifierSystems) -> list[str]:
    identifiers = [*records(holder, "identifier"), record(holder, "identifier")]
    return [
        text(one, "value")
        for one in identifiers
        if text(one, "value")
        and (
            text(one, "system") == systems.accession
            or any(text(code, "code") == _ACCESSION for code in records(record(one, "type"), "coding"))
        )
    ]


def _uids(holders: list[Resource]) -> frozenset[str]:
    return frozenset(
        value.removeprefix("urn:oid:")
        for holder in holders
        for system, value in values_of(holder)
        if system == DICOM_UID
    )


def _finals(entries: list[Any], base_url: str) -> frozenset[str]:
    """References of the reports that are said to be final. Raises Malformed for too many resources."""
    told = _of(entries, "report")
    for updates in _of(entries, "updates"):
        told += [one for one in _bundled(updates) if one.get("resourceType") == "DiagnosticReport"]
    found = set()
    for report in told:
        try:
            final = ReportStatus(text(report, "status")).is_final
        except ValueError:
            final = False
        if final:
            found.add(_relative(_own(report), base_url))
    return frozenset(found - {""})
