"""What is kept of a human's report, which case it belongs to, and what it causes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from connectors.exchange import OrderAction, ReportDocument, ReportStatus, SignedReport
from plugin.cases import CaseState
from plugin.casework import find_case, move
from plugin.db import Database
from plugin.orders import take_order, take_study
from plugin.reports import Mismatch, check_report, latest_draft, take_report
from plugin.tables import AuditLeaf, Case, SignOff
from tests.case_samples import (
    ADA,
    AT,
    BEN,
    OTHER_UID,
    ROSA,
    Jobs,
    a_report,
    a_study,
    an_order,
    fresh_database,
    holds,
    state_of,
    store_draft,
)

READABLE = AT - timedelta(seconds=100)
DRAFTED = "Findings\nThe lungs are clear.\nImpression\nNo acute abnormality."
SERVER = "http://fhir.example/fhir"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with fresh_database(tmp_path) as database:
        yield database


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


@pytest.fixture
def case_id(database: Database, jobs: Jobs) -> str:
    """The id of a case whose draft stands on the FHIR server."""
    return published(database, jobs)


def published(
    database: Database, jobs: Jobs, accession: str = "ACC1", uid: str = a_study().study_instance_uid
) -> str:
    with database.write() as session:
        take_study(session, a_study(accession, study_instance_uid=uid), jobs.enqueue, "archive")
        case = take_order(session, an_order(accession, study_instance_uid=uid), jobs.enqueue, "hl7:RIS")
        row = store_draft(session, case)
        row.reference, row.version, row.published_at = "DiagnosticReport/7", "1", READABLE
        move(session, case, CaseState.PUBLISHED, "prelim/worker")
        return case.id


def take(
    database: Database, jobs: Jobs, report: SignedReport, evidence: str = "message 9:0"
) -> SignOff | None:
    """See a report as the intake does: looked at first, then taken."""
    with database.write() as session:
        check_report(session, report)
        return take_report(session, report, evidence, "somebody", enqueue=jobs.enqueue)


def on_fhir(**changes: Any) -> SignedReport:
    """That report as a resource on the FHIR server."""
    seen = {"channel": "fhir", "source": f"{SERVER}/DiagnosticReport/17", "version": "3"}
    return a_report(**{**seen, **changes})


def asked(jobs: Jobs, *kinds: str) -> list[str]:
    return [job.kind for job in jobs.asked if job.kind in (kinds or ("retire", "attest"))]


def leaf(database: Database) -> dict[str, Any]:
    """Details of the newest entry about a report."""
    with database.read() as session:
        seen = sa.select(AuditLeaf.entry).where(AuditLeaf.action == "report.seen")
        entry = session.scalars(seen.order_by(AuditLeaf.position.desc()).limit(1)).one()
    details: dict[str, Any] = json.loads(entry)["details"]
    return details


def count(database: Database, table: Any) -> int:
    with database.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(table)) or 0


# --- what is kept -------------------------------------------------------------------------------------


def test_a_signature_is_kept_with_all_that_makes_it_evidence(
    database: Database, jobs: Jobs, case_id: str
) -> None:
    """Row and leaf say who in what role, when, from where, how long after the draft, and what was changed."""
    words = DRAFTED.replace("No acute abnormality", "Normal")
    row = take(database, jobs, a_report(text=words, signer=replace(ROSA, role="OBR-32"), version="M-5"))
    assert row is not None
    assert (row.signer_name, row.signer_role, row.version) == ("Dr. Elena Rosa", "OBR-32", "M-5")
    assert (row.seconds_to_sign, row.untouched, row.edit_distance) == (100.0, False, 3)
    told = leaf(database)
    kept = (
        "signer_role",
        "version",
        "seconds_to_sign",
        "untouched",
        "edit_distance",
        "evidence",
        "text_sha256",
    )
    assert {name: told[name] for name in kept} == {name: getattr(row, name) for name in kept}
    assert (told["draft"], told["changed_in"], told["draft_sha256"]) == (
        1,
        {"Impression": 3},
        row.draft_sha256,
    )
    assert "lungs" not in json.dumps(told)
    assert holds(database)


def test_a_draft_signed_word_for_word_is_untouched(database: Database, jobs: Jobs, case_id: str) -> None:
    """Nothing changed in any section, and all of them in their order."""
    row = take(database, jobs, a_report(text=DRAFTED))
    assert row is not None
    assert (row.untouched, row.edit_distance) == (True, 0)
    told = leaf(database)
    assert (told["untouched"], told["changed_in"]) == (True, {})


def test_the_same_words_in_another_order_are_not_untouched(
    database: Database, jobs: Jobs, case_id: str
) -> None:
    """No word changed, and yet somebody had it in hand."""
    findings, impression = DRAFTED.split("\nImpression")
    row = take(database, jobs, a_report(text=f"Impression{impression}\n{findings}"))
    assert row is not None
    assert (row.untouched, row.edit_distance) == (False, 0)


def test_without_a_draft_nothing_is_measured(database: Database, jobs: Jobs) -> None:
    """None says that there was nothing to compare with; it is no zero."""
    row = take(database, jobs, a_report())
    assert row is not None
    assert (row.untouched, row.edit_distance, row.seconds_to_sign, row.since_previous) == (None,) * 4


def test_a_report_that_is_only_a_document_is_not_compared(
    database: Database, jobs: Jobs, case_id: str
) -> None:
    """A PDF is not read: that its words differ from the draft's would be invented."""
    document = ReportDocument("application/pdf", "ab" * 32, 9)
    row = take(database, jobs, a_report(text="", documents=(document,)))
    assert row is not None
    assert (row.untouched, row.edit_distance, row.changes, row.seconds_to_sign) == (None, None, [], 100.0)
    assert row.draft_sha256


@pytest.mark.parametrize(
    ("published_at", "delivered_at", "seconds"),
    [
        (READABLE, None, 100.0),
        (None, READABLE, 100.0),
        (READABLE, READABLE - timedelta(hours=1), 100.0),
        (None, None, None),
        (AT + timedelta(seconds=1), None, 0.0),
        (AT + timedelta(seconds=61), None, None),
    ],
)
def test_the_time_to_sign_counts_from_when_the_draft_could_be_read(
    database: Database, jobs: Jobs, case_id: str, published_at: Any, delivered_at: Any, seconds: float | None
) -> None:
    """On the FHIR server, else in the RIS; a clock that runs behind is said and no time is given."""
    with database.write() as session:
        draft = latest_draft(session, case_id)
        assert draft is not None
        draft.published_at, draft.delivered_at = published_at, delivered_at
    row = take(database, jobs, a_report())
    assert row is not None
    assert row.seconds_to_sign == seconds
    assert ("clock" in leaf(database)) is (seconds is None and published_at is not None)


@pytest.mark.parametrize("status", [ReportStatus.CORRECTED, ReportStatus.AMENDED, ReportStatus.APPENDED])
def test_a_correction_is_a_signature_of_its_own(
    database: Database, jobs: Jobs, case_id: str, status: ReportStatus
) -> None:
    """The case stays signed; both stand in order, each with its difference to the draft and to the other."""
    first = take(database, jobs, a_report(text=DRAFTED))
    later = a_report(text=f"{DRAFTED} Rib fracture.", status=status)
    second = take(database, jobs, later, "message 10:0")
    assert first is not None
    assert second is not None
    assert (first.since_previous, second.since_previous) == (None, 2)
    assert (second.verdict, second.edit_distance, second.untouched) == ("signed", 2, False)
    assert leaf(database)["since_previous"] == 2
    assert state_of(database) is CaseState.SIGNED
    with database.read() as session:
        assert session.scalars(sa.select(SignOff.id).order_by(SignOff.id)).all() == [first.id, second.id]


# --- which case ---------------------------------------------------------------------------------------


def test_our_identifier_leads_to_the_case_where_no_accession_does(
    database: Database, jobs: Jobs, case_id: str
) -> None:
    """A report of ours that a person finished names the case by itself."""
    row = take(database, jobs, on_fhir(accession="", case_id=case_id))
    assert row is not None
    assert row.case_id == case_id
    assert state_of(database) is CaseState.SIGNED


def test_an_identifier_that_is_nobodys_leaves_the_accession(
    database: Database, jobs: Jobs, case_id: str
) -> None:
    """Another site's Prelim, or a case that is gone: the accession decides."""
    row = take(database, jobs, on_fhir(case_id="f" * 32))
    assert row is not None
    assert row.case_id == case_id


def test_our_identifier_under_another_accession_is_a_mismatch(
    database: Database, jobs: Jobs, case_id: str
) -> None:
    """Two names that lead to two cases: nothing is signed, whichever was meant."""
    published(database, jobs, "ACC2", OTHER_UID)
    with pytest.raises(Mismatch, match="accession number"):
        take(database, jobs, on_fhir(accession="ACC2", case_id=case_id, study_instance_uid=""))
    assert count(database, SignOff) == 0


def stood_at(database: Database, case_id: str, source: str) -> None:
    """Say where the draft of a case stood."""
    with database.write() as session:
        row = latest_draft(session, case_id)
        assert row is not None
        row.reference, row.url = "/".join(source.split("/")[-2:]), source


def test_a_report_in_the_place_of_our_draft_is_of_its_case_whatever_it_lost(
    database: Database, jobs: Jobs, case_id: str
) -> None:
    """A person's version without our identifier and accession signs the case whose draft stood there."""
    stood_at(database, case_id, f"{SERVER}/DiagnosticReport/17")
    row = take(database, jobs, on_fhir(accession="", study_instance_uid=""))
    assert row is not None
    assert (row.case_id, state_of(database)) == (case_id, CaseState.SIGNED)


@pytest.mark.parametrize(
    "changes", [{"accession": "ACC2", "study_instance_uid": ""}, {"accession": "", "patient": BEN}]
)
def test_the_place_of_our_draft_is_no_excuse_for_another_accession_or_patient(
    database: Database, jobs: Jobs, case_id: str, changes: dict[str, Any]
) -> None:
    """What disagrees signs nothing, and least of all another case."""
    published(database, jobs, "ACC2", OTHER_UID)
    stood_at(database, case_id, f"{SERVER}/DiagnosticReport/17")
    with pytest.raises(Mismatch):
        take(database, jobs, on_fhir(**changes))
    assert count(database, SignOff) == 0


def test_the_same_place_on_another_server_is_no_place_of_ours(
    database: Database, jobs: Jobs, case_id: str
) -> None:
    """Numbers are a server's own."""
    stood_at(database, case_id, "http://former.example/fhir/DiagnosticReport/17")
    with pytest.raises(Mismatch, match="names no case"):
        take(database, jobs, on_fhir(accession="", study_instance_uid=""))


@pytest.mark.parametrize("case", ["", "f" * 32])
def test_a_report_that_names_no_case_opens_none(database: Database, jobs: Jobs, case: str) -> None:
    """Neither accession nor an identifier of ours that is known: an error, and no case without a number."""
    report = on_fhir(accession="", case_id=case)
    with database.read() as session, pytest.raises(Mismatch, match="names no case"):
        check_report(session, report)
    with database.write() as session, pytest.raises(Mismatch, match="names no case"):
        take_report(session, report, "e", "somebody", enqueue=jobs.enqueue)
    assert (count(database, Case), count(database, SignOff)) == (0, 0)


@pytest.mark.parametrize(
    "changes", [{"patient": BEN}, {"study_instance_uid": OTHER_UID}, {"patient": replace(ADA, identifier="")}]
)
def test_our_identifier_is_no_excuse_for_another_patient_or_study(
    database: Database, jobs: Jobs, case_id: str, changes: dict[str, Any]
) -> None:
    """What disagrees signs nothing, however well it names the case."""
    with pytest.raises(Mismatch):
        take(database, jobs, on_fhir(accession="", case_id=case_id, **changes))
    assert state_of(database) is CaseState.PUBLISHED


# --- once ---------------------------------------------------------------------------------------------


def test_the_same_version_is_one_signature_whoever_brings_it(
    database: Database, jobs: Jobs, case_id: str
) -> None:
    """Subscription and polling fetch the same version; it is stored and attested once."""
    assert take(database, jobs, on_fhir(), "message 9:0") is not None
    assert take(database, jobs, on_fhir(), "message 10:0") is None
    assert take(database, jobs, on_fhir(version="4"), "message 11:0") is not None
    assert asked(jobs, "attest") == ["attest", "attest"]


def test_a_version_that_is_read_otherwise_counts_again(database: Database, jobs: Jobs, case_id: str) -> None:
    """A stored report that is replayed once its signer can be read does sign."""
    assert take(database, jobs, on_fhir(signer=None), "message 9:0") is not None
    row = take(database, jobs, on_fhir(), "message 10:0")
    assert row is not None
    assert row.verdict == "signed"


# --- what follows -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "follows"),
    [
        ({}, ["retire"]),
        ({"status": ReportStatus.PRELIMINARY}, ["retire"]),
        ({"signer": None}, []),
        ({"source": "PRELIM|HOSP"}, []),
        ({"status": ReportStatus.CANCELLED}, []),
        ({"channel": "fhir"}, ["attest", "retire"]),
        ({"channel": "fhir", "status": ReportStatus.PRELIMINARY}, ["retire"]),
        ({"channel": "fhir", "signer": None}, []),
    ],
)
def test_a_humans_report_has_ours_retired_and_a_signature_on_the_server_attested(
    database: Database, jobs: Jobs, case_id: str, changes: dict[str, Any], follows: list[str]
) -> None:
    """Only what is a human's word retires a draft; only what signed on the FHIR server is attested there."""
    row = take(database, jobs, a_report(**changes))
    assert row is not None
    assert asked(jobs) == follows
    assert [job.number for job in jobs.asked if job.kind == "attest"] == [row.id] * follows.count("attest")


def test_nothing_is_retired_where_nothing_of_ours_was_written(database: Database, jobs: Jobs) -> None:
    """A human who was quicker than any draft, and a draft that was withdrawn before."""
    take(database, jobs, a_report())
    assert asked(jobs) == []
    other = published(database, jobs, "ACC2", OTHER_UID)
    with database.write() as session:
        row = latest_draft(session, other)
        assert row is not None
        row.withdrawn_at = AT
        take_order(
            session,
            an_order("ACC2", action=OrderAction.CANCEL, study_instance_uid=OTHER_UID),
            jobs.enqueue,
            "hl7:RIS",
        )
    take(database, jobs, a_report("ACC2", study_instance_uid=OTHER_UID), "message 11:0")
    assert asked(jobs) == []


def test_a_draft_that_was_never_seen_on_the_server_is_retired_too(database: Database, jobs: Jobs) -> None:
    """Its publishing may be under way, or its answer lost: what stands there is looked for."""
    with database.write() as session:
        take_study(session, a_study(), jobs.enqueue, "archive")
        take_order(session, an_order(), jobs.enqueue, "hl7:RIS")
        case = find_case(session, "ACC1")
        assert case is not None
        store_draft(session, case)
    take(database, jobs, a_report())
    assert asked(jobs) == ["retire"]
