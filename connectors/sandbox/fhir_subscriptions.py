"""Subscriptions of the sandbox FHIR server: R4 rest-hooks and topics, delivered to loopback and nowhere else.

Criteria are matched as real servers do: the new value of what was created or updated, nothing on a delete
or on ceasing to match. Deliveries leave one after another on a thread of their own; a test can lose, double,
hold and reverse them.
"""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from connectors.fhir.notices.wanted import BACKPORT_PROFILE, ORDERS, REPORTS, STUDIES
from connectors.sandbox.fhir_notices import BACKPORT, Happening, notice
from connectors.sandbox.fhir_search import Refusal, matcher
from connectors.sandbox.fhir_store import FhirStore, Version

Resource = dict[str, Any]

TOPICS = {wanted.topic: wanted.kind for wanted in (REPORTS, ORDERS, STUDIES)}
"""Type of resource that each topic is about; the filter of a subscription narrows it."""
TIMEOUT_SECONDS = 2.0
EVENTS_AT_ONCE = 1000

_FILTER = f"{BACKPORT}/backport-filter-criteria"


@dataclass(slots=True)
class _Subscribed:
    """One Subscription as it is followed."""

    resource: Resource
    kind: str = ""
    matches: Callable[[Resource], bool] = bool
    topical: bool = False
    happenings: list[Happening] = field(default_factory=list)


class FhirSubscriptions:
    """Follows what a store writes, and tells those who asked. Use start and stop."""

    def __init__(self, store: FhirStore, base_url: Callable[[], str]) -> None:
        self._store = store
        self._base_url = base_url
        self._lock = threading.RLock()
        self._followed: dict[str, _Subscribed] = {}
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._http: httpx.Client | None = None
        self._to_drop = self._to_repeat = 0
        self._held: list[Callable[[], None]] | None = None
        store.on_write = self._written

    def start(self) -> None:
        """Deliver from now on, on a thread of its own."""
        self._stopping = False
        self._thread = threading.Thread(target=self._deliver, name="sandbox-fhir-notices", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop; what waits is lost, as with a real server that ends."""
        if self._thread is not None:
            self._stopping = True
            self._work.put(None)
            self._thread.join()
            self._thread = None

    def settle(self) -> None:
        """Wait until everything that waits now was delivered or given up."""
        done = threading.Event()
        self._work.put(done.set)
        done.wait()

    def drop_next(self, count: int = 1) -> None:
        """Lose the next notifications: they are counted as delivered."""
        with self._lock:
            self._to_drop += count

    def repeat_next(self, count: int = 1) -> None:
        """Deliver each of the next notifications twice."""
        with self._lock:
            self._to_repeat += count

    def pause(self) -> None:
        """Hold notifications back from now on."""
        with self._lock:
            self._held = self._held or []

    def resume(self, *, reverse: bool = False) -> None:
        """Deliver what was held back, the latest first if reverse."""
        with self._lock:
            held, self._held = self._held or [], None
        for post in reversed(held) if reverse else held:
            self._work.put(post)

    def heartbeat(self, identity: str) -> None:
        """Tell the count of one topic subscription, as a server does when nothing happens for long."""
        with self._lock:
            followed = self._one(identity)
            self._send(followed, "heartbeat", [])

    def answer_status(self, identity: str) -> Resource:
        """The answer to $status."""
        with self._lock:
            followed = self._one(identity)
            return self._notice(followed, "query-status", [])

    def answer_events(self, identity: str, since: str, until: str) -> Resource:
        """The answer to $events: those from since to until, both included."""
        if not all(not bound or (bound.isdecimal() and len(bound) < 20) for bound in (since, until)):
            raise Refusal(400, "value", "Event numbers are whole numbers.")
        with self._lock:
            followed = self._one(identity)
            first, last = int(since or 1), int(until or len(followed.happenings))
            found = [one for one in followed.happenings if first <= one.number <= last]
            return self._notice(followed, "query-event", found[:EVENTS_AT_ONCE])

    def _one(self, identity: str) -> _Subscribed:
        followed = self._followed.get(identity)
        if followed is None or not followed.topical:
            raise Refusal(404, "not-found", "No such topic subscription.")
        return followed

    def _written(self, version: Version) -> None:
        """Called by the store for every version, in their order."""
        with self._lock:
            if version.kind == "Subscription":
                self._follow(version)
            else:
                for followed in self._followed.values():
                    if followed.resource["status"] == "active" and followed.kind == version.kind:
                        self._match(followed, version)

    def _follow(self, version: Version) -> None:
        if version.resource is None:
            self._followed.pop(version.id, None)
            return
        followed = self._followed.setdefault(version.id, _Subscribed(version.resource))
        followed.resource = version.resource
        if version.resource["status"] == "requested":
            self._work.put(lambda: self._activate(version))

    def _match(self, followed: _Subscribed, version: Version) -> None:
        if version.resource is None or not followed.matches(version.resource):
            return
        if not followed.topical:
            self._send(followed, "", [])
            return
        happening = Happening(
            len(followed.happenings) + 1,
            datetime.now(UTC).isoformat(timespec="milliseconds"),
            f"{version.kind}/{version.id}",
            created=version.method == "POST",
        )
        followed.happenings.append(happening)
        self._send(followed, "event-notification", [happening])

    def _activate(self, version: Version) -> None:
        """See that the subscription can be followed, shake hands, and give it its status."""
        with self._lock:
            followed = self._followed.get(version.id)
            if followed is None or followed.resource is not version.resource:
                return
            try:
                _understand(followed)
                trouble = ""
            except Refusal as refusal:
                trouble = refusal.text
            handshake = self._notice(followed, "handshake", []) if followed.topical and not trouble else None
        if handshake is not None and not self._post(followed.resource, handshake):
            trouble = "The endpoint did not answer the handshake with 2xx."
        self._give(version, "error" if trouble else "active", trouble)

    def _give(self, version: Version, status: str, error: str) -> None:
        resource = {key: value for key, value in (version.resource or {}).items() if key != "error"}
        told = {"error": error} if error else {}
        # Whoever changed it meanwhile asks for another activation.
        with suppress(Refusal):
            self._store.update(
                "Subscription",
                version.id,
                {**resource, "status": status, **told},
                if_match=str(version.number),
            )

    def _notice(self, followed: _Subscribed, kind: str, happenings: list[Happening]) -> Resource:
        total = len(followed.happenings)
        return notice(kind, followed.resource, total, happenings, base_url=self._base_url())

    def _send(self, followed: _Subscribed, kind: str, happenings: list[Happening]) -> None:
        """Have one notification delivered; an empty kind is a rest-hook. Called with the lock held."""
        body = self._notice(followed, kind, happenings) if kind else None
        resource = followed.resource

        def post() -> None:
            if not self._post(resource, body):
                with suppress(Refusal):
                    current = self._store.read("Subscription", resource["id"])
                    self._give(current, "error", "The endpoint did not answer with 2xx.")

        if self._to_drop:
            self._to_drop -= 1
            return
        posts = [post]
        if self._to_repeat:
            self._to_repeat -= 1
            posts.append(post)
        for one in posts:
            if self._held is None:
                self._work.put(one)
            else:
                self._held.append(one)

    def _post(self, resource: Resource, body: Resource | None) -> bool:
        """Whether the endpoint took it. An empty body is posted without a type, as HAPI does."""
        channel = resource["channel"]
        if not _is_loopback(channel["endpoint"]):
            return False
        headers = dict(_header(line) for line in channel.get("header", []))
        if body is not None:
            headers["Content-Type"] = channel.get("payload", "application/fhir+json")
        if self._http is None:
            self._http = httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False, follow_redirects=False)
        try:
            answer = self._http.request("POST", channel["endpoint"], headers=headers, json=body)
        except (httpx.HTTPError, httpx.InvalidURL):
            return False
        return answer.is_success

    def _deliver(self) -> None:
        while (work := self._work.get()) is not None:
            if not self._stopping:
                work()
        if self._http is not None:
            self._http.close()
            self._http = None


def capability() -> Resource:
    """What the CapabilityStatement says of Subscription."""
    return {
        "supportedProfile": [BACKPORT_PROFILE],
        "extension": [
            {"url": f"{BACKPORT}/capabilitystatement-subscriptiontopic-canonical", "valueCanonical": topic}
            for topic in TOPICS
        ],
        "operation": [
            {"name": name, "definition": f"{BACKPORT.rpartition('/')[0]}/OperationDefinition/{definition}"}
            for name, definition in (
                ("status", "backport-subscription-status"),
                ("events", "backport-subscription-events"),
            )
        ],
    }


def _understand(followed: _Subscribed) -> None:
    """Read what a Subscription asks for; Refusal when this server does not do it."""
    resource = followed.resource
    channel, criteria = resource["channel"], resource["criteria"]
    if channel.get("type") != "rest-hook" or not _is_loopback(channel.get("endpoint", "")):
        raise Refusal(422, "not-supported", "Only rest-hooks to loopback.")
    followed.topical = criteria in TOPICS
    if followed.topical:
        filters = resource.get("_criteria", {}).get("extension", [])
        told = [one.get("valueString", "") for one in filters if one.get("url") == _FILTER]
        queries, followed.kind = told, TOPICS[criteria]
    else:
        queries, followed.kind = [criteria], criteria.partition("?")[0]
    if any(query.partition("?")[0] != followed.kind for query in queries):
        raise Refusal(422, "not-supported", "Unknown topic, or a filter of another type.")
    tests = [
        matcher(name, value)
        for query in queries
        for name, value in parse_qsl(query.partition("?")[2], keep_blank_values=True)
    ]
    followed.matches = lambda resource: all(test(resource) for test in tests)


def _is_loopback(endpoint: str) -> bool:
    try:
        parts = urlsplit(endpoint)
        return parts.scheme in {"http", "https"} and ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip(), value.strip()
