"""Parts that every resource we write is made of, and the check that FHIR R4 can hold the whole."""

from __future__ import annotations

from typing import Any

from fhir.resources.R4B.bundle import Bundle
from pydantic import ValidationError

from connectors.errors import Rejected
from connectors.exchange import DraftReport
from connectors.fhir.attachment import clean
from connectors.fhir.drafts.grammar import is_plainly_valid
from connectors.fhir.identifiers import IDENTIFIER_TYPE, IdentifierSystems, query

Resource = dict[str, Any]

DATA_ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"


def effective(draft: DraftReport) -> Resource:
    """effective[x] of what a draft says of its study, which is never the time of drafting.

    US Core requires it from preliminary on: a time that nobody told is said to be unknown.
    """
    if draft.studied_on is not None:
        return {"effectiveDateTime": draft.studied_on.isoformat()}
    return {"_effectiveDateTime": {"extension": [{"url": DATA_ABSENT, "valueCode": "unknown"}]}}


def filled(mapping: Resource) -> Resource:
    """The elements that hold something: FHIR knows no empty ones."""
    return {key: value for key, value in mapping.items() if value not in (None, "", [])}


def typed_identifier(code: str, system: str, value: str) -> Resource:
    """An identifier with its type (HL7 table 0203)."""
    return {"type": {"coding": [{"system": IDENTIFIER_TYPE, "code": code}]}, "system": system, "value": value}


def created_once(resource: Resource) -> Resource:
    """The request that creates a resource unless one with its first identifier is there (ifNoneExist)."""
    identifier = resource["identifier"][0]
    return {
        "method": "POST",
        "url": resource["resourceType"],
        "ifNoneExist": query(identifier["system"], identifier["value"]),
    }


def subject_of(draft: DraftReport, systems: IdentifierSystems, reference: str) -> Resource:
    """The patient as a report or finding refers to them. reference: to the Patient, or its urn."""
    identifier = {"system": systems.of_patient(draft.patient), "value": draft.patient.identifier}
    return {"reference": reference, "type": "Patient", "identifier": identifier}


def encounter_of(draft: DraftReport, systems: IdentifierSystems) -> Resource | None:
    """The visit by its number, which the server may or may not know; None when the order named none."""
    number = clean(draft.visit_number).strip()
    if not number:
        return None
    return {"type": "Encounter", "identifier": typed_identifier("VN", systems.visit, number)}


def validated(bundle: Resource) -> Resource:
    """The Bundle, once FHIR R4 can hold it. Raises Rejected, naming places and no values, when it cannot."""
    if is_plainly_valid(bundle):
        return bundle
    try:
        Bundle.model_validate(bundle)
    except ValidationError as error:
        # The error's own text quotes the values; only the places are told.
        places = sorted({".".join(str(step) for step in issue["loc"]) for issue in error.errors()})
        raise Rejected(
            f"Expected a draft that FHIR R4 can hold; not valid at: {', '.join(places)}."
        ) from None
    return bundle
