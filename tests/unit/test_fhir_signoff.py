"""What a person wrote in a version of a report, read from its dossier alone."""

from __future__ import annotations

import base64
import hashlib
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import Malformed
from connectors.exchange import DraftStatus, ReportDocument, ReportStatus, SignedReport, WithdrawalStatus
from connectors.fhir.drafts.report import report_of
from connectors.fhir.drafts.withdrawn import withdrawn_report
from connectors.fhir.identifiers import IdentifierSystems
from connectors.fhir.readers.dossier import Dossier
from connectors.fhir.readers.signoff import read_report, read_reports
from tests.fhir_dossiers import BASE, REPORT, dossier, misshapen
from tests.fhir_samples import a_draft
from tests.unit.test_fhir_orders import JUNK

SYSTEMS = IdentifierSystems()
NOW = datetime(2026, 3, 4, 5, tzinfo=UTC)

Resource = dict[str, Any]


def read(*, expected: tuple[str, ...] = (), **changes: Any) -> SignedReport:
    found = read_report(dossier(REPORT, **changes), systems=SYSTEMS, expected=expected)
    assert found is not None
    return found


def form(words: str, kind: str = "text/plain") -> Resource:
    return {"contentType": kind, "data": base64.b64encode(words.encode()).decode()}


def test_report_is_read_in_clinical_words() -> None:
    """Who signed what for whom, and which case of ours it was."""
    report = read()
    assert (report.accession, report.case_id, report.study_instance_uid) == ("A1", "case-1", "1.2.840.1")
    assert (report.patient.identifier, report.patient.assigning_authority) == ("P1", "HOSP")
    assert (report.status, report.text, report.channel) == (ReportStatus.FINAL, "Left effusion.", "fhir")
    assert report.signer is not None
    assert (report.signer.printed_name, report.signer.role) == ("Dr Elena Rosa", "resultsInterpreter")
    assert report.signed_at == NOW
    assert (report.source, report.report_identifier) == (f"{BASE}/DiagnosticReport/9", "case-1")
    assert (report.version, report.documents) == ("2", ())


def test_other_resource_is_malformed() -> None:
    """A dossier of an order is no report."""
    with pytest.raises(Malformed):
        read(resourceType="Observation")


# --- ours, or not ----------------------------------------------------------------------------------------


def ours(status: DraftStatus = DraftStatus.PRELIMINARY, version: str = "1") -> Resource:
    report = report_of(a_draft(status=status, case_id="case-1", accession="A1"), SYSTEMS, subject="Patient/1")
    report["meta"]["versionId"] = version
    return {**report, "id": "9"}


@pytest.mark.parametrize("status", list(DraftStatus))
def test_draft_of_ours_is_nobodys_report(status: DraftStatus) -> None:
    """Its words hash to our tag."""
    assert read_report(Dossier(BASE, ours(status)), systems=SYSTEMS) is None


@pytest.mark.parametrize("status", list(WithdrawalStatus))
def test_withdrawal_of_ours_is_nobodys_report(status: WithdrawalStatus) -> None:
    """Cancelled by us is not cancelled by a person."""
    gone = withdrawn_report(ours(), status, "The order was cancelled", systems=SYSTEMS, at=NOW)
    assert read_report(Dossier(BASE, {**gone, "id": "9"}), systems=SYSTEMS) is None


@pytest.mark.parametrize(
    "change",
    [
        {"status": "final"},
        {"status": "cancelled"},
        {"conclusion": "Other words."},
        {"presentedForm": [form("Other words.")]},
        {"resultsInterpreter": [{"display": "Dr Rosa"}]},
        {"performer": [{"display": "Dr Rosa"}]},
    ],
)
def test_any_change_of_ours_is_somebodys(change: Resource) -> None:
    """Status, words or a name: the tag that a server carries over proves nothing then."""
    assert read_report(Dossier(BASE, {**ours(), **change}), systems=SYSTEMS) is not None


def after(change: Resource, *, before: bool = True) -> SignedReport:
    """What is read of our draft once a person changed it."""
    mine = ours()
    altered = {
        **mine,
        "status": "final",
        "meta": {"versionId": "2", "lastUpdated": "2026-03-05T00:00:00Z"},
        **change,
    }
    others = {"DiagnosticReport/9/_history/1": mine} if before else {}
    found = read_report(Dossier(BASE, altered, others), systems=SYSTEMS)
    assert found is not None
    return found


def test_conclusion_alone_that_was_changed_is_the_persons_text() -> None:
    """A RIS that edits in place may leave our presentedForm: it says nothing new."""
    assert after({"conclusion": "Their words."}).text == "Their words."
    assert "The lungs are clear." in after({"conclusion": "Their words."}, before=False).text


def test_draft_that_was_signed_as_it_stands_is_the_persons_text() -> None:
    """Nothing was changed but the status: they signed our words."""
    assert "The lungs are clear." in after({}).text


def test_new_form_is_the_persons_text_whatever_the_conclusion() -> None:
    """presentedForm holds the whole report."""
    assert after({"presentedForm": [form("All of it.")], "conclusion": "Part."}).text == "All of it."


def test_time_that_stayed_ours_is_not_when_they_signed() -> None:
    """When the server stored their version is nearer then; a new time is theirs."""
    assert after({}).signed_at == datetime(2026, 3, 5, tzinfo=UTC)
    assert after({"issued": "2026-03-04T23:00:00Z"}).signed_at == datetime(2026, 3, 4, 23, tzinfo=UTC)


def test_pdf_of_theirs_is_told_and_ours_is_not() -> None:
    """A document is evidence with its hash; one that stood in our draft is not the person's."""
    mine = ours()
    pdf = form("%PDF-1.7", "application/pdf")
    mine["presentedForm"].append(pdf)
    theirs = {"contentType": "application/pdf", "data": base64.b64encode(b"%PDF-2.0").decode()}
    link = {"contentType": "application/pdf", "url": "http://other.test/x"}
    altered = {**mine, "status": "final", "presentedForm": [pdf, theirs, link, {"data": "?"}]}
    found = read_report(Dossier(BASE, altered, {"DiagnosticReport/9/_history/1": mine}), systems=SYSTEMS)
    assert found is not None
    assert found.documents == (
        ReportDocument("application/pdf", hashlib.sha256(b"%PDF-2.0").hexdigest(), 8),
        ReportDocument("application/pdf", "", 0),
    )


# --- what ties it to a case ------------------------------------------------------------------------------


def typed(code: str, value: str) -> Resource:
    return {"type": {"coding": [{"code": code}]}, "system": "urn:ris", "value": value}


@pytest.mark.parametrize(
    ("changes", "expected", "accession"),
    [
        ({"identifier": [typed("FILL", "F1"), typed("ACSN", "A2")]}, (), "A2"),
        ({"identifier": [typed("FILL", "F1")]}, (), "F1"),
        ({"identifier": [typed("ACSN", "A2"), {"system": SYSTEMS.accession, "value": "A3"}]}, (), "A3"),
        ({"identifier": [typed("ACSN", "A2"), typed("ACSN", "A3")]}, (), "A2"),
        ({"identifier": [typed("ACSN", "A2"), typed("ACSN", "A3")]}, ("A3",), "A3"),
        ({"identifier": [typed("ACSN", "A2")]}, ("A3",), "A2"),
        ({"identifier": [{"value": "A2"}]}, (), ""),
        ({"identifier": [{"value": "A2"}]}, ("A2",), "A2"),
        ({"identifier": [{"value": "A2"}]}, ("A3",), ""),
        ({"identifier": [{"system": SYSTEMS.report, "value": "A2"}]}, ("A2",), ""),
        ({"identifier": None, "basedOn": [{"reference": "ServiceRequest/12"}]}, (), "A1"),
        ({"identifier": None, "basedOn": [{"identifier": typed("ACSN", "A4")}]}, (), "A4"),
        ({"identifier": [typed("ACSN", "A2")], "basedOn": [{"reference": "ServiceRequest/12"}]}, (), "A2"),
        ({"identifier": None}, (), ""),
    ],
)
def test_accession_is_the_reports_own_or_that_of_its_order(
    changes: Resource, expected: tuple[str, ...], accession: str
) -> None:
    """Typed or under the site's system; what does not say what it is counts only where it is looked for."""
    assert read(expected=expected, **changes).accession == accession


@pytest.mark.parametrize(
    ("identifiers", "expected", "accessions"),
    [
        ([typed("ACSN", "A2"), typed("ACSN", "A3")], ("A2", "A3"), ["A2", "A3"]),
        ([typed("ACSN", "A2"), typed("ACSN", "A3"), typed("ACSN", "A2")], ("A2", "A3", "A4"), ["A2", "A3"]),
        ([typed("ACSN", "A2"), typed("ACSN", "A3")], ("A3",), ["A3"]),
        ([typed("ACSN", "A2"), {"value": "A3"}], ("A2", "A3"), ["A2"]),
        ([typed("ACSN", "A2"), typed("PLAC", "A3")], ("A2", "A3"), ["A2"]),
        (
            [{"system": SYSTEMS.report, "value": "c"}, typed("ACSN", "A2"), typed("ACSN", "A3")],
            ("A2", "A3"),
            ["A2"],
        ),
        ([typed("ACSN", "A2"), typed("ACSN", "A3")], (), ["A2"]),
    ],
)
def test_report_of_several_orders_counts_for_each_that_is_looked_for(
    identifiers: list[Resource], expected: tuple[str, ...], accessions: list[str]
) -> None:
    """Only what is said to be an accession number; what stands in our own place is of one case."""
    found = read_reports(dossier(REPORT, identifier=identifiers), systems=SYSTEMS, expected=expected)
    assert [one.accession for one in found] == accessions
    assert len({one.text for one in found}) == 1


@pytest.mark.parametrize(
    ("identifiers", "case_id"),
    [
        ([{"system": SYSTEMS.report, "value": "case-7"}], "case-7"),
        ([{"system": SYSTEMS.report, "value": "case-7"}, {"system": SYSTEMS.report, "value": "case-8"}], ""),
        ([{"value": "case-7"}], ""),
        (None, ""),
    ],
)
def test_case_is_told_where_the_report_still_carries_our_identifier(
    identifiers: list[Resource] | None, case_id: str
) -> None:
    """Two cases of ours on one report are none."""
    assert read(identifier=identifiers).case_id == case_id


def of_study(*uids: str) -> list[Resource]:
    return [{"identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}} for uid in uids]


@pytest.mark.parametrize(
    ("changes", "uid"),
    [
        ({"imagingStudy": None, "study": of_study("1.2.3")}, "1.2.3"),
        ({"imagingStudy": [{"reference": "ImagingStudy/20"}]}, "1.2.840.1"),
        ({"imagingStudy": of_study("1.2.3", "1.2.3")}, "1.2.3"),
        ({"imagingStudy": of_study("1.2.3", "1.2.4")}, ""),
        ({"imagingStudy": of_study("1.02.3")}, "1.02.3"),
        ({"imagingStudy": None}, ""),
    ],
)
def test_study_is_the_one_that_the_report_names(changes: Resource, uid: str) -> None:
    """R4's imagingStudy and R5's study; of several none. Archives hold UIDs that are none: they are kept."""
    assert read(**changes).study_instance_uid == uid


def test_patient_of_a_logical_reference_is_read() -> None:
    """Also where the reference itself leads nowhere."""
    identifier = {"system": "urn:prelim:patient:HOSP", "value": "P9"}
    assert read(subject={"reference": "Patient/404", "identifier": identifier}).patient.identifier == "P9"
    assert read(subject={"reference": "Patient/404"}).patient.identifier == ""


@pytest.mark.parametrize(
    ("status", "read_as"),
    [
        *((status.value, status) for status in ReportStatus),
        ("modified", ReportStatus.PRELIMINARY),
        ("Final", ReportStatus.UNKNOWN),
        (None, ReportStatus.UNKNOWN),
    ],
)
def test_status_is_one_of_fhirs(status: str | None, read_as: ReportStatus) -> None:
    """R5's modified is a preliminary report that was changed; what is no status is unknown, never final."""
    assert read(status=status).status is read_as


def test_report_without_a_form_is_its_conclusion() -> None:
    """Some RIS write nothing else."""
    assert read(presentedForm=None, conclusion="Left\u0000 effusion. ").text == "Left effusion."


def test_report_without_identifier_or_version_is_named_by_its_place() -> None:
    """There is always something to look it up by."""
    report = read(identifier=None, meta=None, issued=None)
    assert (report.report_identifier, report.version, report.signed_at) == ("DiagnosticReport/9", "", None)


@given(
    junk=JUNK,
    place=st.sampled_from(
        [
            *((name,) for name in (*REPORT, "conclusion", "basedOn", "performer", "study", "contained")),
            ("identifier", "value"),
            ("identifier", "system"),
            ("imagingStudy", "identifier"),
            ("presentedForm", "data"),
            ("presentedForm", "contentType"),
            ("resultsInterpreter", "display"),
            ("subject", "reference"),
            ("meta", "tag"),
        ]
    ),
)
def test_misshapen_report_is_read_or_malformed(junk: object, place: tuple[str, ...]) -> None:
    """Whatever stands in any element of another program's report, no status becomes final by it."""
    altered = misshapen(REPORT, junk, place)
    with suppress(Malformed):
        found = read_report(dossier(altered), systems=SYSTEMS)
        assert found is None or not found.status.is_final or altered["status"] == found.status.value
