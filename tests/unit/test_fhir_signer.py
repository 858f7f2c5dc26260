"""Who may count as the person behind a report."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import ExchangeError
from connectors.exchange import Patient, Practitioner, PublishedReport
from connectors.fhir.client import FhirClient
from connectors.fhir.readers.dossier import gather
from connectors.fhir.readers.persons import signer_of
from tests.fhir_signoff import read_signoff

BASE = "http://fhir.test/r4"
SERVER: dict[str, dict[str, Any]] = {
    "Practitioner/rosa": {
        "resourceType": "Practitioner",
        "identifier": [{"system": "urn:x", "value": "D-77"}],
        "name": [
            {"use": "nickname", "family": "Ro"},
            {"use": "official", "family": "Rosa", "given": ["Elena"], "prefix": ["Dr"]},
        ],
    },
    "Practitioner/text": {"resourceType": "Practitioner", "name": [{"text": "Dr Elena Rosa"}]},
    "Practitioner/nameless": {"resourceType": "Practitioner", "identifier": [{"value": "D-1"}]},
    "PractitionerRole/rosa": {
        "resourceType": "PractitionerRole",
        "practitioner": {"reference": "Practitioner/rosa"},
        "code": [{"coding": [{"code": "x", "display": "Consultant"}]}, {"text": "Second"}],
    },
    "PractitionerRole/gone": {
        "resourceType": "PractitionerRole",
        "practitioner": {"reference": "Practitioner/gone", "display": "Dr Elena Rosa"},
    },
    "Device/ai": {"resourceType": "Device", "deviceName": [{"name": "Prelim", "type": "model-name"}]},
    "Organization/dept": {"resourceType": "Organization", "name": "Radiology"},
}
ROSA = Practitioner("D-77", "Rosa", "Elena", "Dr")


def signer(**report: Any) -> Practitioner | None:
    """The signer of a report, on a server that fails the test when another host is asked."""

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.host == "fhir.test"
        resource = SERVER.get(request.url.path.removeprefix("/r4/"))
        return httpx.Response(200, json=resource) if resource else httpx.Response(404)

    with FhirClient(BASE, transport=httpx.MockTransport(answer)) as client:
        own = {"resourceType": "DiagnosticReport", "id": "9", "status": "final", **report}
        return signer_of(gather(client, own))


@pytest.mark.parametrize(
    ("reference", "called"),
    [
        ("Practitioner/rosa", ""),
        (f"{BASE}/Practitioner/rosa", ""),
        ("Practitioner/rosa/_history/1", ""),
        ("PractitionerRole/rosa", ", Consultant"),
    ],
)
@pytest.mark.parametrize("element", ["resultsInterpreter", "performer"])
def test_practitioner_is_the_signer(element: str, reference: str, called: str) -> None:
    """A practitioner on our server, directly or by role, official name first, with what made them signer."""
    assert signer(**{element: [{"reference": reference}]}) == replace(ROSA, role=f"{element}{called}")


def test_interpreter_comes_before_performer() -> None:
    """resultsInterpreter answers for the conclusions."""
    found = signer(
        resultsInterpreter=[{"reference": "Practitioner/rosa"}],
        performer=[{"reference": "Practitioner/text"}],
    )
    assert found == replace(ROSA, role="resultsInterpreter")


def test_organization_does_not_hide_the_person_beside_it() -> None:
    """A department among the performers is passed over."""
    people = [{"reference": "Organization/dept", "display": "Radiology"}, {"reference": "Practitioner/rosa"}]
    assert signer(performer=people) == replace(ROSA, role="performer")


def test_name_that_is_one_text_is_printed_as_it_is() -> None:
    """HumanName.text alone names a person."""
    found = signer(resultsInterpreter=[{"reference": "Practitioner/text"}])
    assert found is not None
    assert found.printed_name == "Dr Elena Rosa"


@pytest.mark.parametrize(
    "reference",
    [
        {"display": "Dr Elena Rosa"},
        {"reference": "Practitioner/gone", "display": "Dr Elena Rosa"},
        {"reference": "http://other.test/r4/Practitioner/rosa", "display": "Dr Elena Rosa"},
        {"reference": "Practitioner/nameless", "display": "Dr Elena Rosa"},
        {"type": "Practitioner", "display": "Dr Elena Rosa"},
        {"reference": "PractitionerRole/gone"},
    ],
)
def test_display_names_the_interpreter_where_nothing_else_does(reference: dict[str, str]) -> None:
    """A reference that cannot be followed may still carry a printed name; another host is never asked."""
    found = signer(resultsInterpreter=[reference])
    assert found is not None
    assert found.printed_name == "Dr Elena Rosa"


@pytest.mark.parametrize(
    "reference",
    [
        {"reference": "Device/ai", "display": "Dr Prelim"},
        {"reference": "http://other.test/r4/Device/ai", "display": "Dr Prelim"},
        {"type": "Device", "display": "Dr Prelim"},
        {"reference": "#ai", "display": "Dr Prelim"},
        {"reference": "Organization/dept", "display": "Radiology"},
        {"type": "Organization", "display": "Radiology"},
        {"reference": "Practitioner/nameless"},
        {"reference": "Practitioner/gone"},
        {"reference": "urn:uuid:6f1f2b0e-5a3c-4a3e-9b61-0f8b7c0d9a55", "display": ""},
        {"display": "  "},
        {},
        None,
    ],
)
@pytest.mark.parametrize("element", ["resultsInterpreter", "performer"])
def test_device_organization_or_nobody_is_no_signer(element: str, reference: object) -> None:
    """A Device is never a signer, nor is a department, nor anybody without a name."""
    contained = [{"resourceType": "Device", "id": "ai"}]
    assert signer(**{element: [reference]}, contained=contained) is None


def test_bare_display_of_a_performer_is_no_signer() -> None:
    """performer often holds a department's name: a display that claims no person is not believed."""
    assert signer(performer=[{"display": "Radiology North"}]) is None


def test_contained_practitioner_is_the_signer() -> None:
    """Some RIS put the person into the report itself."""
    person = {**SERVER["Practitioner/rosa"], "id": "p"}
    assert signer(resultsInterpreter=[{"reference": "#p"}], contained=[person]) == replace(
        ROSA, role="resultsInterpreter"
    )


def misshapen(report: dict[str, Any], junk: object, place: tuple[str, ...]) -> dict[str, Any]:
    """The report with junk at one place."""
    altered = json.loads(json.dumps(report))
    node: Any = altered
    for step in place[:-1]:
        node = node[0] if isinstance(node, list) else node[step]
    (node[0] if isinstance(node, list) else node)[place[-1]] = junk
    return altered


@given(
    junk=st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=5), inner, max_size=2)
        ),
        max_leaves=4,
    ),
    place=st.sampled_from(
        [
            ("status",),
            ("identifier",),
            ("identifier", "type"),
            ("identifier", "value"),
            ("identifier", "type", "coding"),
            ("subject",),
            ("subject", "reference"),
            ("imagingStudy",),
            ("imagingStudy", "identifier"),
            ("resultsInterpreter",),
            ("resultsInterpreter", "reference"),
            ("resultsInterpreter", "display"),
            ("performer",),
            ("presentedForm",),
            ("presentedForm", "data"),
            ("presentedForm", "contentType"),
            ("conclusion",),
            ("issued",),
            ("contained",),
            ("meta",),
            ("meta", "tag"),
            ("meta", "versionId"),
            ("meta", "lastUpdated"),
        ]
    ),
)
def test_misshapen_report_is_read_or_refused_as_our_own_error(junk: object, place: tuple[str, ...]) -> None:
    """Whatever stands in any element of another program's report: a sign-off, nothing, or our own errors."""
    report = {
        "resourceType": "DiagnosticReport",
        "id": "9",
        "status": "final",
        "meta": {"versionId": "2", "lastUpdated": "2026-01-01T00:00:00Z", "tag": []},
        "identifier": [{"type": {"coding": [{"code": "ACSN"}]}, "value": "A1"}],
        "subject": {"reference": "Patient/1", "identifier": {"value": "P1"}},
        "imagingStudy": [{"identifier": {"system": "urn:dicom:uid", "value": "urn:oid:1.2"}}],
        "resultsInterpreter": [{"reference": "Practitioner/rosa", "display": "x"}],
        "presentedForm": [{"contentType": "text/plain", "data": "eA=="}],
        "conclusion": "x",
        "issued": "2026-01-01T00:00:00Z",
    }
    altered = misshapen(report, junk, place)
    found = {"resourceType": "Bundle", "entry": [{"resource": altered}]}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(200, json=found)
        return httpx.Response(
            200, json=altered if "DiagnosticReport" in request.url.path else SERVER["Practitioner/rosa"]
        )

    with FhirClient(BASE, transport=httpx.MockTransport(answer)) as client:
        for reference in ("DiagnosticReport/9", "DiagnosticReport/8"):
            with suppress(ExchangeError):
                read_signoff(
                    client, PublishedReport(reference, "1", ""), accession="A1", patient=Patient("P1")
                )
