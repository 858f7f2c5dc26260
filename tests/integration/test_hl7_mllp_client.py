"""The MLLP client against real sockets: what counts as taken, what does not, and TLS."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from connectors.errors import Malformed, Unreachable
from connectors.exchange import Coding, Order, OrderAction, Patient, Practitioner
from connectors.hl7.ack import AckCode, acknowledge
from connectors.hl7.frames import framed
from connectors.hl7.message import parse
from connectors.hl7.mllp import running, send
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


def certificate(folder: Path) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        signed.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return pem


def test_tls_is_served_and_plaintext_on_its_port_is_not(tmp_path: Path) -> None:
    """A TLS client is acknowledged; a plain client, or one that does not trust the peer, is not."""
    pem = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    with running(server(ssl_context=context)) as port:
        trusting = ssl.create_default_context(cafile=str(pem))
        with pytest.raises(Unreachable):
            list(send("127.0.0.1", port, [message("1")]))
        with pytest.raises(Unreachable, match="SSLCert"):
            list(send("127.0.0.1", port, [message("2")], ssl_context=ssl.create_default_context()))
        (ack,) = send("127.0.0.1", port, [message("3")], ssl_context=trusting)
    assert ack.control_id == "3"


def test_the_ris_orders_and_signs_over_mllp() -> None:
    """What the sandbox RIS sends arrives and is acknowledged."""
    received: list[bytes] = []

    async def keep(payload: bytes, peer: str) -> bytes:
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
