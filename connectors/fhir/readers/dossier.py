"""One version of a resource as a FHIR server gave it, with the resources it names: the evidence that is kept.

Fetched once, by our own base URL; everything that is read later is read from these bytes alone, so that
it can be read again.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from connectors.errors import ExchangeError, Malformed, Unreachable
from connectors.exchange import PublishedReport
from connectors.fhir.base import LITERAL
from connectors.fhir.client import FhirClient, version_of
from connectors.fhir.elements import record, records, text

Resource = dict[str, Any]

MAX_DOSSIER_BYTES = 16 * 2**20
MAX_READS = 24
"""Named resources read for one dossier, our own version before not counted."""
MAX_NAMED = 100
"""References of one element that are looked at."""
MAX_CONTAINED = 1000
"""Contained resources that a reference is looked for among."""

PATIENTS = frozenset({"Patient"})
PERSONS = frozenset({"Practitioner", "PractitionerRole"})
REQUESTS = frozenset({"ServiceRequest"})
STUDIES = frozenset({"ImagingStudy"})
ENCOUNTERS = frozenset({"Encounter"})
CONDITIONS = frozenset({"Condition"})

LINKS: dict[str, tuple[tuple[str, frozenset[str]], ...]] = {
    "DiagnosticReport": (
        ("subject", PATIENTS),
        ("basedOn", REQUESTS),
        ("imagingStudy", STUDIES),
        ("study", STUDIES),
        ("resultsInterpreter", PERSONS),
        ("performer", PERSONS),
        ("encounter", ENCOUNTERS),
    ),
    "ServiceRequest": (
        ("subject", PATIENTS),
        ("requester", PERSONS),
        ("encounter", ENCOUNTERS),
        ("reasonReference", CONDITIONS),
        ("reason", CONDITIONS),
        ("supportingInfo", CONDITIONS),
    ),
    "ImagingStudy": (("subject", PATIENTS), ("basedOn", REQUESTS)),
}
"""What a resource names that is fetched with it, what matters most first (R4 and R5 element names)."""
FURTHER: dict[str, tuple[tuple[str, frozenset[str]], ...]] = {
    "PractitionerRole": (("practitioner", frozenset({"Practitioner"})),)
}
"""What is fetched of the resources that were named."""

_OPENING, _CLOSING = b'{"entry":[', b'],"resourceType":"Bundle","type":"collection"}'


@dataclass(frozen=True)
class Dossier:
    """One version of one resource, and what it names."""

    base_url: str
    """Of the FHIR server that gave it, as configured here."""
    focus: Resource
    others: Mapping[str, Resource] = field(default_factory=dict)
    """By relative reference, as Patient/1; a version of ours that stood before, as
    DiagnosticReport/17/_history/2. What could not be read is not there."""

    @property
    def kind(self) -> str:
        """Type of the resource."""
        return text(self.focus, "resourceType")

    @property
    def reference(self) -> str:
        """Where the resource stands: ServiceRequest/12."""
        return f"{self.kind}/{text(self.focus, 'id')}"

    @property
    def name(self) -> str:
        """Of this version: ServiceRequest/12/_history/3, or with its hash where the server counts none."""
        version = version_of(self.focus)
        return f"{self.reference}/_history/{version}" if version else f"{self.reference}/sha256-{self.sha256}"

    @property
    def sha256(self) -> str:
        """Of the resource alone in canonical JSON, in hexadecimal. Raises Malformed as `body` does."""
        return hashlib.sha256(_canonical(self.focus)).hexdigest()

    def body(self) -> bytes:
        """The dossier as a Bundle of type collection in canonical JSON (keys sorted, no spaces, ASCII).

        At most MAX_DOSSIER_BYTES: what does not fit of the others is left out. Raises Malformed when the
        resource itself does not fit, or holds what JSON cannot.
        """
        entries = [_canonical({"fullUrl": f"{self.base_url}/{self.reference}", "resource": self.focus})]
        size = len(_OPENING) + len(entries[0]) + len(_CLOSING)
        if size > MAX_DOSSIER_BYTES:
            raise Malformed(
                f"Expected a {self.kind} of at most {MAX_DOSSIER_BYTES} bytes in its Bundle, came more."
            )
        for reference, resource in self.others.items():
            # A fullUrl names no version: versions differ in meta.versionId (FHIR R4 Bundle, bdl-7, bdl-8).
            url = f"{self.base_url}/{reference.partition('/_history/')[0]}"
            entry = _canonical({"fullUrl": url, "resource": resource})
            if size + 1 + len(entry) <= MAX_DOSSIER_BYTES:
                size += 1 + len(entry)
                entries.append(entry)
        return _OPENING + b",".join(entries) + _CLOSING

    @classmethod
    def from_body(cls, body: bytes) -> Dossier:
        """The dossier back from its Bundle. Raises Malformed for anything that `body` does not write."""
        if len(body) > MAX_DOSSIER_BYTES:
            raise Malformed(f"Expected a dossier of at most {MAX_DOSSIER_BYTES} bytes, came a larger one.")
        try:
            bundle = json.loads(body)
        except (ValueError, RecursionError):
            raise Malformed("Expected a dossier in JSON, came something unreadable.") from None
        if text(bundle, "resourceType") != "Bundle" or text(bundle, "type") != "collection":
            raise Malformed("Expected a dossier as a Bundle of type collection, came another document.")
        entries = records(bundle, "entry")
        focus = record(entries[0], "resource") if entries else {}
        own = f"{text(focus, 'resourceType')}/{text(focus, 'id')}"
        base_url = text(entries[0], "fullUrl").removesuffix(f"/{own}") if entries else ""
        if not LITERAL.fullmatch(own) or not base_url or base_url == text(entries[0], "fullUrl"):
            raise Malformed("Expected the resource first in its dossier, under its own URL; came another.")
        others = {}
        for entry in entries[1:]:
            resource = record(entry, "resource")
            reference = text(entry, "fullUrl").removeprefix(f"{base_url}/")
            if not LITERAL.fullmatch(reference) or not text(resource, "resourceType"):
                raise Malformed("Expected resources of one server in a dossier, came another entry.")
            version = f"/_history/{version_of(resource)}" if reference == own else ""
            others[f"{reference}{version}"] = resource
        return cls(base_url, focus, others)

    def relative(self, reference: str) -> str:
        """Type/id of a literal reference to this server, its version left out; empty for any other."""
        named = LITERAL.fullmatch(reference.removeprefix(f"{self.base_url}/"))
        return named[1] if named else ""


def resolve(
    dossier: Dossier, holder: Resource, reference: object, *, kinds: frozenset[str]
) -> Resource | None:
    """The resource of one of these kinds that a reference of `holder` leads to, contained or fetched.

    None when it leads elsewhere, to another kind or to nothing.
    """
    target = text(reference, "reference")
    if target.startswith("#"):
        named = (one for one in _contained(dossier, holder) if one.get("id") == target.removeprefix("#"))
        return next((one for one in named if text(one, "resourceType") in kinds), None)
    path = dossier.relative(target)
    return dossier.others.get(path) if path.partition("/")[0] in kinds else None


def gather(
    client: FhirClient, reference_or_resource: str | Resource, *, before: PublishedReport | None = None
) -> Dossier:
    """Fetch a resource with what it names, always by our own base URL.

    reference_or_resource: where it stands, or a version as a search on this server gave it; one that is
    only a part (SUBSETTED) is read again.
    before: our own version of this report, which is fetched too, to see what a person changed.

    1. Read the resource.
    2. Read our version before it.
    3. Read what it names, nearest and weightiest first, at most MAX_READS.
    4. Leave out what does not fit, so that what is read now is what is kept.

    What cannot be read of 2 and 3 is absent from the dossier. Raises Unreachable when the server went away
    in between: half a dossier would say that nothing is there. Otherwise raises as the client does for the
    resource itself, and Malformed when it is too large or without a place of its own.
    """
    # 1.
    if isinstance(reference_or_resource, str):
        path = client.relative(reference_or_resource)
        focus = client.read(path)
    else:
        path = f"{text(reference_or_resource, 'resourceType')}/{text(reference_or_resource, 'id')}"
        focus = client.read(path) if _in_part(reference_or_resource) else reference_or_resource
    if not LITERAL.fullmatch(path) or path != f"{text(focus, 'resourceType')}/{text(focus, 'id')}":
        raise Malformed("Expected the resource with the id that was asked for, came another one.")
    others: dict[str, Resource] = {}
    # 2.
    if before is not None and before.reference == path and before.version != version_of(focus):
        ours = _read_or_none(client, path, before.version)
        if ours is not None:
            others[f"{path}/_history/{before.version}"] = ours
    # 3.
    dossier = Dossier(client.base_url, focus, others)
    asked: set[str] = {path}
    waiting = deque((focus, link) for link in LINKS.get(dossier.kind, ()))
    while waiting:
        holder, (element, kinds) = waiting.popleft()
        for reference in references(holder, element):
            target = dossier.relative(text(reference, "reference"))
            if target.partition("/")[0] in kinds and target not in asked and len(asked) <= MAX_READS:
                asked.add(target)
                read = _read_or_none(client, target)
                if read is not None:
                    others[target] = read
            found = resolve(dossier, holder, reference, kinds=kinds)
            if found is not None:
                waiting.extend((found, link) for link in FURTHER.get(text(found, "resourceType"), ()))
    # 4.
    return Dossier.from_body(dossier.body())


def references(holder: Resource, element: str) -> Iterator[Resource]:
    """The first MAX_NAMED References of an element, one or several, R5's CodeableReferences included."""
    single = record(holder, element)
    for one in [single] if single else records(holder, element)[:MAX_NAMED]:
        yield record(one, "reference") or one


def _read_or_none(client: FhirClient, path: str, version: str = "") -> Resource | None:
    """A named resource; None when it cannot be read, or another came than the one asked for."""
    try:
        read = client.vread(path, version) if version else client.read(path)
    except Unreachable:
        raise
    except ExchangeError:
        return None
    same = read.get("id") in {None, path.partition("/")[2]} and version in {"", version_of(read)}
    return read if same else None


def _in_part(resource: Resource) -> bool:
    return any(text(tag, "code") == "SUBSETTED" for tag in records(record(resource, "meta"), "tag"))


def _contained(dossier: Dossier, holder: Resource) -> list[Resource]:
    # A contained resource contains none: its # names what stands beside it (references.html#contained).
    beside = records(dossier.focus, "contained")[:MAX_CONTAINED]
    inside = any(holder is one for one in beside)
    return beside if inside else records(holder, "contained")[:MAX_CONTAINED]


def _canonical(document: object) -> bytes:
    try:
        return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")
    except (TypeError, ValueError, RecursionError):
        raise Malformed("Expected a resource that JSON can hold, came one with another value.") from None
