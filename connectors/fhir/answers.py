"""What a FHIR server's answers say: resources, Bundles, pages, and where a resource was stored. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from connectors.errors import Malformed
from connectors.fhir.outcome import error_of_status

Resource = dict[str, Any]
"""A FHIR resource as parsed JSON."""

JSON = "application/fhir+json"

_LOCATION = re.compile(
    r"(?:^|/)([A-Z][A-Za-z]{1,63}/[A-Za-z0-9\-.]{1,64})(?:/_history/([A-Za-z0-9\-.]{1,64}))?$"
)
_STATUS = re.compile(r"([1-5][0-9]{2})(?:\s|$)")


class Unreadable(Malformed):
    """An answer that is no JSON, or no whole gzip: it may have been cut off on the way."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Where the server put a resource, or what it gave for an entry that reads."""

    reference: str
    """Relative, for example DiagnosticReport/17; empty when the server does not say."""
    version: str
    """meta.versionId; empty when the server does not say."""
    created: bool
    """False when a conditional create found one that is already there, and for updates."""
    resource: Resource | None = None
    """The resource in the answer, a searchset Bundle for a search; None when the answer holds none."""


def parsed(received: bytes, *, action: str) -> Resource | None:
    """The JSON object of a body; None when it is empty. Raises Malformed, Unreadable for what is no JSON."""
    if not received.strip():
        return None
    try:
        document = json.loads(received, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Unreadable(f"{action}: expected {JSON}, came something unreadable.") from None
    if not isinstance(document, dict):
        raise Malformed(f"{action}: expected a JSON object, came another JSON value.")
    return document


def matches(bundle: Resource, kind: str) -> list[Resource]:
    """The resources of this type in a Bundle. Raises Malformed."""
    entries = bundle.get("entry", [])
    if not isinstance(entries, list):
        raise Malformed("Expected Bundle.entry to be a list; came another JSON value.")
    resources = []
    for entry in entries:
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if isinstance(resource, dict) and resource.get("resourceType") == kind:
            resources.append(resource)
    return resources


def next_link(bundle: Resource) -> str | None:
    """Bundle.link of relation next, as the server wrote it."""
    links = bundle.get("link", [])
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and link.get("relation") == "next" and isinstance(link.get("url"), str):
            url: str = link["url"]
            return url
    return None


def stored(answer: object, location: str, etag: str, *, created: bool) -> Stored:
    """What an answer to a write says. location, etag: its headers, or the entry's members."""
    named = _LOCATION.search(location)
    reference, version = (named[1], named[2] or "") if named else ("", "")
    version = version or etag.removeprefix("W/").strip('"')
    resource = answer if isinstance(answer, dict) else None
    # A Bundle is what a search found, and stands nowhere.
    if resource is not None and isinstance(resource.get("id"), str) and not _is(resource, "Bundle"):
        reference = reference or reference_of(resource)
        version = version or version_of(resource)
    return Stored(reference=reference, version=version, created=created, resource=resource)


def stored_entries(sent: Resource, answer: Resource | None) -> list[Stored]:
    """One Stored for each entry of a transaction, in its order (FHIR R4 http.html#transaction-response).

    An entry that only reads and found nothing has neither reference nor resource. Raises Malformed, and the
    error of its status for an entry that writes and was refused.
    """
    action = "send transaction"
    entries = answer.get("entry") if answer else None
    asked = sent.get("entry", [])
    if not isinstance(entries, list) or len(entries) != len(asked):
        raise Malformed(f"{action}: expected one answer for each entry, came another number.")
    return [_stored_entry(*pair, action=action) for pair in zip(asked, entries, strict=True)]


def _stored_entry(asked: Resource, entry: object, *, action: str) -> Stored:
    response = entry.get("response") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(response, dict):
        raise Malformed(f"{action}: expected entry.response in the answer, came none.")
    status = str(response.get("status", ""))
    numbered = _STATUS.match(status)
    if numbered and numbered[1] >= "300":
        if asked.get("request", {}).get("method") != "GET":
            raise error_of_status(int(numbered[1]), action=f"{action}, an entry", body=b"")
        return Stored(reference="", version="", created=False)
    return stored(
        entry.get("resource"),
        str(response.get("location", "")),
        str(response.get("etag", "")),
        created=status.startswith("201"),
    )


def version_of(resource: Resource) -> str:
    """meta.versionId; empty when there is none."""
    meta = resource.get("meta")
    version = meta.get("versionId") if isinstance(meta, dict) else None
    return version if isinstance(version, str) else ""


def reference_of(resource: Resource) -> str:
    """Type/id of a resource that a server gave."""
    return f"{resource.get('resourceType')}/{resource.get('id')}"


def _is(resource: Resource, kind: str) -> bool:
    return resource.get("resourceType") == kind


def _no_constant(_: str) -> NoReturn:
    raise ValueError
