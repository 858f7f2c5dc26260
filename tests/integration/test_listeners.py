"""Several HL7 listeners in one service, each with rules of its own, over real sockets."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from connectors.hl7.ack import Ack, AckCode, read_ack
from connectors.hl7.frames import Deframer, framed
from connectors.hl7.mllp import MllpServer, running
from connectors.tls import client_context
from plugin.db import Database
from plugin.intake import Intake
from plugin.listeners import Listener
from plugin.messages import MessageQuery, find_messages
from plugin.reception import Reception
from plugin.serve import Service
from plugin.settings import SettingError, Settings
from plugin.tables import Case
from tests.case_samples import Jobs, fresh_database, fresh_url
from tests.certificates import Authority, Issued

NAME = "Žižková-Œuvré"
"""Ž, ž, á, Œ and é are one byte each in windows-1252, and none of them alone is UTF-8."""


def order(
    accession: str,
    place: str = "OBR-18",
    *,
    name: str = "Example",
    charset: str = "",
    codec: str = "ascii",
    accept: str = "",
    application: str = "",
) -> bytes:
    """An order whose accession stands in OBR-18 or OBR-3. charset: MSH-18; codec: what it really is in."""
    obr = [""] * 19
    obr[int(place.removeprefix("OBR-"))] = accession
    segments = (
        f"MSH|^~\\&|RIS|HOSP|PRELIM|HOSP|20260106093000||ORM^O01|M-{accession}|P|2.5.1|||"
        f"{accept}|{application}||{charset}",
        f"PID|1||P-{accession}^^^HOSP^MR||{name}^Ada||19610402|F",
        "ORC|NW|PL-1",
        "OBR" + "|".join(obr),
    )
    return "".join(f"{segment}\r" for segment in segments).encode(codec)


def connect(port: int, source: str = "127.0.0.1") -> socket.socket:
    """A connection that comes from this address of the loopback network."""
    return socket.create_connection(("127.0.0.1", port), 20, source_address=(source, 0))


def next_ack(connection: socket.socket) -> Ack | None:
    """The next acknowledgement; None when the listener closes instead."""
    deframer = Deframer()
    while True:
        try:
            data = connection.recv(65536)
        except ConnectionError:
            return None
        if not data:
            return None
        if (found := deframer.next(data)) is not None:
            return read_ack(found)


class Site:
    """A service with these listeners on free ports."""

    def __init__(self, service: Service) -> None:
        self.intake = service.pipeline.intake
        self.ports = service.mllp_ports
        self.database = service.pipeline.database

    def send(self, listener: str, body: bytes, source: str = "127.0.0.1") -> Ack | None:
        """Send one message on a connection of its own."""
        with closing(connect(self.ports[listener], source)) as connection:
            try:
                connection.sendall(framed(body))
            except ConnectionError:
                return None
            return next_ack(connection)

    def send_secured(self, listener: str, body: bytes, context: ssl.SSLContext) -> Ack | None:
        """The same over TLS; None when the handshake fails or the listener closes after it."""
        with closing(connect(self.ports[listener])) as plain:
            try:
                with context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
                    secure.sendall(framed(body))
                    return next_ack(secure)
            except OSError:
                return None

    def code(self, listener: str, body: bytes, source: str = "127.0.0.1") -> str:
        """MSA-1 of what comes back; empty when the connection is closed instead."""
        ack = self.send(listener, body, source)
        return ack.code.value if ack else ""

    def serves(self, listener: str) -> bool:
        """Whether an order of a new accession is taken there."""
        with self.database.read() as session:
            count = session.scalar(sa.select(sa.func.count()).select_from(Case))
        return self.code(listener, order(f"ALIVE{count}")) == "AA"

    def case(self, accession: str) -> Case | None:
        with self.database.read() as session:
            return session.scalar(sa.select(Case).where(Case.accession == accession))

    def channels(self) -> list[str]:
        """The listeners of the messages in the store, in the order in which they came."""
        with self.database.read() as session:
            return [row.channel for row in reversed(find_messages(session, MessageQuery()))]


@contextmanager
def serving(folder: Path, *listeners: Listener, **settings: Any) -> Iterator[Site]:
    """Run the listening part of a service."""
    service = Service(Settings(database_url=fresh_url(folder), listeners=listeners, **settings), ("listen",))
    service.start()
    with ExitStack() as stack:
        stack.callback(service.stop)
        yield Site(service)


def test_each_listener_looks_for_the_accession_in_its_own_places(tmp_path: Path) -> None:
    """What one sender writes in OBR-3 is no accession from another; the site's places serve the others."""
    fillers = Listener("fillers", port=0, accession_places=("OBR-3",))
    with serving(tmp_path, Listener("plain", port=0), fillers) as site:
        assert set(site.ports) == {"plain", "fillers"}
        assert len(set(site.ports.values())) == 2
        assert site.code("plain", order("A1")) == "AA"
        assert site.code("fillers", order("A2", "OBR-3")) == "AA"
        refused = site.send("plain", order("A3", "OBR-3"))
        assert refused is not None
        assert (refused.code, "no accession number in IPC-1, OBR-18;" in refused.text) == (AckCode.AE, True)
        refused = site.send("fillers", order("A4"))
        assert refused is not None
        assert (refused.code, "no accession number in OBR-3;" in refused.text) == (AckCode.AE, True)
        assert [bool(site.case(accession)) for accession in ("A1", "A2", "A3", "A4")] == [
            True,
            True,
            False,
            False,
        ]
        assert site.channels() == ["plain", "fillers", "plain", "fillers"]


def test_messages_are_found_by_their_listener_and_replayed_under_its_rules(tmp_path: Path) -> None:
    """The store names the listener; a replay reads the message as that listener does."""
    fillers = Listener("fillers", port=0, accession_places=("OBR-3",))
    with serving(tmp_path, Listener("plain", port=0), fillers) as site:
        site.code("plain", order("A1"))
        site.code("fillers", order("A2", "OBR-3"))
        with site.database.read() as session:
            (kept,) = find_messages(session, MessageQuery(channel="fillers"))
        answers = site.intake.replay(kept.id, "again", "tester")
        assert read_ack(answers.application).code is AckCode.AA
        assert site.channels() == ["plain", "fillers", "fillers"]


def test_a_sender_whose_msh_18_lies_is_read_in_the_listeners_character_set(tmp_path: Path) -> None:
    """Says UTF-8, writes windows-1252: the name arrives right in the case, and is refused elsewhere."""
    lying = {"name": NAME, "charset": "UNICODE UTF-8", "codec": "windows-1252"}
    with serving(
        tmp_path, Listener("plain", port=0), Listener("western", port=0, charset="windows-1252")
    ) as site:
        assert site.code("western", order("A1", **lying)) == "AA"
        case = site.case("A1")
        assert case is not None
        assert case.order["patient"]["family_name"] == NAME
        refused = site.send("plain", order("A2", **lying))
        assert refused is not None
        assert refused.code is AckCode.AE  # unchanged it is refused again, until the setting is mended
        assert "MSH-18" in refused.text
        assert "charset override" in refused.text
        assert site.case("A2") is None
        honest = order("A3", name=NAME, charset="UNICODE UTF-8", codec="utf-8")
        assert site.code("plain", honest) == "AA"
        case = site.case("A3")
        assert case is not None
        assert case.order["patient"]["family_name"] == NAME


@pytest.mark.parametrize(
    ("listener", "accept", "application", "code"),
    [
        ("auto", "", "", "AA"),
        ("auto", "AL", "NE", "CA"),
        ("auto", "NE", "AL", "AA"),
        ("original", "", "", "AA"),
        ("original", "AL", "NE", "AA"),
        ("original", "NE", "NE", "AA"),
        ("enhanced", "", "", "CA"),
        ("enhanced", "AL", "AL", "CA"),
        ("enhanced", "NE", "AL", "AA"),
    ],
)
def test_each_listener_acknowledges_in_its_own_mode(
    tmp_path: Path, listener: str, accept: str, application: str, code: str
) -> None:
    """As MSH-15 and MSH-16 ask, always in original mode, or with an accept acknowledgement by default."""
    listeners = [Listener(mode, port=0, ack_mode=mode) for mode in ("auto", "original", "enhanced")]
    with serving(tmp_path, *listeners) as site:
        assert site.code(listener, order("A1", accept=accept, application=application)) == code


def test_each_listener_takes_only_its_own_senders_by_address(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """127.0.0.2 is let in where it is named and closed on where it is not; nothing of it is stored there."""
    second = Listener("second", port=0, allowed_addresses=(ip_network("127.0.0.2"),))
    first = Listener("first", port=0, allowed_addresses=(ip_network("127.0.0.0/31"),))
    with serving(tmp_path, first, second, Listener("anybody", port=0)) as site:
        assert site.code("second", order("A1"), source="127.0.0.2") == "AA"
        assert site.code("first", order("A2"), source="127.0.0.1") == "AA"
        assert site.code("first", order("A3"), source="127.0.0.2") == ""
        assert site.code("second", order("A4"), source="127.0.0.1") == ""
        assert site.code("second", order("A5"), source="127.0.0.3") == ""
        assert site.code("anybody", order("A6"), source="127.0.0.3") == "AA"
        assert site.channels() == ["second", "first", "anybody"]
    assert caplog.text.count("refused: its address is in none of the allowed networks") == 3
    assert "from 127.0.0.2:" in caplog.text
    assert "to second refused" in caplog.text


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def secured(name: str, authority: Authority, own: Issued, *allowed: str) -> Listener:
    return Listener(
        name,
        port=0,
        tls_certificate=own.certificate,
        tls_key=own.key,
        tls_client_ca=authority.certificate,
        allowed_certificates=allowed,
    )


def test_each_listener_takes_only_its_own_senders_by_certificate(
    tmp_path: Path, authority: Authority
) -> None:
    """By CN on one, by fingerprint on another, any of the authority on a third; a plain one beside them."""
    own = authority.issue("listener")
    ris, engine = authority.issue("RIS 1", "ris.hospital.example"), authority.issue("ENGINE")
    listeners = (
        secured("ris", authority, own, "RIS 1"),
        secured("engine", authority, own, engine.fingerprint),
        secured("known", authority, own),
        Listener("plain", port=0),
    )

    def code(listener: str, accession: str, sender: Issued | None) -> str:
        files = (sender.certificate, sender.key) if sender else ()
        ack = site.send_secured(listener, order(accession), client_context(authority.certificate, *files))
        return ack.code.value if ack else ""

    with serving(tmp_path, *listeners) as site:
        assert [code("ris", f"R{n}", sender) for n, sender in enumerate((ris, engine, None))] == [
            "AA",
            "",
            "",
        ]
        assert [code("engine", f"E{n}", sender) for n, sender in enumerate((ris, engine, None))] == [
            "",
            "AA",
            "",
        ]
        assert [code("known", f"K{n}", sender) for n, sender in enumerate((ris, engine, None))] == [
            "AA",
            "AA",
            "",
        ]
        assert site.code("ris", order("X1")) == ""
        assert code("plain", "X2", ris) == ""
        assert site.code("plain", order("X3")) == "AA"
        assert site.channels() == ["ris", "engine", "known", "known", "plain"]


def test_a_listener_whose_certificate_cannot_be_used_is_one_sentence(
    tmp_path: Path, authority: Authority
) -> None:
    """It names the listener and the file; no other listener is left running."""
    own, other = authority.issue("listener"), authority.issue("other")
    wrong = Listener("ris", port=0, tls_certificate=own.certificate, tls_key=other.key)
    with (
        pytest.raises(SettingError, match=r"^PRELIM_LISTENERS, ris: .*other\.key: the key does not belong"),
        serving(tmp_path, Listener("plain", port=0), wrong),
    ):
        pass


def test_a_port_that_is_taken_names_its_listener(tmp_path: Path) -> None:
    """The sentence says whose address it is."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with (
            pytest.raises(SettingError, match=rf"^PRELIM_LISTENERS, ris: 127\.0\.0\.1:{port} cannot be list"),
            serving(tmp_path, Listener("plain", port=0), Listener("ris", port=port)),
        ):
            pass


@pytest.mark.parametrize(("extra", "code"), [(0, "AA"), (1, "AR")])
def test_each_listener_has_its_own_frame_cap(tmp_path: Path, extra: int, code: str) -> None:
    """Up to the cap a message is taken, one byte over it is refused, and elsewhere it is no matter."""
    body = order("A1")
    body += b"NTE|1||" + b"x" * (2048 - len(body) - 8 + extra) + b"\r"
    assert len(body) == 2048 + extra
    with serving(tmp_path, Listener("small", port=0, frame_bytes=2048), Listener("large", port=0)) as site:
        assert site.code("small", body) == code
        assert site.code("large", body.replace(b"A1", b"A2")) == "AA"
        assert site.channels() == (["small", "large"] if code == "AA" else ["large"])


def test_flooding_one_listener_leaves_the_others_serving(tmp_path: Path) -> None:
    """Full of connections, with frames that never end and a burst in hand, it keeps nobody else waiting."""
    flooded = Listener("flooded", port=0, connections=3, frame_bytes=2**20)
    with serving(tmp_path, flooded, Listener("ris", port=0)) as site, ExitStack() as stack:
        taken = [stack.enter_context(closing(connect(site.ports["flooded"]))) for _ in range(3)]
        taken[0].sendall(b"\x0b" + b"x" * 2**19)
        taken[1].sendall(b"".join(framed(order(f"F{n}")) for n in range(300)))
        taken[2].sendall(b"\x0bMSH|")
        assert site.serves("ris")
        assert next_ack(taken[1]) is not None
        assert site.code("flooded", order("A1")) == ""
        assert site.serves("ris")
        taken[0].sendall(b"x" * 2**20)
        assert site.serves("ris")
        for connection in taken:
            connection.close()
        assert site.serves("ris")
        assert set(site.channels()) == {"flooded", "ris"}


def test_closing_one_listener_leaves_the_others_serving(tmp_path: Path) -> None:
    """Listeners share one reception: one that stops takes nothing of another's with it."""
    with fresh_database(tmp_path) as database:
        assert _closed_beside_another(database) == (AckCode.AA, None, AckCode.AA)


def _closed_beside_another(database: Database) -> tuple[AckCode, AckCode | None, AckCode]:
    """What the second answers while both run; after the first stopped, what its peer gets and the second."""
    reception = Reception(Intake(database, Jobs().enqueue))
    reception.start()
    with ExitStack() as stack:
        stack.callback(reception.stop)
        second = stack.enter_context(running(MllpServer("127.0.0.1", 0, reception.receive, name="second")))
        with running(MllpServer("127.0.0.1", 0, reception.receive, name="first")) as first:
            staying = stack.enter_context(closing(connect(second)))
            ending = stack.enter_context(closing(connect(first)))
            ending.sendall(b"\x0bMSH|")
            staying.sendall(framed(order("A1")))
            before = next_ack(staying)
        closed = next_ack(ending)
        staying.sendall(framed(order("A2")))
        after = next_ack(staying)
    assert before is not None
    assert after is not None
    return before.code, closed.code if closed else None, after.code
