"""Puts a draft on a FHIR server: never twice, never over a human, and believed only once read back."""

from __future__ import annotations

from typing import Any

from connectors.errors import Conflict, Rejected
from connectors.exchange import DraftReport, DraftStatus, PublishedReport, ReportStatus
from connectors.fhir.client import FhirClient, Stored, reference_of, version_of
from connectors.fhir.egress import labelled
from connectors.fhir.findings import findings_of
from connectors.fhir.identifiers import IdentifierSystems, values_of
from connectors.fhir.ours import draft_numbers, step_of, withdrawn_numbers
from connectors.fhir.outcome import Absent
from connectors.fhir.report import draft_bundle
from connectors.fhir.reports import CaseKeys, final_reports, our_report, same_patient, status_of

Resource = dict[str, Any]

_REPORT_ENTRY = 2


class HumanVersion(Conflict):
    """Somebody else's version of this report exists: the draft must be withheld."""

    next_step = "Withhold the draft; the other version stands."


class NotKept(Rejected):
    """The server accepted the draft but keeps something else than what was sent."""

    next_step = "Have the server's administrator see what rewrites incoming reports, then replay."


def publish(
    client: FhirClient,
    draft: DraftReport,
    *,
    systems: IdentifierSystems | None = None,
    known: PublishedReport | None = None,
) -> PublishedReport:
    """Write the draft, read it back, and say where it stands. Safe to repeat after any failure.

    known: what the last publish of this case returned; None when there was none.

    1. Build the Bundle, so that a draft that may not leave asks the server nothing.
    2. Find our report by our own identifier; one that holds this very draft is an earlier attempt whose
       answer was lost.
    3. Stop if a person's version exists: of our report, or as another final report of the accession. Our
       own withdrawal as cancelled gives way to a later draft (the order was placed again); one as entered
       in error never does.
    4. Write: create unless it exists, or replace exactly the version that was looked at.
    5. Read back and compare.

    Raises HumanVersion or another Conflict, ForbiddenStatus, NotKept, Rejected, Unreachable, Malformed.
    """
    systems = systems or IdentifierSystems()
    # 1.
    bundle = draft_bundle(draft, systems=systems, known=known)
    # 2.
    current = _current(client, systems, draft, known)
    if current is not None and draft.number in draft_numbers(current, systems):
        return _checked(client, systems, draft, current)
    # 3.
    base = None if current is None else _replaceable(client, systems, draft, current, known)
    keys = CaseKeys(draft.accession, draft.patient, draft.study_instance_uid)
    besides = "" if base is None else base.reference
    if final_reports(client, systems, keys, besides=besides, certain=False):
        raise HumanVersion(
            f"Expected no final report of this accession yet, came one. {HumanVersion.next_step}"
        )
    # 4.
    if base is not None and current is not None:
        superseded = findings_of(client, current)
        bundle = draft_bundle(draft, systems=systems, known=base, superseded=superseded)
    elif base != known:
        bundle = draft_bundle(draft, systems=systems, known=base)
    stored = client.transaction(bundle)[_REPORT_ENTRY]
    # 5.
    return _read_back(client, systems, draft, stored, base)


def _current(
    client: FhirClient, systems: IdentifierSystems, draft: DraftReport, known: PublishedReport | None
) -> Resource | None:
    found = our_report(client, systems, draft.case_id)
    if known is None or (found is not None and reference_of(found) == known.reference):
        # A search index may lag behind: what counts is the resource itself.
        return None if found is None else client.read(reference_of(found))
    if found is not None:
        raise Conflict("Expected our report where it was last written, came another one with its identifier.")
    try:
        current = client.read(known.reference)
    except Absent:
        raise HumanVersion(
            f"Expected our earlier draft to be there, came none: it was deleted. {HumanVersion.next_step}"
        ) from None
    if (systems.report, draft.case_id) not in values_of(current):
        raise HumanVersion(
            f"Expected our earlier draft with our identifier, came one without. {HumanVersion.next_step}"
        )
    return current


def _replaceable(
    client: FhirClient,
    systems: IdentifierSystems,
    draft: DraftReport,
    current: Resource,
    known: PublishedReport | None,
) -> PublishedReport:
    """The version that may be replaced. Raises Conflict for one that is not ours to replace."""
    withdrawn = withdrawn_numbers(current, systems)
    if not withdrawn and status_of(current) not in {member.value for member in DraftStatus}:
        raise HumanVersion(
            f"Expected our report to be a draft still, came another status. {HumanVersion.next_step}"
        )
    if not follows(client, systems, current, known):
        raise HumanVersion(
            f"Expected the version that Prelim wrote, came another one. {HumanVersion.next_step}"
        )
    if withdrawn and status_of(current) is ReportStatus.ENTERED_IN_ERROR:
        raise Conflict(
            "Expected a report that may be drafted again, came one that was withdrawn as entered in error. "
            "Withhold the draft; a report of this order must be written under another case."
        )
    if withdrawn and max(withdrawn) == draft.number:
        raise Conflict("Expected a later draft than the one withdrawn, came that one again. Drop it.")
    if max(withdrawn or draft_numbers(current, systems)) > draft.number:
        raise Conflict("Expected the latest draft of the case, came an earlier one than stands. Drop it.")
    return published_at(client, current)


def follows(
    client: FhirClient, systems: IdentifierSystems, current: Resource, known: PublishedReport | None
) -> bool:
    """Whether the current version is ours: the known one, or a later one of ours whose answer was lost."""
    step = step_of(current, systems)
    if step is None or known is None or known.version == version_of(current):
        return step is not None
    # Somebody who saves our version unchanged repeats its step; only we go on to a later one.
    before = step_of(client.vread(known.reference, known.version), systems)
    return before is not None and step > before


def _read_back(
    client: FhirClient,
    systems: IdentifierSystems,
    draft: DraftReport,
    stored: Stored,
    base: PublishedReport | None,
) -> PublishedReport:
    found = our_report(client, systems, draft.case_id)
    reference = stored.reference or (reference_of(found) if found else "")
    if not reference or (found is not None and reference_of(found) != reference):
        raise NotKept(f"Expected the report under our identifier, came none. {NotKept.next_step}")
    current = client.read(reference)
    if stored.version and version_of(current) != stored.version:
        raise HumanVersion(f"Expected the version just written, came another one. {HumanVersion.next_step}")
    published = _checked(client, systems, draft, current)
    if base is not None:
        check_replaced(client, published, base)
    return published


def _checked(
    client: FhirClient, systems: IdentifierSystems, draft: DraftReport, current: Resource
) -> PublishedReport:
    """Compare what the server keeps with what was written."""
    kept = {
        "status": current.get("status") == draft.status.value,
        "text": draft.number in draft_numbers(current, systems),
        "report identifier": (systems.report, draft.case_id) in values_of(current),
        "accession": (systems.accession, draft.accession) in values_of(current),
        "machine label": labelled(current),
        "patient": same_patient(client, current, draft.patient) is True,
    }
    lost = [name for name, held in kept.items() if not held]
    if lost:
        raise NotKept(f"Expected what was written, came another {', '.join(lost)}. {NotKept.next_step}")
    return published_at(client, current)


def check_replaced(client: FhirClient, published: PublishedReport, base: PublishedReport) -> None:
    """Raise HumanVersion when the server wrote ours over another version than base."""
    # Servers exist that ignore ifMatch inside a transaction: the version before ours tells.
    try:
        versions = [version_of(version) for version in client.history(published.reference)]
    except Rejected:
        return
    before = versions[versions.index(published.version) + 1 :] if published.version in versions else []
    if before and before[0] != base.version:
        raise HumanVersion(
            "Expected the server to honour If-Match; it wrote ours over another version. "
            "Restore that version from the report's history, and do not publish to this server."
        )


def published_at(client: FhirClient, current: Resource) -> PublishedReport:
    """Where a version that the server gave stands."""
    reference = reference_of(current)
    return PublishedReport(reference, version_of(current), f"{client.base_url}/{reference}")
