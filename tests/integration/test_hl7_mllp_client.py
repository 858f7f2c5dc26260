"""The MLLP client against real sockets: what counts as taken, and what does not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import pytest

from connectors.errors import Malformed, Unreachable
from connectors.exchange import Coding, Order, OrderAction, Patient, Practitioner
from connectors.hl7.ack import AckCode, acknowledge
from connectors.hl7.frames import Deframer, framed
from connectors.hl7.message import parse
from connectors.hl7.mllp import MllpClient, Peer, Wait, running, send
from connectors.hl7.results import signed_reports
from connectors.sandbox.ris import Ris
from tests.integration.test_hl7_mllp import SECRET, accept, message, server


@contextmanager
def replying(*replies: bytes) -> Iterator[int]:
    """A peer that answers each connection's first bytes with these frames and then closes."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"".join(replies))

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def ack_of(control_id: str, code: AckCode = AckCode.AA) -> bytes:
    """A framed acknowledgement of a control id."""
    return framed(acknowledge(parse(message(control_id)), code))


def test_a_late_acknowledgement_is_no_answer_to_the_next_message() -> None:
    """Only an acknowledgement with our control id counts."""
    with replying(ack_of("old"), ack_of("new", AckCode.AE)) as port:
        assert [ack.code for ack in send("127.0.0.1", port, [message("new")])] == [AckCode.AE]


@pytest.mark.parametrize("control_id", ["old", ""])
def test_without_its_acknowledgement_a_message_counts_as_not_taken(control_id: str) -> None:
    """Another's AA, or one without MSA-2, and then a close: Unreachable, so that the sender sends again."""
    with replying(ack_of(control_id)) as port, pytest.raises(Unreachable, match="send again"):
        list(send("127.0.0.1", port, [message("new")]))


def test_a_nack_without_control_id_is_an_answer() -> None:
    """A peer that could not read MSH-10 leaves MSA-2 empty in its nack."""
    with replying(ack_of("", AckCode.AR)) as port:
        (ack,) = send("127.0.0.1", port, [message("new")])
    assert (ack.accepted, ack.retryable) == (False, True)


@pytest.mark.parametrize("reply", [framed(b"hello"), b"HTTP/1.1 400\r\n", framed(message("new"))])
def test_a_reply_that_is_no_acknowledgement_is_malformed(reply: bytes) -> None:
    """A peer that speaks something else is not a peer that said yes."""
    with replying(reply) as port, pytest.raises(Malformed):
        list(send("127.0.0.1", port, [message("new")]))


def test_a_peer_that_is_not_there_is_unreachable() -> None:
    """A refused connection and a silent peer are Unreachable within the time given."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(Unreachable, match="TimeoutError"):
            list(send("127.0.0.1", port, [message("1")], timeout_seconds=0.2))
    with pytest.raises(Unreachable, match="ConnectionRefusedError") as caught:
        list(send("127.0.0.1", port, [message("1")]))
    assert SECRET not in str(caught.value)


class Scripted:
    """A peer that plays one list of replies a connection: after each message it sends the next, or closes."""

    def __init__(self, *connections: list[bytes | None]) -> None:
        self.received: list[list[bytes]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(connections,))

    def __enter__(self) -> Scripted:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._thread.join()

    def _serve(self, connections: tuple[list[bytes | None], ...]) -> None:
        for replies in connections:
            connection, _ = self._listener.accept()
            connection.settimeout(20)
            received: list[bytes] = []
            self.received.append(received)
            with connection:
                deframer = Deframer()
                for reply in replies:
                    payload = deframer.next()
                    while payload is None and (data := connection.recv(65536)):
                        payload = deframer.next(data)
                    if payload is None:
                        break
                    received.append(payload)
                    if reply is None:
                        break
                    connection.sendall(reply)
            self.closed.set()


def test_one_connection_serves_many_messages() -> None:
    """The client stays connected between messages, and closes at the end."""
    with (
        Scripted([ack_of("1"), ack_of("2"), ack_of("3")]) as peer,
        MllpClient("127.0.0.1", peer.port) as client,
    ):
        assert [client.send(message(str(n))).control_id for n in (1, 2, 3)] == ["1", "2", "3"]


def test_a_connection_closed_between_messages_is_opened_again() -> None:
    """A peer that closes after each message gets the next over a new connection, each once."""
    with (
        Scripted([ack_of("1")], [ack_of("2")]) as peer,
        MllpClient("127.0.0.1", peer.port) as client,
    ):
        assert client.send(message("1")).control_id == "1"
        assert peer.closed.wait(20)
        assert client.send(message("2")).control_id == "2"
        assert peer.received == [[message("1")], [message("2")]]


def test_a_message_of_which_bytes_were_written_is_not_sent_again() -> None:
    """A peer that took the message and closed: it may have it, so only the caller may send it again."""
    with Scripted([None], [ack_of("1")]) as peer, MllpClient("127.0.0.1", peer.port) as client:
        with pytest.raises(Unreachable, match="may have been taken"):
            client.send(message("1"))
        assert peer.received == [[message("1")]]
        assert client.send(message("1")).accepted
        assert peer.received == [[message("1")], [message("1")]]


def test_an_unsent_message_is_told_from_one_that_may_have_been_taken() -> None:
    """Where no connection can be made, the error says that nothing was sent."""
    with closing(socket.create_server(("127.0.0.1", 0))) as unused:
        port = unused.getsockname()[1]
    with (
        MllpClient("127.0.0.1", port) as client,
        pytest.raises(Unreachable, match="was not sent; check that it listens"),
    ):
        client.send(message("1"))


@pytest.mark.parametrize(
    "late",
    [ack_of("1"), ack_of("", AckCode.AR), ack_of("2") + ack_of("", AckCode.AR)],
    ids=["again", "without MSA-2", "several"],
)
def test_what_came_late_is_no_answer_to_the_next_message(
    late: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """What lies in the connection before a message is sent cannot be its answer, with MSA-2 or without."""
    with (
        Scripted([ack_of("1") + late, ack_of("2", AckCode.AE)]) as peer,
        MllpClient("127.0.0.1", peer.port) as client,
    ):
        assert client.send(message("1")).accepted
        assert client.send(message("2")).code is AckCode.AE
    assert "came late" in caplog.text
    assert len(peer.received) == 1


def test_half_an_acknowledgement_that_came_late_ends_the_connection() -> None:
    """Its rest could be read as the next answer: the next message goes over a new connection."""
    with (
        Scripted([ack_of("1") + ack_of("2")[:-2], ack_of("2")], [ack_of("2", AckCode.AE)]) as peer,
        MllpClient("127.0.0.1", peer.port) as client,
    ):
        assert client.send(message("1")).accepted
        assert client.send(message("2")).code is AckCode.AE
    assert peer.received == [[message("1")], [message("2")]]


def test_after_a_timeout_the_late_answer_is_never_taken() -> None:
    """A message without an answer in time ends its connection, so that nothing late can arrive on it."""
    with (
        Scripted([b"", ack_of("1")], [ack_of("2", AckCode.AE)]) as peer,
        MllpClient("127.0.0.1", peer.port, timeout_seconds=0.2) as client,
    ):
        with pytest.raises(Unreachable, match="TimeoutError"):
            client.send(message("1"))
        assert client.send(message("2")).code is AckCode.AE


@pytest.mark.parametrize(
    ("codes", "wait", "found"),
    [
        (("CA", "AA"), Wait.FIRST, "CA"),
        (("CA", "AA"), Wait.ACCEPT, "CA"),
        (("CA", "AE"), Wait.APPLICATION, "AE"),
        (("CE",), Wait.APPLICATION, "CE"),
        (("CR",), Wait.APPLICATION, "CR"),
        (("AA", "CA"), Wait.ACCEPT, "CA"),
        (("AR",), Wait.FIRST, "AR"),
    ],
)
def test_the_client_waits_for_the_acknowledgement_that_was_named(
    codes: tuple[str, ...], wait: Wait, found: str
) -> None:
    """In enhanced mode CA says stored and AA processed; after CE or CR nothing more comes."""
    replies = b"".join(ack_of("1", AckCode(code)) for code in codes)
    with Scripted([replies]) as peer, MllpClient("127.0.0.1", peer.port) as client:
        assert client.send(message("1"), wait).code.value == found


def test_a_message_that_cannot_be_framed_is_not_sent() -> None:
    """A message with framing bytes in it is an error of the caller, before anything is sent."""
    with MllpClient("127.0.0.1", 1) as client, pytest.raises(ValueError, match="cut"):
        client.send(b"MSH|^~\\&|\x0b")


def test_the_ris_orders_and_signs_over_mllp() -> None:
    """What the sandbox RIS sends arrives and is acknowledged."""
    received: list[bytes] = []

    async def keep(payload: bytes, peer: Peer) -> list[bytes]:
        received.append(payload)
        return await accept(payload, peer)

    order = Order(OrderAction.PLACE, "ACC1", Patient("1"), Coding("1", "CT"))
    at = datetime(2026, 1, 1, tzinfo=UTC)
    with running(server(handler=keep)) as port:
        ris = Ris("127.0.0.1", port)
        assert ris.send_order(order, at=at).accepted
        assert ris.sign(order, "Normal.", Practitioner("9", "Roe"), at=at).accepted
    (report,) = signed_reports(parse(received[1]))
    assert (parse(received[0]).type, report.text, report.status.value) == ("ORM^O01", "Normal.", "final")
