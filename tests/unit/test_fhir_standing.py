"""Which final report of an accession keeps a draft of ours away."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from connectors.exchange import Patient
from connectors.fhir.client import FhirClient
from connectors.fhir.drafts.standing import look
from connectors.fhir.identifiers import IdentifierSystems, study_identifier
from connectors.fhir.readers.reports import CaseKeys

UID, OTHER = "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.2"


@pytest.mark.parametrize("element", ["imagingStudy", "study"])
@pytest.mark.parametrize(("uid", "counts"), [(UID, True), (OTHER, False), ("", True)])
def test_a_final_report_of_another_study_keeps_no_draft_away(element: str, uid: str, counts: bool) -> None:
    """Whichever release names the study (R4 imagingStudy, R5 study); one that names none counts."""
    report: dict[str, Any] = {
        "resourceType": "DiagnosticReport",
        "id": "17",
        "status": "final",
        "identifier": [{"value": "ACC1"}],
        "subject": {"identifier": {"value": "PAT-1"}},
        **({element: [{"identifier": study_identifier(uid)}]} if uid else {}),
    }
    found = {"resourceType": "Bundle", "entry": [{"resource": report}]}
    answer = httpx.MockTransport(lambda _: httpx.Response(200, json=found))
    client = FhirClient("http://fhir.example/fhir", transport=answer)
    standing = look(client, IdentifierSystems(), "case-1", "ACC1")
    keys = CaseKeys("ACC1", Patient("PAT-1"), UID)
    assert bool(standing.final(client, keys)) is counts
