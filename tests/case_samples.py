"""Made-up orders, studies and reports, and fresh migrated databases for tests of the plugin."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from connectors.exchange import (
    Coding,
    Order,
    OrderAction,
    Patient,
    Practitioner,
    ReportStatus,
    SignedReport,
    StudyRef,
)
from model.study import Draft, ModelCard, Sentence
from plugin import translate
from plugin.audit.verify import verify
from plugin.cases import CaseState
from plugin.casework import Job, find_case, move
from plugin.db import Database
from plugin.migrate import migrate
from plugin.reports import check_report, take_report
from plugin.tables import APPEND_ONLY, Case, DraftRecord, SignOff

AT = datetime(2026, 1, 6, 9, 30, tzinfo=UTC)
ADA = Patient("PAT-1", "HOSP", "Example", "Ada", date(1961, 4, 2), "female")
BEN = Patient("PAT-2", "HOSP", "Sample", "Ben", date(1950, 1, 1), "male")
ROSA = Practitioner("D-77", "Rosa", "Elena", "Dr.")
UID = "1.2.826.0.1.3680043.8.498.1"
OTHER_UID = "1.2.826.0.1.3680043.8.498.2"
CARD = ModelCard("sample", "1", "ab" * 32, "p1", "Written by software; a radiologist must sign.")


@functools.cache
def _template() -> Path:
    """One migrated SQLite file; a copy of it is quicker than another migration."""
    folder = tempfile.TemporaryDirectory(prefix="prelim-tests-")
    _kept.append(folder)
    path = Path(folder.name) / "template.sqlite"
    database = Database(f"sqlite:///{path}")
    migrate(database)
    database.close()
    return path


_kept: list[tempfile.TemporaryDirectory[str]] = []


def fresh_url(folder: Path) -> str:
    """URL of a migrated and empty SQLite database of its own in a folder."""
    path = folder / "prelim.sqlite"
    shutil.copy(_template(), path)
    return f"sqlite:///{path}"


@contextmanager
def fresh_database(folder: Path) -> Iterator[Database]:
    """A migrated and empty database, closed at the end."""
    database = Database(fresh_url(folder))
    try:
        yield database
    finally:
        database.close()


class Jobs:
    """Keeps the jobs that were asked for, in the order in which they were."""

    def __init__(self) -> None:
        self.asked: list[Job] = []

    def enqueue(self, _session: Session, job: Job) -> None:
        """Takes a job as the queue does."""
        self.asked.append(job)


def an_order(accession: str = "ACC1", **changes: Any) -> Order:
    """An order for a chest CT."""
    plain = Order(
        action=OrderAction.PLACE,
        accession=accession,
        patient=ADA,
        procedure=Coding("24627-2", "CT Chest", "LN"),
        placer_order_number="PL-1",
        filler_order_number="FI-1",
        study_instance_uid=UID,
        modality="CT",
        clinical_question="Effusion?",
        ordering_provider=Practitioner("ORD-3", "Lindqvist", "Maja", "Dr."),
        ordered_at=AT,
    )
    return replace(plain, **changes)


def a_study(accession: str = "ACC1", **changes: Any) -> StudyRef:
    """The study of that order, as the archive announces it."""
    return replace(StudyRef(UID, ADA, accession, ("CT",), "Chest", 32), **changes)


def a_report(accession: str = "ACC1", **changes: Any) -> SignedReport:
    """The final report of that order, signed by a named radiologist in the RIS."""
    plain = SignedReport(
        accession=accession,
        patient=ADA,
        status=ReportStatus.FINAL,
        text="Findings: The lungs are clear.\nImpression: Normal.",
        channel="hl7-oru",
        source="RIS|HOSP",
        signer=ROSA,
        signed_at=AT,
        study_instance_uid=UID,
    )
    return replace(plain, **changes)


def a_draft(*sections: tuple[str, str]) -> Draft:
    """A draft of these (title, text) sections."""
    told = sections or (("Findings", "The lungs are clear."), ("Impression", "No acute abnormality."))
    return Draft(tuple(Sentence(title, text) for title, text in told), CARD)


def see_report(
    session: Session,
    report: SignedReport,
    evidence: str,
    actor: str,
    message_id: int | None = None,
    jobs: Jobs | None = None,
) -> SignOff | None:
    """See a human's report as the intake does: looked at first, then taken. Raises Mismatch."""
    check_report(session, report)
    return take_report(session, report, evidence, actor, message_id, enqueue=(jobs or Jobs()).enqueue)


def store_draft(session: Session, case: Case, draft: Draft | None = None) -> DraftRecord:
    """Keep the draft that is due, as a worker does, and move the case to DRAFTED."""
    row = translate.draft_row(case, draft or a_draft(), translate.DraftStatus.PRELIMINARY, AT)
    session.add(row)
    session.flush()
    move(session, case, CaseState.DRAFTED, "prelim/worker", details={"draft": row.number})
    return row


def state_of(database: Database, accession: str = "ACC1") -> CaseState:
    """Where a case stands."""
    with database.read() as session:
        case = find_case(session, accession)
        assert case is not None, "there is no such case"
        return CaseState(case.state)


def holds(database: Database) -> bool:
    """Whether the audit log verifies."""
    with database.read() as session:
        return verify(session).verified


def tamper(database: Database, *statements: str) -> None:
    """Change audit tables as somebody with the database's password would: triggers first."""
    assert database.engine.dialect.name == "sqlite"
    with database.engine.begin() as connection:
        for name in ("audit_leaves_no_update", "audit_leaves_no_delete"):
            connection.execute(sa.text(f"DROP TRIGGER {name}"))
        for statement in statements:
            connection.exec_driver_sql(statement)
        for trigger in APPEND_ONLY["sqlite"]:
            connection.exec_driver_sql(trigger)
