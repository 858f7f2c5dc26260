"""The Provenance of a signature: valid, of the right version, and naming the one who signed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from fhir.resources.R4B.provenance import Provenance

from connectors.exchange import Practitioner, PublishedReport
from connectors.fhir.client import FhirClient
from connectors.fhir.drafts.verifier import ATTESTATION, attestation, signer_reference
from connectors.fhir.egress import check_egress
from connectors.fhir.identifiers import IdentifierSystems

BASE = "http://fhir.example/fhir"
AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
ROSA = Practitioner("D-77", "Dr. Elena Rosa")
PERSON = {
    "resourceType": "Practitioner",
    "id": "4",
    "identifier": [{"value": "D-77"}],
    "name": [{"family": "Rosa", "given": ["Elena"]}],
}
OTHER = {**PERSON, "id": "5", "identifier": [{"value": "D-1"}]}
UNNUMBERED = {**PERSON, "id": "6", "identifier": []}
ROLE = {"resourceType": "PractitionerRole", "id": "7", "practitioner": {"reference": "Practitioner/4"}}
HELD = {f"{one['resourceType']}/{one['id']}": one for one in (PERSON, OTHER, UNNUMBERED, ROLE)}


def client(asked: list[str]) -> FhirClient:
    """A client of a server that holds these people; `asked` keeps what it was asked for."""

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        found = HELD.get(request.url.path.removeprefix("/fhir/"))
        return httpx.Response(200, json=found) if found else httpx.Response(404)

    return FhirClient(BASE, transport=httpx.MockTransport(answer))


def said(draft: PublishedReport | None = None, signed_at: datetime | None = AT) -> dict[str, Any]:
    return attestation(
        "DiagnosticReport/17",
        "3",
        who={"reference": "Practitioner/4", "display": "Dr. Elena Rosa"},
        signed_at=signed_at,
        recorded_at=AT,
        evidence_sha256="ab" * 32,
        draft=draft,
        systems=IdentifierSystems(),
    )


@pytest.mark.parametrize("signed_at", [AT, None])
@pytest.mark.parametrize("draft", [None, PublishedReport("DiagnosticReport/17", "1", "")])
def test_the_provenance_is_one_that_r4_can_hold_and_that_may_leave(
    draft: PublishedReport | None, signed_at: datetime | None
) -> None:
    """Valid, of exactly the version that was signed, with a person as its one verifier."""
    provenance = said(draft, signed_at)
    Provenance.model_validate(provenance)
    check_egress(provenance)
    assert provenance["target"][0]["reference"] == "DiagnosticReport/17/_history/3"
    assert provenance["meta"]["tag"] == [{"system": ATTESTATION, "code": "ab" * 32}]
    agents = {agent["type"]["coding"][0]["code"]: agent["who"] for agent in provenance["agent"]}
    assert agents["verifier"] == {"reference": "Practitioner/4", "display": "Dr. Elena Rosa"}
    assert agents["assembler"]["type"] == "Device"
    assert ("occurredDateTime" in provenance) is (signed_at is not None)
    assert "AIAST" not in json.dumps(provenance)


@pytest.mark.parametrize(
    ("draft", "role", "reference"),
    [
        (PublishedReport("DiagnosticReport/17", "1", ""), "revision", "DiagnosticReport/17/_history/1"),
        (PublishedReport("DiagnosticReport/9", "2", ""), "source", "DiagnosticReport/9/_history/2"),
        (PublishedReport("DiagnosticReport/9", "", ""), "source", "DiagnosticReport/9"),
    ],
)
def test_the_draft_is_what_was_revised_in_its_place_and_a_source_beside_it(
    draft: PublishedReport, role: str, reference: str
) -> None:
    """The version is named where it is known."""
    (entity,) = said(draft)["entity"]
    assert (entity["role"], entity["what"]["reference"]) == (role, reference)


@pytest.mark.parametrize(
    ("report", "reference"),
    [
        ({"resultsInterpreter": [{"reference": "Practitioner/4"}]}, "Practitioner/4"),
        ({"resultsInterpreter": [{"reference": f"{BASE}/Practitioner/4/_history/2"}]}, "Practitioner/4"),
        ({"resultsInterpreter": [{"reference": "PractitionerRole/7"}]}, "PractitionerRole/7"),
        ({"performer": [{"reference": "Practitioner/4"}]}, "Practitioner/4"),
        ({"resultsInterpreter": [{"reference": "Practitioner/6"}]}, "Practitioner/6"),
        (
            {"resultsInterpreter": [{"reference": f"Practitioner/{number}"} for number in (5, 4)]},
            "Practitioner/4",
        ),
    ],
)
def test_the_reference_of_the_report_itself_is_taken_over(report: dict[str, Any], reference: str) -> None:
    """The one that leads to the signer, by identifier, else by name; interpreters before performers."""
    assert signer_reference(client([]), report, ROSA) == {
        "reference": reference,
        "display": "Dr. Elena Rosa",
    }


@pytest.mark.parametrize(
    "reference",
    ["#doctor", "https://elsewhere.example/Practitioner/4", "Practitioner/404", "Practitioner/5", "Device/4"],
)
def test_a_reference_that_does_not_lead_to_the_signer_is_replaced_by_their_name(reference: str) -> None:
    """Contained, on another host, gone, another person, or no person: and no other host is asked."""
    asked: list[str] = []
    report = {"resultsInterpreter": [{"reference": reference}]}
    assert signer_reference(client(asked), report, ROSA) == {
        "type": "Practitioner",
        "display": "Dr. Elena Rosa",
        "identifier": {"value": "D-77"},
    }
    assert all(url.startswith(BASE) for url in asked)


@pytest.mark.parametrize(
    ("signer", "named"), [("Dr. Elena Rosa", True), ("Dr. Mara Rosa", False), ("Dr. Elena Rosaria", False)]
)
def test_only_the_whole_name_leads_to_a_person_without_a_number(signer: str, named: bool) -> None:
    """A person of the same family, or whose name only begins so, verified nothing."""
    report = {"resultsInterpreter": [{"reference": "Practitioner/6"}]}
    who = signer_reference(client([]), report, Practitioner("", signer))
    assert ("reference" in who) is named


@pytest.mark.parametrize("form", [list, lambda ref: ref, lambda _: "x"])
def test_a_misshapen_report_names_nobody_by_reference(form: Callable[[object], object]) -> None:
    """What is no list of references is none."""
    report = {"resultsInterpreter": form({"reference": 5})}
    assert "reference" not in signer_reference(client([]), report, ROSA)
