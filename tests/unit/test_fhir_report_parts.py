"""The parts of a report beside its words: order, visit, forms, codes, and who made it from what."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from connectors.exchange import Patient, WithdrawalStatus
from connectors.fhir.attachment import plain, presented_text
from connectors.fhir.drafts.report import draft_bundle
from connectors.fhir.identifiers import IdentifierSystems
from connectors.fhir.ours import draft_numbers, withdrawn_numbers
from connectors.pdf import report_pdf
from tests.fhir_findings import CODES, LOCAL, first, standing, withdrawn
from tests.fhir_samples import a_draft

Resource = dict[str, Any]
SYSTEMS = IdentifierSystems()


def made(kind: str = "DiagnosticReport", bundle: Resource | None = None, **changes: Any) -> Resource:
    entries = (bundle or draft_bundle(a_draft(**changes)))["entry"]
    found: Resource = next(e["resource"] for e in entries if e["resource"]["resourceType"] == kind)
    return found


def test_an_order_of_the_fhir_server_is_named_where_it_stands() -> None:
    """With its number beside it, for a reader who goes by numbers."""
    draft = a_draft(service_request="ServiceRequest/7")
    based = made(bundle=draft_bundle(draft))["basedOn"]
    assert based[0]["reference"] == "ServiceRequest/7"
    assert based[0]["identifier"]["value"] == draft.placer_order_number


@pytest.mark.parametrize(
    "place",
    [
        "",
        "ServiceRequest/",
        "ServiceRequest/7/_history/1",
        f"ServiceRequest/{'7' * 65}",
        "Patient/7",
        "http://other.test/fhir/ServiceRequest/7",
    ],
)
def test_any_other_place_of_an_order_is_not_named(place: str) -> None:
    """Only Type/id on the server that we write to; the number is there all the same."""
    based = made(service_request=place)["basedOn"][0]
    assert "reference" not in based
    assert based["identifier"]["value"]
    assert made(service_request=f"ServiceRequest/{'7' * 64}")["basedOn"][0]["reference"]


def test_a_visit_is_named_by_its_number() -> None:
    """As type VN, since the Encounter may not be there; without a number there is none."""
    encounter = made(visit_number="V-1")["encounter"]
    assert encounter["identifier"]["type"]["coding"][0]["code"] == "VN"
    assert (encounter["identifier"]["system"], encounter["identifier"]["value"]) == (SYSTEMS.visit, "V-1")
    assert "encounter" not in made(visit_number=" ")


def test_a_report_is_of_radiology_in_both_vocabularies() -> None:
    """RAD of HL7 table 0074, and the part of LOINC that US Core asks for."""
    codes = [category["coding"][0]["code"] for category in made()["category"]]
    assert codes == ["RAD", "LP29684-5"]


def test_a_patient_without_a_name_has_none_made_up() -> None:
    """A name that nobody told is said to be unknown."""
    name = made("Patient", patient=Patient("PID-1"))["name"]
    assert name[0]["extension"][0]["valueCode"] == "unknown"


def test_the_forms_are_html_and_pdf_each_with_size_and_hash() -> None:
    """R4's hash is the SHA-1 of the document itself; without a PDF there is the HTML alone."""
    draft = a_draft()
    pdf = report_pdf(draft)
    forms = made(bundle=draft_bundle(draft, pdf=pdf))["presentedForm"]
    assert [form["contentType"] for form in forms] == ["text/html", "application/pdf"]
    for form in forms:
        document = base64.b64decode(form["data"])
        assert form["size"] == len(document)
        assert base64.b64decode(form["hash"]) == hashlib.sha1(document).digest()
        assert form["title"] == draft.notice
    assert base64.b64decode(forms[1]["data"]) == pdf
    assert [form["contentType"] for form in made()["presentedForm"]] == ["text/html"]


def test_another_pdf_is_not_ours() -> None:
    """The version's hash covers every form: a changed or removed PDF is somebody else's version."""
    report = made(bundle=first())
    assert draft_numbers(report, SYSTEMS) == [1]
    html, pdf = report["presentedForm"]
    other = {**pdf, "data": base64.b64encode(b"%PDF-1.4 other").decode()}
    for forms in ([html], [html, other], [pdf, html]):
        assert draft_numbers({**report, "presentedForm": forms}, SYSTEMS) == []


@pytest.mark.parametrize("status", list(WithdrawalStatus))
def test_a_withdrawal_keeps_the_words_and_no_form_that_reads_as_a_draft(status: WithdrawalStatus) -> None:
    """The HTML says first that it is withdrawn, its size and hash are its own; PDF and codes are left out."""
    bundle = withdrawn(status)
    report = made(bundle=bundle)
    assert [form["contentType"] for form in report["presentedForm"]] == ["text/html"]
    form = report["presentedForm"][0]
    document = base64.b64decode(form["data"])
    assert base64.b64decode(form["hash"]) == hashlib.sha1(document).digest()
    assert form["size"] == len(document)
    assert presented_text(report).startswith("Withdrawn")
    assert "The lungs are clear." in plain(document.decode())
    assert "conclusionCode" not in report
    assert withdrawn_numbers(report, SYSTEMS) == [1]
    retired = [
        e["resource"]["status"] for e in bundle["entry"] if e["resource"]["resourceType"] == "Observation"
    ]
    assert retired == [status.value] * 3


def test_a_withdrawal_leaves_findings_that_a_person_touched() -> None:
    """What somebody made of a finding is theirs, whatever becomes of the draft."""

    def touched(resource: Resource) -> Resource:
        return {**resource, "status": "final"} if resource["resourceType"] == "Observation" else resource

    bundle = withdrawn(WithdrawalStatus.CANCELLED, touched)
    assert [e["resource"]["resourceType"] for e in bundle["entry"]] == ["DiagnosticReport", "Provenance"]


def test_the_site_maps_the_code_of_the_report() -> None:
    """LOINC first, as in the hospital's file."""
    bundle = draft_bundle(a_draft(procedure=LOCAL), codes=CODES)
    assert [coding["code"] for coding in made(bundle=bundle)["code"]["coding"]] == [
        "29252-4",
        "RPID16",
        "CTCH",
    ]


def test_provenance_names_images_prompt_model_card_and_order() -> None:
    """Everything that the draft was made from, the weights by their hash."""
    draft = a_draft(service_request="ServiceRequest/7")
    entities = made("Provenance", draft_bundle(draft))["entity"]
    study, prompt, card, order = (entity["what"] for entity in entities)
    assert study["identifier"]["value"] == f"urn:oid:{draft.study_instance_uid}"
    assert prompt["identifier"] == {"system": SYSTEMS.prompt, "value": "prompt-3"}
    assert card["identifier"] == {"system": SYSTEMS.model_card, "value": "ab" * 32}
    assert card["display"] == "Model card of prelim-small 0.1.0"
    assert order["reference"] == "ServiceRequest/7"
    assert {entity["role"] for entity in entities} == {"source"}


def test_what_a_server_keeps_is_ours() -> None:
    """Ids, versions and resolved references of the server change nothing of it."""
    report, _ = standing(first())
    assert draft_numbers(report, SYSTEMS) == [1]
