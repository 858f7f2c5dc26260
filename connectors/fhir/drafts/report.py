"""A draft as FHIR R4 resources: a transaction of Patient, Device, DiagnosticReport, Provenance and findings.

Pure. The AI is a Device and author of the Provenance; performer and resultsInterpreter stay empty,
since in R4 neither can be a Device and nobody has read the draft yet. Labels follow HL7's AI
Transparency on FHIR (ballot of January 2026): security label and reason AIAST.

Every report satisfies US Core's profile for report and note exchange, but does not claim it: its subject is
the hospital's own Patient, and whether that one satisfies US Core is not ours to say.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from connectors.errors import Rejected
from connectors.exchange import DraftReport, PublishedReport, WithdrawalStatus
from connectors.fhir.attachment import HTML, PDF, clean, form_of, narrative, page
from connectors.fhir.drafts.authorship import device_of, provenance_of
from connectors.fhir.drafts.codes import CodeMap, code_of
from connectors.fhir.drafts.observations import concept_of, observations_of, retirement
from connectors.fhir.drafts.request import request_of
from connectors.fhir.drafts.resources import (
    DATA_ABSENT,
    Resource,
    created_once,
    effective,
    encounter_of,
    filled,
    subject_of,
    typed_identifier,
    validated,
)
from connectors.fhir.egress import AIAST, draft_status
from connectors.fhir.identifiers import IdentifierSystems, study_identifier
from connectors.fhir.instants import instant
from connectors.fhir.ours import version_tag

RADIOLOGY = {
    "system": "http://terminology.hl7.org/CodeSystem/v2-0074",
    "code": "RAD",
    "display": "Radiology",
}
RADIOLOGY_OF_US_CORE = {"system": "http://loinc.org", "code": "LP29684-5", "display": "Radiology"}

_NAMESPACE = uuid.UUID("6f1f2b0e-5a3c-4a3e-9b61-0f8b7c0d9a55")


def draft_bundle(
    draft: DraftReport,
    *,
    systems: IdentifierSystems | None = None,
    known: PublishedReport | None = None,
    codes: CodeMap | None = None,
    pdf: bytes | None = None,
    superseded: Sequence[Resource] = (),
) -> Resource:
    """The transaction Bundle that writes this draft.

    known: where an earlier draft of the case stands; its version is then replaced under If-Match.
    Without it the report is created unless one with our identifier exists (If-None-Exist).
    codes: the site's procedures in LOINC and RadLex. pdf: the draft as PDF; None leaves it out.
    superseded: the Observations of the earlier draft, as the server keeps them; those that still are ours
    are cancelled in the same transaction.

    The entries are Patient, Device, DiagnosticReport, Provenance, then an Observation a finding.
    Raises ForbiddenStatus for any status but preliminary and partial, Rejected when the draft cannot
    be written as FHIR.
    """
    systems = systems or IdentifierSystems()
    keys = (draft.case_id, draft.accession, draft.patient.identifier, draft.study_instance_uid)
    if not all(key.strip() and clean(key) == key for key in keys):
        raise Rejected(
            "Expected a draft with readable case, accession, patient and study; came one without some."
        )
    if not clean(draft.notice).strip():
        raise Rejected("Expected a draft with the notice that a machine wrote it; came one without.")
    report_url = known.reference if known else _urn(draft, "report")
    subject, device = _urn(draft, "patient"), _urn(draft, "device")
    findings = [
        (_urn(draft, found["identifier"][0]["value"]), found)
        for found in observations_of(draft, systems, subject=subject, device=device)
    ]
    results = [url for url, _ in findings]
    report = report_of(draft, systems, subject=subject, codes=codes, pdf=pdf, results=results)
    if known:
        report["id"] = known.reference.partition("/")[2]
        request = {"method": "PUT", "url": known.reference, "ifMatch": f'W/"{known.version}"'}
    else:
        request = created_once(report)
    provenance = provenance_of(draft, systems, targets=[report_url, *results], device=device)
    patient, software = patient_of(draft, systems), device_of(draft, systems)
    entries = [
        (subject, patient, created_once(patient)),
        (device, software, created_once(software)),
        (_urn(draft, "report"), report, request),
        (_urn(draft, "provenance"), provenance, {"method": "POST", "url": "Provenance"}),
        *((url, found, created_once(found)) for url, found in findings),
    ]
    retired = [retirement(old, draft.case_id, WithdrawalStatus.CANCELLED, systems) for old in superseded]
    return validated(
        {
            "resourceType": "Bundle",
            "type": "transaction",
            "entry": [
                *(
                    {"fullUrl": url, "resource": resource, "request": asked}
                    for url, resource, asked in entries
                ),
                *(entry for entry in retired if entry),
            ],
        }
    )


def patient_of(draft: DraftReport, systems: IdentifierSystems) -> Resource:
    """The patient, as the order names them."""
    patient = draft.patient
    name = {
        "family": clean(patient.family_name),
        "given": [given for given in [clean(patient.given_name)] if given],
    }
    return filled(
        {
            "resourceType": "Patient",
            "identifier": [typed_identifier("MR", systems.of_patient(patient), patient.identifier)],
            # US Core: a name that nobody told is said to be unknown.
            "name": [filled(name) or {"extension": [{"url": DATA_ABSENT, "valueCode": "unknown"}]}],
            "gender": patient.sex if patient.sex in {"male", "female", "other", "unknown"} else "unknown",
            "birthDate": patient.birth_date.isoformat() if patient.birth_date else None,
        }
    )


def report_of(
    draft: DraftReport,
    systems: IdentifierSystems,
    *,
    subject: str,
    codes: CodeMap | None = None,
    pdf: bytes | None = None,
    results: Sequence[str] = (),
) -> Resource:
    """The DiagnosticReport. subject, results: references or urns of the Patient and of the Observations."""
    status = draft_status(draft.status)
    conclusion = clean(draft.conclusion).strip()
    said = {"title": clean(draft.notice), "created": instant(draft.issued_at), "language": draft.language}
    forms = [form_of(HTML, page(draft), **said)]
    if pdf is not None:
        forms.append(form_of(PDF, pdf, **said))
    data = [form["data"] for form in forms]
    coded = [finding for finding in draft.findings if finding.present and finding.code.code]
    conclusions = {finding.code: concept_of(finding.code, finding.name) for finding in coded}
    report: Resource = {
        "resourceType": "DiagnosticReport",
        "meta": {
            "security": [AIAST],
            "tag": [version_tag(systems, draft.number, status, conclusion, data)],
        },
        "text": {"status": "additional", "div": narrative(draft)},
        "identifier": [
            {"use": "official", "system": systems.report, "value": draft.case_id},
            typed_identifier("ACSN", systems.accession, draft.accession),
        ],
        "basedOn": [request_of(draft, systems)],
        "status": status.value,
        "category": [{"coding": [RADIOLOGY]}, {"coding": [RADIOLOGY_OF_US_CORE]}],
        "code": code_of(draft.procedure, codes),
        "subject": subject_of(draft, systems, subject),
        "encounter": encounter_of(draft, systems),
        **effective(draft),
        "issued": said["created"],
        "result": [{"reference": result, "type": "Observation"} for result in results],
        "imagingStudy": [{"type": "ImagingStudy", "identifier": study_identifier(draft.study_instance_uid)}],
        "conclusion": conclusion,
        "conclusionCode": list(conclusions.values()),
        "presentedForm": forms,
    }
    return filled(report)


def _urn(draft: DraftReport, what: str) -> str:
    return uuid.uuid5(_NAMESPACE, f"{draft.case_id}/{draft.number}/{what}").urn
