"""An MLLP listener on asyncio."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from threading import Thread

from connectors.hl7.ack import AckMode
from connectors.hl7.frames import FRAME_CAP_BYTES
from connectors.hl7.mllp.connection import Connection
from connectors.hl7.mllp.connections import Connections
from connectors.hl7.mllp.notices import Notices
from connectors.hl7.mllp.peers import EVERYBODY, Senders
from connectors.hl7.mllp.terms import Handler, Terms

log = logging.getLogger(__name__)

_BACKLOG = 1024
"""Connections that may wait to be taken; the kernel has a limit of its own."""


class MllpServer:
    """Serves MLLP connections: the messages of each in order, and their answers in the same order.

    While the handler has not answered the earlier messages of a connection, later ones are handed to it
    too, as far as the window goes: so it can commit many at once.
    """

    def __init__(
        self,
        host: str,
        port: int,
        handler: Handler,
        *,
        name: str = "mllp",
        mode: AckMode = AckMode.AUTO,
        frame_cap_bytes: int = FRAME_CAP_BYTES,
        gather_cap_bytes: int = 16 * FRAME_CAP_BYTES,
        window: int = 64,
        idle_timeout_seconds: float = 60.0,
        quiet_timeout_seconds: float = 3600.0,
        max_connections: int = 200,
        ssl_context: ssl.SSLContext | None = None,
        senders: Senders = EVERYBODY,
    ) -> None:
        """port: 0 takes a free one. name: in `Peer.listener` and in log lines. mode: for the nacks that are
        written here. frame_cap_bytes: of one message. gather_cap_bytes: of all frames over 64 KiB that have
        begun and not ended, over all connections. window: messages of one connection in hand at once.

        idle_timeout_seconds: for a frame from its first byte to its end block, for a new connection to
        shake hands and to send its first byte, and for a peer to take its answers. quiet_timeout_seconds:
        how long a connection that has served a message may wait for the next. senders: who may connect.

        Raises ValueError when certificates are listed and the context asks clients for none.
        """
        if senders.certificates and (ssl_context is None or ssl_context.verify_mode != ssl.CERT_REQUIRED):
            raise ValueError("a list of allowed certificates needs TLS with a CA for clients; name one")
        self._host = host
        self._port = port
        self._terms = Terms(
            listener=name,
            handler=handler,
            mode=mode,
            frame_cap_bytes=frame_cap_bytes,
            gather_cap_bytes=gather_cap_bytes,
            window=window,
            idle_timeout_seconds=idle_timeout_seconds,
            quiet_timeout_seconds=quiet_timeout_seconds,
            max_connections=max_connections,
            ssl_context=ssl_context,
            senders=senders,
        )
        self._server: asyncio.Server | None = None
        self._connections: Connections[Connection] | None = None

    async def start(self) -> int:
        """Listen; return the bound port. Raises OSError when the address cannot be bound."""
        connections = Connections[Connection](self._terms, Notices(log))
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(connections), self._host, self._port, backlog=_BACKLOG
        )
        self._connections = connections
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self, drain_seconds: float = 10.0) -> None:
        """Stop listening, let messages that are being handled be acknowledged, then close.

        A frame that is still arriving is dropped: it was not acknowledged, so its sender keeps it.
        """
        if self._server is None or self._connections is None:
            return
        connections = self._connections
        connections.stopping = True
        self._server.close()
        for connection in list(connections.open):
            connection.stop()
        if connections.open:
            connections.emptied.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(connections.emptied.wait(), drain_seconds)
        if connections.open:
            log.warning("%d MLLP connections did not finish in %g s", len(connections.open), drain_seconds)
            late = [task for connection in list(connections.open) for task in connection.abandon()]
            if late:
                await asyncio.wait(late)
        await self._server.wait_closed()
        connections.notices.close()
        self._server = self._connections = None


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
