"""What became of one draft on a FHIR server, asked at once: what following the server would find there."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Any

from connectors.exchange import Patient, PublishedReport, SignedReport
from connectors.fhir.client import FhirClient, reference_of, version_of
from connectors.fhir.elements import record
from connectors.fhir.identifiers import IdentifierSystems, escaped, values_of
from connectors.fhir.ours import step_of
from connectors.fhir.outcome import Absent
from connectors.fhir.readers.dossier import PATIENTS, Dossier, gather, resolve
from connectors.fhir.readers.reports import CaseKeys, has_accession, same_patient, same_study, status_of
from connectors.fhir.readers.signoff import read_report
from connectors.fhir.readers.words import moment

Resource = dict[str, Any]

_NEVER = datetime.fromisoformat("0001-01-01T00:00:00+00:00")


def read_signoff(
    client: FhirClient,
    published: PublishedReport,
    *,
    accession: str,
    patient: Patient,
    study_instance_uid: str = "",
    systems: IdentifierSystems | None = None,
) -> SignedReport | None:
    """What somebody else wrote since our draft, seen as Prelim sees it; None while our draft stands alone.

    1. Read our report. A version whose words are still ours is nobody's sign-off, our withdrawal included.
    2. Look for final reports of the same accession, patient and study that are not our report.
    3. Prefer a final version of ours, then the latest other final report, then any other change of ours.

    Raises Absent when our report was deleted and nothing final replaces it, else as FhirClient does.
    """
    systems = systems or IdentifierSystems()
    keys = CaseKeys(accession, patient, study_instance_uid)
    # 1.
    try:
        current = client.read(published.reference)
    except Absent:
        current = None
    changed = current is not None and (
        version_of(current) != published.version and step_of(current, systems) is None
    )
    if current is not None and changed and status_of(current).is_final:
        return _signed(gather(client, current, before=published), systems, keys)
    # 2.
    others = final_reports(client, systems, keys, besides=published.reference, certain=True)
    # 3.
    if others:
        latest = max(others, key=lambda report: moment(record(report, "meta").get("lastUpdated")) or _NEVER)
        return _signed(gather(client, latest), systems, keys)
    if current is None:
        raise Absent(f"Expected our draft, came none: it was deleted. {Absent.next_step}")
    if changed:
        return _signed(gather(client, current, before=published), systems, keys)
    return None


def _signed(dossier: Dossier, systems: IdentifierSystems, keys: CaseKeys) -> SignedReport | None:
    """The report of a case whose keys are known: what agrees with them is told in their words."""
    report = read_report(dossier, systems=systems, expected=(keys.accession,))
    if report is None:
        return None
    who = record(dossier.focus, "subject")
    named = resolve(dossier, dossier.focus, who, kinds=PATIENTS) or who
    same = keys.patient.identifier in {value for _, value in values_of(named)}
    return dataclasses.replace(
        report,
        accession=keys.accession if has_accession(dossier.focus, systems, keys.accession) else "",
        patient=keys.patient if same else report.patient,
        study_instance_uid=keys.study_instance_uid,
    )


def final_reports(
    client: FhirClient, systems: IdentifierSystems, keys: CaseKeys, *, besides: str, certain: bool
) -> list[Resource]:
    """Final reports of this accession, patient and study.

    besides: reference of our own report, left out; empty when there is none.
    certain: whether the patient must be known to be the same; otherwise it must not be known to be another.
    """
    # Without a system the token matches any: a RIS names its accession numbers by a system of its own.
    found = client.search("DiagnosticReport", {"identifier": escaped(keys.accession)})
    return [
        report
        for report in found
        if status_of(report).is_final
        and reference_of(report) != besides
        and has_accession(report, systems, keys.accession)
        and same_study(client, report, keys.study_instance_uid)
        and same_patient(client, report, keys.patient) in ({True} if certain else {True, None})
    ]
