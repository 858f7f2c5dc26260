"""Many messages of one connection in hand at once: called in order, answered in order, within bounds."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.hl7.ack import AckCode, AckMode, Verdict, answers, read_ack
from connectors.hl7.frames import END, START, framed
from connectors.hl7.message import build, parse
from connectors.hl7.mllp import MllpServer, Peer
from tests.integration.test_hl7_mllp import SECRET, message

PATIENCE_SECONDS = 20.0


class Desk:
    """A handler whose answers are given by hand, in any order."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.peers: list[Peer] = []
        self._answers: dict[str, asyncio.Future[Sequence[bytes]]] = {}
        self._changed = asyncio.Event()

    def take(self, payload: bytes, peer: Peer) -> asyncio.Future[Sequence[bytes]]:
        """Keep a message until it is answered."""
        self.taken.append(payload)
        self.peers.append(peer)
        answer = self._answers[parse(payload).control_id] = asyncio.get_running_loop().create_future()
        self._changed.set()
        return answer

    def answer(self, control_id: str) -> None:
        """Accept one message."""
        raw = next(raw for raw in self.taken if parse(raw).control_id == control_id)
        self._answers[control_id].set_result(answers(parse(raw), Verdict.ACCEPT).in_order)

    async def until(self, count: int) -> None:
        """Wait until so many messages were taken."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.taken) < count:
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def connected(
    handler: Callable[[bytes, Peer], Awaitable[Sequence[bytes]]], **changes: object
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A server on this event loop, and a connection to it."""
    server = MllpServer("127.0.0.1", 0, handler, **{"name": "orders", **changes})  # type: ignore[arg-type]
    reader, writer = await asyncio.open_connection("127.0.0.1", await server.start())
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield reader, writer
    finally:
        writer.close()
        await server.stop(drain_seconds=0.1)


async def next_id(reader: asyncio.StreamReader) -> str:
    """MSA-2 of the next acknowledgement."""
    return read_ack(await frame(reader)).control_id


async def frame(reader: asyncio.StreamReader) -> bytes:
    """The next frame's message."""
    return (await reader.readuntil(END)).removeprefix(START).removesuffix(END)


async def settle() -> None:
    """Let the server read all that has come: the loop turns more often than it has steps to take."""
    for _ in range(50):
        await asyncio.sleep(0)


def test_the_handler_gets_messages_as_far_as_the_window_goes() -> None:
    """64 messages are handed over in the order of arrival before one is answered; the 65th after that."""

    async def scenario() -> None:
        desk = Desk()
        async with connected(desk.take) as (reader, writer):
            writer.write(b"".join(framed(message(str(n))) for n in range(66)))
            await desk.until(64)
            await settle()
            assert [parse(raw).control_id for raw in desk.taken] == [str(n) for n in range(64)]
            desk.answer("0")
            assert await next_id(reader) == "0"
            await desk.until(65)
            await settle()
            assert len(desk.taken) == 65

    asyncio.run(scenario())


def test_the_window_is_bounded_in_bytes_too() -> None:
    """Once the frame cap in bytes is in hand, the next message waits for an answer."""

    async def scenario() -> None:
        desk = Desk()
        async with connected(desk.take, frame_cap_bytes=1000) as (_, writer):
            writer.write(b"".join(framed(message(str(n), "x" * 600)) for n in range(4)))
            await desk.until(2)
            await settle()
            assert len(desk.taken) == 2
            desk.answer("0")
            await desk.until(3)

    asyncio.run(scenario())


@settings(max_examples=30)
@given(st.permutations(range(8)), st.lists(st.integers(1, 400), min_size=1, max_size=8))
def test_answers_keep_the_order_of_their_messages(order: list[int], cuts: list[int]) -> None:
    """Whatever finishes first, and however the stream is cut, the answers come in order, none lost."""

    async def scenario() -> list[str]:
        desk = Desk()
        async with connected(desk.take) as (reader, writer):
            stream = b"".join(framed(message(str(n))) for n in range(8))
            for cut in cuts:
                writer.write(stream[:cut])
                await settle()
                stream = stream[cut:]
            writer.write(stream)
            await desk.until(8)
            for number in order:
                desk.answer(str(number))
                await settle()
            return [await next_id(reader) for _ in range(8)]

    assert asyncio.run(scenario()) == [str(n) for n in range(8)]


def test_a_future_is_taken_without_a_task() -> None:
    """A handler that returns a Future costs no task; its peer knows address, port and listener."""

    async def scenario() -> None:
        desk = Desk()
        async with connected(desk.take) as (reader, writer):
            tasks = len(asyncio.all_tasks())
            writer.write(framed(message("1")) + framed(message("2")))
            await desk.until(2)
            assert len(asyncio.all_tasks()) == tasks
            desk.answer("1")
            assert await next_id(reader) == "1"
            host, port = writer.get_extra_info("sockname")
            assert desk.peers[0] == Peer(host, port, "orders")
            assert desk.peers[0].address == f"127.0.0.1:{port}"

    asyncio.run(scenario())


def test_none_one_or_two_answers_go_back() -> None:
    """Accept and application acknowledgement of one message stand together, before those of the next."""
    wanted = [("", ""), ("AL", "AL"), ("NE", "NE"), ("NE", "AL"), ("AL", "NE")]

    async def answer(payload: bytes, _peer: Peer) -> Sequence[bytes]:
        both = answers(parse(payload), Verdict.ACCEPT)
        return both.accept, both.application  # an empty one is not sent

    async def scenario() -> list[tuple[str, str]]:
        async with connected(answer) as (reader, writer):
            for number, (accept, application) in enumerate(wanted):
                header = {9: ("ORM", "O01"), 10: str(number), 15: accept, 16: application}
                writer.write(framed(build([("MSH", header)])))
            acks = [read_ack(await frame(reader)) for _ in range(5)]
        return [(ack.control_id, ack.code.value) for ack in acks]

    assert asyncio.run(scenario()) == [("0", "AA"), ("1", "CA"), ("1", "AA"), ("3", "AA"), ("4", "CA")]


@pytest.mark.parametrize(
    ("asked", "mode", "codes"),
    [
        (("", ""), AckMode.AUTO, [AckCode.AR]),
        (("AL", "AL"), AckMode.AUTO, [AckCode.CR]),
        (("SU", "AL"), AckMode.AUTO, [AckCode.AR]),
        (("AL", "AL"), AckMode.ORIGINAL, [AckCode.AR]),
        (("", ""), AckMode.ENHANCED, [AckCode.CR]),
        (("NE", "NE"), AckMode.AUTO, []),
    ],
)
@pytest.mark.parametrize("failure", ["raises", "answers with an error", "is cancelled", "answers no bytes"])
def test_a_handler_that_fails_makes_the_nack_that_was_asked_for(
    asked: tuple[str, str], mode: AckMode, codes: list[AckCode], failure: str
) -> None:
    """However it fails, the sender is told in its own mode to send again, and the next message is served."""

    def fail(payload: bytes, _peer: Peer) -> Awaitable[Sequence[bytes]]:
        answer: asyncio.Future[Sequence[bytes]] = asyncio.get_running_loop().create_future()
        if parse(payload).control_id == "next":
            answer.set_result(answers(parse(payload), Verdict.ACCEPT).in_order)
        elif failure == "raises":
            raise RuntimeError(SECRET)
        elif failure == "is cancelled":
            answer.cancel()
        elif failure == "answers no bytes":
            answer.set_result([1, 2])  # type: ignore[list-item]
        else:
            answer.set_exception(RuntimeError(SECRET))
        return answer

    async def scenario() -> None:
        async with connected(fail, mode=mode) as (reader, writer):
            header = {9: ("ORM", "O01"), 10: "77", 15: asked[0], 16: asked[1]}
            writer.write(framed(build([("MSH", header)])) + framed(message("next")))
            acks = [read_ack(await frame(reader)) for _ in range(len(codes) + 1)]
            assert [ack.code for ack in acks[:-1]] == codes
            assert {ack.control_id for ack in acks[:-1]} <= {"77"}
            assert {ack.error_code for ack in acks[:-1]} <= {"207"}
            assert acks[-1].control_id == "next"

    asyncio.run(scenario())


def test_a_failure_over_an_acknowledgement_is_not_answered() -> None:
    """Not even a nack goes back for what is itself an acknowledgement."""

    async def fail(payload: bytes, _peer: Peer) -> Sequence[bytes]:
        if parse(payload).type == "ACK":
            raise RuntimeError
        return answers(parse(payload), Verdict.ACCEPT).in_order

    async def scenario() -> None:
        async with connected(fail) as (reader, writer):
            stray = build([("MSH", {9: "ACK", 10: "1", 15: "AL", 16: "AL"}), ("MSA", {1: "AA", 2: "9"})])
            writer.write(framed(stray) + framed(message("2")))
            assert await next_id(reader) == "2"

    asyncio.run(scenario())


def test_a_full_window_stops_the_sender() -> None:
    """While nothing is answered, no more is read than the window and the buffers hold."""

    async def scenario() -> None:
        desk = Desk()
        async with connected(desk.take, window=1, frame_cap_bytes=100_000) as (reader, writer):
            payload, written = framed(message("1", "x" * 90_000)), 0

            async def flood() -> None:
                nonlocal written
                while written < 256 * 2**20:
                    writer.write(payload)
                    written += len(payload)
                    await writer.drain()

            with pytest.raises(TimeoutError):
                await asyncio.wait_for(flood(), 1.0)
            assert written < 64 * 2**20
            assert len(desk.taken) == 1
            desk.answer("1")
            assert await next_id(reader) == "1"
            await desk.until(2)

    asyncio.run(scenario())


@pytest.mark.parametrize("takes", [True, False])
def test_a_peer_must_take_its_answers_in_time(takes: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A peer that sends and never reads is read no further, and cut off after the idle time."""
    large = b"MSH|^~\\&|||||||ACK|1|P|2.5.1\rMSA|AA|1|" + b"x" * 1_000_000
    handled = 0

    def answer(_payload: bytes, _peer: Peer) -> asyncio.Future[Sequence[bytes]]:
        nonlocal handled
        handled += 1
        answered: asyncio.Future[Sequence[bytes]] = asyncio.get_running_loop().create_future()
        answered.set_result([large])
        return answered

    async def scenario() -> None:
        async with connected(answer, idle_timeout_seconds=0.4) as (reader, writer):
            writer.write(framed(message("1")) * 100)
            if takes:
                for _ in range(100):
                    assert len(await reader.readexactly(len(large) + 3)) > len(large)
                return
            while "it does not take its answers" not in caplog.text:
                await asyncio.sleep(0.01)

    asyncio.run(scenario())
    assert ("it does not take its answers" in caplog.text) is not takes
    assert handled == 100 if takes else handled < 90


def test_a_peer_that_is_gone_before_its_last_answer_holds_nothing_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A message, then junk, then a close, all before the answer: the connection ends without an error."""

    async def scenario() -> None:
        desk = Desk()
        async with connected(desk.take) as (_, writer):
            writer.write(framed(message("1")) + b"junk")
            await desk.until(1)
            writer.close()
            await writer.wait_closed()
            desk.answer("1")
            await settle()

    asyncio.run(scenario())
    assert "start block" in caplog.text
    assert "did not finish" not in caplog.text
    assert "Exception" not in caplog.text


def test_messages_in_hand_of_a_lost_connection_run_on() -> None:
    """A sender that resets its connection does not cancel what was handed over: it may be half committed."""
    finished = []

    async def scenario() -> None:
        release, entered = asyncio.Event(), asyncio.Event()

        async def slow(payload: bytes, _peer: Peer) -> Sequence[bytes]:
            entered.set()
            await release.wait()
            finished.append(parse(payload).control_id)
            return answers(parse(payload), Verdict.ACCEPT).in_order

        server = MllpServer("127.0.0.1", 0, slow)
        _, writer = await asyncio.open_connection("127.0.0.1", await server.start())
        writer.write(framed(message("1")))
        await entered.wait()
        # A linger time of zero makes a reset of the close.
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
        await settle()
        stopping = asyncio.create_task(server.stop())
        await settle()
        assert not stopping.done()
        release.set()
        await asyncio.wait_for(stopping, PATIENCE_SECONDS)

    asyncio.run(scenario())
    assert finished == ["1"]


def test_a_sender_that_ends_its_stream_is_still_answered() -> None:
    """A half-closed connection gets the answers that are due, then is closed."""

    async def scenario() -> None:
        desk = Desk()
        async with connected(desk.take) as (reader, writer):
            writer.write(framed(message("1")) + framed(message("2")))
            writer.write_eof()
            await desk.until(2)
            await settle()
            desk.answer("2")
            desk.answer("1")
            assert [await next_id(reader), await next_id(reader)] == ["1", "2"]
            assert await reader.read() == b""

    asyncio.run(scenario())


def test_frames_over_all_connections_are_bounded() -> None:
    """Who gathers the frame that goes over the bound is told to send it later; small messages still pass."""

    async def take(payload: bytes, _peer: Peer) -> Sequence[bytes]:
        return answers(parse(payload), Verdict.ACCEPT).in_order

    async def scenario() -> None:
        server = MllpServer("127.0.0.1", 0, take, gather_cap_bytes=250_000)
        port = await server.start()
        open_ones = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        half = START + message("77", "x" * 100_000)
        for _, writer in open_ones[:2]:
            writer.write(half)
            await writer.drain()
            await settle()
        reader, writer = open_ones[2]
        writer.write(half)
        nack = read_ack(await asyncio.wait_for(frame(reader), PATIENCE_SECONDS))
        assert (nack.code, nack.control_id, nack.error_code) == (AckCode.AR, "77", "207")
        assert await reader.read() == b""
        for number, (other_reader, other_writer) in enumerate(open_ones[:2]):
            other_writer.write(END if number else b"")
            if number:
                assert await next_id(other_reader) == "77"
        late_reader, late_writer = await asyncio.open_connection("127.0.0.1", port)
        late_writer.write(half)  # there is room again
        await settle()
        late_writer.write(END)
        assert await next_id(late_reader) == "77"
        for _, each in [*open_ones, (late_reader, late_writer)]:
            each.close()
        await server.stop()

    asyncio.run(scenario())


def test_lines_about_one_address_are_rationed(caplog: pytest.LogCaptureFixture) -> None:
    """However often one address fails, the log gets ten lines and then the number of the others."""

    async def scenario() -> None:
        async with connected(Desk().take) as (_, writer):
            port = writer.get_extra_info("peername")[1]
            for _ in range(30):
                reader, bad = await asyncio.open_connection("127.0.0.1", port)
                bad.write(b"GET / HTTP/1.1\r\n\r\n")
                assert await reader.read() == b""
                bad.close()

    caplog.set_level(logging.WARNING)
    asyncio.run(scenario())
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("connectors.hl7")]
    assert len([line for line in lines if "start block" in line]) == 10
    assert (
        lines[-1] == "further lines about MLLP connections from 127.0.0.1 that were not written, in 60 s: 20"
    )
