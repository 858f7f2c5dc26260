"""A FHIR R4 client that speaks to one server only, and lets nothing final leave (FHIR R4 http.html).

JSON only. Redirects are not followed, pages are followed only below the configured base URL, answers
are capped, and every request passes one function that checks what leaves. Searches travel as
POST _search (FHIR R4 search.html: servers support both), which keeps identifiers out of access logs.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn
from urllib.parse import urlencode

import httpx

from connectors.errors import Malformed, Rejected, Unreachable
from connectors.fhir.egress import REPORT_SYSTEM, check_egress
from connectors.fhir.outcome import error_of_failure, error_of_status

Resource = dict[str, Any]
"""A FHIR resource as parsed JSON."""

JSON = "application/fhir+json"
MAX_BODY_BYTES = 16 * 2**20
MAX_PAGES = 100

_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}")
_OPERATION = re.compile(r"\$[a-z][a-z\-]{1,63}")
_ID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9\-.]{1,64}")
_LOCATION = re.compile(
    r"(?:^|/)([A-Z][A-Za-z]{1,63}/[A-Za-z0-9\-.]{1,64})(?:/_history/([A-Za-z0-9\-.]{1,64}))?$"
)

# These libraries log whole URLs and headers at INFO and DEBUG; a URL can name a patient.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Stored:
    """Where the server put a resource."""

    reference: str
    """Relative, for example DiagnosticReport/17; empty when the server does not say."""
    version: str
    """meta.versionId; empty when the server does not say."""
    created: bool
    """False when a conditional create found one that is already there, and for updates."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of what a search found."""

    matches: list[Resource]
    is_last: bool


class FhirClient:
    """One FHIR server, over one pool of connections; usable from several threads.

    base_url: of the FHIR service, without query or user information.
    timeout_seconds: for connecting, for each read, and for a whole answer.
    token: a bearer token, or a function that gives the present one before each request.
    transport: replaces the network, for tests.
    report_system: of our own report identifier, where a site sets another: only such a report of ours
    can be withdrawn.

    Every method raises Unreachable, Rejected (Absent when there is no such resource), Conflict or
    Malformed; those that write also raise ForbiddenStatus.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout_seconds: float = 30.0,
        token: str | Callable[[], str] | None = None,
        transport: httpx.BaseTransport | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
        report_system: str = REPORT_SYSTEM,
    ) -> None:
        try:
            self._base = httpx.URL(base_url.rstrip("/"))
        except httpx.InvalidURL:
            raise Rejected("Expected the FHIR server's base URL; came something unreadable.") from None
        if self._base.scheme not in {"http", "https"} or not self._base.host:
            raise Rejected("Expected an http or https base URL of a FHIR server; came another kind.")
        if self._base.userinfo or self._base.query or self._base.fragment:
            raise Rejected("Expected a base URL without user, query or fragment; set the token on its own.")
        self.base_url = str(self._base)
        self._token = token
        self._timeout_seconds = timeout_seconds
        self._max_body_bytes = max_body_bytes
        self._report_system = report_system
        # trust_env: a proxy or netrc from the environment is not a configured peer.
        self._http = httpx.Client(
            timeout=timeout_seconds, transport=transport, follow_redirects=False, trust_env=False
        )

    def __enter__(self) -> FhirClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the pool."""
        self._http.close()

    def capabilities(self) -> Resource:
        """The server's CapabilityStatement."""
        return self._read("metadata", action="read capabilities", expected="CapabilityStatement")

    def read(self, reference: str) -> Resource:
        """The current version of a resource. reference: relative or below our base URL."""
        path = self.relative(reference)
        kind = path.partition("/")[0]
        return self._read(path, action=f"read {kind}", expected=kind)

    def vread(self, reference: str, version: str) -> Resource:
        """One version of a resource (FHIR R4 http.html#vread)."""
        path = self.relative(reference)
        kind = path.partition("/")[0]
        return self._read(
            f"{path}/_history/{_checked(_ID, version, 'a version id')}", action=f"vread {kind}", expected=kind
        )

    def history(self, reference: str) -> list[Resource]:
        """The versions of a resource, newest first; a deletion has no resource and is left out."""
        path = self.relative(reference)
        first = self._send("GET", f"{path}/_history", action="read history")
        pages = self._pages(first[1], action="read history", kind=path.partition("/")[0])
        return [version for page in pages for version in page.matches]

    def search(self, resource_type: str, params: Mapping[str, str]) -> list[Resource]:
        """All matches of a search, over all its pages.

        A lenient server may ignore a parameter: the caller checks each match itself.
        """
        return [match for page in self.search_pages(resource_type, params) for match in page.matches]

    def search_pages(self, resource_type: str, params: Mapping[str, str]) -> Iterator[Page]:
        """The matches of a search a page at a time; the next is asked for when the caller goes on."""
        kind = _checked(_TYPE, resource_type, "a resource type")
        action = f"search {kind}"
        _, first, _ = self._send("POST", f"{kind}/_search", form=params, action=action)
        yield from self._pages(first, action=action, kind=kind)

    def create(self, resource: Resource, *, if_none_exist: str | None = None) -> Stored:
        """Create a resource, or find the one that if_none_exist (a search query) names."""
        kind = _checked(_TYPE, str(resource.get("resourceType")), "a resource type")
        if if_none_exist is not None and not (if_none_exist and if_none_exist.isascii()):
            raise Rejected(f"create {kind}: expected a percent-encoded If-None-Exist query, came another.")
        headers = {"If-None-Exist": if_none_exist} if if_none_exist else {}
        status, answer, received = self._send(
            "POST", kind, body=resource, headers=headers, action=f"create {kind}"
        )
        return _stored(answer, received.get("location", ""), received.get("etag", ""), created=status == 201)

    def update(self, resource: Resource, *, if_match: str) -> Stored:
        """Replace the version if_match of a resource; Conflict when another version is current."""
        path = self.relative(f"{resource.get('resourceType')}/{resource.get('id')}")
        version = _checked(_ID, if_match, "the version to replace")
        status, answer, received = self._send(
            "PUT",
            path,
            body=resource,
            headers={"If-Match": f'W/"{version}"'},
            action=f"update {path.partition('/')[0]}",
        )
        return _stored(answer, received.get("location", ""), received.get("etag", ""), created=status == 201)

    def transaction(self, bundle: Resource) -> list[Stored]:
        """Send a transaction Bundle; one Stored for each entry, in its order (FHIR R4 http.html#trules)."""
        if bundle.get("resourceType") != "Bundle" or bundle.get("type") != "transaction":
            raise Rejected("Expected a Bundle of type transaction; came another resource.")
        _, answer, _ = self._send("POST", "", body=bundle, action="send transaction")
        entries = answer.get("entry") if answer else None
        if not isinstance(entries, list) or len(entries) != len(bundle.get("entry", [])):
            raise Malformed("send transaction: expected one answer for each entry, came another number.")
        stored = []
        for entry in entries:
            response = entry.get("response") if isinstance(entry, dict) else None
            if not isinstance(response, dict):
                raise Malformed("send transaction: expected entry.response in the answer, came none.")
            stored.append(
                _stored(
                    entry.get("resource"),
                    str(response.get("location", "")),
                    str(response.get("etag", "")),
                    created=str(response.get("status", "")).startswith("201"),
                )
            )
        return stored

    def operation(self, reference: str, name: str, parameters: Resource) -> Resource:
        """The answer of an operation on one resource (FHIR R4 operations.html). name: with its dollar."""
        path = self.relative(reference)
        operation = _checked(_OPERATION, name, "an operation")
        action = f"call {operation}"
        _, answer, _ = self._send("POST", f"{path}/{operation}", body=parameters, action=action)
        if answer is None:
            raise Malformed(f"{action}: expected a resource, came none.")
        return answer

    def relative(self, reference: str) -> str:
        """Type/id of a reference that lies on this server.

        Raises Rejected for any other: a reference to another host is never followed.
        """
        text = reference.removeprefix(f"{self.base_url}/").partition("/_history/")[0]
        kind, _, identity = text.partition("/")
        if not (_TYPE.fullmatch(kind) and _ID.fullmatch(identity)):
            raise Rejected("Expected a reference Type/id on the configured FHIR server; came another kind.")
        return text

    def _read(self, path: str, *, action: str, expected: str) -> Resource:
        _, resource, _ = self._send("GET", path, action=action)
        if resource is None or resource.get("resourceType") != expected:
            raise Malformed(f"{action}: expected a {expected}, came another resource or none.")
        return resource

    def _pages(self, bundle: Resource | None, *, action: str, kind: str) -> Iterator[Page]:
        seen: set[str] = set()
        for _ in range(MAX_PAGES):
            if bundle is None or bundle.get("resourceType") != "Bundle":
                raise Malformed(f"{action}: expected a Bundle, came another resource or none.")
            link = _next_link(bundle)
            yield Page(_matches(bundle, kind), is_last=link is None)
            if link is None:
                return
            url = self._own_url(link, action=action)
            if url in seen:
                raise Malformed(f"{action}: expected another page, came a link back to one already read.")
            seen.add(url)
            _, bundle, _ = self._send("GET", url, action=action)
        raise Malformed(f"{action}: expected at most {MAX_PAGES} pages, came more. Narrow the search.")

    def _own_url(self, link: str, *, action: str) -> str:
        try:
            url = httpx.URL(f"{self.base_url}/").join(link)
        except httpx.InvalidURL:
            raise Malformed(f"{action}: expected a readable link to the next page, came another.") from None
        same_origin = (url.scheme, url.host, url.port) == (
            self._base.scheme,
            self._base.host,
            self._base.port,
        )
        below = url.path == self._base.path or url.path.startswith(f"{self._base.path.rstrip('/')}/")
        if not (same_origin and below) or url.userinfo or ".." in url.path.split("/"):
            raise Malformed(
                f"{action}: expected the next page below the configured base URL, came a link elsewhere. "
                "It was not followed; make the server name its pages by the URL that is configured here."
            )
        return str(url)

    def _send(
        self,
        method: str,
        path: str,
        *,
        action: str,
        body: Resource | None = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Resource | None, httpx.Headers]:
        """The only way out. Returns status, parsed body (None when empty) and headers of a 2xx answer."""
        # HAPI answers a repeated search from a cache of up to a minute unless told not to.
        sent = {"Accept": JSON, "Accept-Encoding": "identity", "Cache-Control": "no-cache", **(headers or {})}
        content: bytes | None = None
        if body is not None:
            content = _serialised(body, action=action)
            # What is checked is what leaves, not the object it was made from.
            check_egress(json.loads(content), report_system=self._report_system)
            sent |= {"Content-Type": JSON, "Prefer": "return=minimal"}
        elif form is not None:
            content = urlencode(form).encode("ascii")
            sent |= {"Content-Type": "application/x-www-form-urlencoded", "Prefer": "handling=strict"}
        if self._token is not None:
            sent["Authorization"] = f"Bearer {self._token() if callable(self._token) else self._token}"
        url = path if path.startswith(self.base_url) else f"{self.base_url}/{path}".rstrip("/")
        deadline = time.monotonic() + self._timeout_seconds
        try:
            with self._http.stream(method, url, content=content, headers=sent) as response:
                received = self._capped(response, deadline=deadline, action=action)
        except (httpx.HTTPError, httpx.InvalidURL) as failure:
            raise error_of_failure(failure, action=action) from None
        if not response.is_success:
            raise error_of_status(response.status_code, action=action, body=received)
        return response.status_code, _parsed(received, action=action), response.headers

    def _capped(self, response: httpx.Response, *, deadline: float, action: str) -> bytes:
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Malformed(f"{action}: expected an answer without content coding, came a coded one.")
        received = bytearray()
        for chunk in response.iter_bytes():
            received += chunk
            if len(received) > self._max_body_bytes:
                raise Malformed(f"{action}: expected at most {self._max_body_bytes} bytes, came more.")
            if time.monotonic() > deadline:
                raise Unreachable(
                    f"{action}: expected the whole answer in {self._timeout_seconds:g} s, came a part. "
                    f"{Unreachable.next_step}"
                )
        return bytes(received)


def version_of(resource: Resource) -> str:
    """meta.versionId; empty when there is none."""
    meta = resource.get("meta")
    version = meta.get("versionId") if isinstance(meta, dict) else None
    return version if isinstance(version, str) else ""


def reference_of(resource: Resource) -> str:
    """Type/id of a resource that a server gave."""
    return f"{resource.get('resourceType')}/{resource.get('id')}"


def _checked(pattern: re.Pattern[str], value: str, what: str) -> str:
    if not pattern.fullmatch(value):
        raise Rejected(f"Expected {what} as FHIR spells it; came something else, so nothing was sent.")
    return value


def _serialised(body: Resource, *, action: str) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (TypeError, ValueError, RecursionError):
        raise Rejected(f"{action}: expected a resource that JSON can hold, came another object.") from None


def _no_constant(_: str) -> NoReturn:
    raise ValueError


def _parsed(received: bytes, *, action: str) -> Resource | None:
    if not received.strip():
        return None
    try:
        document = json.loads(received, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Malformed(f"{action}: expected {JSON}, came something unreadable.") from None
    if not isinstance(document, dict):
        raise Malformed(f"{action}: expected a JSON object, came another JSON value.")
    return document


def _matches(bundle: Resource, kind: str) -> list[Resource]:
    entries = bundle.get("entry", [])
    if not isinstance(entries, list):
        raise Malformed("Expected Bundle.entry to be a list; came another JSON value.")
    resources = []
    for entry in entries:
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if isinstance(resource, dict) and resource.get("resourceType") == kind:
            resources.append(resource)
    return resources


def _next_link(bundle: Resource) -> str | None:
    links = bundle.get("link", [])
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and link.get("relation") == "next" and isinstance(link.get("url"), str):
            url: str = link["url"]
            return url
    return None


def _stored(answer: object, location: str, etag: str, *, created: bool) -> Stored:
    named = _LOCATION.search(location)
    reference, version = (named[1], named[2] or "") if named else ("", "")
    version = version or etag.removeprefix("W/").strip('"')
    if isinstance(answer, dict) and isinstance(answer.get("id"), str):
        reference = reference or reference_of(answer)
        version = version or version_of(answer)
    return Stored(reference=reference, version=version, created=created)
