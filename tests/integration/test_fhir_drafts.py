"""Publishing a draft and noticing its sign-off: the same rules for the sandbox and for HAPI."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import httpx
import pytest

from connectors.errors import Conflict, Unreachable
from connectors.exchange import (
    DraftReport,
    DraftStatus,
    Practitioner,
    PublishedReport,
    ReportStatus,
    SignedReport,
)
from connectors.fhir.client import FhirClient, version_of
from connectors.fhir.drafts.publish import HumanVersion, NotKept, publish
from connectors.fhir.identifiers import IdentifierSystems, token
from connectors.fhir.outcome import Absent
from connectors.sandbox.fhir_faults import FaultyTransport, first
from connectors.sandbox.fhir_radiologist import sign
from tests.fhir_samples import ROSA, SIGNER, Meddling, a_draft, fhir_url, raw_put, redone  # noqa: F401 - a fixture
from tests.fhir_signoff import read_signoff

SYSTEMS = IdentifierSystems()


@pytest.fixture
def client(fhir_url: str) -> Iterator[FhirClient]:  # noqa: F811 - the fixture
    with FhirClient(fhir_url, timeout_seconds=60) as client:
        yield client


def signoff(client: FhirClient, draft: DraftReport, published: PublishedReport) -> SignedReport | None:
    return read_signoff(
        client,
        published,
        accession=draft.accession,
        patient=draft.patient,
        study_instance_uid=draft.study_instance_uid,
    )


def reports_of(client: FhirClient, draft: DraftReport) -> list[dict[str, object]]:
    return client.search("DiagnosticReport", {"identifier": token(SYSTEMS.report, draft.case_id)})


@pytest.mark.parametrize("status", list(DraftStatus))
def test_draft_is_published_and_read_back(client: FhirClient, status: DraftStatus) -> None:
    """The report stands with its status, label and identifiers, and the answer says where."""
    draft = a_draft(status=status)
    published = publish(client, draft)
    report = client.read(published.reference)
    assert (report["status"], version_of(report)) == (status.value, published.version)
    assert published.url == f"{client.base_url}/{published.reference}"
    assert "AIAST" in {label["code"] for label in report["meta"]["security"]}
    assert "resultsInterpreter" not in report


def test_same_draft_twice_is_one_version_of_one_report(client: FhirClient) -> None:
    """A repeat finds the first and writes nothing."""
    draft = a_draft()
    assert publish(client, draft) == publish(client, draft)
    assert len(reports_of(client, draft)) == 1


def test_lost_answer_is_looked_for_and_gives_exactly_one_report(fhir_url: str) -> None:  # noqa: F811
    """The transaction arrives, its answer does not: what was written is found, and not written again."""
    draft = a_draft()
    faulty = FaultyTransport(first("POST", "/fhir"))
    with FhirClient(fhir_url, transport=faulty, timeout_seconds=60) as client:
        published = publish(client, draft)
        assert publish(client, draft) == published
        assert len(reports_of(client, draft)) == 1
        assert len(client.history(published.reference)) == 1
        assert len(client.search("Provenance", {"target": published.reference})) == 1
    assert faulty.delivered.count(("POST", "/fhir")) == 1


def test_lost_answer_to_a_redone_draft_is_found_again(fhir_url: str) -> None:  # noqa: F811
    """The replacement arrives, its answer does not: it is found done, and a repeat knowing version 1 too."""
    draft = a_draft()
    with FhirClient(fhir_url, timeout_seconds=60) as client:
        known = publish(client, draft)
    faulty = FaultyTransport(first("POST", "/fhir"))
    with FhirClient(fhir_url, transport=faulty, timeout_seconds=60) as client:
        published = publish(client, redone(draft), known=known)
        assert publish(client, redone(draft), known=known) == published
        assert len(client.history(published.reference)) == 2
        third = publish(client, redone(redone(draft), "Two effusions."), known=known)
    assert third.reference == known.reference
    assert faulty.delivered.count(("POST", "/fhir")) == 2


def test_server_that_stays_silent_is_unreachable(fhir_url: str) -> None:  # noqa: F811
    """Every answer to a write is lost and nothing arrives: the caller is told to try again later."""

    class Deaf(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "POST" and request.url.path.endswith("/fhir"):
                raise httpx.ConnectError("nobody there", request=request)
            return super().handle_request(request)

    draft = a_draft()
    with FhirClient(fhir_url, transport=Deaf(), timeout_seconds=60) as client:
        with pytest.raises(Unreachable):
            publish(client, draft)
        assert reports_of(client, draft) == []


def test_redone_draft_replaces_the_version_we_know(client: FhirClient) -> None:
    """Draft 2 is version 2 of the same report."""
    draft = a_draft()
    known = publish(client, draft)
    again = publish(client, redone(draft), known=known)
    assert again.reference == known.reference
    assert client.read(again.reference)["conclusion"] == "A small left effusion."
    assert [version_of(version) for version in client.history(known.reference)] == [
        again.version,
        known.version,
    ]


def test_older_draft_never_replaces_a_newer_one(client: FhirClient) -> None:
    """A late repeat of draft 1 meets draft 2 and stops."""
    draft = a_draft()
    publish(client, redone(draft), known=publish(client, draft))
    with pytest.raises(Conflict):
        publish(client, draft)


@pytest.mark.parametrize(
    "status", [ReportStatus.FINAL, ReportStatus.AMENDED, ReportStatus.CORRECTED, ReportStatus.CANCELLED]
)
@pytest.mark.parametrize("remembered", [True, False])
def test_human_version_is_never_written_over(
    client: FhirClient, status: ReportStatus, remembered: bool
) -> None:
    """A redone draft meets a person's version of the report: HumanVersion, and the words stay."""
    draft = a_draft()
    known = publish(client, draft)
    signed = sign(client.base_url, known.reference, ROSA, "Signed words.", status=status)
    with pytest.raises(HumanVersion, match="came another status"):
        publish(client, redone(draft), known=known if remembered else None)
    assert version_of(client.read(known.reference)) == version_of(signed)


def test_preliminary_words_of_a_person_are_never_written_over(client: FhirClient) -> None:
    """A resident edits our draft and leaves it preliminary: it is theirs now."""
    draft = a_draft()
    known = publish(client, draft)
    sign(client.base_url, known.reference, ROSA, "Resident's words.", status=ReportStatus.PRELIMINARY)
    for remembered in (known, None):
        with pytest.raises(HumanVersion):
            publish(client, redone(draft), known=remembered)
        with pytest.raises(HumanVersion):
            publish(client, draft, known=remembered)


def test_draft_saved_again_by_somebody_is_not_replaced(client: FhirClient) -> None:
    """Another program stored our words again with a remark of its own: that version is not ours."""
    draft = a_draft()
    known = publish(client, draft)
    raw_put(client, {**client.read(known.reference), "conclusionCode": [{"text": "Follow up"}]})
    with pytest.raises(HumanVersion):
        publish(client, redone(draft), known=known)


def test_draft_after_another_final_report_is_withheld(client: FhirClient) -> None:
    """A final report of the same accession and patient that is not ours: nothing is written."""
    draft = a_draft()
    sign(client.base_url, publish(client, draft).reference, ROSA, "Signed.", as_new_report=True)
    late = dataclasses.replace(draft, case_id=f"{draft.case_id}-late")
    with pytest.raises(HumanVersion):
        publish(client, late)
    assert reports_of(client, late) == []


def test_final_report_of_another_patient_is_none_of_our_business(client: FhirClient) -> None:
    """Two hospitals may use one accession number, study unnamed: the patient tells them apart."""
    theirs = a_draft()
    stored = sign(client.base_url, publish(client, theirs).reference, ROSA, "Signed.", as_new_report=True)
    raw_put(client, {key: value for key, value in stored.items() if key != "imagingStudy"})
    ours = a_draft(accession=theirs.accession)
    published = publish(client, ours)
    assert len(client.history(published.reference)) == 1
    assert signoff(client, ours, published) is None


def test_preliminary_report_of_somebody_else_neither_holds_up_nor_signs(client: FhirClient) -> None:
    """Another report of the accession that is not final is no reason to withhold, and no sign-off."""
    draft = a_draft()
    known = publish(client, draft)
    sign(
        client.base_url, known.reference, ROSA, "A note.", status=ReportStatus.PRELIMINARY, as_new_report=True
    )
    assert signoff(client, draft, known) is None
    assert publish(client, redone(draft), known=known).reference == known.reference


def test_several_reports_of_ours_are_a_conflict(client: FhirClient) -> None:
    """Two reports under our identifier: a person must say which one stands."""
    draft = a_draft()
    twin = client.read(publish(client, draft).reference)
    del twin["id"], twin["meta"]
    client.create(twin)
    with pytest.raises(Conflict, match="came 2"):
        publish(client, redone(draft))


def test_deleted_draft_is_not_written_again(client: FhirClient) -> None:
    """Somebody deleted our draft: a redone one stops, and the sign-off says Absent."""
    draft = a_draft()
    known = publish(client, draft)
    for resource in [*client.search("Provenance", {"target": known.reference})]:
        httpx.delete(f"{client.base_url}/Provenance/{resource['id']}", trust_env=False).raise_for_status()
    httpx.delete(f"{client.base_url}/{known.reference}", trust_env=False).raise_for_status()
    with pytest.raises(HumanVersion):
        publish(client, redone(draft), known=known)
    with pytest.raises(Absent):
        signoff(client, draft, known)


@pytest.mark.parametrize("altered", ["text", "patient"])
def test_read_back_that_differs_is_noticed(fhir_url: str, altered: str) -> None:  # noqa: F811
    """A server that rewrites reports on the way in, or files them under another patient, is found out."""
    draft = a_draft()
    words = {"text": draft.conclusion, "patient": draft.patient.identifier}[altered].encode()

    class Rewriting(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "POST" and request.url.path.endswith("/fhir"):
                headers = {k: v for k, v in request.headers.items() if k != "content-length"}
                content = request.read().replace(words, words[::-1])
                request = httpx.Request("POST", request.url, headers=headers, content=content)
            return super().handle_request(request)

    with (
        FhirClient(fhir_url, transport=Rewriting(), timeout_seconds=60) as client,
        pytest.raises(NotKept, match=altered),
    ):
        publish(client, draft)


def test_signature_between_look_and_write_wins(client: FhirClient) -> None:
    """A person signs in the moment before our write: 412, Conflict, and their version stands."""
    draft = a_draft()
    known = publish(client, draft)
    meddling = Meddling(before=lambda: sign(client.base_url, known.reference, ROSA, "Signed words."))
    with (
        FhirClient(client.base_url, transport=meddling, timeout_seconds=60) as ours,
        pytest.raises(Conflict),
    ):
        publish(ours, redone(draft), known=known)
    assert client.read(known.reference)["status"] == "final"


def test_signature_right_after_the_write_is_not_taken_for_ours(client: FhirClient) -> None:
    """A person signs in the moment after our write: we name the version that we wrote, and see theirs."""
    draft = a_draft()
    known = publish(client, draft)
    meddling = Meddling(after=lambda: sign(client.base_url, known.reference, ROSA, "Signed words."))
    with FhirClient(client.base_url, transport=meddling, timeout_seconds=60) as ours:
        published = publish(ours, redone(draft), known=known)
    current = client.read(known.reference)
    assert current["status"] == "final"
    assert client.vread(known.reference, published.version)["conclusion"] == "A small left effusion."
    signed = signoff(client, draft, published)
    assert signed is not None
    assert signed.version == version_of(current) != published.version


def test_server_that_ignores_if_match_is_found_out(client: FhirClient) -> None:
    """ifMatch has no effect and a person's version was written over: the history tells, and so do we."""
    draft = a_draft()
    known = publish(client, draft)
    meddling = Meddling(
        before=lambda: sign(client.base_url, known.reference, ROSA, "Signed words."), strip=True
    )
    with (
        FhirClient(client.base_url, transport=meddling, timeout_seconds=60) as ours,
        pytest.raises(HumanVersion, match="Restore"),
    ):
        publish(ours, redone(draft), known=known)


def test_draft_standing_alone_is_no_signoff(client: FhirClient) -> None:
    """Neither our first version nor a later one of ours is anybody's sign-off."""
    draft = a_draft()
    known = publish(client, draft)
    assert signoff(client, draft, known) is None
    publish(client, redone(draft), known=known)
    assert signoff(client, draft, known) is None


def test_signature_on_our_report_is_read(client: FhirClient) -> None:
    """A final version by a named person: their words, name, status, version and time."""
    draft = a_draft()
    known = publish(client, draft)
    stored = sign(client.base_url, known.reference, ROSA, "Lungs clear.\nNo effusion <5 mm.")
    signed = signoff(client, draft, known)
    assert signed is not None
    assert (signed.status, signed.channel) == (ReportStatus.FINAL, "fhir")
    assert signed.text == "Lungs clear.\nNo effusion <5 mm."
    assert signed.signer == SIGNER
    assert signed.version == version_of(stored)
    assert signed.source == f"{client.base_url}/{known.reference}"
    assert (signed.accession, signed.patient) == (draft.accession, draft.patient)
    assert signed.signed_at is not None


def test_signature_as_a_new_report_is_read(client: FhirClient) -> None:
    """Some RIS leave the draft and file another report: it is found by accession, patient and study."""
    draft = a_draft()
    known = publish(client, draft)
    stored = sign(client.base_url, known.reference, ROSA, "Their words.", as_new_report=True)
    signed = signoff(client, draft, known)
    assert signed is not None
    assert signed.source.endswith(f"DiagnosticReport/{stored['id']}")
    assert (signed.signer, signed.text) == (SIGNER, "Their words.")


def test_new_report_of_another_study_is_no_signoff(client: FhirClient) -> None:
    """Same accession and patient, but another study is named."""
    draft = a_draft()
    known = publish(client, draft)
    stored = sign(client.base_url, known.reference, ROSA, "Their words.", as_new_report=True)
    other = {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3.4"}
    raw_put(client, {**stored, "imagingStudy": [{"identifier": other}]})
    assert signoff(client, draft, known) is None


def test_final_version_by_nobody_has_no_signer(client: FhirClient) -> None:
    """A final status alone names nobody."""
    draft = a_draft()
    known = publish(client, draft)
    sign(client.base_url, known.reference, None, "Words.")
    signed = signoff(client, draft, known)
    assert signed is not None
    assert (signed.status, signed.signer) == (ReportStatus.FINAL, None)


def test_practitioner_without_a_name_is_no_signer(client: FhirClient) -> None:
    """An identifier is not a printed name (21 CFR 11.50)."""
    draft = a_draft()
    known = publish(client, draft)
    sign(client.base_url, known.reference, Practitioner(identifier="D-1"), "Words.")
    signed = signoff(client, draft, known)
    assert signed is not None
    assert signed.signer is None


def test_report_moved_to_another_patient_is_shown_as_such(client: FhirClient) -> None:
    """The signed version names another patient: that one is told, not the one we expected."""
    draft, other = a_draft(), a_draft()
    known = publish(client, draft)
    elsewhere = client.read(publish(client, other).reference)["subject"]["reference"]
    stored = sign(client.base_url, known.reference, ROSA, "Words.")
    raw_put(client, {**stored, "subject": {"reference": elsewhere}})
    signed = signoff(client, draft, known)
    assert signed is not None
    assert signed.patient.identifier == other.patient.identifier
