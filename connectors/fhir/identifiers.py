"""Whose identifiers are whose: the systems of ours, and how identifiers are searched and compared."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from connectors.exchange import Patient

IDENTIFIER_TYPE = "http://terminology.hl7.org/CodeSystem/v2-0203"
DICOM_UID = "urn:dicom:uid"
"""System of a DICOM UID written as urn:oid:UID (FHIR R4 imagingstudy.html, Notes)."""

_OID = re.compile(r"[0-2](?:\.(?:0|[1-9]\d*))+")


@dataclass(frozen=True, slots=True)
class IdentifierSystems:
    """The `system` URI of every identifier that Prelim writes; a site sets its own where it has them."""

    patient: str = "urn:prelim:patient:{authority}"
    """{authority} is replaced by the assigning authority of the patient's identifier, so that equal
    numbers of two authorities stay two patients. An authority that is an OID becomes urn:oid:OID."""
    accession: str = "urn:prelim:accession"
    placer: str = "urn:prelim:placer-order"
    filler: str = "urn:prelim:filler-order"
    report: str = "urn:prelim:case"
    """Of our own report identifier, the case's id: what makes a repeated write one report."""
    device: str = "urn:prelim:device"
    prompt: str = "urn:prelim:prompt"
    draft: str = "urn:prelim:draft"
    """System of the meta.tag that says which draft a version holds."""

    def of_patient(self, patient: Patient) -> str:
        """System of this patient's identifier."""
        authority = patient.assigning_authority
        if "{authority}" in self.patient and _OID.fullmatch(authority):
            return f"urn:oid:{authority}"
        return self.patient.replace("{authority}", quote(authority, safe="")).rstrip(":")


def query(system: str, value: str) -> str:
    """The search query identifier=system|value, percent-encoded (for ifNoneExist and If-None-Exist)."""
    return urlencode({"identifier": token(system, value)})


def token(system: str, value: str) -> str:
    """A token parameter, its special characters escaped (FHIR R4 search.html#escaping)."""
    return f"{escaped(system)}|{escaped(value)}"


def escaped(text: str) -> str:
    """A value inside a search parameter: backslash, comma, dollar and pipe escaped."""
    return re.sub(r"([\\,$|])", r"\\\1", text)


def study_identifier(study_instance_uid: str) -> dict[str, str]:
    """The FHIR identifier of a DICOM study."""
    return {"system": DICOM_UID, "value": f"urn:oid:{study_instance_uid}"}


def values_of(resource: dict[str, Any]) -> list[tuple[str, str]]:
    """(system, value) of each business identifier of a resource."""
    identifiers = resource.get("identifier")
    found = []
    for identifier in identifiers if isinstance(identifiers, list) else [identifiers]:
        if isinstance(identifier, dict) and isinstance(identifier.get("value"), str):
            found.append((str(identifier.get("system") or ""), identifier["value"]))
    return found
