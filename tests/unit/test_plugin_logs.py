"""Whatever goes wrong, no log line, reason or audit entry names the patient."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from connectors.dicomweb.client import DicomwebClient
from connectors.exchange import Patient, ReportStatus
from connectors.sandbox.pacs import SandboxPacs
from connectors.sandbox.ris import order_message, report_message
from model.study import Draft, Drafter, Unfit
from plugin.casework import Job
from plugin.db import Database
from plugin.drafting import Drafting
from plugin.intake import Intake
from plugin.orders import take_order, take_study
from plugin.settings import Settings
from plugin.tables import AuditLeaf, Case, Message
from tests.case_samples import CARD, ROSA, Jobs, a_study, an_order, fresh_database, state_of

PLANTED = Patient("PLANTED-ID", "PLANTED-AUTH", "PlantedFamily", "PlantedGiven", date(1961, 4, 2), "female")
OTHER = Patient("PLANTED-OTHER", "PLANTED-AUTH", "PlantedSecond", "PlantedGiven", date(1950, 1, 1), "male")
ACCESSION = "PLANTED-ACC"
UID = "1.2.826.0.1.99.424242"
AT = datetime(2026, 1, 6, 9, 30, tzinfo=UTC)
MARKS = ("planted", "424242", "19610402", "1961-04-02")


@pytest.fixture
def database(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Database]:
    caplog.set_level(logging.DEBUG)
    # Statements are only logged where somebody asks SQLAlchemy to; Prelim never does.
    logging.getLogger("sqlalchemy").setLevel(logging.WARNING)
    with fresh_database(tmp_path) as database:
        yield database


def told(database: Database, caplog: pytest.LogCaptureFixture) -> str:
    """Everything that was written about what happened."""
    with database.read() as session:
        entries = session.scalars(sa.select(AuditLeaf.entry)).all()
        reasons = [*session.scalars(sa.select(Case.reason)), *session.scalars(sa.select(Message.reason))]
    assert entries
    # The archive client's library logs addresses below WARNING; `prelim serve` silences it.
    ours = [
        r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING or r.name.startswith("plugin")
    ]
    return " ".join([*entries, *reasons, *ours, *(str(r.exc_info) for r in caplog.records if r.exc_info)])


def assert_silent(text: str) -> None:
    folded = text.casefold()
    assert not [folded[max(0, folded.index(mark) - 60) :][:120] for mark in MARKS if mark in folded]


def test_the_marks_would_be_found() -> None:
    """The check itself sees a patient when there is one."""
    with pytest.raises(AssertionError):
        assert_silent(f"PID-3 {PLANTED.identifier}")


def messages() -> dict[str, bytes]:
    order = an_order(ACCESSION, patient=PLANTED, study_instance_uid=UID)
    good = order_message(order, "M1", AT)
    report = {
        "accession": ACCESSION,
        "procedure": order.procedure,
        "text": "PlantedFamily has fluid.",
        "signer": ROSA,
        "at": AT,
        "study_instance_uid": UID,
    }
    return {
        "good": good,
        "clash": good.replace(b"Effusion", b"Planted"),
        "another patient": order_message(an_order(ACCESSION, patient=OTHER), "M2", AT),
        "no accession": order_message(an_order("", patient=PLANTED), "M3", AT),
        "bad code": good.replace(b"ORC|NW", b"ORC|ZZPLANTED").replace(b"|M1|", b"|M4|"),
        "bad type": good.replace(b"ORM^O01", b"ZZZ^O01").replace(b"|M1|", b"|M5|"),
        "bad uid": good.replace(UID.encode(), b"PLANTED.424242").replace(b"|M1|", b"|M6|"),
        "broken": good.replace(b"OBR|", b"0BR|").replace(b"|M1|", b"|M7|"),
        "bad charset": good.replace(b"UNICODE UTF-8", b"PLANTED").replace(b"|M1|", b"|M8|") + b"NTE|\xff",
        "no hl7": b"PlantedFamily PLANTED-ID",
        "report": report_message(patient=PLANTED, status=ReportStatus.FINAL, control_id="M9", **report),  # type: ignore[arg-type]
        "report of another": report_message(
            patient=OTHER, status=ReportStatus.FINAL, control_id="M10", **report
        ),  # type: ignore[arg-type]
    }


def test_no_message_leaves_its_patient_in_the_log(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Good, clashing, mismatching, incomplete and unreadable messages are told without their content."""
    intake = Intake(database, Jobs().enqueue)
    answers = [b"".join(intake.receive(body, "127.0.0.1:1").in_order) for body in messages().values()]
    assert {answer.split(b"MSA|")[1][:2] for answer in answers} == {b"AA", b"AE", b"AR"}
    assert_silent(told(database, caplog))


def test_a_database_that_fails_quotes_nothing(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """Errors of the database and errors nobody foresaw are told by their kind."""

    def refused(*_: object) -> None:
        raise sa.exc.OperationalError(f"INSERT {PLANTED}", {"name": PLANTED}, Exception(str(PLANTED)))

    def broken(*_: object) -> None:
        raise ValueError(str(PLANTED))

    with database.write() as session:
        take_study(
            session, a_study(ACCESSION, patient=PLANTED, study_instance_uid=UID), Jobs().enqueue, "archive"
        )
    for enqueue in (refused, broken):
        Intake(database, enqueue).receive(messages()["good"], "127.0.0.1:1")
    text = told(database, caplog)
    assert "OperationalError" in text
    assert "ValueError" in text
    assert_silent(text)


class Unwilling(Drafter):
    """A drafter that finds every study unfit."""

    card = CARD

    def draft(self, volume: object, context: object) -> Draft:  # type: ignore[override]
        raise Unfit("It is not a chest.")

    def conclude(self, findings: str, context: object) -> Draft:
        raise Unfit("It concludes nothing.")


@pytest.mark.parametrize("archive", ["empty", "away"])
def test_a_draft_that_waits_names_nobody(
    database: Database, caplog: pytest.LogCaptureFixture, archive: str
) -> None:
    """A study that is not there yet, or an archive that is away, is told without study or patient."""
    jobs = Jobs()
    with database.write() as session:
        take_study(
            session, a_study(ACCESSION, patient=PLANTED, study_instance_uid=UID), jobs.enqueue, "archive"
        )
        case = take_order(
            session, an_order(ACCESSION, patient=PLANTED, study_instance_uid=UID), jobs.enqueue, "hl7:RIS"
        )
    with SandboxPacs() as pacs:
        url = pacs.dicomweb_url
        if archive == "empty":
            with DicomwebClient(url, timeout_seconds=10) as client:
                Drafting(Settings(), database, jobs.enqueue, client, Unwilling).draft(case.id, 1, 0)
    if archive == "away":
        with DicomwebClient(url, timeout_seconds=2) as client:
            Drafting(Settings(), database, jobs.enqueue, client, Unwilling).draft(case.id, 1, 0)
    assert jobs.asked[-1] == Job("draft", case.id, 1, 1, 5.0)
    assert state_of(database, ACCESSION) == "READY"
    assert_silent(told(database, caplog))
