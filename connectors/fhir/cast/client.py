"""The requests to a FHIRcast hub: subscribe, ask what is open, share a draft (FHIRcast 3.0.0).

One hub only. Its URL is configured; the address of a websocket, which it gives itself, must lie on the hub's
own host. Topics are secrets: they name a person's session, and whoever knows one hears it.
"""

from __future__ import annotations

import json
import socket
import ssl
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from urllib.parse import quote

import httpx

from connectors.errors import Conflict, ExchangeError, Malformed, Rejected, Unreachable
from connectors.fhir.cast.events import (
    EVENTS,
    MAX_MESSAGE_BYTES,
    UPDATE,
    Context,
    Resource,
    read_context,
    read_endpoint,
    update_request,
)
from connectors.fhir.egress import ForbiddenStatus, check_content
from connectors.fhir.elements import record, records, text
from connectors.fhir.identifiers import IdentifierSystems
from connectors.fhir.instants import instant
from connectors.fhir.outcome import Absent, error_of_failure, error_of_status
from connectors.fhir.wire import is_loopback

SUBSCRIBER = "Prelim"
"""Our name in what a hub tells others about us."""
LEASE_SECONDS = 7200
"""The lease that is asked for; the hub decides."""
MAX_ENDPOINT = 2048
"""Characters of a websocket's address."""
GOODBYE_SECONDS = 2.0
"""How long the end waits for a hub to take an unsubscription."""
OFFERS = 5
"""How often a draft is offered while others change what is shared."""


class CastClient:
    """One FHIRcast hub; usable from several threads.

    hub_url: https, or http on loopback only: the token travels with every request.
    token: a bearer token, or a function that gives the present one before each request.
    timeout_seconds: for connecting, for each read, and for a whole answer.
    base_url: of our own FHIR server; empty where there is none.
    tls: how the hub's certificate is judged; None by this machine's usual authorities.
    transport: replaces the network, for tests.

    Every method raises Unreachable, Rejected (Absent when the hub has no such thing), Conflict or Malformed.
    """

    def __init__(
        self,
        hub_url: str,
        *,
        token: str | Callable[[], str] | None = None,
        timeout_seconds: float = 10.0,
        base_url: str = "",
        systems: IdentifierSystems | None = None,
        tls: ssl.SSLContext | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        try:
            self._hub = httpx.URL(hub_url.rstrip("/"))
        except httpx.InvalidURL:
            raise Rejected("Expected the URL of the FHIRcast hub; came something unreadable.") from None
        if self._hub.userinfo or self._hub.query or self._hub.fragment or not self._hub.host:
            raise Rejected("Expected a hub's URL without user, query or fragment; set the token on its own.")
        loopback = self._hub.scheme == "http" and is_loopback(self._hub.host)
        if self._hub.scheme != "https" and not loopback:
            raise Rejected("Expected an https URL of the FHIRcast hub (http on loopback only); came another.")
        self.systems = systems or IdentifierSystems()
        self.base_url = base_url
        self.timeout_seconds = timeout_seconds
        self.tls = tls or ssl.create_default_context()
        self._token = token
        self._http = httpx.Client(
            timeout=timeout_seconds,
            verify=self.tls,
            transport=transport,
            follow_redirects=False,
            trust_env=False,
        )

    def __enter__(self) -> CastClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the pool."""
        self._http.close()

    def subscribe(self, topic: str, *, endpoint: str = "") -> str:
        """Subscribe, or renew the subscription of an endpoint; the address to connect to (section 2.4)."""
        form = {
            "hub.channel.type": "websocket",
            "hub.mode": "subscribe",
            "hub.topic": topic,
            "hub.events": ",".join(EVENTS),
            "hub.lease_seconds": str(LEASE_SECONDS),
            "subscriber.name": SUBSCRIBER,
            **({"hub.channel.endpoint": endpoint} if endpoint else {}),
        }
        return self._judged(read_endpoint(self._send("POST", "", form=form, action="subscribe")))

    def unsubscribe(self, topic: str, endpoint: str) -> None:
        """End a subscription; a hub that is away is not waited for (section 2.5: SHALL at shutdown)."""
        form = {
            "hub.channel.type": "websocket",
            "hub.mode": "unsubscribe",
            "hub.topic": topic,
            "hub.channel.endpoint": endpoint,
        }
        with suppress(ExchangeError):
            self._send("POST", "", form=form, action="unsubscribe", timeout_seconds=GOODBYE_SECONDS)

    def context(self, topic: str) -> Context | None:
        """What is open now; None when no report is. Absent from a hub that does not tell (section 2.9)."""
        body = self._send("GET", f"/{quote(topic, safe='')}", action="get context")
        return read_context(body, self.systems, base_url=self.base_url)

    def share(self, topic: str, reference: str, version: str, updates: Resource) -> None:
        """Ask the hub to share a draft in the open report. Conflict, or Rejected, for a stale version.

        Raises ForbiddenStatus for anything but a labelled draft of ours.
        """
        at = instant(datetime.now(UTC))
        request = update_request(str(uuid.uuid4()), at, topic, reference, version, updates)
        content = json.dumps(request, ensure_ascii=False, allow_nan=False).encode()
        # What is checked is what leaves, not the object it was made from.
        self._check(json.loads(content))
        self._send("POST", "", content=content, action="share content")

    def offer(self, topic: str, reference: str, version: str, updates: Resource) -> bool:
        """Share a draft in the open report; False when that is not, or no longer, wanted. Safe to repeat.

        1. Ask what is open. Another report, or none: nothing is offered. A report of this place shared
           already, by us or changed by a person since: nothing is offered, for it would go over it.
        2. Share it under exactly the version that was looked at.
        3. A version that was refused because somebody else shared meanwhile: once more from 1.

        A hub that does not tell its context takes the event's version or refuses; it is asked once.
        A version that was refused and stands unchanged was refused for another reason, which is raised.
        """
        own = next(
            f"DiagnosticReport/{resource['id']}"
            for resource in (record(entry, "resource") for entry in records(updates, "entry"))
            if resource.get("resourceType") == "DiagnosticReport"
        )
        refused: ExchangeError | None = None
        for _ in range(OFFERS):
            before = version
            try:
                context = self.context(topic)  # 1
            except Absent:
                self.share(topic, reference, version, updates)
                return True
            if context is None or context.anchor.reference != reference or own in context.content:
                return False
            version = context.version
            if refused is not None and version == before:
                raise refused
            try:
                self.share(topic, reference, version, updates)  # 2
                return True
            except ForbiddenStatus:
                raise
            except (Conflict, Rejected) as error:  # 3
                refused = error
        raise Conflict(f"share content: expected a version that stands, came {OFFERS} that were stale.")

    def _check(self, request: Resource) -> None:
        """Only an update of an open report leaves: it names that report and shares checked content."""
        event = record(request, "event")
        context = records(event, "context")
        if text(event, "hub.event") != UPDATE or [set(entry) for entry in context] != [
            {"key", "reference"},
            {"key", "resource"},
        ]:
            raise ForbiddenStatus("Expected to leave as an update of an open report; came another event.")
        check_content(
            context[1]["resource"], report_system=self.systems.report, device_system=self.systems.device
        )

    def _judged(self, endpoint: str) -> str:
        """The endpoint, if it may be connected to. Raises Malformed."""
        try:
            url = httpx.URL(endpoint)
        except httpx.InvalidURL:
            url = httpx.URL()
        same = url.host == self._hub.host or (is_loopback(url.host) and is_loopback(self._hub.host))
        secure = url.scheme == "wss" or (url.scheme == "ws" and self._hub.scheme == "http")
        plain = endpoint.isascii() and endpoint.isprintable() and len(endpoint) <= MAX_ENDPOINT
        if not (same and secure and plain) or url.userinfo or url.fragment:
            raise Malformed(
                "subscribe: expected a wss address on the hub's own host, came another one. It was not "
                "connected to; make the hub name its websockets by the host that is configured here."
            )
        return endpoint

    def _send(
        self,
        method: str,
        path: str,
        *,
        action: str,
        form: Mapping[str, str] | None = None,
        content: bytes | None = None,
        timeout_seconds: float | None = None,
    ) -> bytes:
        """The only way out. Returns the body of a 2xx answer."""
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "Cache-Control": "no-cache"}
        if content is not None:
            headers["Content-Type"] = "application/fhir+json"
        if self._token:
            headers["Authorization"] = f"Bearer {self._token() if callable(self._token) else self._token}"
        timeout = timeout_seconds or self.timeout_seconds
        try:
            with self._http.stream(
                method, f"{self._hub}{path}", data=form, content=content, headers=headers, timeout=timeout
            ) as response:
                received = _capped(response, time.monotonic() + timeout, action)
        except (httpx.HTTPError, httpx.InvalidURL) as failure:
            raise error_of_failure(failure, action=action) from None
        if response.status_code in {405, 501}:
            raise Absent(f"{action}: the hub does not do that ({response.status_code}).")
        if not response.is_success:
            raise error_of_status(response.status_code, action=action, body=b"")
        return received


def _capped(response: httpx.Response, deadline: float, action: str) -> bytes:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Malformed(f"{action}: expected an answer without content coding, came a coded one.")
    received = bytearray()
    for chunk in response.iter_bytes():
        received += chunk
        if len(received) > MAX_MESSAGE_BYTES:
            raise Malformed(f"{action}: expected at most {MAX_MESSAGE_BYTES} bytes, came more.")
        if time.monotonic() > deadline:
            raise Unreachable(f"{action}: expected the whole answer in time, came a part.")
    return bytes(received)


def open_socket(endpoint: str, timeout_seconds: float) -> socket.socket:
    """A connection to a websocket's host, without TLS yet. Raises Unreachable."""
    url = httpx.URL(endpoint)
    port = url.port or (443 if url.scheme == "wss" else 80)
    try:
        return socket.create_connection((url.host, port), timeout=timeout_seconds)
    except OSError as error:
        raise Unreachable(f"connect: expected the hub's websocket, came {type(error).__name__}.") from None
