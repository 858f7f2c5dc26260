"""MLLP over TLS: who is let in, who is not, and what a file that cannot be used is told as."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from contextlib import suppress
from pathlib import Path

import pytest

from connectors.errors import ExchangeError, Unreachable
from connectors.hl7.frames import Deframer, framed
from connectors.hl7.mllp import MllpClient, MllpServer, Peer, Senders, running, send
from connectors.tls import TlsFileError, client_context, server_context
from tests.certificates import Authority, Issued
from tests.integration.test_hl7_mllp import SECRET, accept, connect, message, next_ack, server, until_closed


class Site:
    """A hospital's authority, its listener and one of its senders."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.listener = self.authority.issue("listener")
        self.ris = self.authority.issue("RIS 1", "ris.hospital.example")
        self.peers: list[Peer] = []

    def context(self, *, mutual: bool = True) -> ssl.SSLContext:
        """The listener's context."""
        client_ca = self.authority.certificate if mutual else None
        return server_context(self.listener.certificate, self.listener.key, client_ca)

    def server(self, *, mutual: bool = True, **settings: object) -> MllpServer:
        """A TLS listener that notes its peers."""

        async def take(payload: bytes, peer: Peer) -> list[bytes]:
            self.peers.append(peer)
            return await accept(payload, peer)

        return server(handler=take, ssl_context=self.context(mutual=mutual), **settings)

    def client(self, own: Issued | None = None) -> ssl.SSLContext:
        """A client's context."""
        if own is None:
            return client_context(self.authority.certificate)
        return client_context(self.authority.certificate, own.certificate, own.key)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site with certificates in a folder of its own."""
    return Site(tmp_path)


def taken(port: int, context: ssl.SSLContext | None) -> bool:
    """Whether a message is acknowledged; False when the listener does not take the connection."""
    try:
        with MllpClient("127.0.0.1", port, ssl_context=context, timeout_seconds=20) as client:
            return client.send(message("1")).accepted
    except Unreachable:
        return False


def test_tls_is_served_and_plaintext_on_its_port_is_not(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A TLS client is acknowledged; a plain client, or one that does not trust the listener, is not."""
    with running(site.server(mutual=False)) as port:
        with pytest.raises(Unreachable, match="SSLCert"):
            list(send("127.0.0.1", port, [message("2")], ssl_context=client_context()))
        assert not taken(port, None)
        with connect(port) as connection:
            connection.sendall(b"GET /" + SECRET.encode() + b" HTTP/1.1\r\n\r\n")
            until_closed(connection)
        (ack,) = send("127.0.0.1", port, [message("3")], ssl_context=site.client())
    assert ack.control_id == "3"
    assert caplog.text.count("no TLS handshake") == 3
    assert SECRET not in caplog.text
    assert [(peer.common_name, peer.fingerprint) for peer in site.peers] == [("", "")]


def test_tls_on_a_plain_port_is_closed(site: Site) -> None:
    """A listener without TLS closes on a TLS hello instead of waiting for its rest."""
    with running(server()) as port:
        assert not taken(port, site.client())
        assert taken(port, None)


def test_mutual_tls_names_the_sender(site: Site) -> None:
    """A client with a certificate of the named authority is served, and its handler knows who it is."""
    with running(site.server(name="from-ris")) as port:
        assert taken(port, site.client(site.ris))
    (peer,) = site.peers
    assert (peer.common_name, peer.fingerprint) == ("RIS 1", site.ris.fingerprint)
    assert (peer.host, peer.listener) == ("127.0.0.1", "from-ris")


def test_a_client_without_a_certificate_is_refused(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Where an authority for clients is named, none comes in without a certificate, and a line says so."""
    with running(site.server()) as port:
        assert not taken(port, site.client())
        assert taken(port, site.client(site.ris))
    assert len(site.peers) == 1
    assert "no TLS handshake (PEER_DID_NOT_RETURN_A_CERTIFICATE)" in caplog.text


def test_a_certificate_of_another_authority_is_refused(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The same name signed by somebody else is nobody."""
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    forged = Authority(stranger).issue("RIS 1", "ris.hospital.example")
    with running(site.server(senders=Senders.of(certificates=["RIS 1"]))) as port:
        assert not taken(port, site.client(forged))
    assert site.peers == []
    assert "no TLS handshake (CERTIFICATE_VERIFY_FAILED)" in caplog.text


@pytest.mark.parametrize(
    ("entry", "let_in"),
    [
        ("RIS 1", True),
        ("ris.hospital.example", True),
        ("RIS.Hospital.Example", True),
        ("fingerprint", True),
        ("FINGER:PRINT", True),
        ("ris 1", False),
        ("hospital.example", False),
        ("listener", False),
        ("0" * 64, False),
    ],
)
def test_only_listed_certificates_are_let_in(
    site: Site, entry: str, let_in: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A sender is listed by CN, by DNS name or by fingerprint; any other of the authority stays outside."""
    digits = site.ris.fingerprint
    colons = ":".join(digits[n : n + 2] for n in range(0, 64, 2)).upper()
    listed = {"fingerprint": digits, "FINGER:PRINT": colons}.get(entry, entry)
    with running(site.server(senders=Senders.of(certificates=["another", listed]))) as port:
        assert taken(port, site.client(site.ris)) is let_in
    assert len(site.peers) == let_in
    assert ("not in the list of allowed senders" in caplog.text) is not let_in


def test_a_name_that_looks_like_a_fingerprint_is_none(site: Site) -> None:
    """A certificate that bears another's fingerprint for a name is not let in by it."""
    impostor = site.authority.issue(site.ris.fingerprint)
    with running(site.server(senders=Senders.of(certificates=[site.ris.fingerprint]))) as port:
        assert not taken(port, site.client(impostor))
        assert taken(port, site.client(site.ris))


@pytest.mark.parametrize(
    ("networks", "let_in"), [(["127.0.0.0/8"], True), (["10.0.0.0/8", "::1"], False), ([], True)]
)
def test_only_allowed_networks_are_let_in(
    networks: list[str], let_in: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection from elsewhere is closed with one line, before it could say anything."""
    with running(server(senders=Senders.of(networks))) as port:
        assert taken(port, None) is let_in
    assert caplog.text.count("none of the allowed networks") == (not let_in)


def test_an_address_is_looked_at_before_the_handshake(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A refused address costs no handshake."""
    with running(site.server(senders=Senders.of(["10.0.0.0/8"]))) as port, connect(port) as connection:
        assert until_closed(connection) == b""
    assert "none of the allowed networks" in caplog.text
    assert "handshake" not in caplog.text


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_tls_is_refused(site: Site, version: ssl.TLSVersion, caplog: pytest.LogCaptureFixture) -> None:
    """TLS 1.1 and older get no handshake, however willing the client is."""
    old = site.client()
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = version
    with running(site.server(mutual=False)) as port:
        assert not taken(port, old)
    assert site.peers == []
    assert "no TLS handshake" in caplog.text


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_newer_are_served(site: Site, version: ssl.TLSVersion) -> None:
    """Both current versions pass, and a client refuses older ones too."""
    context = site.client()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    context.minimum_version = context.maximum_version = version
    with running(site.server(mutual=False)) as port:
        assert taken(port, context)


def test_a_peer_that_shakes_no_hands_is_closed(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Silence on a TLS port ends after the idle time, and meanwhile counts as an open connection."""
    with (
        running(site.server(mutual=False, idle_timeout_seconds=0.4, max_connections=1)) as port,
        connect(port) as silent,
    ):
        assert not taken(port, site.client())
        assert until_closed(silent) == b""
    assert "1 are open" in caplog.text
    assert "no TLS handshake (ConnectionAbortedError)" in caplog.text


def test_stopping_ends_a_handshake(site: Site) -> None:
    """stop() does not wait for a peer that shakes no hands."""

    async def scenario() -> None:
        mllp = site.server(mutual=False)
        reader, writer = await asyncio.open_connection("127.0.0.1", await mllp.start())
        await asyncio.sleep(0)
        await asyncio.wait_for(mllp.stop(), 5)
        with suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()

    asyncio.run(scenario())


def test_many_messages_pass_over_tls(site: Site) -> None:
    """A persistent client and a pipelining one are answered in order, a large message among them."""
    large = message("large", "x" * 3_000_000)
    with running(site.server(mutual=False)) as port:
        with MllpClient("127.0.0.1", port, ssl_context=site.client()) as client:
            found = [client.send(body).control_id for body in (message("1"), large, message("2"))]
        plain = socket.create_connection(("127.0.0.1", port), 20)
        with site.client().wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            connection.sendall(b"".join(framed(message(str(n))) for n in range(300)))
            deframer = Deframer()
            pipelined = [next_ack(connection, deframer) for _ in range(300)]
    assert found == ["1", "large", "2"]
    assert pipelined == [str(n) for n in range(300)]


def test_a_list_of_certificates_needs_mutual_tls(site: Site) -> None:
    """Without an authority for clients nobody could be on the list, and everybody would be refused."""
    senders = Senders.of(certificates=["RIS 1"])
    for context in (None, site.context(mutual=False)):
        with pytest.raises(ValueError, match="needs TLS with a CA"):
            MllpServer("127.0.0.1", 0, accept, senders=senders, ssl_context=context)


def test_a_file_that_cannot_be_used_is_named_with_the_reason(site: Site, tmp_path: Path) -> None:
    """Missing, not PEM, encrypted, expired, another's key: each error names the file and what is wrong."""
    own, authority = site.listener, site.authority
    text, absent = tmp_path / "text.pem", tmp_path / "absent.pem"
    text.write_text("no certificate")
    locked = authority.issue("locked", passphrase=b"geheim")
    expired = authority.issue("expired", expired=True)
    wrong = [
        (lambda: server_context(absent, own.key), absent, "No such file"),
        (lambda: server_context(tmp_path, own.key), tmp_path, "Is a directory"),
        (lambda: server_context(text, own.key), text, "expected certificates in PEM"),
        (lambda: server_context(own.certificate, absent), absent, "No such file"),
        (lambda: server_context(own.certificate, text), text, "expected a private key in PEM"),
        (lambda: server_context(own.certificate, site.ris.key), site.ris.key, "does not belong"),
        (lambda: server_context(locked.certificate, locked.key), locked.key, "encrypted"),
        (lambda: server_context(expired.certificate, expired.key), expired.certificate, "expired on"),
        (lambda: server_context(own.certificate, own.key, text), text, "expected certificates in PEM"),
        (lambda: server_context(own.certificate, own.key, absent), absent, "No such file"),
        (lambda: client_context(text), text, "expected certificates in PEM"),
        (lambda: client_context(absent), absent, "No such file"),
    ]
    for make, path, words in wrong:
        with pytest.raises(TlsFileError, match=words) as caught:
            make()
        assert str(caught.value).startswith(f"{path}: ")
        assert isinstance(caught.value, ExchangeError)
    with pytest.raises(ValueError, match="both"):
        client_context(authority.certificate, own.certificate)


def test_log_lines_about_tls_are_warnings(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Each refused connection is one line with address and listener, and no traceback."""
    with running(site.server(name="from-ris")) as port, connect(port) as connection:
        address = "{}:{}".format(*connection.getsockname())
        connection.sendall(b"\x0bMSH|" + SECRET.encode() + b"\x1c\r")
        until_closed(connection)
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert f"MLLP connection from {address} to from-ris refused" in record.getMessage()
    assert record.exc_info is None
    assert SECRET not in caplog.text
