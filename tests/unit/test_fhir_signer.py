"""Who may count as the person behind a report."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from connectors.exchange import Practitioner
from connectors.fhir.client import FhirClient
from connectors.fhir.signoff import signer_of

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
        return signer_of(client, {"resourceType": "DiagnosticReport", "status": "final", **report})


@pytest.mark.parametrize(
    "reference",
    [
        "Practitioner/rosa",
        f"{BASE}/Practitioner/rosa",
        "Practitioner/rosa/_history/1",
        "PractitionerRole/rosa",
    ],
)
@pytest.mark.parametrize("element", ["resultsInterpreter", "performer"])
def test_practitioner_is_the_signer(element: str, reference: str) -> None:
    """A practitioner on our server, directly or by role, official name first."""
    assert signer(**{element: [{"reference": reference}]}) == ROSA


def test_interpreter_comes_before_performer() -> None:
    """resultsInterpreter answers for the conclusions."""
    found = signer(
        resultsInterpreter=[{"reference": "Practitioner/rosa"}],
        performer=[{"reference": "Practitioner/text"}],
    )
    assert found == ROSA


def test_organization_does_not_hide_the_person_beside_it() -> None:
    """A department among the performers is passed over."""
    people = [{"reference": "Organization/dept", "display": "Radiology"}, {"reference": "Practitioner/rosa"}]
    assert signer(performer=people) == ROSA


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
    assert signer(resultsInterpreter=[{"reference": "#p"}], contained=[person]) == ROSA
