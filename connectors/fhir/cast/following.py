"""One FHIRcast session, followed: its websocket kept up, every event answered, the lease renewed.

Blocking: one thread a session. The hub may drop the connection, deny the subscription or talk nonsense; it is
then asked again after a pause that doubles, and nobody is disturbed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect

from connectors.errors import ExchangeError, Malformed, Rejected, Unreachable
from connectors.fhir.cast.client import LEASE_SECONDS, CastClient, open_socket
from connectors.fhir.cast.events import (
    EVENTS,
    MAX_MESSAGE_BYTES,
    Confirmed,
    Denied,
    Event,
    UnreadableEvent,
    answer,
    read_message,
)

OK, ACCEPTED, BAD_REQUEST = 200, 202, 400
LONGEST_PAUSE_SECONDS = 300.0
STEADY_SECONDS = 60.0
"""A connection that stood for so long begins with the shortest pause again when it breaks."""
MISSED_HEARTBEATS = 3
LONGEST_PERIOD_SECONDS = 3600.0
MOST_UNREADABLE = 10
"""Messages that cannot be read on one connection; then it is given up."""
SHORTEST_LEASE_SECONDS = 0.2
CLOSE_SECONDS = 1.0

log = logging.getLogger(__name__)
# It writes whole frames at DEBUG and addresses at INFO: both are secrets, and frames name patients.
_SILENT = logging.getLogger(f"{__name__}.websocket")
_SILENT.setLevel(logging.CRITICAL + 1)


class Follower:
    """Follows one topic. receive: takes each event of ours once it is answered, on this thread; quickly."""

    def __init__(
        self,
        client: CastClient,
        topic: str,
        receive: Callable[[Event], None],
        *,
        first_pause_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._topic = topic
        self._receive = receive
        self._first_pause_seconds = first_pause_seconds
        self._clock = clock
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._connection: ClientConnection | None = None

    def run(self) -> None:
        """Follow until `stop`: subscribe, connect, listen; after any failure again, after a pause."""
        pause = self._first_pause_seconds
        while not self._stopping.is_set():
            began = self._clock()
            try:
                self._follow_once()
            except ExchangeError as error:
                if not self._stopping.is_set():
                    log.warning("A FHIRcast session is not followed: %s It is tried again.", error)
            except Exception as error:
                # Only the kind of error: its words may hold what only the session should know.
                log.error("A FHIRcast session ended with %s; it is tried again.", type(error).__name__)
            if self._clock() - began > STEADY_SECONDS:
                pause = self._first_pause_seconds
            self._stopping.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def stop(self) -> None:
        """Make `run` return. Does not wait for it."""
        with self._lock:
            self._stopping.set()
            connection = self._connection
        if connection is not None:
            connection.close()

    def _follow_once(self) -> None:
        """One subscription from request to end.

        1. Ask for a subscription, connect to the address that it gives.
        2. Answer every event; renew the lease at half of it, over the same address or to another one.
        3. At the end of us, not of the connection: close normally and unsubscribe.
        """
        endpoint = self._client.subscribe(self._topic)
        while endpoint and not self._stopping.is_set():
            followed, endpoint = endpoint, self._listen(endpoint)
            if self._stopping.is_set():
                self._client.unsubscribe(self._topic, followed)  # 3

    def _listen(self, endpoint: str) -> str:
        """Listen until the hub moves the subscription to another address, which is returned, or we stop."""
        with self._opened(endpoint) as connection:
            with self._lock:
                self._connection = connection
            try:
                return "" if self._stopping.is_set() else self._converse(connection, endpoint)
            except ConnectionClosed:
                if self._stopping.is_set():
                    return ""
                raise Unreachable(
                    "listen: expected the hub to stay, came the end of the connection."
                ) from None
            finally:
                with self._lock:
                    self._connection = None

    def _opened(self, endpoint: str) -> AbstractContextManager[ClientConnection]:
        """A websocket. A redirect is never followed: a socket that is there already cannot be led away."""
        timeout = self._client.timeout_seconds
        socket = open_socket(endpoint, timeout)
        try:
            return connect(
                endpoint,
                sock=socket,
                ssl=self._client.tls if endpoint.startswith("wss:") else None,
                proxy=None,
                compression=None,
                open_timeout=timeout,
                close_timeout=CLOSE_SECONDS,
                max_size=MAX_MESSAGE_BYTES,
                logger=_SILENT,
            )
        except (OSError, TimeoutError) as error:
            socket.close()
            raise Unreachable(f"connect: expected a websocket, came {type(error).__name__}.") from None
        except (WebSocketException, ValueError) as error:
            # Its words hold the address.
            socket.close()
            raise Rejected(f"connect: expected a websocket, came {type(error).__name__}.") from None

    def _converse(self, connection: ClientConnection, endpoint: str) -> str:
        """Answer what comes; the new address when a renewal gives one. Raises ConnectionClosed."""
        lease, period = 0.0, 0.0
        renew_at = heard_by = self._clock() + self._client.timeout_seconds
        unreadable = 0
        while True:
            now = self._clock()
            if lease and now >= renew_at:
                moved = self._client.subscribe(self._topic, endpoint=endpoint)
                if moved != endpoint:
                    return moved
                renew_at = now + lease / 2
            due = min(renew_at, heard_by) if period else renew_at
            try:
                message = self._answered(connection, connection.recv(timeout=max(due - now, 0.0)))
            except TimeoutError:
                if not lease:
                    raise Unreachable("subscribe: expected the hub's confirmation, came none.") from None
                if period and self._clock() >= heard_by:
                    raise Unreachable("listen: expected heartbeats, came none for a while.") from None
                continue
            match message:
                case None:
                    unreadable += 1
                    if unreadable >= MOST_UNREADABLE:
                        raise Malformed("listen: expected events, came too much that cannot be read.")
                case Denied():
                    raise Rejected("listen: expected a subscription, came its denial by the hub.")
                case Confirmed():
                    lease = max(message.lease_seconds or LEASE_SECONDS, SHORTEST_LEASE_SECONDS)
                    renew_at = self._clock() + lease / 2
                case Event():
                    period = min(message.period_seconds, LONGEST_PERIOD_SECONDS) or period
            heard_by = self._clock() + MISSED_HEARTBEATS * period

    def _answered(self, connection: ClientConnection, data: str | bytes) -> Event | Confirmed | Denied | None:
        """Read and answer one message; hand an event of ours on. None for what cannot be read."""
        try:
            message = read_message(data, self._client.systems, base_url=self._client.base_url)
            if message.topic != self._topic:
                wrong = "Expected a message about the session that is followed; came another's."
                raise UnreadableEvent(wrong, message.id) if isinstance(message, Event) else Malformed(wrong)
        except UnreadableEvent as error:
            log.warning("A FHIRcast event was refused: %s", error)
            connection.send(answer(error.event_id, BAD_REQUEST))
            return None
        except Malformed as error:
            log.warning("A FHIRcast message was not read: %s", error)
            return None
        if isinstance(message, Event):
            ours = message.name in EVENTS
            # Answered before anything is done: the hub waits ten seconds (section 2.5).
            connection.send(answer(message.id, ACCEPTED if ours else OK))
            if ours:
                self._receive(message)
        return message
