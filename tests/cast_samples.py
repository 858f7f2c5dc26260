"""Made-up FHIRcast sessions: reports as a workstation opens them."""

from __future__ import annotations

from typing import Any

from connectors.exchange import Order
from connectors.fhir.identifiers import study_identifier

Resource = dict[str, Any]

ACSN = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]}


def a_report(identity: str, accession: str = "", **changes: Any) -> Resource:
    """A DiagnosticReport as an open event gives it."""
    based: list[Resource] = [
        {
            "type": "ServiceRequest",
            "identifier": {"type": ACSN, "system": "urn:ris:accession", "value": accession},
        }
    ]
    return {
        "resourceType": "DiagnosticReport",
        "id": identity,
        "status": "unknown",
        **({"basedOn": based} if accession else {}),
        **changes,
    }


def a_patient(identifier: str) -> Resource:
    """The patient of an open event."""
    return {
        "resourceType": "Patient",
        "id": "p1",
        "identifier": [{"system": "urn:ris:patient", "value": identifier}],
    }


def a_study(uid: str) -> Resource:
    """The study of an open event."""
    return {"resourceType": "ImagingStudy", "id": "s1", "identifier": [study_identifier(uid)]}


def opened(order: Order, identity: str, **changes: Any) -> dict[str, Any]:
    """What a workstation says when it opens the report of an order: arguments of the hub's `open`."""
    return {
        "report": a_report(identity, order.accession, **changes),
        "patient": a_patient(order.patient.identifier),
        "studies": [a_study(order.study_instance_uid)],
    }
