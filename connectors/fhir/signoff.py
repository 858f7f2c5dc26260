"""What became of our draft on a FHIR server: a person's version of it, or a person's own report.

Evidence, not a verdict: whether it counts as signed is decided by who reads this (a final status, a
named human, a source that is not ourselves).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from connectors.errors import Rejected
from connectors.exchange import Patient, Practitioner, PublishedReport, SignedReport
from connectors.fhir.attachment import clean, presented, presented_text
from connectors.fhir.client import FhirClient, reference_of, version_of
from connectors.fhir.identifiers import IdentifierSystems
from connectors.fhir.outcome import Absent
from connectors.fhir.report import draft_numbers
from connectors.fhir.reports import (
    ACCESSION_TYPES,
    CaseKeys,
    final_reports,
    has_accession,
    resolve,
    status_of,
    subject_identifiers,
)

Resource = dict[str, Any]

PERSONS = frozenset({"Practitioner", "PractitionerRole"})


def read_signoff(
    client: FhirClient,
    published: PublishedReport,
    *,
    accession: str,
    patient: Patient,
    study_instance_uid: str = "",
    systems: IdentifierSystems | None = None,
) -> SignedReport | None:
    """What somebody else wrote since our draft; None while our draft stands alone.

    1. Read our report. A version whose words are still ours is nobody's sign-off.
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
        version_of(current) != published.version and not draft_numbers(current, systems)
    )
    if current is not None and changed and status_of(current).is_final:
        return _signed(client, systems, keys, current, before=_ours(client, published))
    # 2.
    others = final_reports(client, systems, keys, besides=published.reference, certain=True)
    # 3.
    if others:
        latest = max(
            others, key=lambda report: _moment((report.get("meta") or {}).get("lastUpdated")) or _NEVER
        )
        return _signed(client, systems, keys, latest, before=None)
    if current is None:
        raise Absent(f"Expected our draft, came none: it was deleted. {Absent.next_step}")
    if changed:
        return _signed(client, systems, keys, current, before=_ours(client, published))
    return None


def signer_of(client: FhirClient, report: Resource) -> Practitioner | None:
    """The named person responsible for the report; None when there is none. A Device is never a signer.

    resultsInterpreter says who is responsible for the conclusions, performer may also be an
    organization (FHIR R4 DiagnosticReport): a bare display is believed only of the first.
    """
    for element, bare in (("resultsInterpreter", True), ("performer", False)):
        for reference in report.get(element) or []:
            person = _person(client, report, reference, bare=bare)
            if person is not None and person.printed_name:
                return person
    return None


def _signed(
    client: FhirClient,
    systems: IdentifierSystems,
    keys: CaseKeys,
    report: Resource,
    *,
    before: Resource | None,
) -> SignedReport:
    # A RIS that edits the draft in place may leave parts of it as they were: those say nothing new.
    stale_form = before is not None and presented(before) == presented(report)
    stale_issued = before is not None and before.get("issued") == report.get("issued")
    conclusion = clean(str(report.get("conclusion") or "")).strip()
    changed_conclusion = before is not None and report.get("conclusion") != before.get("conclusion")
    text = presented_text(report)
    if conclusion and (not text or (stale_form and changed_conclusion)):
        text = conclusion
    issued = None if stale_issued else _moment(report.get("issued"))
    reference = reference_of(report)
    return SignedReport(
        accession=keys.accession if has_accession(report, systems, keys.accession) else "",
        patient=_patient(client, report, keys.patient),
        status=status_of(report),
        text=text,
        channel="fhir",
        source=f"{client.base_url}/{reference}",
        signer=signer_of(client, report),
        signed_at=issued or _stored_at(report),
        study_instance_uid=keys.study_instance_uid,
        report_identifier=_identifier(report) or reference,
        version=version_of(report),
    )


def _ours(client: FhirClient, published: PublishedReport) -> Resource | None:
    try:
        return client.vread(published.reference, published.version)
    except Rejected:
        return None


def _patient(client: FhirClient, report: Resource, expected: Patient) -> Patient:
    """The patient as the report names them: not ours by assumption, so that a mismatch can be seen."""
    values = [value for _, value in subject_identifiers(client, report)]
    return expected if expected.identifier in values else Patient(values[0] if values else "")


def _identifier(report: Resource) -> str:
    for identifier in report.get("identifier") or []:
        if isinstance(identifier, dict) and isinstance(identifier.get("value"), str):
            codings = (identifier.get("type") or {}).get("coding") or []
            if not any(coding.get("code") in ACCESSION_TYPES for coding in codings):
                value: str = identifier["value"]
                return value
    return ""


def _person(client: FhirClient, report: Resource, reference: object, *, bare: bool) -> Practitioner | None:
    if not isinstance(reference, dict):
        return None
    resource = resolve(client, report, reference, kinds=PERSONS)
    if resource is not None and resource.get("resourceType") == "PractitionerRole":
        role = resource
        resource = resolve(client, role, role.get("practitioner"), kinds=frozenset({"Practitioner"}))
        reference = {**reference, **(role.get("practitioner") or {})}
    if resource is not None:
        named = _named(resource)
        if named.printed_name:
            return named
    display = reference.get("display")
    kind = _kind(reference)
    if isinstance(display, str) and (kind in PERSONS or (bare and not kind)):
        return Practitioner(family_name=" ".join(clean(display).split()))
    return None


def _kind(reference: Resource) -> str:
    """Type that a reference claims to lead to; empty when it does not say."""
    target = str(reference.get("reference") or "")
    steps = target.partition("/_history/")[0].split("/")
    if target.startswith("#"):
        return "contained"
    return steps[-2] if len(steps) > 1 else str(reference.get("type") or "")


def _named(resource: Resource) -> Practitioner:
    names = [name for name in resource.get("name") or [] if isinstance(name, dict)]
    names.sort(key=lambda name: name.get("use") not in {"official", "usual", None})
    name = names[0] if names else {}
    identifiers = [one.get("value") for one in resource.get("identifier") or [] if isinstance(one, dict)]
    family = clean(str(name.get("family") or "")).strip()
    given = clean(" ".join(map(str, name.get("given") or []))).strip()
    return Practitioner(
        identifier=str(next(filter(None, identifiers), "")),
        family_name=family if family or given else clean(str(name.get("text") or "")).strip(),
        given_name=given,
        prefix=clean(" ".join(map(str, name.get("prefix") or []))).strip() if family or given else "",
    )


def _stored_at(report: Resource) -> datetime | None:
    return _moment((report.get("meta") or {}).get("lastUpdated"))


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else None


_NEVER = datetime.fromisoformat("0001-01-01T00:00:00+00:00")
