"""One MLLP connection of a listener: messages handed over in order, answered in order, within bounds."""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import replace
from typing import cast

from connectors.errors import Malformed
from connectors.hl7.ack import AckError, Verdict, answers
from connectors.hl7.frames import Deframer, OverCap, framed
from connectors.hl7.mllp.alarm import Alarm
from connectors.hl7.mllp.connections import Connections
from connectors.hl7.mllp.hand import Answering, Hand
from connectors.hl7.mllp.peers import Certificate, Peer, plain_host

LINGER_SECONDS = 1.0
"""How long a connection that we end is read on, so that a reset does not take the last answer with it."""
_SMALL_BYTES = 64 * 1024


class Connection(asyncio.Protocol):
    """It takes messages while fewer than the window, and less than the frame cap in bytes, are in hand.

    Then it stops reading. So a connection holds at most twice the frame cap, a read-ahead of 256 KiB
    (asyncio's) and the 64 KiB of answers after which a peer that does not read is not read from.
    """

    def __init__(self, connections: Connections[Connection]) -> None:
        self._all = connections
        self._terms = connections.terms
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._peer = Peer("unknown", 0, self._terms.listener)
        self._securing: asyncio.Task[None] | None = None
        self._deframer = Deframer(self._terms.frame_cap_bytes)
        self._gathered_bytes = 0
        self._unread = b""
        """What came while nothing was taken."""
        self._hand = Hand()
        self._farewell = b""
        self._taking = False
        self._served = False
        self._paused = False
        self._peer_stalls = False
        self._ended_by_peer = False
        self._closing = False
        self._lost = False
        self._since = self._frame_since = self._stalled_since = self._loop.time()
        self._alarm = Alarm(self._loop, self._too_late)

    # -- the beginning ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the peer in or not, by its address; with TLS the certificate decides later."""
        self._transport = cast(asyncio.Transport, transport)
        host, port = (transport.get_extra_info("peername") or ("unknown", 0))[:2]
        self._peer = Peer(plain_host(host), port, self._terms.listener)
        reason = self._all.refusal(self._peer)
        if reason:
            self._refused(reason)
            return
        self._all.open.add(self)
        if self._terms.ssl_context is None:
            self._begin()
        else:
            # Not before its address was looked at: a handshake is worth much more to an attacker.
            self._transport.pause_reading()
            self._securing = self._loop.create_task(self._secure(self._terms.ssl_context))

    async def _secure(self, context: ssl.SSLContext) -> None:
        try:
            secure = await self._loop.start_tls(
                self._transport,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=self._terms.idle_timeout_seconds,
                ssl_shutdown_timeout=LINGER_SECONDS,
            )
        except OSError as error:
            reason = error.reason if isinstance(error, ssl.SSLError) else ""
            self._refused(f"no TLS handshake ({reason or type(error).__name__})")
            return
        finally:
            self._securing = None
        if secure is None or self._lost:
            return
        self._transport = secure
        certificate = Certificate.of(secure.get_extra_info("ssl_object"))
        self._peer = replace(
            self._peer, common_name=certificate.common_name, fingerprint=certificate.fingerprint
        )
        if self._terms.senders.allow_certificate(certificate):
            self._begin()
        else:
            self._refused("its certificate is not in the list of allowed senders")

    def _refused(self, reason: str) -> None:
        self._tell("refused: %s", reason)
        self._closing = True
        self._transport.abort()
        self.connection_lost(None)

    def _begin(self) -> None:
        self._taking = True
        self._since = self._loop.time()
        unread, self._unread = self._unread, b""
        self._take(unread)
        if self._ended_by_peer:
            self._end("")

    # -- what the transport tells ----------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take messages, as far as the window goes."""
        if self._taking and not self._paused:
            self._take(data)
        elif not self._closing and (self._taking or self._securing):
            self._unread += data

    def eof_received(self) -> bool:
        """The peer sends no more; what is in hand is still answered. Returns whether to stay open."""
        self._ended_by_peer = True
        if self._securing or self._closing:
            return False
        if self._deframer.inside:
            self._tell("ended inside a frame")
        self._end("")
        # With TLS the peer's close ends both directions.
        return bool(self._hand) and self._terms.ssl_context is None

    def pause_writing(self) -> None:
        """The peer does not take its answers."""
        self._peer_stalls = True
        self._stalled_since = self._loop.time()
        self._pace()

    def resume_writing(self) -> None:
        """The peer took its answers."""
        self._peer_stalls = False
        self._go_on()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone; messages in hand run on, and their sender will send them again."""
        if self._lost:
            return
        self._lost = self._closing = True
        self._taking = False
        if error is not None:
            self._tell("lost: %s", type(error).__name__)
        self._forget_frame()
        self._alarm.close()
        if not self._hand:
            self._all.leave(self)

    # -- messages and answers --------------------------------------------------------------------

    def _take(self, data: bytes = b"") -> None:
        """Hand over the messages that have come, until the window is full."""
        deframer, began = self._deframer, self._deframer.inside
        try:
            message = deframer.next(data)
            while message is not None:
                began = False
                self._hand_over(message)
                if self._full:
                    self._write_answers()
                    if self._full:
                        break
                message = deframer.next()
            if not began or self._paused:
                self._frame_since = self._loop.time()
            self._gather()
        except OverCap as error:
            self._end(str(error), AckError(str(error), 104), error.head)
        except Malformed as error:
            self._end(str(error))
        self._write_answers()
        self._pace()

    @property
    def _full(self) -> bool:
        return (
            len(self._hand) >= self._terms.window
            or self._hand.held_bytes >= self._terms.frame_cap_bytes
            or self._peer_stalls
        )

    def _hand_over(self, message: bytes) -> None:
        self._served = True
        ours = False
        try:
            awaitable = self._terms.handler(message, self._peer)
            ours = not asyncio.isfuture(awaitable)
            answering: Answering = asyncio.ensure_future(awaitable)
        except Exception as error:
            answering = self._loop.create_future()
            answering.set_exception(error)
        self._hand.add(answering, message, ours=ours)
        if not answering.done():
            answering.add_done_callback(self._answered)

    def _gather(self) -> None:
        """Count what is held of an unfinished frame; too much over all connections ends this one."""
        held = self._deframer.held_bytes
        self._all.gathered_bytes += held - self._gathered_bytes
        self._gathered_bytes = held
        # Only who gathers much is refused: small messages pass while others flood.
        if held > _SMALL_BYTES and self._all.gathered_bytes > self._terms.gather_cap_bytes:
            busy = "too many large messages are arriving at once; send it again later"
            self._end(busy, AckError(busy, 207), self._deframer.head)

    def _answered(self, _answering: Answering) -> None:
        self._write_answers()
        self._go_on()

    def _go_on(self) -> None:
        if self._paused and self._taking and not self._full:
            unread, self._unread = self._unread, b""
            self._take(unread)
        else:
            self._watch()

    def _write_answers(self) -> None:
        """Write every answer whose turn it is."""
        frames: list[bytes] = []
        for answering, message in self._hand.answered():
            frames += self._frames(answering, message)
        if frames and not self._lost:
            self._transport.write(b"".join(frames) if len(frames) > 1 else frames[0])
        if self._hand:
            return
        if self._lost:
            self._all.leave(self)
        elif not self._taking:
            self._close()
        elif frames:
            self._since = self._loop.time()

    def _frames(self, answering: Answering, message: bytes) -> list[bytes]:
        """The framed answers; a retryable nack where the handler failed."""
        try:
            return [framed(answer) for answer in answering.result() if answer]
        except (Exception, asyncio.CancelledError) as error:  # whatever failed, the sender must keep it
            kind = type(error).__name__
            self._tell("stays open; handling a message failed: %s", kind, level=logging.ERROR)
            failure = AckError("the message could not be stored; send it again later", 207)
            return self._nack(failure, message)

    def _nack(self, error: AckError, raw: bytes) -> list[bytes]:
        nack = answers(None, Verdict.REJECT, error, mode=self._terms.mode, raw=raw)
        return [framed(answer) for answer in nack.in_order]

    # -- the end ---------------------------------------------------------------------------------

    def stop(self) -> None:
        """Take nothing more; close when what is in hand is answered."""
        if self._securing:
            self._securing.cancel()
            self._transport.abort()
            self.connection_lost(None)
        elif not self._closing:
            self._end("stopping", level=logging.INFO)

    def abandon(self) -> list[Answering]:
        """Close now; cancel and return the tasks that are ours. Messages in hand go unanswered."""
        tasks = self._hand.drop()
        self._transport.abort()
        self.connection_lost(None)
        self._all.leave(self)
        return tasks

    def _end(
        self, reason: str, refusal: AckError | None = None, raw: bytes = b"", level: int = logging.WARNING
    ) -> None:
        """Take nothing more, answer what is in hand, then the refusal, then close."""
        if not self._taking:
            return
        self._taking = False
        if reason:
            self._tell("closed: %s", reason, level=level)
        self._farewell = b"".join(self._nack(refusal, raw)) if refusal else b""
        self._forget_frame()
        self._pace()
        if not self._hand:
            self._close()

    def _close(self) -> None:
        if self._closing:
            return
        self._closing = True
        if self._farewell:
            self._transport.write(self._farewell)
        if self._transport.can_write_eof() and not self._ended_by_peer and (self._farewell or self._served):
            try:
                self._transport.write_eof()
            except OSError:  # the peer has gone already
                self._transport.abort()
                return
            self._transport.resume_reading()
            self._alarm.set(self._loop.time() + LINGER_SECONDS)
        else:  # TLS lingers by itself
            self._transport.close()
            self._alarm.set(self._loop.time() + self._terms.idle_timeout_seconds)

    def _forget_frame(self) -> None:
        self._all.gathered_bytes -= self._gathered_bytes
        self._gathered_bytes = 0
        self._unread = b""
        self._deframer = Deframer(self._terms.frame_cap_bytes)

    def _tell(self, words: str, *arguments: object, level: int = logging.WARNING) -> None:
        line = f"MLLP connection from %s to %s {words}"
        self._all.notices.tell(
            level, self._peer.host, line, self._peer.address, self._terms.listener, *arguments
        )

    # -- pace and patience -----------------------------------------------------------------------

    def _pace(self) -> None:
        """Read only while messages can be taken."""
        if self._lost or self._closing:
            return
        pause = self._full or not self._taking
        if pause != self._paused:
            self._paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()
        self._watch()

    def _watch(self) -> None:
        """Set what is waited for, and how long.

        One deadline a frame, not one a read: a byte a second would renew the latter for ever.
        """
        if self._closing:
            return
        idle = self._terms.idle_timeout_seconds
        if self._peer_stalls:
            self._alarm.set(self._stalled_since + idle)
        elif self._paused or not self._taking:
            self._alarm.set(None)
        elif self._deframer.inside:
            self._alarm.set(self._frame_since + idle)
        elif self._hand:
            self._alarm.set(None)
        else:
            self._alarm.set(self._since + (self._terms.quiet_timeout_seconds if self._served else idle))

    def _too_late(self) -> None:
        if not self._closing:
            what = "it does not take its answers" if self._peer_stalls else "no whole message in time"
            self._tell("closed: %s", what)
        self._closing, self._taking = True, False
        self._transport.abort()
