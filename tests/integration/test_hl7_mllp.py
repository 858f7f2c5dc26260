"""MLLP over real sockets: in order, within bounds, and one bad peer never disturbs another."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.errors import Unreachable
from connectors.hl7.ack import AckCode, AckError, Verdict, answers, read_ack
from connectors.hl7.frames import END, START, Deframer, framed
from connectors.hl7.message import NotHl7, build, parse
from connectors.hl7.mllp import MllpServer, Peer, running, send

SECRET = "Mustermann"


def message(control_id: str, text: str = SECRET) -> bytes:
    """A small message."""
    return build([("MSH", {9: ("ORM", "O01"), 10: control_id}), ("PID", {3: "1", 5: text})])


async def accept(payload: bytes, peer: Peer) -> list[bytes]:
    """Acknowledge whatever can be parsed, and nack the rest."""
    try:
        read = parse(payload)
    except NotHl7 as error:
        return list(answers(None, Verdict.REJECT, AckError.of(error), raw=payload).in_order)
    return list(answers(read, Verdict.ACCEPT).in_order)


def server(**settings: object) -> MllpServer:
    """A server on a free port with a short patience."""
    handler = settings.pop("handler", accept)
    return MllpServer("127.0.0.1", 0, handler, **{"idle_timeout_seconds": 10.0, **settings})  # type: ignore[arg-type]


def until_closed(connection: socket.socket) -> bytes:
    """Everything the server sends until it closes; a reset closes too."""
    received = b""
    try:
        while data := connection.recv(65536):
            received += data
    except ConnectionResetError:
        pass
    return received


def exchange(connection: socket.socket, payload: bytes) -> str:
    """Send one message on an open connection; the control id that is acknowledged."""
    connection.sendall(framed(payload))
    return next_ack(connection, Deframer())


def next_ack(connection: socket.socket, deframer: Deframer) -> str:
    """MSA-2 of the next acknowledgement."""
    ack = deframer.next()
    while ack is None:
        data = connection.recv(65536)
        assert data, "closed before the acknowledgement"
        ack = deframer.next(data)
    return read_ack(ack).control_id


def connect(port: int) -> closing[socket.socket]:
    """A plain connection that gives up after twenty seconds."""
    return closing(socket.create_connection(("127.0.0.1", port), 20))


def test_messages_of_one_connection_are_acknowledged_in_order() -> None:
    """The client's acknowledgements match its messages one by one."""
    with running(server()) as port:
        acks = list(send("127.0.0.1", port, [message(str(n)) for n in range(20)]))
    assert [ack.control_id for ack in acks] == [str(n) for n in range(20)]
    assert all(ack.accepted for ack in acks)


def test_pipelined_messages_are_acknowledged_in_order() -> None:
    """Messages sent without waiting are handled one after another, even cut across packets."""
    stream = b"".join(framed(message(str(n))) for n in range(50))
    with running(server()) as port, connect(port) as connection:
        deframer = Deframer()
        connection.sendall(stream[:1001])
        first = next_ack(connection, deframer)
        connection.sendall(stream[1001:])
        rest = [next_ack(connection, deframer) for _ in range(49)]
    assert [first, *rest] == [str(n) for n in range(50)]


@pytest.mark.parametrize("extra", [0, 1])
def test_a_frame_is_taken_up_to_the_cap_and_nacked_over_it(extra: int) -> None:
    """A frame of exactly the cap is acknowledged; one byte more gets a nack that names it, then a close."""
    cap = 4096
    payload = message("77", "")
    payload += b"x" * (cap - len(payload) + extra)
    with running(server(frame_cap_bytes=cap)) as port, connect(port) as connection:
        if not extra:
            assert exchange(connection, payload) == "77"
            assert exchange(connection, message("78")) == "78"
            return
        connection.sendall(framed(payload))
        received = until_closed(connection)
    nack = read_ack(received.removeprefix(START).removesuffix(END))
    assert (nack.code, nack.control_id, nack.error_code) == (AckCode.AR, "77", "104")


def flood(connection: socket.socket) -> None:
    """Send a frame of up to 64 GB."""
    block = b"x" * 65536
    connection.sendall(START)
    for _ in range(1_000_000):
        connection.sendall(block)


def test_an_endless_frame_is_cut_off_at_the_cap() -> None:
    """A peer that sends far more than the cap gets a nack and a close, however much follows."""
    with (
        running(server(frame_cap_bytes=64 * 1024)) as port,
        connect(port) as connection,
        pytest.raises(OSError, match=r"."),
    ):
        flood(connection)


@pytest.mark.parametrize(
    "junk",
    [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b"\x1c\r", b"MSH|^~\\&|no start block\x1c\r"],
)
def test_junk_before_the_start_block_closes_the_connection(junk: bytes) -> None:
    """What is not MLLP is closed without an answer."""
    with running(server()) as port, connect(port) as connection:
        connection.sendall(junk)
        assert until_closed(connection) == b""


def drip(connection: socket.socket) -> None:
    """Send a byte at a time for as long as the server listens."""
    ended = threading.Event()
    try:
        connection.sendall(START)
        while not ended.wait(0.05):
            connection.sendall(b"x")
    except OSError:
        return


@pytest.mark.parametrize(
    "attack",
    [
        lambda connection: None,
        lambda connection: connection.sendall(START + message("1")),
        lambda connection: connection.sendall(b"\r\n"),
        drip,
    ],
    ids=["silence", "no end block", "only line ends", "a byte at a time"],
)
def test_a_frame_that_does_not_end_in_time_closes_the_connection(
    attack: Callable[[socket.socket], None],
) -> None:
    """Silence, no end block and dripping bytes are closed after the idle time; progress does not renew it."""
    with running(server(idle_timeout_seconds=0.3)) as port, connect(port) as connection:
        attack(connection)
        assert until_closed(connection) == b""


def test_a_frame_that_began_behind_another_must_end_in_time_too() -> None:
    """A frame whose beginning came with the message before is under the idle time, not the quiet time."""
    with running(server(idle_timeout_seconds=0.3)) as port, connect(port) as connection:
        connection.sendall(framed(message("1")) + START + b"MSH")
        deframer = Deframer()
        first = deframer.next(until_closed(connection))
    assert first is not None
    assert read_ack(first).control_id == "1"


def test_a_connection_that_served_a_message_may_rest_longer() -> None:
    """The idle time is for frames; between messages the quiet time counts."""
    with (
        running(server(idle_timeout_seconds=0.2, quiet_timeout_seconds=0.8)) as port,
        connect(port) as connection,
    ):
        assert exchange(connection, message("1")) == "1"
        connection.settimeout(0.4)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(20)
        assert exchange(connection, message("2")) == "2"
        assert until_closed(connection) == b""


@settings(max_examples=25)
@given(st.lists(st.binary(max_size=60) | st.sampled_from([START, END, framed(b"MSH|^~\\&|x")]), max_size=6))
def test_any_bytes_leave_the_server_serving_others(chunks: list[bytes]) -> None:
    """Whatever one peer sends, another is acknowledged before, during and after."""
    with survivor() as (port, other), connect(port) as connection:
        for chunk in chunks:
            try:
                connection.sendall(chunk)
            except OSError:
                break
        assert exchange(other, message("still here")) == "still here"
        connection.close()
        assert exchange(other, message("and after")) == "and after"


@contextmanager
def survivor() -> Iterator[tuple[int, socket.socket]]:
    """A server's port, and a connection to it that must not be disturbed."""
    with running(server()) as port, connect(port) as other:
        assert exchange(other, message("before")) == "before"
        yield port, other


def test_a_handler_that_fails_makes_a_retryable_nack_and_the_connection_lives() -> None:
    """An error of ours is AR with the sender's control id: the sender keeps the message and goes on."""
    calls = 0

    async def flaky(payload: bytes, peer: Peer) -> list[bytes]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError(SECRET)
        if calls == 2:
            return [b"breaks\x1c\rframes"]
        return await accept(payload, peer)

    with running(server(handler=flaky)) as port:
        acks = list(send("127.0.0.1", port, [message(str(n)) for n in range(3)]))
    assert [(ack.code, ack.control_id) for ack in acks] == [
        (AckCode.AR, "0"),
        (AckCode.AR, "1"),
        (AckCode.AA, "2"),
    ]


def test_log_lines_hold_no_word_of_a_message(caplog: pytest.LogCaptureFixture) -> None:
    """Over the cap, junk, failures and lost frames are logged without patient data."""

    async def fail(payload: bytes, peer: Peer) -> list[bytes]:
        raise ValueError(payload)

    caplog.set_level(logging.DEBUG)
    with running(server(handler=fail, frame_cap_bytes=200)) as port:
        for raw in (
            framed(message("1")),
            START + message("2") + b"x" * 300,
            SECRET.encode(),
            START + message("3"),
        ):
            with connect(port) as connection:
                connection.sendall(raw)
                connection.shutdown(socket.SHUT_WR)
                until_closed(connection)
    assert len([record for record in caplog.records if record.name.startswith("connectors.hl7.mllp")]) >= 4
    assert SECRET not in caplog.text


def test_connections_over_the_limit_are_refused_and_the_others_served() -> None:
    """As many connections as the limit are served, one more is closed, and a freed place is used again."""
    with running(server(max_connections=2)) as port:
        with connect(port) as one, connect(port) as two:
            assert (exchange(one, message("1")), exchange(two, message("2"))) == ("1", "2")
            with pytest.raises(Unreachable):
                list(send("127.0.0.1", port, [message("refused")]))
            assert exchange(one, message("3")) == "3"
        for _ in range(200):  # the server sees the closes a moment later
            try:
                assert [ack.control_id for ack in send("127.0.0.1", port, [message("4")])] == ["4"]
                return
            except Unreachable:
                continue
        pytest.fail("no place became free")


@pytest.mark.parametrize("window", [1, 2])
def test_stopping_lets_messages_in_hand_be_acknowledged(window: int) -> None:
    """stop() waits for the handler and its answers, and drops what was not handed over yet."""
    entered, release = threading.Event(), threading.Event()

    async def slow(payload: bytes, peer: Peer) -> list[bytes]:
        entered.set()
        await asyncio.to_thread(release.wait)
        return await accept(payload, peer)

    async def scenario() -> tuple[bytes, bytes]:
        mllp = server(handler=slow, window=window)
        port = await mllp.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        half_reader, half_writer = await asyncio.open_connection("127.0.0.1", port)
        half_writer.write(START + b"MSH|half")
        writer.write(framed(message("1")) + framed(message("2")))
        await asyncio.to_thread(entered.wait)
        stopping = asyncio.create_task(mllp.stop())
        half = await half_reader.read()
        release.set()
        await stopping
        with pytest.raises(OSError, match=r"."):
            await asyncio.open_connection("127.0.0.1", port)
        whole = await reader.read()
        for each in (writer, half_writer):
            each.close()
        return whole, half

    whole, half = asyncio.run(scenario())
    assert half == b""
    deframer = Deframer()
    found = [deframer.next(whole), deframer.next()]
    assert [read_ack(ack).control_id for ack in found if ack] == ["1", "2"][:window]


def test_stopping_does_not_wait_for_ever() -> None:
    """A handler that never ends is cancelled after the drain time."""

    async def scenario() -> None:
        started = asyncio.Event()

        async def stuck(payload: bytes, peer: Peer) -> list[bytes]:
            started.set()
            await asyncio.Event().wait()
            return []

        mllp = server(handler=stuck)
        _, writer = await asyncio.open_connection("127.0.0.1", await mllp.start())
        writer.write(framed(message("1")))
        await started.wait()
        await asyncio.wait_for(mllp.stop(drain_seconds=0.05), 10)
        writer.close()

    asyncio.run(scenario())


def test_a_port_that_is_taken_is_an_error_at_once() -> None:
    """Starting on a port that is taken raises OSError, in a thread too."""
    with running(server()) as port:
        taken = MllpServer("127.0.0.1", port, accept)
        with pytest.raises(OSError, match=r"."), running(taken):
            pytest.fail("two servers on one port")
