"""An MLLP client: one message at a time, each with the acknowledgement that is its own."""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from enum import Enum
from types import TracebackType

from connectors.errors import Malformed, Unreachable
from connectors.hl7.ack import Ack, read_ack
from connectors.hl7.frames import Deframer, framed
from connectors.hl7.message import parse

log = logging.getLogger(__name__)

_READ_BYTES = 64 * 1024
_ACK_CAP_BYTES = 1024 * 1024


class Wait(Enum):
    """Which acknowledgement ends the wait, in enhanced mode (v2.5.1 section 2.9.3)."""

    FIRST = "first"
    """Whichever comes first."""
    ACCEPT = "accept"
    """CA, CE or CR: the peer has stored the message, or will not."""
    APPLICATION = "application"
    """AA, AE or AR; CE and CR end it too, for nothing follows them."""

    def ends_with(self, ack: Ack) -> bool:
        """Whether this acknowledgement is the one that was waited for."""
        if self is Wait.FIRST:
            return True
        accept = ack.code.value[0] == "C"
        return accept if self is Wait.ACCEPT else not accept or not ack.accepted


class MllpClient:
    """A connection that stays open between messages. For one thread at a time.

    Only an acknowledgement whose MSA-2 is the message's MSH-10 counts, or a nack without MSA-2; others
    are dropped with a log line. AE, AR, CE and CR are Acks that are not `accepted`.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        timeout_seconds: float = 30.0,
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str = "",
    ) -> None:
        """Connects with the first message. timeout_seconds: to connect, and for each message with its
        acknowledgement. server_hostname: the name in the peer's certificate, host by default."""
        self._host = host
        self._port = port
        self._timeout_seconds = timeout_seconds
        self._ssl_context = ssl_context
        self._server_hostname = server_hostname or host
        self._connection: socket.socket | None = None
        self._deframer = Deframer(_ACK_CAP_BYTES)

    def __enter__(self) -> MllpClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next message opens one again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def send(self, message: bytes, wait: Wait = Wait.FIRST) -> Ack:
        """Send a message and wait for its acknowledgement.

        A connection that the peer closed between messages is opened again. Once a byte of the message
        was written it is never sent again from here.

        Raises Unreachable when the peer does not answer; it says whether the message may have been taken.
        Raises Malformed when what comes back is no acknowledgement, ValueError when the message
        cannot be framed. The connection is closed then.
        """
        frame, control_id = framed(message), _control_id(message)
        written = False
        try:
            connection = self._ready()
            written = True
            deadline = time.monotonic() + self._timeout_seconds
            connection.settimeout(self._timeout_seconds)
            connection.sendall(frame)
            return self._awaited(connection, control_id, wait, deadline)
        except OSError as error:
            self.close()
            raise self._unreachable(error, written) from error
        except BaseException:
            self.close()
            raise

    def _unreachable(self, error: OSError, written: bool) -> Unreachable:
        peer, kind = f"MLLP peer {self._host}:{self._port}", type(error).__name__
        if written:
            return Unreachable(
                f"no acknowledgement from {peer} ({kind}): the message may have been taken; "
                "send again, unchanged"
            )
        return Unreachable(
            f"no connection to {peer} ({kind}): the message was not sent; check that it listens "
            "and send again"
        )

    def _ready(self) -> socket.socket:
        """The connection, opened where there is none, with nothing left in it of earlier messages."""
        if self._connection is not None and not self._drained(self._connection):
            self.close()
        if self._connection is None:
            self._deframer = Deframer(_ACK_CAP_BYTES)
            plain = socket.create_connection((self._host, self._port), self._timeout_seconds)
            try:
                # Whole frames are written at once: waiting to fill a packet only costs time.
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                context = self._ssl_context
                self._connection = (
                    context.wrap_socket(plain, server_hostname=self._server_hostname) if context else plain
                )
            except BaseException:
                plain.close()
                raise
        return self._connection

    def _drained(self, connection: socket.socket) -> bool:
        """Whether the connection is open, once what came late for earlier messages was dropped."""
        connection.settimeout(0)
        try:
            self._drop_late(b"")
            while data := connection.recv(_READ_BYTES):
                self._drop_late(data)
        except (BlockingIOError, ssl.SSLWantReadError):
            # Of half an acknowledgement nobody can tell what it will be taken for.
            return not self._deframer.inside
        except (OSError, Malformed):
            return False
        return False

    def _drop_late(self, data: bytes) -> None:
        late = self._deframer.next(data)
        while late is not None:
            log.warning("dropped an acknowledgement that came late from %s:%d", self._host, self._port)
            late = self._deframer.next()

    def _awaited(self, connection: socket.socket, control_id: str, wait: Wait, deadline: float) -> Ack:
        while True:
            ack = read_ack(self._received(connection, deadline))
            own = ack.control_id == control_id or (not ack.control_id and not ack.accepted)
            if own and wait.ends_with(ack):
                return ack
            if not own:
                log.warning(
                    "ignored an acknowledgement of another message from %s:%d", self._host, self._port
                )

    def _received(self, connection: socket.socket, deadline: float) -> bytes:
        """The next frame. Raises TimeoutError after the deadline, and when the peer closes OSError."""
        payload = self._deframer.next()
        while payload is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
            data = connection.recv(_READ_BYTES)
            if not data:
                raise ConnectionAbortedError
            payload = self._deframer.next(data)
        return payload


def send(
    host: str,
    port: int,
    messages: Iterable[bytes],
    timeout_seconds: float = 30.0,
    ssl_context: ssl.SSLContext | None = None,
) -> Iterator[Ack]:
    """Send messages one after another, each after the acknowledgement of the one before.

    Nothing is sent until the iterator is read. Raises as `MllpClient.send` does; the messages after
    that one were not sent.
    """
    with MllpClient(host, port, timeout_seconds=timeout_seconds, ssl_context=ssl_context) as client:
        for message in messages:
            yield client.send(message)


def _control_id(message: bytes) -> str:
    try:
        return parse(message).control_id
    except Malformed:
        return ""
