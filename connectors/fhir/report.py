"""A draft as FHIR R4 resources: one transaction Bundle of Patient, Device, DiagnosticReport, Provenance.

Pure. The AI is a Device and author of the Provenance; performer and resultsInterpreter stay empty,
since in R4 neither can be a Device and nobody has read the draft yet. Labels follow HL7's AI
Transparency on FHIR (ballot of January 2026): security label and reason AIAST.
"""

from __future__ import annotations

import base64
import re
import uuid
from datetime import UTC, datetime
from typing import Any

from fhir.resources.R4B.bundle import Bundle
from pydantic import ValidationError

from connectors.errors import Rejected
from connectors.exchange import Coding, DraftReport, PublishedReport
from connectors.fhir.attachment import clean, narrative, page
from connectors.fhir.egress import AIAST, draft_status
from connectors.fhir.identifiers import IDENTIFIER_TYPE, IdentifierSystems, query, study_identifier
from connectors.fhir.ours import version_tag

Resource = dict[str, Any]

RADIOLOGY = {
    "system": "http://terminology.hl7.org/CodeSystem/v2-0074",
    "code": "RAD",
    "display": "Radiology",
}
DIAGNOSTIC_IMAGING_STUDY = {
    "system": "http://loinc.org",
    "code": "18748-4",
    "display": "Diagnostic imaging study",
}
CODE_SYSTEMS = {
    "LN": "http://loinc.org",
    "SCT": "http://snomed.info/sct",
    "RADLEX": "http://www.radlex.org",
    "C4": "http://www.ama-assn.org/go/cpt",
}
"""HL7 table 0396 name to FHIR code system."""
DATA_ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"

_LOINC = re.compile(r"[0-9]{1,7}-[0-9]")
_NAMESPACE = uuid.UUID("6f1f2b0e-5a3c-4a3e-9b61-0f8b7c0d9a55")


def draft_bundle(
    draft: DraftReport,
    *,
    systems: IdentifierSystems | None = None,
    known: PublishedReport | None = None,
) -> Resource:
    """The transaction Bundle that writes this draft.

    known: where an earlier draft of the case stands; its version is then replaced under If-Match.
    Without it the report is created unless one with our identifier exists (If-None-Exist).

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
    patient = patient_of(draft, systems)
    device = device_of(draft, systems)
    report = report_of(draft, systems, subject=_urn(draft, "patient"))
    if known:
        report["id"] = known.reference.partition("/")[2]
        report_request = {"method": "PUT", "url": known.reference, "ifMatch": f'W/"{known.version}"'}
    else:
        report_request = {
            "method": "POST",
            "url": "DiagnosticReport",
            "ifNoneExist": query(systems.report, draft.case_id),
        }
    provenance = provenance_of(draft, systems, target=report_url, device=_urn(draft, "device"))
    entries = [
        (_urn(draft, "patient"), patient, _conditional(patient)),
        (_urn(draft, "device"), device, _conditional(device)),
        (_urn(draft, "report"), report, report_request),
        (_urn(draft, "provenance"), provenance, {"method": "POST", "url": "Provenance"}),
    ]
    return validated(
        {
            "resourceType": "Bundle",
            "type": "transaction",
            "entry": [{"fullUrl": f, "resource": r, "request": q} for f, r, q in entries],
        }
    )


def patient_of(draft: DraftReport, systems: IdentifierSystems) -> Resource:
    """The patient, as the order names them."""
    patient = draft.patient
    name = {
        "family": clean(patient.family_name),
        "given": [given for given in [clean(patient.given_name)] if given],
    }
    return _filled(
        {
            "resourceType": "Patient",
            "identifier": [
                {
                    "type": _identifier_type("MR"),
                    "system": systems.of_patient(patient),
                    "value": patient.identifier,
                }
            ],
            "name": [_filled(name)] if _filled(name) else None,
            "gender": patient.sex if patient.sex in {"male", "female", "other", "unknown"} else "unknown",
            "birthDate": patient.birth_date.isoformat() if patient.birth_date else None,
        }
    )


def device_of(draft: DraftReport, systems: IdentifierSystems) -> Resource:
    """The software that wrote the draft: name, version, hash of its weights."""
    author = draft.author
    return {
        "resourceType": "Device",
        "identifier": [
            {
                "system": systems.device,
                "value": "/".join(
                    clean(part) for part in (author.name, author.version, author.weights_sha256)
                ),
            }
        ],
        "status": "active",
        "manufacturer": "Prelim",
        "deviceName": [{"name": clean(author.name), "type": "model-name"}],
        "type": {"text": "Artificial intelligence software"},
        "version": [
            {"type": {"text": "software"}, "value": clean(author.version)},
            {"type": {"text": "weights SHA-256"}, "value": clean(author.weights_sha256)},
        ],
    }


def report_of(draft: DraftReport, systems: IdentifierSystems, *, subject: str) -> Resource:
    """The DiagnosticReport. subject: reference or urn of the Patient."""
    status = draft_status(draft.status)
    html = page(draft)
    conclusion = clean(draft.conclusion).strip()
    data = base64.b64encode(html).decode("ascii")
    patient_identifier = {"system": systems.of_patient(draft.patient), "value": draft.patient.identifier}
    report: Resource = {
        "resourceType": "DiagnosticReport",
        "meta": {
            "security": [AIAST],
            "tag": [version_tag(systems, draft.number, status, conclusion, [data])],
        },
        "text": {"status": "additional", "div": narrative(draft)},
        "identifier": [
            {"use": "official", "system": systems.report, "value": draft.case_id},
            _order_identifier("ACSN", systems.accession, draft.accession),
        ],
        "basedOn": [{"type": "ServiceRequest", "identifier": _request_identifier(draft, systems)}],
        "status": status.value,
        "category": [{"coding": [RADIOLOGY]}],
        "code": code_of(draft.procedure),
        "subject": {"reference": subject, "type": "Patient", "identifier": patient_identifier},
        "issued": instant(draft.issued_at),
        "imagingStudy": [{"type": "ImagingStudy", "identifier": study_identifier(draft.study_instance_uid)}],
        "presentedForm": [
            {
                "contentType": "text/html",
                "language": "en",
                "data": data,
                "size": len(html),
                "title": clean(draft.notice),
                "creation": instant(draft.issued_at),
            }
        ],
    }
    if conclusion:
        report["conclusion"] = conclusion
    if draft.studied_on is not None:
        report["effectiveDateTime"] = draft.studied_on.isoformat()
    else:
        # US Core requires effective[x] from preliminary on; drafting time would be a false study time.
        report["_effectiveDateTime"] = {"extension": [{"url": DATA_ABSENT, "valueCode": "unknown"}]}
    return report


def provenance_of(draft: DraftReport, systems: IdentifierSystems, *, target: str, device: str) -> Resource:
    """Who made this version of the report, from what. target, device: references or urns."""
    return {
        "resourceType": "Provenance",
        "target": [{"reference": target}],
        "recorded": instant(draft.issued_at),
        "reason": [{"coding": [AIAST]}],
        "agent": [
            {
                "type": {
                    "coding": [
                        {
                            "system": "http://terminology.hl7.org/CodeSystem/provenance-participant-type",
                            "code": "author",
                            "display": "Author",
                        }
                    ]
                },
                "who": {"reference": device, "type": "Device"},
            }
        ],
        "entity": [
            {
                "role": "source",
                "what": {"type": "ImagingStudy", "identifier": study_identifier(draft.study_instance_uid)},
            },
            {
                "role": "source",
                "what": {
                    "identifier": {"system": systems.prompt, "value": clean(draft.author.prompt_version)},
                    "display": "Prompt version",
                },
            },
        ],
    }


def code_of(procedure: Coding) -> Resource:
    """The ordered procedure as report code; LOINC 18748-4 beside its text when its system is local."""
    words = clean(procedure.text).strip() or clean(procedure.code).strip()
    code, name = clean(procedure.code).strip(), procedure.system.strip()
    system = CODE_SYSTEMS.get(name.upper()) or (
        name if name.startswith(("http://", "https://", "urn:")) else ""
    )
    if code and system and (system != CODE_SYSTEMS["LN"] or _LOINC.fullmatch(code)):
        coding = _filled({"system": system, "code": code, "display": clean(procedure.text).strip()})
    else:
        coding = dict(DIAGNOSTIC_IMAGING_STUDY)
    return _filled({"coding": [coding], "text": words})


def _conditional(resource: Resource) -> Resource:
    identifier = resource["identifier"][0]
    return {
        "method": "POST",
        "url": resource["resourceType"],
        "ifNoneExist": query(identifier["system"], identifier["value"]),
    }


def _urn(draft: DraftReport, what: str) -> str:
    return uuid.uuid5(_NAMESPACE, f"{draft.case_id}/{draft.number}/{what}").urn


def _identifier_type(code: str) -> Resource:
    return {"coding": [{"system": IDENTIFIER_TYPE, "code": code}]}


def _order_identifier(code: str, system: str, value: str) -> Resource:
    return {"type": _identifier_type(code), "system": system, "value": value}


def _request_identifier(draft: DraftReport, systems: IdentifierSystems) -> Resource:
    if draft.placer_order_number:
        return _order_identifier("PLAC", systems.placer, draft.placer_order_number)
    if draft.filler_order_number:
        return _order_identifier("FILL", systems.filler, draft.filler_order_number)
    return _order_identifier("ACSN", systems.accession, draft.accession)


def instant(moment: datetime) -> str:
    """The moment as FHIR R4 writes an instant, in UTC. Raises Rejected for one without a zone."""
    if moment.tzinfo is None:
        raise Rejected("Expected times with a zone (FHIR R4 instant); came one without.")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _filled(mapping: Resource) -> Resource:
    return {key: value for key, value in mapping.items() if value not in (None, "", [])}


def validated(bundle: Resource) -> Resource:
    """The Bundle, once FHIR R4 can hold it. Raises Rejected, naming places and no values, when it cannot."""
    try:
        Bundle.model_validate(bundle)
    except ValidationError as error:
        # The error's own text quotes the values; only the places are told.
        places = sorted({".".join(str(step) for step in issue["loc"]) for issue in error.errors()})
        raise Rejected(
            f"Expected a draft that FHIR R4 can hold; not valid at: {', '.join(places)}."
        ) from None
    return bundle
