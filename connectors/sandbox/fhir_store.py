"""The sandbox FHIR server's memory: versioned resources, conditional writes, searches, transactions.

Knows no HTTP; every refusal is a Refusal with the status and issue code that a server answers.
"""

from __future__ import annotations

import copy
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from fhir.resources.R4B import get_fhir_model_class
from pydantic import ValidationError

from connectors.exchange import ReportStatus
from connectors.sandbox.fhir_search import (
    Refusal,
    identifier_values,
    matcher,
    references,
    tag_codes,
    tokens,
    walk,
)

Resource = dict[str, Any]

_ID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9\-.]{1,64}")
_LOCAL = re.compile(r"([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]+)?")


@dataclass(frozen=True, slots=True)
class Version:
    """One version of one resource; resource is None when this version is its deletion."""

    kind: str
    id: str
    number: int
    method: str
    at: str
    resource: Resource | None


class FhirStore:
    """Resources by type and id, each a list of versions, oldest first. Safe for several threads.

    validates: whether resources are checked against R4 before they are kept; tests with very many do without.
    """

    def __init__(self, *, validates: bool = True) -> None:
        self._validates = validates
        self._lock = threading.RLock()
        self._versions: dict[tuple[str, str], list[Version]] = {}
        self._by_value: dict[tuple[str, str], dict[str, None]] = {}
        self._journal: list[tuple[str, str]] = []
        """What the present transaction wrote, for taking it back."""
        self._last_id = 0
        self.on_write: Callable[[Version], None] | None = None
        """Called for every version once it stands, in their order and before the next write."""

    def create(self, resource: Resource, *, if_none_exist: str | None = None) -> tuple[Version, bool]:
        """The stored version, and whether it is new (FHIR R4 http.html#ccreate)."""
        with self._lock:
            self._journal.clear()
            kind = str(resource.get("resourceType"))
            if if_none_exist:
                found = self.search(kind, parse_qsl(if_none_exist.lstrip("?"), keep_blank_values=True))
                if len(found) > 1:
                    raise Refusal(412, "multiple-matches", "Several resources match the condition.")
                if found:
                    return found[0], False
            self._last_id += 1
            version = self._write(kind, str(self._last_id), resource, method="POST")
            self._tell()
            return version, True

    def load(self, identity: str, resource: Resource) -> Version:
        """Store a resource unchecked, as a bulk import does: for filling the store with many."""
        with self._lock:
            self._journal.clear()
            return self._append(str(resource.get("resourceType")), identity, dict(resource), method="PUT")

    def read(self, kind: str, identity: str) -> Version:
        """The current version."""
        versions = self._of(kind, identity)
        if versions[-1].resource is None:
            raise Refusal(410, "deleted", "The resource was deleted.")
        return versions[-1]

    def vread(self, kind: str, identity: str, version: str) -> Version:
        """One version."""
        for candidate in self._of(kind, identity):
            if str(candidate.number) == version:
                if candidate.resource is None:
                    raise Refusal(410, "deleted", "That version is a deletion.")
                return candidate
        raise Refusal(404, "not-found", "No such version.")

    def history(self, kind: str, identity: str) -> list[Version]:
        """All versions, newest first."""
        return self._of(kind, identity)[::-1]

    def update(
        self, kind: str, identity: str, resource: Resource, *, if_match: str | None = None
    ) -> tuple[Version, bool]:
        """The stored version, and whether it is new; 412 when if_match is stale (http.html#concurrency)."""
        with self._lock:
            self._journal.clear()
            if resource.get("resourceType") != kind or resource.get("id") != identity:
                raise Refusal(400, "invariant", "Type or id of the resource differ from the URL.")
            written = self._replace(kind, identity, resource, if_match=if_match, linked=True)
            self._tell()
            return written

    def delete(self, kind: str, identity: str) -> None:
        """Delete a resource; its history stays."""
        with self._lock:
            self._journal.clear()
            self.read(kind, identity)
            self._append(kind, identity, None, method="DELETE")
            self._tell()

    def search(self, kind: str, params: list[tuple[str, str]]) -> list[Version]:
        """Current versions that match every parameter, oldest id first unless _sort says otherwise."""
        _model(kind)
        with self._lock:
            tests: list[Callable[[Resource], bool]] = []
            candidates: dict[str, None] | None = None
            newest_first: bool | None = None
            for name, value in params:
                if name == "_sort" and value.lstrip("-") == "_lastUpdated":
                    newest_first = value.startswith("-")
                elif name not in {"_count", "_format", "_total", "_elements"}:
                    tests.append(matcher(name, value))
                    if name in {"identifier", "_id", "_tag"}:
                        found = self._candidates(kind, name, value)
                        candidates = (
                            found if candidates is None else {i: None for i in candidates if i in found}
                        )
            if candidates is None:
                candidates = dict.fromkeys(identity for k, identity in self._versions if k == kind)
            current = [self._versions[kind, identity][-1] for identity in candidates]
            matches = [
                v for v in current if v.resource is not None and all(test(v.resource) for test in tests)
            ]
            if newest_first is not None:
                matches.sort(key=lambda version: version.at, reverse=newest_first)
            return matches

    def transaction(self, bundle: Resource) -> list[tuple[Version | list[Version], int]]:
        """(version, HTTP status) of each entry in order; all or nothing (FHIR R4 http.html#trules).

        A search gives all its matches, as they are once everything is written.
        """
        entries = bundle.get("entry")
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise Refusal(400, "structure", "A transaction needs entries.", expression="Bundle.entry")
        with self._lock:
            self._journal.clear()
            try:
                done = self._carry_out(entries)
            except BaseException:
                self._roll_back()
                raise
            self._tell()
            return done

    def _carry_out(self, entries: list[Resource]) -> list[tuple[Version | list[Version], int]]:
        # 1. Give every created resource its place, so that entries can name each other by urn:uuid.
        places: dict[str, str] = {}
        plans: list[tuple[str, str, str, Resource | None]] = []
        for index, entry in enumerate(entries):
            method, kind, identity, found = self._plan(entry, index)
            plans.append((method, kind, identity, found))
            if isinstance(entry.get("fullUrl"), str):
                places[entry["fullUrl"]] = f"{kind}/{identity}"
        # 2. Write, with those names replaced; references are checked once all are there.
        done: list[tuple[Version | list[Version], int]] = []
        for entry, (method, kind, identity, found) in zip(entries, plans, strict=True):
            if method == "GET":
                done.append(([], 200))
                continue
            if found is not None:
                done.append((self.read(kind, identity), 200))
                continue
            resource = _renamed(entry["resource"], places)
            if method == "POST":
                done.append((self._write(kind, identity, resource, method="POST", linked=False), 201))
            else:
                resource["id"] = identity
                if_match = entry["request"].get("ifMatch")
                version, new = self._replace(kind, identity, resource, if_match=if_match, linked=False)
                done.append((version, 201 if new else 200))
        for written, _ in done:
            if isinstance(written, Version) and written.resource is not None:
                self._check_links(written.resource)
        # 3. Read last, whatever the place of what reads.
        for index, (method, kind, identity, _) in enumerate(plans):
            if method == "GET":
                searches = entries[index]["request"]["url"].partition("?")
                found_now = self.search(kind, parse_qsl(searches[2])) if searches[1] else None
                done[index] = (self.read(kind, identity) if found_now is None else found_now, 200)
        return done

    def _replace(
        self, kind: str, identity: str, resource: Resource, *, if_match: str | None, linked: bool
    ) -> tuple[Version, bool]:
        versions = self._versions.get((kind, identity), [])
        current = str(versions[-1].number) if versions else ""
        if if_match is not None and if_match.removeprefix("W/").strip('"') != current:
            raise Refusal(412, "conflict", "The version to replace is not the current one.")
        new = not versions or versions[-1].resource is None
        return self._write(kind, identity, resource, method="PUT", linked=linked), new

    def _plan(self, entry: Resource, index: int) -> tuple[str, str, str, Resource | None]:
        where = f"Bundle.entry[{index}]"
        request, resource = entry.get("request"), entry.get("resource")
        if not isinstance(request, dict):
            raise Refusal(400, "required", "An entry needs a request.", expression=f"{where}.request")
        method, url = str(request.get("method")), str(request.get("url", ""))
        kind, _, identity = url.partition("?")[0].partition("/")
        if method == "GET" and (identity or "?" in url):
            return method, kind, identity, None
        if not isinstance(resource, dict) or resource.get("resourceType") != kind:
            raise Refusal(
                400, "invalid", "The resource differs from the URL.", expression=f"{where}.resource"
            )
        if method == "POST" and not identity:
            condition = request.get("ifNoneExist")
            found = self.search(kind, parse_qsl(str(condition).lstrip("?"))) if condition else []
            if len(found) > 1:
                raise Refusal(412, "multiple-matches", "Several resources match.", expression=where)
            if found:
                return method, kind, found[0].id, found[0].resource
            self._last_id += 1
            return method, kind, str(self._last_id), None
        if method == "PUT" and _ID.fullmatch(identity):
            return method, kind, identity, None
        raise Refusal(
            400, "not-supported", "Transactions here create, update and read by id.", expression=where
        )

    def _tell(self) -> None:
        if self.on_write is not None:
            for place in dict.fromkeys(self._journal):
                self.on_write(self._versions[place][-1])

    def _roll_back(self) -> None:
        for place in reversed(self._journal):
            self._versions[place].pop()
            if not self._versions[place]:
                del self._versions[place]

    def _of(self, kind: str, identity: str) -> list[Version]:
        _model(kind)
        with self._lock:
            versions = self._versions.get((kind, identity))
            if not versions:
                raise Refusal(404, "not-found", "No such resource.")
            return list(versions)

    def _write(
        self, kind: str, identity: str, resource: Resource, *, method: str, linked: bool = True
    ) -> Version:
        if not _ID.fullmatch(identity):
            raise Refusal(400, "value", "Not a resource id.")
        if self._validates:
            _validate(kind, resource)
        if linked:
            self._check_links(resource)
        return self._append(kind, identity, copy.deepcopy(resource), method=method)

    def _append(self, kind: str, identity: str, resource: Resource | None, *, method: str) -> Version:
        number = len(self._versions.get((kind, identity), [])) + 1
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if resource is not None:
            resource["id"] = identity
            resource["meta"] = {**resource.get("meta", {}), "versionId": str(number), "lastUpdated": at}
            for value in [*identifier_values(resource), *tag_codes(resource)]:
                self._by_value.setdefault((kind, value), {})[identity] = None
        version = Version(kind, identity, number, method, at, resource)
        self._versions.setdefault((kind, identity), []).append(version)
        self._journal.append((kind, identity))
        return version

    def _check_links(self, resource: Resource) -> None:
        for reference in references(resource):
            local = _LOCAL.fullmatch(reference)
            if reference.startswith("urn:uuid:"):
                raise Refusal(400, "not-found", "A reference names no entry of the transaction.")
            if local and (local[1], local[2]) not in self._versions:
                raise Refusal(400, "not-found", "A reference names a resource that is not here.")

    def _candidates(self, kind: str, name: str, value: str) -> dict[str, None]:
        found: dict[str, None] = {}
        for _, wanted in tokens(value):
            found |= {wanted: None} if name == "_id" else self._by_value.get((kind, wanted), {})
        return {identity: None for identity in found if (kind, identity) in self._versions}


def _model(kind: str) -> Any:
    try:
        return get_fhir_model_class(kind)
    except (ValueError, KeyError, ImportError):
        raise Refusal(404, "not-supported", "Unknown resource type.") from None


def _validate(kind: str, resource: Resource) -> None:
    try:
        _model(kind).model_validate(resource)
    except ValidationError as error:
        place = ".".join(str(step) for step in error.errors()[0]["loc"])
        raise Refusal(422, "structure", f"Not a valid {kind}: {place}.", expression=kind) from None
    if kind == "DiagnosticReport" and resource.get("status") not in {status.value for status in ReportStatus}:
        raise Refusal(422, "code-invalid", "Unknown status.", expression="DiagnosticReport.status")


def _renamed(resource: Resource, places: dict[str, str]) -> Resource:
    renamed = copy.deepcopy(resource)
    for node in walk(renamed):
        if node.get("reference") in places:
            node["reference"] = places[node["reference"]]
    return renamed
