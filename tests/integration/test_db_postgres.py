"""On PostgreSQL several processes write: whoever waits for its turn must see what was done meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from connectors.exchange import Patient
from connectors.hl7.message import build
from plugin import outbox
from plugin.db import Database, now
from plugin.links import surviving
from plugin.messages import next_number
from plugin.migrate import migrate
from plugin.tables import PatientLink
from tests.site import until

WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    database = Database(postgres_url)
    migrate(database)
    yield database
    database.close()


def test_a_writer_that_waited_sees_the_latest_message_and_merge(database: Database) -> None:
    """Else two messages get one number, and an order is taken for a patient who was merged meanwhile."""
    other = Database(database.url)
    seen: list[tuple[int, str]] = []

    def wait_and_look() -> None:
        with other.write() as session:
            seen.append((next_number(session), surviving(session, Patient("1")).identifier))

    waiting = threading.Thread(target=wait_and_look)
    with database.write() as session:
        waiting.start()
        until(lambda: _waiting(database), "the other writer waits")
        body = build([("MSH", {3: "PRELIM", 9: ("ORU", "R01"), 10: "1"})])
        number = outbox.put(session, outbox.RIS, "lane", body)
        session.add(
            PatientLink(
                identifier="1",
                assigning_authority="",
                surviving_identifier="2",
                surviving_authority="",
                message_id=number,
                linked_at=now(),
            )
        )
    waiting.join()
    other.close()
    assert seen == [(number + 1, "2")]


def _waiting(database: Database) -> bool:
    with database.read() as session:
        return bool(session.scalar(sa.text(WAITING)))
