"""Whose identifiers are whose: the systems of ours, and how identifiers are searched and compared."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import quote, unquote, urlencode

from connectors.exchange import Patient
from connectors.fhir.attachment import clean
from connectors.fhir.elements import record, records, text, texts
from connectors.fhir.readers.words import exact

IDENTIFIER_TYPE = "http://terminology.hl7.org/CodeSystem/v2-0203"
DICOM_UID = "urn:dicom:uid"
"""System of a DICOM UID written as urn:oid:UID (FHIR R4 imagingstudy.html, Notes)."""
MAX_SYSTEM = 1000
"""Characters of a system URI that is compared with the site's."""

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
    model_card: str = "urn:prelim:model-card"
    """Of the model card of weights, by their SHA-256."""
    visit: str = "urn:prelim:visit"
    observation: str = "urn:prelim:finding"
    """Of one finding of one draft, as case/number/finding/side: what makes a repeated write one finding."""
    draft: str = "urn:prelim:draft"
    """System of the meta.tag that says which draft a version holds."""

    def of_patient(self, patient: Patient) -> str:
        """System of this patient's identifier."""
        authority = patient.assigning_authority
        if "{authority}" in self.patient and _OID.fullmatch(authority):
            return f"urn:oid:{authority}"
        return self.patient.replace("{authority}", quote(authority, safe="")).rstrip(":")

    def authority_of(self, system: str) -> str | None:
        """The assigning authority that `of_patient` wrote this system for; None when it wrote it for none."""
        if len(system) > MAX_SYSTEM:
            return None
        shape = "(.*?)".join(re.escape(part) for part in self.patient.split("{authority}")).rstrip(":")
        readings = (re.fullmatch(f"{shape}:*", system), re.fullmatch(r"urn:oid:(.*)", system))
        candidates = [unquote(named[1]) for named in readings if named and named.groups()]
        # What is read is believed only when it would be written so.
        for authority in (*candidates, ""):
            if system and self.of_patient(Patient("", authority)) == system:
                return authority
        return None


def patient_of(resource: dict[str, Any], systems: IdentifierSystems) -> Patient:
    """The patient as a Patient resource names them, or as a logical reference does under `identifier`.

    The identifier is the one under the site's own system, one typed MR before another; else the only one;
    else the first that is typed MR (HL7 table 0203). None of these: an empty identifier, which agrees with
    nobody. One that is no longer used (use old) counts only where no other is there.
    """
    identifier, authority = _chosen(resource, systems)
    names = records(resource, "name")
    names.sort(key=lambda name: text(name, "use") not in {"official", "usual", ""})
    name = names[0] if names else {}
    sex = text(resource, "gender")
    return Patient(
        identifier=identifier,
        assigning_authority=authority,
        family_name=clean(text(name, "family") or (text(name, "text") if not name.get("given") else "")),
        given_name=clean(" ".join(texts(name, "given"))),
        birth_date=_day(text(resource, "birthDate")),
        sex=sex if sex in {"male", "female", "other"} else "unknown",
    )


def _chosen(resource: dict[str, Any], systems: IdentifierSystems) -> tuple[str, str]:
    """(identifier, assigning authority)."""
    single = record(resource, "identifier")
    named = [one for one in ([single] if single else records(resource, "identifier")) if exact(one, "value")]
    named = [one for one in named if text(one, "use") != "old"] or named
    typed = [one for one in named if "MR" in types_of(one)]
    # Any OID may be somebody's authority, and national numbers have one too: last, and only one typed MR.
    plain = [one for one in (*typed, *named) if not _of_oid(one)]
    for one in (*plain, *filter(_of_oid, typed)):
        authority = systems.authority_of(text(one, "system"))
        if authority is not None:
            return exact(one, "value"), authority
    choice = named[0] if len(named) == 1 else next(iter(typed), None)
    if choice is None:
        return "", ""
    return exact(choice, "value"), systems.authority_of(text(choice, "system")) or ""


def _of_oid(identifier: dict[str, Any]) -> bool:
    return text(identifier, "system").startswith("urn:oid:")


def types_of(identifier: dict[str, Any]) -> set[str]:
    """Codes of Identifier.type (HL7 table 0203)."""
    return {text(coding, "code") for coding in records(record(identifier, "type"), "coding")} - {""}


def _day(written: str) -> date | None:
    """A whole date; a year or month alone is no birthday."""
    try:
        return date.fromisoformat(written) if len(written) == 10 else None
    except ValueError:
        return None


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
