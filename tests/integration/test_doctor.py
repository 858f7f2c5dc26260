"""`prelim doctor` over listeners, RIS and outbox: each by name, and how to mend it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from connectors.hl7.ack import AckCode, acknowledge
from connectors.hl7.message import parse
from connectors.hl7.mllp import MllpServer, Peer
from connectors.hl7.mllp import running as listening
from connectors.tls import server_context
from plugin import outbox
from plugin.db import Database, now
from plugin.doctor import LONG_WAIT_SECONDS, Finding, examine
from plugin.listeners import Listener
from plugin.serve import Service
from plugin.settings import Settings
from plugin.tables import Message
from tests.case_samples import fresh_url
from tests.certificates import Authority

ORU = b"MSH|^~\\&|PRELIM||||2026||ORU^R01|PRELIM1|P|2.5.1\rPID|1||PAT-1\r"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(database_url=fresh_url(tmp_path), mllp_port=0, http_port=0)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


async def accept(payload: bytes, _peer: Peer) -> list[bytes]:
    return [acknowledge(parse(payload), AckCode.AA)]


def found(settings: Settings, name: str) -> Finding:
    """One finding."""
    (finding,) = [finding for finding in examine(settings) if finding.name == name]
    return finding


def test_each_listener_is_named(settings: Settings, taken: int) -> None:
    """One finding a listener, with what it speaks; the one whose port is taken names its setting."""
    listeners = (Listener(name="orders", port=0), Listener(name="results", port=taken))
    settings = replace(settings, listeners=listeners)
    assert found(settings, "listener orders") == Finding(
        "listener orders", True, "127.0.0.1:0 is free (plain)"
    )
    results = found(settings, "listener results")
    assert not results.well
    assert "PRELIM_LISTENERS" in results.said


def test_the_one_listener_of_the_mllp_settings_is_named_default(settings: Settings, taken: int) -> None:
    """And names those settings."""
    finding = found(replace(settings, mllp_port=taken), "listener default")
    assert not finding.well
    assert "PRELIM_MLLP_PORT" in finding.said


def test_ports_in_use_by_a_running_prelim_are_well(settings: Settings) -> None:
    """Doctor is run beside the service: its own ports are not a fault."""
    service = Service(settings, ("listen", "web"))
    service.start()
    try:
        beside = replace(settings, mllp_port=service.mllp_port, http_port=service.http_port)
        assert (
            found(beside, "listener default").said
            == f"127.0.0.1:{service.mllp_port} is in use, and Prelim runs (plain)"
        )
        assert found(beside, "pages").well
    finally:
        service.stop()


def test_a_listeners_tls_files_are_looked_at(settings: Settings, tmp_path: Path) -> None:
    """A key of another certificate, an expired one and a missing file are each one sentence."""
    authority = Authority(tmp_path)
    good, other = authority.issue("good"), authority.issue("other")
    old = authority.issue("old", expired=True)
    missing = tmp_path / "missing.pem"

    def said(certificate: Path, key: Path, ca: Path | None = None) -> Finding:
        listener = Listener(name="secure", port=0, tls_certificate=certificate, tls_key=key, tls_client_ca=ca)
        return found(replace(settings, listeners=(listener,)), "listener secure")

    assert said(good.certificate, good.key).said.endswith("(TLS)")
    assert said(good.certificate, good.key, authority.certificate).said.endswith("senders with certificates)")
    for finding, words in (
        (said(good.certificate, other.key), "does not belong"),
        (said(old.certificate, old.key), "expired"),
        (said(missing, good.key), "missing.pem"),
    ):
        assert not finding.well
        assert words in finding.said


def test_a_ris_by_tls_is_spoken_to(settings: Settings, tmp_path: Path) -> None:
    """Its certificate is verified; one of strangers, and a RIS that speaks none, are told apart."""
    authority = Authority(tmp_path)
    own = authority.issue("ris")
    stranger = Authority(tmp_path, "stranger")
    secure = MllpServer("127.0.0.1", 0, accept, ssl_context=server_context(own.certificate, own.key))
    with listening(secure) as port, listening(MllpServer("127.0.0.1", 0, accept)) as plain:
        by_tls = replace(settings, ris=f"127.0.0.1:{port}", ris_ca=authority.certificate)
        assert "takes connections by TLSv1" in found(by_tls, "RIS").said
        unknown = found(replace(by_tls, ris_ca=stranger.certificate), "RIS")
        assert not unknown.well
        assert "PRELIM_RIS_CA" in unknown.said
        assert not found(replace(by_tls, ris=f"127.0.0.1:{plain}"), "RIS").well
        assert "none.pem" in found(replace(by_tls, ris_ca=tmp_path / "none.pem"), "RIS").said


def test_a_ris_that_is_down_is_told(settings: Settings) -> None:
    """With the setting that names it."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        finding = found(replace(settings, ris=f"127.0.0.1:{unused.getsockname()[1]}"), "RIS")
    assert not finding.well
    assert "PRELIM_RIS" in finding.said


def waiting(settings: Settings, seconds: float) -> None:
    """A message in the outbox, as old as that."""
    database = Database(settings.database_url)
    with database.write() as session:
        number = outbox.put(session, outbox.RIS, "lane", ORU)
        written = now() - timedelta(seconds=seconds)
        session.execute(sa.update(Message).where(Message.id == number).values(received_at=written))
    database.close()


def test_an_empty_outbox_is_well(settings: Settings) -> None:
    """Nothing waits."""
    assert found(settings, "outbox") == Finding("outbox", True, "nothing waits")


@pytest.mark.parametrize(
    ("seconds", "well"), [(LONG_WAIT_SECONDS - 60, True), (LONG_WAIT_SECONDS + 60, False)]
)
def test_a_message_that_waits_for_long_is_a_finding(settings: Settings, seconds: float, well: bool) -> None:
    """Just under the limit and just over; how many, and since when."""
    waiting(settings, seconds)
    finding = found(replace(settings, ris="127.0.0.1:1"), "outbox")
    assert finding.well == well
    assert "1 wait for ris since 20" in finding.said


def test_messages_for_a_ris_that_is_not_set_are_a_finding(settings: Settings) -> None:
    """Nothing would ever send them."""
    waiting(settings, 0)
    finding = found(settings, "outbox")
    assert not finding.well
    assert "PRELIM_RIS is empty" in finding.said


def test_dead_letters_are_counted(settings: Settings) -> None:
    """They are told, and are no fault of a setting."""
    waiting(settings, 0)
    database = Database(settings.database_url)
    with database.write() as session:
        outbox.refused(session, 1, "no", None)
    database.close()
    assert found(settings, "outbox") == Finding("outbox", True, "nothing waits, 1 refused")


def test_without_a_database_the_outbox_is_not_judged(tmp_path: Path) -> None:
    """The finding about the database says what to mend."""
    settings = Settings(database_url=f"sqlite:///{tmp_path / 'none' / 'x.sqlite'}", mllp_port=0, http_port=0)
    assert not found(settings, "database").well
    assert found(settings, "outbox").said == "not looked at: see the database"
