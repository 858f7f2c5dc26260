"""The reports of one case on a FHIR server: ours, and those that somebody else wrote."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from connectors.errors import Rejected
from connectors.exchange import Patient, ReportStatus
from connectors.fhir.client import FhirClient
from connectors.fhir.elements import records, text
from connectors.fhir.identifiers import DICOM_UID, IdentifierSystems, types_of, values_of

Resource = dict[str, Any]

ACCESSION_TYPES = frozenset({"ACSN", "FILL"})
"""HL7 table 0203 codes under which RIS write the accession number."""


@dataclass(frozen=True, slots=True)
class CaseKeys:
    """What ties a report to a case."""

    accession: str
    patient: Patient
    study_instance_uid: str = ""


def status_of(report: Resource) -> ReportStatus:
    """The report's status; UNKNOWN when it is none of R4's, or R5's modified: changed before it is final."""
    if report.get("status") == "modified":
        return ReportStatus.PRELIMINARY
    try:
        return ReportStatus(str(report.get("status")))
    except ValueError:
        return ReportStatus.UNKNOWN


def has_accession(report: Resource, systems: IdentifierSystems, accession: str) -> bool:
    """Whether one of the report's identifiers is this accession number."""
    return accession in accessions_of(report, systems)


def accessions_of(report: Resource, systems: IdentifierSystems) -> Iterator[str]:
    """Values of the report's identifiers that can be its accession number: so typed, ours, or untyped."""
    for identifier in records(report, "identifier"):
        codes = types_of(identifier)
        if identifier.get("system") == systems.accession or not codes or codes & ACCESSION_TYPES:
            value = text(identifier, "value")
            if value and identifier.get("system") != systems.report:
                yield value


def same_patient(client: FhirClient, report: Resource, patient: Patient) -> bool | None:
    """Whether the report is about this patient; None when it does not say in a way that can be followed."""
    values = [value for _, value in subject_identifiers(client, report)]
    return patient.identifier in values if values else None


def subject_identifiers(client: FhirClient, report: Resource) -> list[tuple[str, str]]:
    """(system, value) of the subject's identifiers: of the Patient resource, or of the logical reference."""
    subject = report.get("subject")
    resolved = resolve(client, report, subject, kinds=frozenset({"Patient"}))
    if resolved is not None:
        return values_of(resolved)
    return values_of(subject) if isinstance(subject, dict) else []


def same_study(client: FhirClient, report: Resource, study_instance_uid: str) -> bool:
    """Whether the report names this study or none at all (R4 imagingStudy, R5 study)."""
    uids: set[str] = set()
    for reference in (*records(report, "imagingStudy"), *records(report, "study")):
        study = resolve(client, report, reference, kinds=frozenset({"ImagingStudy"})) or reference
        uids |= {value.removeprefix("urn:oid:") for system, value in values_of(study) if system == DICOM_UID}
    return not (uids and study_instance_uid) or study_instance_uid in uids


def resolve(
    client: FhirClient, holder: Resource, reference: object, *, kinds: frozenset[str]
) -> Resource | None:
    """The resource of one of these kinds that a reference leads to, contained or on our own server.

    None when it leads elsewhere, to another kind or to nothing: another host is never asked.
    """
    target = reference.get("reference") if isinstance(reference, dict) else None
    if not isinstance(target, str):
        return None
    if target.startswith("#"):
        named = (one for one in records(holder, "contained") if one.get("id") == target.removeprefix("#"))
        return next((one for one in named if text(one, "resourceType") in kinds), None)
    try:
        path = client.relative(target)
        return client.read(path) if path.partition("/")[0] in kinds else None
    except Rejected:
        return None
