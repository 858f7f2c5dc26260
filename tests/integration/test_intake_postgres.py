"""What PostgreSQL refuses to store must not make a message come back for ever."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from connectors.hl7.ack import read_ack
from connectors.hl7.identifiers import Places
from plugin.audit.verify import verify
from plugin.casework import Job
from plugin.db import Database
from plugin.intake import Intake
from plugin.migrate import migrate
from plugin.tables import Message

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
    intake = Intake(database, lambda _session, job: jobs.append(job), Places())
    ack = read_ack(intake.receive(body, "127.0.0.1:1"))
    with database.read() as session:
        (kept,) = session.scalars(sa.select(Message))
        assert verify(session).verified
    assert kept.body == body
    assert (ack.code, kept.state) in {("AE", "REFUSED"), ("AA", "PROCESSED")}
    assert jobs == []
