"""Unmapped procedures on PostgreSQL, which reads JSON in its own way."""

from __future__ import annotations

from connectors.exchange import Coding
from connectors.fhir.drafts.codes import CodeMap
from connectors.sandbox.ris import order_message
from plugin.db import Database
from plugin.intake import Intake
from plugin.migrate import migrate
from plugin.procedures import unmapped
from tests.case_samples import AT, Jobs, an_order


def test_unmapped_procedures_are_counted_on_postgresql(postgres_url: str) -> None:
    """As on SQLite: the most frequent first, with the newest day."""
    database = Database(postgres_url)
    migrate(database)
    intake = Intake(database, Jobs().enqueue)
    for number, code in enumerate(["KNEE", "CHEST", "KNEE"]):
        order = an_order(
            f"ACC{number}", procedure=Coding(code, "words", "L"), study_instance_uid=f"1.2.{number}"
        )
        intake.receive(order_message(order, f"M{number}", AT), "127.0.0.1:1")
    try:
        with database.read() as session:
            found = unmapped(session, CodeMap(), AT)
    finally:
        database.close()
    assert [(one.procedure, one.cases) for one in found] == [
        (Coding("KNEE", "words", "L"), 2),
        (Coding("CHEST", "words", "L"), 1),
    ]
