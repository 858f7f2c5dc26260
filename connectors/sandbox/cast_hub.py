"""An embedded FHIRcast hub on loopback, with the reporting application that a person works in.

Subscriptions by HTTP, events by websocket, content shared under versions (FHIRcast 3.0.0, 2.4 to 2.10). It
refuses and misbehaves on command, for tests. It takes only updates by HTTP: whatever else happens in a
session is done by the reporting application, whose moves are methods here.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as Handshake
from websockets.http11 import Response as Refusal
from websockets.sync.server import Server, ServerConnection, serve
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from connectors.sandbox.cast_session import Session, Subscription, anchor, confirmation, denial, new_event

Resource = dict[str, Any]

MAX_BODY_BYTES = 16 * 2**20
PATIENCE_SECONDS = 20.0
_SILENT = logging.getLogger(f"{__name__}.websocket")
_SILENT.setLevel(logging.CRITICAL + 1)


class CastHub:
    """A hub on 127.0.0.1. Use start and stop, or a with block.

    token: the bearer token that every request must carry. lease_seconds: of every subscription.
    """

    def __init__(self, *, token: str = "", lease_seconds: float = 3600.0) -> None:
        self.token = token
        self.lease_seconds = lease_seconds
        self.requests: list[tuple[str, str]] = []
        """(hub.mode or event or GET, topic) of each request that was understood."""
        self.updates: list[Resource] = []
        """Every update that was accepted, as it came."""
        self.answers: dict[str, int] = {}
        """By event id, what a subscriber answered last."""
        self.stale = 0
        """Updates that were refused for their version."""
        # What it does on command.
        self.tells_context = True
        self.refuses = 0
        """HTTP status of every answer to a subscription; 0 subscribes."""
        self.denies = False
        """Whether a websocket gets a denial where a confirmation is due."""
        self.refuses_updates = 0
        """HTTP status of every answer to an update; 0 looks at its version."""
        self.endpoint = ""
        """Given instead of the true address of a websocket."""
        self.leads_to = ""
        """Where a websocket's handshake is redirected to."""
        self.moves = 0
        """How many of the next updates come too late: somebody else shares just before each."""
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._sessions: dict[str, Session] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._web: BaseWSGIServer | None = None
        self._sockets: Server | None = None
        self._threads: list[threading.Thread] = []
        self._port = 0

    # --- running ------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """hub.url, once started."""
        return f"http://127.0.0.1:{self._port}/hub"

    def start(self) -> CastHub:
        """Listen, on the same HTTP port as before after a stop."""
        self._sockets = serve(
            self._attend, "127.0.0.1", 0, process_request=self._redirect, logger=_SILENT, close_timeout=1
        )
        self._web = make_server("127.0.0.1", self._port, self._application, True, request_handler=_Quiet)
        self._port = self._web.server_port
        self._threads = [
            threading.Thread(target=serving, name="sandbox-cast", daemon=True)
            for serving in (self._sockets.serve_forever, lambda web=self._web: web.serve_forever(0.05))
        ]
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        """Stop, and drop every connection; sessions stay for another start."""
        if self._web is None or self._sockets is None:
            return
        self._web.shutdown()
        self._web.server_close()
        with self._lock:
            self._subscriptions.clear()
        self._sockets.shutdown()
        for thread in self._threads:
            thread.join()
        self._web = self._sockets = None

    def __enter__(self) -> CastHub:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- the reporting application ------------------------------------------------------------------

    def open(
        self,
        topic: str,
        report: Resource,
        *,
        patient: Resource | None = None,
        studies: Sequence[Resource] = (),
    ) -> str:
        """A person opens a report; the event's id."""
        context = [{"key": "report", "resource": report}]
        context += [{"key": "patient", "resource": patient}] if patient else []
        context += [{"key": "study", "resource": study} for study in studies]
        with self._lock:
            version = secrets.token_hex(8)
            message = new_event(topic, "DiagnosticReport-open", context, version)
            self._sessions[topic] = Session(version, context, {}, message)
        return self._tell(topic, message)

    def share(self, topic: str, *resources: Resource) -> str:
        """The reporting application, or any other, shares resources in the open report."""
        entries = [
            {"resource": one, "request": {"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"}}
            for one in resources
        ]
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        return self._update(topic, f"app-{secrets.token_hex(8)}", bundle)

    def update_final(self, topic: str, **changes: Any) -> str:
        """The person finalises the open report: an update in which its status is final."""
        report = self._sessions[topic].context[0]["resource"]
        return self.share(topic, {**report, "status": "final", **changes})

    def select(self, topic: str) -> str:
        """The person selects something in the open report."""
        return self._tell(topic, self._about(topic, "DiagnosticReport-select"))

    def close(self, topic: str) -> str:
        """The person closes the report; what was shared is disposed of."""
        message = self._about(topic, "DiagnosticReport-close")
        with self._lock:
            self._sessions[topic] = Session()
        return self._tell(topic, message)

    def heartbeat(self, topic: str, period_seconds: float) -> str:
        """A sign of life, and the promise of another within this time."""
        context = [{"key": "period", "decimal": str(period_seconds)}]
        return self._tell(topic, new_event(topic, "Heartbeat", context))

    # --- misbehaviour -------------------------------------------------------------------------------

    def send(self, topic: str, data: str | bytes) -> None:
        """Send anything to everybody who listens to a topic."""
        with self._lock:
            listening = [one.connection for one in self._subscriptions.values() if one.topic == topic]
        for connection in listening:
            if connection is not None:
                with suppress(ConnectionClosed):
                    connection.send(data)

    def drop(self, topic: str) -> None:
        """Break every websocket of a topic without a word; the subscriptions are forgotten."""
        with self._lock:
            gone = [key for key, one in self._subscriptions.items() if one.topic == topic and one.connection]
            connections = [self._subscriptions.pop(key).connection for key in gone]
        for connection in connections:
            if connection is not None:
                connection.close_socket()

    # --- looking ------------------------------------------------------------------------------------

    def until(self, look: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until something that the hub sees is so; AssertionError with `what` when it never is."""
        with self._changed:
            if not self._changed.wait_for(look, seconds):
                raise AssertionError(f"not within {seconds:g} s: {what}")

    def listening(self, topic: str) -> int:
        """How many websockets of a topic were confirmed and are open."""
        with self._lock:
            return sum(
                one.topic == topic and one.connection is not None for one in self._subscriptions.values()
            )

    def count(self, mode: str) -> int:
        """How many requests of a mode, or event, were understood."""
        with self._lock:
            return sum(one == mode for one, _ in self.requests)

    def content(self, topic: str) -> dict[str, Resource]:
        """What is shared in a topic, by Type/ID."""
        with self._lock:
            return dict(self._sessions[topic].content)

    @property
    def disturbed(self) -> list[str]:
        """Ids of events that a subscriber refused: people were told of each (section 2.5)."""
        with self._lock:
            return [event for event, status in self.answers.items() if status >= 400]

    # --- HTTP ---------------------------------------------------------------------------------------

    def _application(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        request.max_content_length = MAX_BODY_BYTES
        request.max_form_memory_size = MAX_BODY_BYTES
        # Read whatever came before answering: an unread body breaks the connection under the answer.
        request.get_data(cache=True, parse_form_data=False)
        with self._changed:
            response = self._route(request)
            self._changed.notify_all()
        return response(environ, start_response)

    def _route(self, request: Request) -> Response:
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return Response(status=401)
        if request.method == "GET" and request.path.startswith("/hub/"):
            return self._tell_context(request.path.removeprefix("/hub/"))
        if request.method != "POST" or request.path != "/hub":
            return Response(status=404)
        if request.mimetype == "application/x-www-form-urlencoded":
            return self._subscribe(request)
        try:
            body = json.loads(request.get_data())
            event = body["event"]
            shared = {entry["key"]: entry for entry in event["context"]}
            topic, name, version = event["hub.topic"], event["hub.event"], event["context.versionId"]
            bundle = shared["updates"]["resource"]
            reference = shared["report"]["reference"]["reference"]
        except (ValueError, KeyError, TypeError):
            return Response(status=400)
        return self._take_update(topic, name, version, reference, bundle, body)

    def _subscribe(self, request: Request) -> Response:
        form = request.form
        mode, topic = form.get("hub.mode", ""), form.get("hub.topic", "")
        if form.get("hub.channel.type") != "websocket" or not topic:
            return Response(status=400)
        self.requests.append((mode, topic))
        key = form.get("hub.channel.endpoint", "").rpartition("/")[2]
        if mode == "unsubscribe":
            known = self._subscriptions.pop(key, None)
            if known and known.connection is not None:
                threading.Thread(target=known.connection.close, daemon=True).start()
            return Response(status=202 if known else 404)
        if self.refuses or mode != "subscribe" or not form.get("hub.events"):
            return Response(status=self.refuses or 400)
        known = self._subscriptions.get(key)
        ends_at = time.monotonic() + self.lease_seconds
        if known is None:
            key = secrets.token_urlsafe(24)
            self._subscriptions[key] = Subscription(topic, ends_at)
        else:
            known.ends_at = ends_at
            if known.connection is not None:
                known.connection.send(confirmation(topic, self.lease_seconds))
        assert self._sockets is not None
        address = f"ws://127.0.0.1:{self._sockets.socket.getsockname()[1]}/{key}"
        return _json({"hub.channel.endpoint": self.endpoint or address}, 202)

    def _tell_context(self, topic: str) -> Response:
        if not self.tells_context:
            return Response(status=404)
        self.requests.append(("GET", topic))
        session = self._sessions.get(topic, Session())
        if not session.context:
            return _json({"context.type": "", "context": []})
        held = [{"resource": one} for one in session.content.values()]
        content = {"resourceType": "Bundle", "type": "collection", "entry": held}
        context = [*session.context, {"key": "content", "resource": content}]
        told = {"context.type": "DiagnosticReport", "context.versionId": session.version, "context": context}
        return _json(told)

    def _take_update(
        self, topic: str, name: str, version: str, reference: str, bundle: Resource, body: Resource
    ) -> Response:
        self.requests.append((name, topic))
        session = self._sessions.get(topic, Session())
        if self.refuses_updates:
            return Response(status=self.refuses_updates)
        if self.moves:
            self.moves -= 1
            note = {"resourceType": "Observation", "id": secrets.token_hex(8), "status": "preliminary"}
            self.share(topic, note)
        opened = session.context[0]["resource"] if session.context else {}
        if name != "DiagnosticReport-update" or reference != f"DiagnosticReport/{opened.get('id')}":
            return Response(status=400)
        if version != session.version:
            self.stale += 1
            return Response(status=409)
        self.updates.append(body)
        self._update(topic, body["id"], bundle)
        return Response(status=202)

    # --- websockets ---------------------------------------------------------------------------------

    def _redirect(self, _connection: ServerConnection, _request: Handshake) -> Refusal | None:
        if not self.leads_to:
            return None
        return Refusal(302, "Found", Headers({"Location": self.leads_to, "Content-Length": "0"}), b"")

    def _attend(self, connection: ServerConnection) -> None:
        """One websocket: confirm or deny, tell what is open, then take answers until the lease ends."""
        assert connection.request is not None
        key = connection.request.path.rpartition("/")[2]
        with self._changed:
            known = self._subscriptions.get(key)
            if known is None or self.denies:
                topic = known.topic if known else ""
                connection.send(denial(topic))
                return
            connection.send(confirmation(known.topic, self.lease_seconds))
            opened = self._sessions.get(known.topic, Session()).opened
            if opened:
                connection.send(json.dumps(opened))
            known.connection = connection
            self._changed.notify_all()
        try:
            while (left := known.ends_at - time.monotonic()) > 0:
                with suppress(TimeoutError):
                    self._take_answer(connection.recv(timeout=left))
            connection.send(denial(known.topic))
        except (ConnectionClosed, OSError):
            pass
        finally:
            with self._changed:
                self._subscriptions.pop(key, None)
                self._changed.notify_all()

    def _take_answer(self, data: str | bytes) -> None:
        told = json.loads(data)
        with self._changed:
            self.answers[told["id"]] = int(told["status"])
            self._changed.notify_all()

    def _update(self, topic: str, event_id: str, bundle: Resource) -> str:
        with self._changed:
            session = self._sessions[topic]
            for entry in bundle["entry"]:
                session.content[entry["request"]["url"]] = entry["resource"]
            prior, session.version = session.version, secrets.token_hex(8)
            context = [anchor(session), {"key": "updates", "resource": bundle}]
            message = new_event(topic, "DiagnosticReport-update", context, session.version)
            message["id"] = event_id
            message["event"]["context.priorVersionId"] = prior
            self._changed.notify_all()
        return self._tell(topic, message)

    def _about(self, topic: str, name: str) -> Resource:
        with self._lock:
            return new_event(topic, name, [anchor(self._sessions[topic])])

    def _tell(self, topic: str, message: Resource) -> str:
        self.send(topic, json.dumps(message))
        return str(message["id"])


class _Quiet(WSGIRequestHandler):
    """Logs nothing: a path can hold a topic."""

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - the parent's word
        pass


def _json(document: Resource, status: int = 200) -> Response:
    return Response(json.dumps(document), status=status, content_type="application/json")
