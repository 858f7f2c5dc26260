"""Made-up dossiers for the readers of resources."""

from __future__ import annotations

import copy
import json
from typing import Any

from connectors.fhir.readers.dossier import Dossier

Resource = dict[str, Any]

BASE = "http://fhir.test/r4"
PATIENT: Resource = {
    "resourceType": "Patient",
    "id": "1",
    "identifier": [
        {"type": {"coding": [{"code": "MR"}]}, "system": "urn:prelim:patient:HOSP", "value": "P1"},
    ],
    "name": [{"use": "official", "family": "Example", "given": ["Ada"]}],
    "birthDate": "1961-04-02",
    "gender": "female",
}
REQUEST: Resource = {
    "resourceType": "ServiceRequest",
    "id": "12",
    "meta": {"versionId": "3", "lastUpdated": "2026-03-04T05:06:07Z"},
    "identifier": [
        {"type": {"coding": [{"code": "ACSN"}]}, "system": "urn:ris:accession", "value": "A1"},
        {"type": {"coding": [{"code": "PLAC"}]}, "system": "urn:ris:placer", "value": "PL1"},
        {"type": {"coding": [{"code": "FILL"}]}, "system": "urn:ris:filler", "value": "F1"},
        {"system": "urn:dicom:uid", "value": "urn:oid:1.2.840.1"},
    ],
    "status": "active",
    "intent": "order",
    "code": {
        "coding": [
            {"system": "http://loinc.org", "code": "30746-2", "display": "Portable XR Chest Views"},
            {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "DX"},
        ],
        "text": "Chest, portable",
    },
    "subject": {"reference": "Patient/1"},
    "encounter": {"reference": "Encounter/5"},
    "requester": {"reference": "Practitioner/7"},
    "authoredOn": "2026-03-04T05:00:00+01:00",
    "priority": "stat",
    "reasonCode": [{"text": "Effusion?"}],
    "note": [{"text": "Former smoker."}],
}
ENCOUNTER: Resource = {
    "resourceType": "Encounter",
    "id": "5",
    "identifier": [{"value": "X"}, {"type": {"coding": [{"code": "VN"}]}, "value": "V77"}],
}
DOCTOR: Resource = {
    "resourceType": "Practitioner",
    "id": "7",
    "identifier": [{"value": "D-77"}],
    "name": [{"family": "Rosa", "given": ["Elena"], "prefix": ["Dr"]}],
}
REPORT: Resource = {
    "resourceType": "DiagnosticReport",
    "id": "9",
    "meta": {"versionId": "2", "lastUpdated": "2026-03-04T05:06:07Z"},
    "identifier": [
        {"system": "urn:prelim:case", "value": "case-1"},
        {"type": {"coding": [{"code": "ACSN"}]}, "system": "urn:prelim:accession", "value": "A1"},
    ],
    "status": "final",
    "code": {"text": "Chest"},
    "subject": {"reference": "Patient/1"},
    "imagingStudy": [{"identifier": {"system": "urn:dicom:uid", "value": "urn:oid:1.2.840.1"}}],
    "resultsInterpreter": [{"reference": "Practitioner/7"}],
    "issued": "2026-03-04T05:00:00Z",
    "presentedForm": [{"contentType": "text/plain", "data": "TGVmdCBlZmZ1c2lvbi4="}],
}
STUDY: Resource = {
    "resourceType": "ImagingStudy",
    "id": "20",
    "meta": {"versionId": "1"},
    "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.840.1"}],
    "status": "available",
    "subject": {"reference": "Patient/1"},
    "basedOn": [{"reference": "ServiceRequest/12"}],
    "modality": [{"code": "CT"}, {"code": "SR"}],
    "numberOfInstances": 120,
    "description": "CT chest",
}
STANDING = (PATIENT, REQUEST, ENCOUNTER, DOCTOR, REPORT, STUDY)


def dossier(focus: Resource, *others: Resource, **changes: Any) -> Dossier:
    """A dossier of a resource with some elements changed (None takes one away), and all that stands there."""
    altered = {**copy.deepcopy(focus), **changes}
    altered = {name: value for name, value in altered.items() if value is not None}
    beside = {f"{one['resourceType']}/{one['id']}": copy.deepcopy(one) for one in (*STANDING, *others)}
    beside.pop(f"{focus['resourceType']}/{focus['id']}", None)
    return Dossier(BASE, altered, beside)


def misshapen(resource: Resource, junk: object, place: tuple[str, ...]) -> Resource:
    """The resource with junk at one place; the first of a list is meant where a step meets one."""
    altered: Resource = json.loads(json.dumps(resource))
    node: Any = altered
    for step in place[:-1]:
        node = node[0] if isinstance(node, list) else node[step]
        node = node[0] if isinstance(node, list) else node
    node[place[-1]] = junk
    return altered
