"""A draft as FHIR resources: what it says, what it never says, and nothing of it runs."""

from __future__ import annotations

import base64
import dataclasses
import re
from datetime import date, datetime
from typing import Any
from xml.etree import ElementTree

import pytest
from fhir.resources.R4B.bundle import Bundle
from hypothesis import example, given
from hypothesis import strategies as st

from connectors.errors import Rejected
from connectors.exchange import Coding, DraftReport, DraftStatus, Patient, Practitioner, PublishedReport
from connectors.fhir.attachment import MAX_TEXT_BYTES, plain, presented_text
from connectors.fhir.drafts.codes import code_of
from connectors.fhir.drafts.report import draft_bundle
from connectors.fhir.identifiers import IdentifierSystems, token
from connectors.fhir.ours import draft_numbers
from connectors.sandbox.fhir_search import tokens
from tests.fhir_samples import a_draft, redone

SYSTEMS = IdentifierSystems()


def resources(draft: DraftReport, **options: Any) -> dict[str, dict[str, Any]]:
    entries = draft_bundle(draft, **options)["entry"]
    return {entry["resource"]["resourceType"]: entry["resource"] for entry in entries}


def html_of(report: dict[str, Any]) -> str:
    return base64.b64decode(report["presentedForm"][0]["data"]).decode()


@pytest.mark.parametrize("status", list(DraftStatus))
def test_bundle_is_valid_r4_in_both_statuses(status: DraftStatus) -> None:
    """fhir.resources reads the whole Bundle, and the report's status is the draft's."""
    bundle = draft_bundle(a_draft(status=status))
    Bundle.model_validate(bundle)
    assert bundle["entry"][2]["resource"]["status"] == status.value


def test_report_carries_what_an_integrator_needs() -> None:
    """Category RAD, ordered code, our identifier, accession as ACSN, order and study by identifier."""
    draft = dataclasses.replace(a_draft(), studied_on=date(2026, 3, 4))
    report = resources(draft)["DiagnosticReport"]
    assert report["category"][0]["coding"][0]["code"] == "RAD"
    assert report["code"]["coding"][0] == {
        "system": "http://loinc.org",
        "code": "30746-2",
        "display": "Portable XR Chest Views",
    }
    ours, accession = report["identifier"]
    assert (ours["system"], ours["value"]) == (SYSTEMS.report, draft.case_id)
    assert (accession["type"]["coding"][0]["code"], accession["value"]) == ("ACSN", draft.accession)
    assert report["basedOn"][0]["identifier"]["value"] == draft.placer_order_number
    assert report["imagingStudy"][0]["identifier"] == {
        "system": "urn:dicom:uid",
        "value": f"urn:oid:{draft.study_instance_uid}",
    }
    assert report["effectiveDateTime"] == "2026-03-04"
    assert report["issued"] == "2026-03-04T05:06:07.000Z"
    assert report["meta"]["security"][0]["code"] == "AIAST"


def test_unknown_study_time_is_said_to_be_unknown() -> None:
    """The time of drafting never stands in for the time of the images."""
    report = resources(a_draft())["DiagnosticReport"]
    assert "effectiveDateTime" not in report
    assert report["_effectiveDateTime"]["extension"][0]["valueCode"] == "unknown"


def test_nobody_is_named_as_reader() -> None:
    """performer and resultsInterpreter stay empty, even when an ordering provider is known."""
    report = resources(a_draft(ordering_provider=Practitioner("1", "Orderer")))["DiagnosticReport"]
    assert "resultsInterpreter" not in report
    assert "performer" not in report


def test_notice_comes_first_in_narrative_and_attachment() -> None:
    """Whoever reads any form of the draft reads first that a machine wrote it."""
    draft = a_draft()
    report = resources(draft)["DiagnosticReport"]
    assert plain(report["text"]["div"]).startswith(draft.notice)
    assert presented_text(report).startswith(draft.notice)
    assert report["presentedForm"][0]["title"] == draft.notice


def test_provenance_names_the_device_as_author_and_the_prompt() -> None:
    """Agent Device as author, reason AIAST, study and prompt version as entities."""
    found = resources(a_draft())
    provenance, device = found["Provenance"], found["Device"]
    assert provenance["agent"][0]["type"]["coding"][0]["code"] == "author"
    assert provenance["agent"][0]["who"]["type"] == "Device"
    assert provenance["reason"][0]["coding"][0]["code"] == "AIAST"
    assert [entity["what"]["identifier"]["value"] for entity in provenance["entity"]][1] == "prompt-3"
    assert [version["value"] for version in device["version"]] == ["0.1.0", "ab" * 32]


def test_first_draft_is_created_unless_it_exists() -> None:
    """The report's entry is conditional on our own identifier, patient and device on theirs."""
    draft = a_draft()
    requests = [entry["request"] for entry in draft_bundle(draft)["entry"]]
    assert requests[2]["ifNoneExist"] == f"identifier=urn%3Aprelim%3Acase%7C{draft.case_id}"
    assert all("ifNoneExist" in request for request in requests[:3])


def test_redone_draft_names_the_version_it_replaces() -> None:
    """PUT on the known report under If-Match."""
    known = PublishedReport("DiagnosticReport/17", "4", "")
    entry = draft_bundle(redone(a_draft()), known=known)["entry"][2]
    assert entry["request"] == {"method": "PUT", "url": "DiagnosticReport/17", "ifMatch": 'W/"4"'}
    assert entry["resource"]["id"] == "17"


@pytest.mark.parametrize(
    ("procedure", "system", "code"),
    [
        (Coding("30746-2", "XR", "LN"), "http://loinc.org", "30746-2"),
        (Coding("CTCHEST", "CT chest", "L"), "http://loinc.org", "18748-4"),
        (Coding("not-loinc", "CT chest", "LN"), "http://loinc.org", "18748-4"),
        (Coding("", "CT chest", "LN"), "http://loinc.org", "18748-4"),
        (Coding("169069000", "CT", "SCT"), "http://snomed.info/sct", "169069000"),
    ],
)
def test_report_code_is_the_ordered_one_or_a_general_one(procedure: Coding, system: str, code: str) -> None:
    """A local code is kept as text beside LOINC 18748-4."""
    concept = code_of(procedure)
    assert (concept["coding"][0]["system"], concept["coding"][0]["code"]) == (system, code)
    assert concept["text"] == procedure.text


HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(1)>&amp;</p></body>'


def test_markup_in_any_text_is_escaped() -> None:
    """Order and draft text reach narrative and attachment as words, never as markup (stored XSS)."""
    draft = a_draft(
        sections=((HOSTILE, HOSTILE),),
        notice=HOSTILE,
        conclusion=HOSTILE,
        procedure=Coding(HOSTILE, HOSTILE, HOSTILE),
    )
    report = resources(draft)["DiagnosticReport"]
    for markup in (report["text"]["div"], html_of(report)):
        assert "<script" not in markup
        assert "<img" not in markup
    assert HOSTILE in plain(html_of(report))


@given(st.text(), st.text(min_size=1))
@example("\x00\x1c\ud800", "\uffff\ufffe\x85")
def test_narrative_is_well_formed_whatever_the_text(title: str, text: str) -> None:
    """Any text gives XHTML of only the tags we write, and a Bundle that JSON can hold."""
    report = resources(a_draft(sections=((title, text),)))["DiagnosticReport"]
    tags = {
        element.tag.rpartition("}")[2] for element in ElementTree.fromstring(report["text"]["div"]).iter()
    }
    assert tags <= {"div", "p", "b", "h3", "br"}
    assert set(re.findall(r"<(\w+)", html_of(report))) <= {
        "html", "head", "meta", "title", "body", "p", "b", "h3", "br",
    }  # fmt: skip


@pytest.mark.parametrize("key", ["case_id", "accession", "study_instance_uid", "notice"])
@pytest.mark.parametrize("value", ["", "  "])
def test_draft_without_a_key_is_not_built(key: str, value: str) -> None:
    """A report that could not be found again, or not told as a draft, is not written."""
    with pytest.raises(Rejected):
        draft_bundle(a_draft(**{key: value}))


def test_draft_without_a_patient_identifier_is_not_built() -> None:
    """A conditional create on an empty identifier could meet any patient."""
    with pytest.raises(Rejected):
        draft_bundle(a_draft(patient=Patient("", "HOSP")))


def test_invalid_draft_names_the_place_but_not_the_value() -> None:
    """A value that R4 cannot hold is told by its place alone."""
    draft = a_draft()
    author = dataclasses.replace(draft.author, version="")
    with pytest.raises(Rejected) as refused:
        draft_bundle(dataclasses.replace(draft, author=author))
    assert draft.patient.identifier not in str(refused.value)


def test_times_without_a_zone_are_refused() -> None:
    """A FHIR instant has a zone."""
    with pytest.raises(Rejected):
        draft_bundle(a_draft(issued_at=datetime(2026, 1, 1)))  # noqa: DTZ001


def test_equal_numbers_of_two_authorities_are_two_patients() -> None:
    """The assigning authority is part of the patient's identifier system; an OID becomes urn:oid."""
    systems = {SYSTEMS.of_patient(Patient("1", authority)) for authority in ("A", "B", "", "1.2.840.1")}
    assert systems == {
        "urn:prelim:patient:A",
        "urn:prelim:patient:B",
        "urn:prelim:patient",
        "urn:oid:1.2.840.1",
    }


@given(st.text(), st.text())
def test_token_reads_back_as_written(system: str, value: str) -> None:
    """Escaping by us, reading by the sandbox: comma, pipe, dollar and backslash stay what they are."""
    assert tokens(token(system, value)) == [(system, value)]


def test_version_is_ours_until_anything_a_person_does() -> None:
    """Other words, another status, a named person or a foreign tag: no longer ours."""
    report = resources(a_draft())["DiagnosticReport"]
    assert draft_numbers(report, SYSTEMS) == [1]
    other = resources(redone(a_draft()))["DiagnosticReport"]
    for change in (
        {"conclusion": "Changed."},
        {"presentedForm": other["presentedForm"]},
        {"presentedForm": []},
        {"status": "final"},
        {"status": "partial"},
        {"resultsInterpreter": [{"display": "Dr Rosa"}]},
        {"performer": [{"display": "Dr Rosa"}]},
        {"meta": {}},
        {"meta": {"tag": [{**report["meta"]["tag"][0], "system": "urn:other"}]}},
    ):
        assert draft_numbers({**report, **change}, SYSTEMS) == []


def form(data: bytes, content_type: str) -> dict[str, Any]:
    return {"presentedForm": [{"contentType": content_type, "data": base64.b64encode(data).decode()}]}


def test_attachment_at_the_cap_is_read_and_one_byte_more_is_not() -> None:
    """The cap on report text holds to the byte."""
    assert len(presented_text(form(b"x" * MAX_TEXT_BYTES, "text/plain"))) == MAX_TEXT_BYTES
    assert presented_text(form(b"x" * (MAX_TEXT_BYTES + 1), "text/plain")) == ""


@pytest.mark.parametrize(
    "kind", ["text/html", "TEXT/HTML; charset=utf-8", "application/xhtml", "application/xhtml+xml"]
)
def test_html_attachment_is_read_as_lines(kind: str) -> None:
    """Tags go, blocks become lines, scripts and titles are not report text, entities are read."""
    html = (
        b"<html><head><title>T</title><style>p{}</style></head><body><p>Lungs\nclear.</p>"
        b"<script>evil()</script>No effusion &lt;5&nbsp;mm.<br/>End</body></html>"
    )
    assert presented_text(form(html, kind)) == "Lungs clear.\nNo effusion <5 mm.\nEnd"


@pytest.mark.parametrize("kind", ["application/pdf", "image/png", "text/rtf", ""])
def test_attachment_of_another_kind_is_not_report_text(kind: str) -> None:
    """A PDF's bytes are never shown as words."""
    assert presented_text(form(b"words", kind)) == ""


def test_attachment_that_is_no_base64_is_not_report_text() -> None:
    """Broken data is passed over."""
    assert presented_text({"presentedForm": [{"contentType": "text/plain", "data": "a"}]}) == ""


@given(st.text(alphabet="<>![]-/?&;#=\"' apscriptCDATA", max_size=40))
@example("<![if x]>words")
@example("<![CDATA[words")
@example("<!DOCTYPE [<!x]>words")
def test_any_markup_is_read_without_an_error(html: str) -> None:
    """Broken HTML gives words or none, never an exception."""
    assert isinstance(plain(html), str)


@pytest.mark.parametrize(
    "piece", ["<", "<a ", "<!--", "<a href='", "<script>", "</", "<?", "&", "<![CDATA[", "<p"]
)
@pytest.mark.timeout(20)
def test_broken_markup_of_a_megabyte_is_read_in_one_pass(piece: str) -> None:
    """Reading takes time in proportion to length, whatever is left open."""
    assert isinstance(plain(piece * (2**20 // len(piece))), str)


@pytest.mark.parametrize(
    ("html", "words"),
    [
        ("No effusion <5 mm", "No effusion <5 mm"),
        ("a < b and b > a", "a < b and b > a"),
        ("kept <b", "kept <b"),
        ("kept <!-- open", "kept <!-- open"),
        ("a<!-- <p> not --> b", "a b"),
        ("<title>never closed", "never closed"),
        ("<SCRIPT>x<y</Script>words", "words"),
        ("one<BR>two<br/>three", "one\ntwo\nthree"),
        ("&lt;b&gt;", "<b>"),
    ],
)
def test_words_of_html_are_kept(html: str, words: str) -> None:
    """Text that looks like markup is not lost, and what is markup is not shown."""
    assert plain(html) == words
