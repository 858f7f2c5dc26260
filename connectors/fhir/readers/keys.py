"""What ties a fetched resource to a case: accession numbers, study, patient. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from connectors.dicomweb.uids import checked_uid
from connectors.errors import Malformed
from connectors.exchange import Patient
from connectors.fhir.elements import record, records, text
from connectors.fhir.identifiers import DICOM_UID, IdentifierSystems, patient_of, types_of
from connectors.fhir.readers.dossier import PATIENTS, REQUESTS, STUDIES, Dossier, references, resolve
from connectors.fhir.readers.words import exact

Resource = dict[str, Any]

ACCESSION, FILLER, PLACER, VISIT = "ACSN", "FILL", "PLAC", "VN"
"""HL7 table 0203 codes of Identifier.type."""


def identifiers_of(holder: Resource) -> list[Resource]:
    """The identifiers of a resource, or the one of a logical reference."""
    single = record(holder, "identifier")
    return [single] if single else records(holder, "identifier")


def typed(holder: Resource, code: str, system: str = "") -> list[str]:
    """Values of identifiers under the site's system, else of those of this type; each once."""
    named = identifiers_of(holder)
    ours = [exact(one, "value") for one in named if system and text(one, "system") == system]
    others = [exact(one, "value") for one in named if code in types_of(one)]
    return list(dict.fromkeys(filter(None, ours or others)))


def accessions(dossier: Dossier, systems: IdentifierSystems) -> list[str]:
    """Accession numbers that the resource names: its own, else those of the requests it is based on.

    A filler order number (FILL) is taken for one where nothing says accession number: so RIS write it.
    """
    for code, system in ((ACCESSION, systems.accession), (FILLER, "")):
        own = typed(dossier.focus, code, system)
        if own:
            return own
    for code, system in ((ACCESSION, systems.accession), (FILLER, "")):
        found = [value for request in requests(dossier) for value in typed(request, code, system)]
        if found:
            return list(dict.fromkeys(found))
    return []


def requests(dossier: Dossier) -> Iterator[Resource]:
    """Each request that the resource is based on, or the logical reference to it."""
    for reference in references(dossier.focus, "basedOn"):
        yield resolve(dossier, dossier.focus, reference, kinds=REQUESTS) or reference


def subject(dossier: Dossier, systems: IdentifierSystems) -> Patient:
    """The patient whom the resource is about, without an identifier when it names none."""
    reference = record(dossier.focus, "subject")
    resource = resolve(dossier, dossier.focus, reference, kinds=PATIENTS)
    return patient_of(
        resource if resource is not None else {"identifier": reference.get("identifier")}, systems
    )


def known_subject(dossier: Dossier, systems: IdentifierSystems) -> Patient:
    """The patient whom the resource is about. Raises Malformed when it names no identifier of one."""
    patient = subject(dossier, systems)
    if not patient.identifier:
        raise Malformed(
            f"{dossier.kind}: expected a subject with a patient identifier, came none that can be chosen; "
            "set the identifier system of patient ids, or have the server type the identifier MR."
        )
    return patient


def stated_uids(*holders: Resource) -> list[str]:
    """Study instance UIDs among the identifiers (urn:dicom:uid, urn:oid:UID), unchecked, each once."""
    stated = [
        exact(identifier, "value").removeprefix("urn:oid:")
        for holder in holders
        for identifier in identifiers_of(holder)
        if text(identifier, "system") == DICOM_UID
    ]
    return list(dict.fromkeys(filter(None, stated)))


def study_uid(dossier: Dossier) -> str:
    """The one study instance UID among the identifiers of the resource; empty when there is none.

    Raises Malformed for two that differ, and for one that is no UID (PS3.5 section 9.1).
    """
    stated = stated_uids(dossier.focus)
    if len(stated) > 1:
        raise Malformed(f"{dossier.kind}: expected one study instance UID, came several that differ.")
    return checked_uid(stated[0], "study instance UID") if stated else ""


def studies(dossier: Dossier) -> list[str]:
    """Study instance UIDs of the studies that a report names (R4 imagingStudy, R5 study), each once."""
    holders = [
        resolve(dossier, dossier.focus, reference, kinds=STUDIES) or reference
        for element in ("imagingStudy", "study")
        for reference in references(dossier.focus, element)
    ]
    return stated_uids(*holders)
