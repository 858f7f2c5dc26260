"""A hospital in one thread whose every request can be interrupted, for tests of what must be impossible.

Everything of Prelim is real: the client, what writes and withdraws drafts, what follows the server, the
intake and its database. The FHIR server is the embedded one, called without a socket. Between any two
requests of ours a person may sign, and any answer may be lost.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from connectors.sandbox.fhir import FhirServer
from connectors.sandbox.fhir_store import FhirStore, Version

Resource = dict[str, Any]

US, PERSON = "prelim", "person"


class AuthoredStore(FhirStore):
    """Remembers who wrote each version."""

    def __init__(self) -> None:
        super().__init__()
        self.author = PERSON
        self.authors: dict[tuple[str, str, int], str] = {}
        self.order: list[tuple[str, str, int]] = []
        """(type, id, version) of every version, in the order in which they were written."""

    def _append(self, kind: str, identity: str, resource: Resource | None, *, method: str) -> Version:
        version = super()._append(kind, identity, resource, method=method)
        self.authors[kind, identity, version.number] = self.author
        self.order.append((kind, identity, version.number))
        return version

    def _roll_back(self) -> None:
        super()._roll_back()
        while self.order and not self._stands(*self.order[-1]):
            del self.authors[self.order.pop()]

    def _stands(self, kind: str, identity: str, number: int) -> bool:
        return len(self._versions.get((kind, identity), [])) >= number


@dataclass
class Interruption:
    """What happens around one of our requests."""

    at: int
    """Requests of ours that pass before, since the step began."""
    what: str
    """lost: carried out and the answer lost. dropped: never arrives. twice: delivered two times. cut: half
    the answer comes. meanwhile: `act` happens just before."""
    act: Callable[[], object] = field(default=lambda: None)


class Network(httpx.BaseTransport):
    """The way between our client and the server; keeps what was sent."""

    def __init__(self, server: FhirServer, store: AuthoredStore) -> None:
        self._wsgi = httpx.WSGITransport(app=server.application)  # type: ignore[arg-type]
        self._store = store
        self.interruptions: Sequence[Interruption] = ()
        self.passed = 0
        self.sent: list[Any] = []
        """Body of every request that held JSON."""

    def begin(self, interruptions: Sequence[Interruption] = ()) -> None:
        """Begin a step."""
        self.interruptions = interruptions
        self.passed = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        now = [one for one in self.interruptions if one.at == self.passed]
        self.passed += 1
        body = request.read()
        if body and "json" in request.headers.get("content-type", ""):
            self.sent.append(json.loads(body))
        for one in now:
            if one.what == "meanwhile":
                one.act()
        kinds = {one.what for one in now}
        if "dropped" in kinds:
            raise httpx.ConnectError("nothing arrived", request=request)
        if "twice" in kinds:
            self._deliver(request)
        response = self._deliver(request)
        if "lost" in kinds:
            raise httpx.ReadError("the answer was lost", request=request)
        if "cut" in kinds:
            content = response.content
            headers = {k: v for k, v in response.headers.items() if k.lower() != "content-length"}
            return httpx.Response(response.status_code, headers=headers, content=content[: len(content) // 2])
        return response

    def _deliver(self, request: httpx.Request) -> httpx.Response:
        self._store.author = US
        try:
            response = self._wsgi.handle_request(request)
            response.read()
        finally:
            self._store.author = PERSON
        return response
