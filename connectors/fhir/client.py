"""A FHIR client that speaks to one server only, and lets nothing final leave (FHIR R4 http.html).

JSON only. Redirects are not followed, pages are followed only below the configured base URL, answers
are capped, and every request passes one function that checks what leaves and repeats what may be repeated.
Searches travel as POST _search (FHIR R4 search.html: servers support both), which keeps identifiers out of
access logs.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import urlencode

import httpx

from connectors.errors import Conflict, Malformed, Rejected, Unreachable
from connectors.fhir.answers import (
    JSON,
    Resource,
    Stored,
    Unreadable,
    matches,
    next_link,
    parsed,
    reference_of,
    stored,
    stored_entries,
    version_of,
)
from connectors.fhir.auth import BackendServices
from connectors.fhir.base import ID, TYPE, BaseUrl
from connectors.fhir.egress import REPORT_SYSTEM, check_egress
from connectors.fhir.outcome import error_of_status
from connectors.fhir.r5 import as_r5
from connectors.fhir.retrying import (
    TOO_MANY_REQUESTS,
    Patience,
    Repeat,
    repeat_of_transaction,
    retry_after_seconds,
)
from connectors.fhir.wire import MAX_BODY_BYTES, Answer, Wire

__all__ = ["JSON", "MAX_BODY_BYTES", "FhirClient", "Resource", "Stored", "reference_of", "version_of"]

MAX_PAGES = 100
RELEASES = ("R4", "R5")

_ELEMENT = re.compile(r"[a-z][A-Za-z]{0,63}")
_OPERATION = re.compile(r"\$[a-z][a-z\-]{1,63}")
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Page:
    """One page of what a search found."""

    matches: list[Resource]
    is_last: bool


class FhirClient:
    """One FHIR server, over one pool of connections; usable from several threads.

    base_url: of the FHIR service, without query or user information.
    timeout_seconds: for connecting, for each read, and for a whole answer.
    token: a bearer token, a function that gives the present one before each request, or what asks for one
    by SMART Backend Services; that one is closed with the client.
    transport: replaces the network, for tests.
    report_system: of our own report identifier, where a site sets another: only such a report of ours
    can be withdrawn.
    release: R4 or R5; documents are built as R4 and leave as what it says.
    tls: how the server's certificate is verified, and which one is shown to it.
    patience: how often a request is sent, and what is waited between.
    search_by_get: for a server that takes no POST _search; its access log then holds identifiers.

    Every method raises Unreachable, Rejected (Absent when there is no such resource), Conflict or
    Malformed; those that write also raise ForbiddenStatus.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout_seconds: float = 30.0,
        token: str | Callable[[], str] | BackendServices | None = None,
        transport: httpx.BaseTransport | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
        report_system: str = REPORT_SYSTEM,
        release: str = "R4",
        tls: ssl.SSLContext | None = None,
        patience: Patience | None = None,
        search_by_get: bool = False,
    ) -> None:
        self._base = BaseUrl(base_url)
        if release not in RELEASES:
            raise Rejected("Expected FHIR release R4 or R5; came another.")
        self.base_url = self._base.text
        self.release = release
        self._token = token
        self._report_system = report_system
        self._patience = patience or Patience(budget_seconds=timeout_seconds)
        self._search_by_get = search_by_get
        self._wire = Wire(
            timeout_seconds=timeout_seconds, transport=transport, max_body_bytes=max_body_bytes, tls=tls
        )

    def __enter__(self) -> FhirClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the pool."""
        self._wire.close()
        if isinstance(self._token, BackendServices):
            self._token.close()

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
            f"{path}/_history/{_checked(ID, version, 'a version id')}", action=f"vread {kind}", expected=kind
        )

    def history(self, reference: str, *, most: int | None = None) -> list[Resource]:
        """The versions of a resource, newest first; a deletion has no resource and is left out.

        most: so many of the newest; the pages behind them are not asked for. None gives all.
        """
        path = self.relative(reference)
        first, _ = self._send("GET", f"{path}/_history", action="read history")
        pages = self._pages(first, action="read history", kind=path.partition("/")[0])
        versions: list[Resource] = []
        for page in pages:
            versions += page.matches
            if most is not None and len(versions) >= most:
                break
        return versions[:most]

    def search(
        self,
        resource_type: str,
        params: Mapping[str, str],
        *,
        elements: tuple[str, ...] = (),
        count: int | None = None,
        is_small: bool = False,
    ) -> list[Resource]:
        """All matches of a search, over all its pages.

        elements: only these of each match are asked for (_elements). count: matches on a page (_count).
        is_small: a handful of matches is expected, and the server need keep none of them for further pages.
        A lenient server may ignore a parameter: the caller checks each match itself.
        """
        pages = self.search_pages(resource_type, params, elements=elements, count=count, is_small=is_small)
        return [match for page in pages for match in page.matches]

    def search_pages(
        self,
        resource_type: str,
        params: Mapping[str, str],
        *,
        elements: tuple[str, ...] = (),
        count: int | None = None,
        is_small: bool = False,
    ) -> Iterator[Page]:
        """The matches of a search a page at a time; the next is asked for when the caller goes on."""
        kind = _checked(TYPE, resource_type, "a resource type")
        action = f"search {kind}"
        form = dict(params)
        if elements:
            form["_elements"] = ",".join(_checked(_ELEMENT, name, "an element's name") for name in elements)
        if count is not None:
            form["_count"] = str(max(1, count))
        # HAPI answers such a search at once instead of filing it for its pages: half the time.
        headers = {"Cache-Control": "no-cache, no-store"} if is_small else {}
        if self._search_by_get:
            first, _ = self._send("GET", f"{kind}?{urlencode(form)}", headers=headers, action=action)
        else:
            first, _ = self._send("POST", f"{kind}/_search", form=form, headers=headers, action=action)
        yield from self._pages(first, action=action, kind=kind)

    def create(self, resource: Resource, *, if_none_exist: str | None = None) -> Stored:
        """Create a resource, or find the one that if_none_exist (a search query) names."""
        kind = _checked(TYPE, str(resource.get("resourceType")), "a resource type")
        if if_none_exist is not None and not (if_none_exist and if_none_exist.isascii()):
            raise Rejected(f"create {kind}: expected a percent-encoded If-None-Exist query, came another.")
        document, answer = self._send(
            "POST",
            kind,
            body=resource,
            headers={"If-None-Exist": if_none_exist} if if_none_exist else {},
            action=f"create {kind}",
            repeat=Repeat.CONDITIONAL if if_none_exist else Repeat.ONCE,
        )
        return _stored(document, answer)

    def update(self, resource: Resource, *, if_match: str) -> Stored:
        """Replace the version if_match of a resource; Conflict when another version is current."""
        path = self.relative(f"{resource.get('resourceType')}/{resource.get('id')}")
        version = _checked(ID, if_match, "the version to replace")
        document, answer = self._send(
            "PUT",
            path,
            body=resource,
            headers={"If-Match": f'W/"{version}"'},
            action=f"update {path.partition('/')[0]}",
            repeat=Repeat.CONDITIONAL,
        )
        return _stored(document, answer)

    def transaction(
        self, bundle: Resource, *, representation: bool = False, repeatable: bool = False
    ) -> list[Stored]:
        """Send a transaction Bundle; one Stored for each entry, in its order (FHIR R4 http.html#trules).

        representation: ask for the stored resources in the answer; what entries read comes in any case.
        repeatable: the caller knows that a second arrival changes nothing more, although an entry writes
        unconditionally.
        """
        if bundle.get("resourceType") != "Bundle" or bundle.get("type") != "transaction":
            raise Rejected("Expected a Bundle of type transaction; came another resource.")
        document, _ = self._send(
            "POST",
            "",
            body=bundle,
            headers={"Prefer": "return=representation"} if representation else {},
            action="send transaction",
            repeat=Repeat.CONDITIONAL if repeatable else repeat_of_transaction(bundle),
        )
        return stored_entries(bundle, document)

    def operation(self, reference: str, name: str, parameters: Resource) -> Resource:
        """The answer of an operation on one resource (FHIR R4 operations.html). name: with its dollar."""
        path = self.relative(reference)
        operation = _checked(_OPERATION, name, "an operation")
        action = f"call {operation}"
        answer, _ = self._send(
            "POST", f"{path}/{operation}", body=parameters, action=action, repeat=Repeat.READ
        )
        if answer is None:
            raise Malformed(f"{action}: expected a resource, came none.")
        return answer

    def relative(self, reference: str) -> str:
        """Type/id of a reference that lies on this server; Rejected for any other."""
        return self._base.relative(reference)

    def _read(self, path: str, *, action: str, expected: str) -> Resource:
        resource, _ = self._send("GET", path, action=action)
        if resource is None or resource.get("resourceType") != expected:
            raise Malformed(f"{action}: expected a {expected}, came another resource or none.")
        return resource

    def _pages(self, bundle: Resource | None, *, action: str, kind: str) -> Iterator[Page]:
        seen: set[str] = set()
        for _ in range(MAX_PAGES):
            if bundle is None or bundle.get("resourceType") != "Bundle":
                raise Malformed(f"{action}: expected a Bundle, came another resource or none.")
            link = next_link(bundle)
            yield Page(matches(bundle, kind), is_last=link is None)
            if link is None:
                return
            url = self._base.page(link, action=action)
            if url in seen:
                raise Malformed(f"{action}: expected another page, came a link back to one already read.")
            seen.add(url)
            bundle, _ = self._send("GET", url, action=action)
        raise Malformed(f"{action}: expected at most {MAX_PAGES} pages, came more. Narrow the search.")

    def _send(
        self,
        method: str,
        path: str,
        *,
        action: str,
        body: Resource | None = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        repeat: Repeat = Repeat.READ,
    ) -> tuple[Resource | None, Answer]:
        """The only way out. Returns the parsed body (None when empty) and the whole of a 2xx answer.

        1. Make what leaves, and look at it.
        2. Send it. An answer that cannot be used now, or none, is an error.
        3. Wait and go back to 2 where a repetition does no harm and patience lasts.
        4. A conflict after an attempt that may have been carried out may be with ourselves: nobody may take
           it for a person's version.
        """
        alone = (path, (headers or {}).get("If-Match", "")) if method == "PUT" else None
        content, sent = self._made(body, form, action=action, replaces=alone)  # 1
        sent |= headers or {}
        url = path if path.startswith(self.base_url) else f"{self.base_url}/{path}".rstrip("/")
        waits = self._patience.begin()
        in_doubt = False
        while True:
            status = None
            try:
                answer = self._exchange(method, url, content, sent, action=action)  # 2
                status = answer.status
                return _document(answer, action=action), answer
            except (Unreachable, Unreadable) as error:
                asked = error.retry_after_seconds if isinstance(error, Unreachable) else None
                if not (repeat.after(status) and waits.another(asked)):  # 3
                    if isinstance(error, Unreadable) and repeat is not Repeat.READ:
                        raise Unreachable(
                            f"{action}: expected to be told what came of it, came something unreadable. "
                            f"{Unreachable.next_step}"
                        ) from None
                    raise
                in_doubt = in_doubt or status != TOO_MANY_REQUESTS
            except Conflict:
                if not in_doubt or repeat is Repeat.READ:
                    raise
                raise Unreachable(  # 4
                    f"{action}: expected to be told what came of an earlier attempt, came a conflict. "
                    "Read what stands there, then decide."
                ) from None

    def _made(
        self,
        body: Resource | None,
        form: Mapping[str, str] | None,
        *,
        action: str,
        replaces: tuple[str, str] | None = None,
    ) -> tuple[bytes | None, dict[str, str]]:
        """Content and headers of a request. replaces: place and If-Match of an update by itself."""
        # HAPI answers a repeated search from a cache of up to a minute unless told not to.
        headers = {"Accept": JSON, "Cache-Control": "no-cache"}
        if body is not None:
            content = _serialised(as_r5(body) if self.release == "R5" else body, action=action)
            # What is checked is what leaves, not the object it was made from.
            leaving = json.loads(content)
            if replaces is not None:
                # It is held to what it would be held to inside a transaction.
                leaving = _as_entry(leaving, *replaces)
            check_egress(leaving, report_system=self._report_system)
            return content, headers | {"Content-Type": JSON, "Prefer": "return=minimal"}
        if form is not None:
            return urlencode(form).encode("ascii"), headers | {
                "Content-Type": _FORM,
                "Prefer": "handling=strict",
            }
        return None, headers

    def _exchange(
        self, method: str, url: str, content: bytes | None, headers: Mapping[str, str], *, action: str
    ) -> Answer:
        """One attempt; a token of SMART Backend Services that is refused is renewed and tried once more."""
        services = self._token if isinstance(self._token, BackendServices) else None
        while True:
            token = self._bearer()
            authorised = {"Authorization": f"Bearer {token}"} if token else {}
            answer = self._wire.exchange(
                method, url, action=action, headers={**headers, **authorised}, content=content
            )
            if answer.status != 401 or services is None:
                return answer
            services.drop(token)
            services = None

    def _bearer(self) -> str:
        if isinstance(self._token, BackendServices):
            return self._token.token()
        return (self._token() if callable(self._token) else self._token) or ""


def _document(answer: Answer, *, action: str) -> Resource | None:
    if not 200 <= answer.status < 300:
        raise error_of_status(
            answer.status,
            action=action,
            body=answer.body,
            retry_after_seconds=retry_after_seconds(answer.headers),
        )
    return parsed(answer.body, action=action)


def _stored(document: Resource | None, answer: Answer) -> Stored:
    headers = answer.headers
    return stored(
        document, headers.get("location", ""), headers.get("etag", ""), created=answer.status == 201
    )


def _checked(pattern: re.Pattern[str], value: str, what: str) -> str:
    if not pattern.fullmatch(value):
        raise Rejected(f"Expected {what} as FHIR spells it; came something else, so nothing was sent.")
    return value


def _as_entry(resource: Resource, place: str, etag: str) -> Resource:
    request = {"method": "PUT", "url": place, **({"ifMatch": etag} if etag else {})}
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [{"resource": resource, "request": request}],
    }


def _serialised(body: Resource, *, action: str) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (TypeError, ValueError, RecursionError):
        raise Rejected(f"{action}: expected a resource that JSON can hold, came another object.") from None
