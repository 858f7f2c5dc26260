"""An embedded FHIRcast hub on loopback.

Subscriptions by HTTP, events by websocket, content shared under versions (FHIRcast 3.0.0, 2.4 to 2.10). It
refuses and misbehaves on command, for tests. It takes only updates by HTTP: whatever else happens in a
session is done by the reporting application, which lives in the same object.
"""

from __future__ import annotations

import json
import logging
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Iterable
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

from connectors.sandbox.cast_reporting import ReportingApplication
from connectors.sandbox.cast_session import (
    Session,
    Subscription,
    Update,
    confirmation,
    context_of,
    denial,
    read_update,
)

Resource = dict[str, Any]

MAX_BODY_BYTES = 16 * 2**20
PATIENCE_SECONDS = 20.0
_SILENT = logging.getLogger(f"{__name__}.websocket")
_SILENT.setLevel(logging.CRITICAL + 1)


class CastHub(ReportingApplication):
    """A hub on 127.0.0.1. Use start and stop, or a with block.

    token: the bearer token that every request must carry. lease_seconds: of every subscription.
    tls: given, both ports speak TLS.
    """

    def __init__(
        self, *, token: str = "", lease_seconds: float = 3600.0, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__()
        self.token = token
        self._tls = tls
        self.lease_seconds = lease_seconds
        self.requests: list[tuple[str, str]] = []
        """(hub.mode or event, GET or connect, topic) of each request that was understood."""
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
        self._subscriptions: dict[str, Subscription] = {}
        self._web: BaseWSGIServer | None = None
        self._sockets: Server | None = None
        self._threads: list[threading.Thread] = []
        self._port = 0

    # --- running ------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """hub.url, once started."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}/hub"

    def start(self) -> CastHub:
        """Listen, on the same HTTP port as before after a stop."""
        self._sockets = serve(
            self._attend,
            "127.0.0.1",
            0,
            ssl=self._tls,
            process_request=self._redirect,
            logger=_SILENT,
            close_timeout=1,
        )
        self._web = make_server(
            "127.0.0.1", self._port, self._application, True, request_handler=_Quiet, ssl_context=self._tls
        )
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
        update = read_update(request.get_data())
        return self._take_update(update, request.get_data()) if update else Response(status=400)

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
        address = f"{'wss' if self._tls else 'ws'}://127.0.0.1:{self._sockets.socket.getsockname()[1]}/{key}"
        return _json({"hub.channel.endpoint": self.endpoint or address}, 202)

    def _tell_context(self, topic: str) -> Response:
        if not self.tells_context:
            return Response(status=404)
        self.requests.append(("GET", topic))
        return _json(context_of(self._sessions.get(topic, Session())))

    def _take_update(self, update: Update, data: bytes) -> Response:
        self.requests.append((update.name, update.topic))
        session = self._sessions.get(update.topic, Session())
        if self.refuses_updates:
            return Response(status=self.refuses_updates)
        if self.moves:
            self.moves -= 1
            note = {"resourceType": "Observation", "id": secrets.token_hex(8), "status": "preliminary"}
            self.share(update.topic, note)
        opened = session.context[0]["resource"]["id"] if session.context else ""
        if update.name != "DiagnosticReport-update" or update.reference != f"DiagnosticReport/{opened}":
            return Response(status=400)
        if update.version != session.version:
            self.stale += 1
            return Response(status=409)
        self.updates.append(json.loads(data))
        self._update(update.topic, update.id, update.bundle)
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
            self.requests.append(("connect", known.topic))
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


class _Quiet(WSGIRequestHandler):
    """Logs nothing: a path can hold a topic."""

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - the parent's word
        pass


def _json(document: Resource, status: int = 200) -> Response:
    return Response(json.dumps(document), status=status, content_type="application/json")
