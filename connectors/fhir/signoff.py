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
from connectors.fhir.elements import record, records, text, texts
from connectors.fhir.identifiers import IdentifierSystems
from connectors.fhir.ours import step_of
from connectors.fhir.outcome import Absent
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
        return _signed(client, systems, keys, current, before=_ours(client, published))
    # 2.
    others = final_reports(client, systems, keys, besides=published.reference, certain=True)
    # 3.
    if others:
        latest = max(others, key=lambda report: _moment(record(report, "meta").get("lastUpdated")) or _NEVER)
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
        for reference in records(report, element):
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
    conclusion = clean(text(report, "conclusion")).strip()
    changed_conclusion = before is not None and report.get("conclusion") != before.get("conclusion")
    words = presented_text(report)
    if conclusion and (not words or (stale_form and changed_conclusion)):
        words = conclusion
    issued = None if stale_issued else _moment(report.get("issued"))
    reference = reference_of(report)
    return SignedReport(
        accession=keys.accession if has_accession(report, systems, keys.accession) else "",
        patient=_patient(client, report, keys.patient),
        status=status_of(report),
        text=words,
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
    for identifier in records(report, "identifier"):
        codings = records(record(identifier, "type"), "coding")
        if text(identifier, "value") and not any(text(one, "code") in ACCESSION_TYPES for one in codings):
            return text(identifier, "value")
    return ""


def _person(client: FhirClient, report: Resource, reference: Resource, *, bare: bool) -> Practitioner | None:
    resource = resolve(client, report, reference, kinds=PERSONS)
    if resource is not None and resource.get("resourceType") == "PractitionerRole":
        role = resource
        resource = resolve(client, role, record(role, "practitioner"), kinds=frozenset({"Practitioner"}))
        reference = {**reference, **record(role, "practitioner")}
    if resource is not None:
        named = _named(resource)
        if named.printed_name:
            return named
    display = text(reference, "display")
    kind = _kind(reference)
    if display and (kind in PERSONS or (bare and not kind)):
        return Practitioner(family_name=" ".join(clean(display).split()))
    return None


def _kind(reference: Resource) -> str:
    """Type that a reference claims to lead to; empty when it does not say."""
    target = text(reference, "reference")
    steps = target.partition("/_history/")[0].split("/")
    if target.startswith("#"):
        return "contained"
    return steps[-2] if len(steps) > 1 else text(reference, "type")


def _named(resource: Resource) -> Practitioner:
    names = records(resource, "name")
    names.sort(key=lambda name: text(name, "use") not in {"official", "usual", ""})
    name = names[0] if names else {}
    identifiers = [text(one, "value") for one in records(resource, "identifier")]
    family = clean(text(name, "family")).strip()
    given = clean(" ".join(texts(name, "given"))).strip()
    return Practitioner(
        identifier=next(filter(None, identifiers), ""),
        family_name=family if family or given else clean(text(name, "text")).strip(),
        given_name=given,
        prefix=clean(" ".join(texts(name, "prefix"))).strip() if family or given else "",
    )


def _stored_at(report: Resource) -> datetime | None:
    return _moment(record(report, "meta").get("lastUpdated"))


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else None


_NEVER = datetime.fromisoformat("0001-01-01T00:00:00+00:00")
