"""Sends the Bundle of a draft or of a withdrawal: as one transaction, or an entry at a time without them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from connectors.errors import Conflict, ExchangeError, Malformed, Rejected, Unreachable
from connectors.fhir.capabilities import Capabilities
from connectors.fhir.client import FhirClient, Stored, reference_of, version_of
from connectors.fhir.egress import ForbiddenStatus
from connectors.fhir.elements import record, records, text
from connectors.fhir.identifiers import values_of

Resource = dict[str, Any]

FEW_ENTRIES = 8
"""Entries that every server with transactions takes at once."""
_RETIRED = "Observation of an earlier draft"
_TURNS = ("Patient", "Device", "Observation", "DiagnosticReport", _RETIRED, "Provenance")


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a Bundle."""

    entries: list[tuple[Resource, Stored]]
    """Each resource that was sent, and what the server said of it."""
    read: list[Resource]
    """Reports as the server read them back in the same answer; empty when it read none."""

    def of(self, kind: str) -> Stored:
        """What the server said of the first resource of this type. Raises Rejected when none was sent."""
        for resource, stored in self.entries:
            if resource.get("resourceType") == kind:
                return stored
        raise Rejected(f"Expected a {kind} among what is written, found none; mend the code that built it.")


class Doubtful(Exception):
    """What came of a write is not known, or it met a version that had not been seen: look again."""

    def __init__(self, cause: ExchangeError) -> None:
        super().__init__(str(cause))
        self.cause = cause

    def after(self, earlier: Doubtful) -> ExchangeError:
        """What to raise when the write failed once more.

        A conflict after a request of which nobody knows what came may be with that very request, which came
        late: it is no word of a person's version, and the caller looks again later.
        """
        if isinstance(self.cause, Conflict) and not isinstance(earlier.cause, Conflict):
            return Unreachable(
                f"Expected to learn what came of an earlier attempt, came a conflict. {Unreachable.next_step}"
            )
        return self.cause


@contextmanager
def in_doubt() -> Iterator[None]:
    """Turn what a write can fail with, and may have been carried out for all that, into Doubtful.

    A conflict is among them: a request that arrives twice meets itself.
    """
    try:
        yield
    except (Unreachable, Malformed, Conflict) as error:
        raise Doubtful(error) from error


def write(
    client: FhirClient, bundle: Resource, capabilities: Capabilities | None, *, read_back: str = ""
) -> Written:
    """Send a transaction Bundle, as one where the server can do that.

    read_back: where the report is read in the same transaction: DiagnosticReport/ID, or a search for it.
    capabilities: None when they are not known; then the server is taken for one that can do everything.

    Raises as FhirClient does.
    """
    if not goes_at_once(bundle, capabilities):
        return _one_by_one(client, bundle, capabilities)
    try:
        return _at_once(client, bundle, read_back)
    except ForbiddenStatus:
        raise
    except Rejected:
        if len(records(bundle, "entry")) <= FEW_ENTRIES:
            raise
        # Servers exist that take only so many entries as one transaction. Nothing of it was carried out.
        return _one_by_one(client, bundle, capabilities)


def goes_at_once(bundle: Resource, capabilities: Capabilities | None) -> bool:
    """Whether the server takes the Bundle as one transaction, and knows the condition of every entry."""
    if capabilities is None:
        return True
    conditional = {
        text(record(entry, "resource"), "resourceType")
        for entry in records(bundle, "entry")
        if text(record(entry, "request"), "ifNoneExist")
    }
    return capabilities.transactions and all(
        capabilities.of_kind(kind).creates_conditionally for kind in conditional
    )


def _at_once(client: FhirClient, bundle: Resource, read_back: str) -> Written:
    entries = records(bundle, "entry")
    # Reads are carried out after all writes, whatever their place (FHIR R4 http.html#trules).
    reading = [{"request": {"method": "GET", "url": read_back}}] if read_back else []
    try:
        answers = client.transaction({**bundle, "entry": [*entries, *reading]}, representation=True)
    except ForbiddenStatus:
        raise
    except Rejected:
        if not reading:
            raise
        # Some servers read nothing inside transactions. What was refused was not carried out in any part.
        answers = client.transaction(bundle, representation=True)
    sent = [entry["resource"] for entry in entries]
    read = answers[len(sent)].resource if len(answers) > len(sent) else None
    return Written(list(zip(sent, answers, strict=False)), _reports(read))


def _reports(read: Resource | None) -> list[Resource]:
    found = [read] if read else []
    if text(read, "resourceType") == "Bundle":
        found = [record(entry, "resource") for entry in records(read, "entry")]
    return [one for one in found if text(one, "resourceType") == "DiagnosticReport"]


def _one_by_one(client: FhirClient, bundle: Resource, capabilities: Capabilities | None) -> Written:
    """Write each entry by itself; after a crash at any point a repetition finds what is there and goes on.

    1. First what the report names: an incomplete write is then no report at all, or a whole one.
    2. Then the report. It carries its notice and its label itself, so that it can be read without the rest.
    3. Then retire what the version before it named. Where a person wrote in between, the report was refused
       and what theirs names stands.
    4. Last the Provenance, which must name the report's place. A repetition adds one that is missing.
    """
    places: dict[str, str] = {}
    done: list[tuple[Resource, Stored]] = []
    for entry in sorted(records(bundle, "entry"), key=_turn):
        resource, request = _placed(entry["resource"], places), entry["request"]
        if request["method"] == "PUT":
            stored = client.update(resource, if_match=request["ifMatch"].removeprefix("W/").strip('"'))
        else:
            stored = _created(client, resource, request.get("ifNoneExist", ""), capabilities)
        places[entry["fullUrl"]] = stored.reference
        done.append((resource, stored))
    return Written(done, [])


def _turn(entry: Resource) -> int:
    kind = text(record(entry, "resource"), "resourceType")
    if kind == "Observation" and text(record(entry, "request"), "method") == "PUT":
        kind = _RETIRED
    return _TURNS.index(kind) if kind in _TURNS else 0


def _placed(resource: Resource, places: dict[str, str]) -> Resource:
    """The resource with the names of entries replaced by where they stand."""

    def placed(node: Any) -> Any:
        if isinstance(node, list):
            return [placed(one) for one in node]
        if not isinstance(node, dict):
            return node
        return {
            name: places.get(value, value) if name == "reference" else placed(value)
            for name, value in node.items()
        }

    replaced: Resource = placed(resource)
    return replaced


def _created(client: FhirClient, resource: Resource, query: str, capabilities: Capabilities | None) -> Stored:
    """Create a resource unless it is there already."""
    kind = resource["resourceType"]
    conditional = capabilities is None or capabilities.of_kind(kind).creates_conditionally
    if query and conditional:
        return client.create(resource, if_none_exist=query)
    standing = _first_like(client, resource, query)
    if standing is None:
        stored = client.create(resource)
        # Somebody else may have looked and written in the same moment: everybody goes on with the first.
        standing = _first_like(client, resource, query)
        if standing is None or reference_of(standing) == stored.reference:
            return stored
    return Stored(reference_of(standing), version_of(standing), created=False, resource=standing)


def _first_like(client: FhirClient, resource: Resource, query: str) -> Resource | None:
    """The first resource that is this one, by the condition under which it is created; None when none is.

    A Provenance is looked for by its report: not every server finds it by its tag.
    """
    kind = resource["resourceType"]
    params = dict(parse_qsl(query))
    if kind == "Provenance":
        params = {"target": text(records(resource, "target")[0], "reference")}
    if not params:
        return None
    found = client.search(kind, params, is_small=True)
    alike = [one for one in found if _is_like(one, resource)]
    return min(alike, key=place_of, default=None)


def _is_like(found: Resource, resource: Resource) -> bool:
    if resource["resourceType"] == "Provenance":
        ours, theirs = (
            {(text(tag, "system"), text(tag, "code")) for tag in records(record(one, "meta"), "tag")}
            for one in (resource, found)
        )
        return bool(ours) and ours <= theirs
    return bool(set(values_of(resource)[:1]) & set(values_of(found)))


def place_of(resource: Resource) -> tuple[int, str]:
    """Orders resources so that everybody agrees which of two is the first; numbers count as numbers."""
    identity = text(resource, "id")
    return len(identity), identity
