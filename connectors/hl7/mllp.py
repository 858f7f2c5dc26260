"""MLLP connections: a server on asyncio and a plain client, with or without TLS.

Delivery is at least once: a peer that sees no acknowledgement sends again. Log lines name the peer's
address and the reason, never what a message said.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from threading import Thread

from connectors.errors import Malformed, Unreachable
from connectors.hl7.ack import Ack, AckCode, AckError, acknowledge, read_ack
from connectors.hl7.frames import FRAME_CAP_BYTES, Deframer, OverCap, framed
from connectors.hl7.message import parse

Handler = Callable[[bytes, str], Awaitable[bytes]]
"""Takes one message and the peer's host:port; returns the acknowledgement, empty for none."""

log = logging.getLogger(__name__)

_READ_BYTES = 64 * 1024
_ACK_CAP_BYTES = 1024 * 1024
_LINGER_SECONDS = 1.0


class MllpServer:
    """Serves MLLP connections: every message of a connection in order, one acknowledgement each.

    While a message is handled nothing more is read from its connection, so that a connection holds
    one frame and a read-ahead of about 128 KiB at most.
    """

    def __init__(
        self,
        host: str,
        port: int,
        handler: Handler,
        *,
        frame_cap_bytes: int = FRAME_CAP_BYTES,
        idle_timeout_seconds: float = 60.0,
        quiet_timeout_seconds: float = 3600.0,
        ssl_context: ssl.SSLContext | None = None,
        max_connections: int = 200,
    ) -> None:
        """port: 0 takes a free one. idle_timeout_seconds: for a frame from its first byte to its end block,
        for a new connection to send its first byte, and for a peer to take its acknowledgement.
        quiet_timeout_seconds: how long a connection that has served a message may wait for the next."""
        self._host = host
        self._port = port
        self._handler = handler
        self._frame_cap_bytes = frame_cap_bytes
        self._idle_timeout_seconds = idle_timeout_seconds
        self._quiet_timeout_seconds = quiet_timeout_seconds
        self._ssl_context = ssl_context
        self._max_connections = max_connections
        self._server: asyncio.Server | None = None
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._handling: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Listen; return the bound port. Raises OSError when the address cannot be bound."""
        self._stopping = False
        self._server = await asyncio.start_server(
            self._connected,
            self._host,
            self._port,
            limit=_READ_BYTES,
            ssl=self._ssl_context,
            ssl_handshake_timeout=self._idle_timeout_seconds if self._ssl_context else None,
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self, drain_seconds: float = 10.0) -> None:
        """Stop listening, let messages that are being handled be acknowledged, then close.

        A frame that is still arriving is dropped: it was not acknowledged, so its sender keeps it.
        """
        self._stopping = True
        if self._server is None:
            return
        self._server.close()
        for task in self._tasks - self._handling:
            task.cancel()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=drain_seconds)
            for task in late:
                task.cancel()
            if late:
                log.warning("%d MLLP connections did not finish within %s s", len(late), drain_seconds)
                await asyncio.wait(late)
        await self._server.wait_closed()
        self._server = None

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        host, port = (writer.get_extra_info("peername") or ("unknown", 0))[:2]
        peer = f"{host}:{port}"
        if self._stopping or len(self._tasks) >= self._max_connections:
            log.warning("MLLP connection from %s refused: %d are open", peer, len(self._tasks))
            writer.transport.abort()
            return
        self._tasks.add(task)
        try:
            try:
                await self._serve(reader, writer, peer, task)
            except OverCap as error:
                log.warning("MLLP connection from %s closed: %s", peer, error)
                await self._refuse(error, reader, writer)
        except asyncio.CancelledError:  # only stop() cancels, and asyncio would log a traceback
            log.info("MLLP connection from %s closed: stopping", peer)
        except Malformed as error:
            log.warning("MLLP connection from %s closed: %s", peer, error)
        except TimeoutError:
            log.warning("MLLP connection from %s closed: no whole message in time", peer)
            writer.transport.abort()
        except OSError as error:
            log.warning("MLLP connection from %s lost: %s", peer, type(error).__name__)
        finally:
            self._tasks.discard(task)
            self._handling.discard(task)
            writer.close()

    async def _serve(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        peer: str,
        task: asyncio.Task[None],
    ) -> None:
        deframer = Deframer(self._frame_cap_bytes)
        patience_seconds = self._idle_timeout_seconds
        while not self._stopping:
            payload = await self._next(reader, deframer, patience_seconds)
            if payload is None:
                if deframer.inside:
                    log.warning("MLLP connection from %s ended inside a frame", peer)
                return
            patience_seconds = self._quiet_timeout_seconds
            self._handling.add(task)
            answer = await self._answer(payload, peer)
            if answer:
                writer.write(answer)
                async with asyncio.timeout(self._idle_timeout_seconds):
                    await writer.drain()
            self._handling.discard(task)

    async def _next(
        self, reader: asyncio.StreamReader, deframer: Deframer, patience_seconds: float
    ) -> bytes | None:
        """The next message; None when the peer closed. Raises Malformed, OverCap and TimeoutError."""
        payload = deframer.next()
        inside = deframer.inside
        # One deadline a frame, not one a read: a byte a second would renew the latter for ever.
        async with asyncio.timeout(self._idle_timeout_seconds if inside else patience_seconds) as deadline:
            while payload is None:
                data = await reader.read(_READ_BYTES)
                if not data:
                    return None
                payload = deframer.next(data)
                if deframer.inside and not inside:
                    inside = True
                    deadline.reschedule(asyncio.get_running_loop().time() + self._idle_timeout_seconds)
        return payload

    async def _answer(self, payload: bytes, peer: str) -> bytes:
        """The framed acknowledgement; a retryable nack where the handler fails."""
        try:
            answer = await self._handler(payload, peer)
            return framed(answer) if answer else b""
        except Exception as error:  # whatever failed, the sender must keep the message
            log.error("handling a message from %s failed: %s", peer, type(error).__name__)
            failure = AckError("the message could not be stored; send it again later", 207)
            return framed(acknowledge(None, AckCode.AR, failure, raw=payload))

    async def _refuse(
        self, error: OverCap, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Send a nack for a frame over the cap, and read on for a moment so that it arrives.

        Closing with unread bytes resets the connection, which may take the nack with it.
        """
        refusal = AckError(str(error), 104)
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                writer.write(framed(acknowledge(None, AckCode.AR, refusal, raw=error.head)))
                await writer.drain()
                if writer.can_write_eof():
                    writer.write_eof()
                while await reader.read(_READ_BYTES):
                    pass


@contextmanager
def running(server: MllpServer) -> Iterator[int]:
    """Run a server on an event loop of its own in a thread; give its port, and stop it at the end."""
    bound: Future[int] = Future()
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        ended = asyncio.Event()
        loops.append((asyncio.get_running_loop(), ended))
        try:
            bound.set_result(await server.start())
        except OSError as error:
            bound.set_exception(error)
            return
        await ended.wait()
        await server.stop()

    thread = Thread(target=lambda: asyncio.run(serve()), name="mllp", daemon=True)
    thread.start()
    try:
        yield bound.result()
    finally:
        loop, ended = loops[0]
        if thread.is_alive():
            with suppress(RuntimeError):  # the loop closed by itself in between
                loop.call_soon_threadsafe(ended.set)
        thread.join()


def send(
    host: str,
    port: int,
    messages: Iterable[bytes],
    timeout_seconds: float = 30.0,
    ssl_context: ssl.SSLContext | None = None,
) -> Iterator[Ack]:
    """Send messages over one connection, each after the acknowledgement of the one before.

    Nothing is sent until the iterator is read. Only an acknowledgement whose MSA-2 is the message's
    MSH-10 counts (a late one is no answer to the next message), or a nack without MSA-2. AE, AR, CE
    and CR are Acks that are not `accepted`. timeout_seconds: to connect, and for each acknowledgement.

    Raises Unreachable when the peer does not answer: the message may have been taken, so send it
    again unchanged. Raises Malformed when what comes back is no acknowledgement.
    """
    try:
        with socket.create_connection((host, port), timeout_seconds) as plain:
            secure = ssl_context.wrap_socket(plain, server_hostname=host) if ssl_context else plain
            with secure:
                deframer = Deframer(_ACK_CAP_BYTES)
                for message in messages:
                    secure.settimeout(timeout_seconds)
                    secure.sendall(framed(message))
                    yield _awaited(secure, deframer, _control_id(message), timeout_seconds)
    except OSError as error:
        raise Unreachable(
            f"no acknowledgement from MLLP peer {host}:{port} ({type(error).__name__}); check that it listens"
            " and send again"
        ) from error


def _awaited(connection: socket.socket, deframer: Deframer, control_id: str, timeout_seconds: float) -> Ack:
    deadline = time.monotonic() + timeout_seconds
    payload = deframer.next()
    while True:
        while payload is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
            data = connection.recv(_READ_BYTES)
            if not data:
                raise ConnectionAbortedError
            payload = deframer.next(data)
        ack = read_ack(payload)
        if ack.control_id == control_id or (not ack.control_id and not ack.accepted):
            return ack
        log.warning("ignored an acknowledgement of another message")
        payload = deframer.next()


def _control_id(message: bytes) -> str:
    try:
        return parse(message).control_id
    except Malformed:
        return ""
