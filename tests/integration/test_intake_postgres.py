"""What PostgreSQL refuses to store must not make a message come back for ever."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from threading import Thread

import pytest
import sqlalchemy as sa

from connectors.hl7.ack import read_ack
from connectors.sandbox.ris import order_message
from plugin.audit.verify import verify
from plugin.casework import Job
from plugin.db import Database
from plugin.incoming import Arrival
from plugin.intake import Intake
from plugin.messages import LONGEST
from plugin.migrate import migrate
from plugin.tables import Message
from tests.site import new_order

AT = datetime(2026, 1, 6, 9, 30, tzinfo=UTC)
ORDER = (
    b"MSH|^~\\&|%bRIS|H|PRELIM||20260106093000||ORM^O01|M%b1|P|2.3.1\r"
    b"PID|1||P1^^^H||Example%b^Robin\rORC|NW|1\rOBR|1|||24627-2^CT^LN||||||||||||||A%b1\r"
)


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    database = Database(postgres_url)
    migrate(database)
    yield database
    database.close()


@pytest.mark.parametrize("place", range(4), ids=["sender", "control id", "name", "accession"])
def test_a_nul_anywhere_is_refused_for_good_and_kept(database: Database, place: int) -> None:
    """PostgreSQL stores no NUL in text: the message gets AE, not AR, and is kept byte for byte."""
    body = ORDER % tuple(b"\x00" if index == place else b"" for index in range(4))
    jobs: list[Job] = []
    intake = Intake(database, lambda _session, job: jobs.append(job))
    ack = read_ack(b"".join(intake.receive(body, "127.0.0.1:1").in_order))
    with database.read() as session:
        (kept,) = session.scalars(sa.select(Message))
        assert verify(session).verified
    assert kept.body == body
    assert (ack.code, kept.state) in {("AE", "REFUSED"), ("AA", "PROCESSED")}
    assert jobs == []


def test_processes_that_take_messages_at_once_number_them_apart(
    database: Database, postgres_url: str
) -> None:
    """Two listeners over one database: every order of both is taken, each under a number of its own."""
    other = Database(postgres_url)
    codes: list[str] = []

    def take(own: Database, name: str) -> None:
        intake = Intake(own, lambda _session, _job: None)
        for number in range(40):
            order = new_order(study_instance_uid="")
            (reply,) = intake.receive(order_message(order, f"{name}{number}", AT), "10.0.0.1:1").in_order
            codes.append(read_ack(reply).code.value)

    threads = [Thread(target=take, args=(own, name)) for own, name in ((database, "X"), (other, "Y"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    with database.read() as session:
        kept = session.scalars(sa.select(Message.id).order_by(Message.id)).all()
        assert verify(session).verified
    assert codes == ["AA"] * 80
    assert list(kept) == list(range(1, 81))


LONG = secrets.token_hex(6_000).encode()
"""What PostgreSQL takes in no index, and cannot compress into one."""


@pytest.mark.parametrize("place", range(4), ids=["sender", "control id", "name", "accession"])
def test_what_is_too_long_for_an_index_holds_no_other_message_up(database: Database, place: int) -> None:
    """Its own sender hears that it is too long; the messages that came with it are taken."""
    intake = Intake(database, lambda _session, _job: None)
    bodies = [ORDER % (b"", b"9", b"", b"9"), ORDER % tuple(LONG if n == place else b"" for n in range(4))]
    arrivals = [Arrival(body, "127.0.0.1:1", intake.rules("default")) for body in bodies]
    acks = [read_ack(b"".join(answers.in_order)) for answers in intake.receive_all(arrivals)]
    with database.read() as session:
        kept = session.scalars(sa.select(Message).order_by(Message.id)).all()
        assert verify(session).verified
    taken = place == 2  # a name is only shortened where it is searched for
    assert [ack.code for ack in acks] == ["AA", "AA" if taken else "AE"]
    assert [ack.error_code for ack in acks] == ["", "" if taken else "104"]
    assert [message.body for message in kept] == bodies
    assert all(len(message.control_id) <= LONGEST for message in kept)
