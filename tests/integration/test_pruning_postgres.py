"""Pruning and counting on PostgreSQL, where a site with many processes keeps its messages."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from connectors.sandbox.ris import order_message
from plugin.db import Database, now
from plugin.intake import Intake
from plugin.migrate import migrate
from plugin.pruning import prunable, prune
from plugin.tables import Message
from plugin.tally import count_places, count_states, summarize, waiting
from tests.case_samples import AT, Jobs, an_order


def test_old_bodies_are_counted_and_erased(postgres_url: str) -> None:
    """As on SQLite: in batches, each with its leaf."""
    database = Database(postgres_url)
    migrate(database)
    intake = Intake(database, Jobs().enqueue)
    for number in range(5):
        intake.receive(order_message(an_order(f"ACC{number}"), f"M{number}", AT), "127.0.0.1:1")
    with database.write() as session:
        session.execute(sa.update(Message).values(received_at=now() - timedelta(days=2)))
    with database.read() as session:
        counted = prunable(session, 1)
        assert count_states(session)["PROCESSED"] == count_places(session)["in", "PROCESSED"] == 5
        assert [one.messages for one in summarize(session)] == [5]
        assert waiting(session) == []
    assert prune(database, 1, "test", batch=2) == counted
    with database.read() as session:
        assert set(session.scalars(sa.select(sa.func.length(Message.body)))) == {0}
    database.close()
