"""Retires a draft on a FHIR server: only our own, only the version we know, believed only once read back."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from connectors.errors import Conflict
from connectors.exchange import PublishedReport, ReportStatus, WithdrawalStatus
from connectors.fhir.capabilities import Capabilities
from connectors.fhir.client import FhirClient, version_of
from connectors.fhir.drafts.findings import findings_of
from connectors.fhir.drafts.observations import retirement
from connectors.fhir.drafts.publish import HumanVersion, NotKept, check_replaced, follows
from connectors.fhir.drafts.standing import published_at
from connectors.fhir.drafts.traces import once
from connectors.fhir.drafts.withdrawn import sentence_of, withdrawal_bundle, withdrawal_provenance
from connectors.fhir.drafts.writing import Doubtful, in_doubt, write
from connectors.fhir.egress import labelled, withdrawal_status
from connectors.fhir.identifiers import IdentifierSystems, values_of
from connectors.fhir.ours import draft_numbers, withdrawn_numbers
from connectors.fhir.outcome import Absent
from connectors.fhir.readers.reports import status_of

Resource = dict[str, Any]


def withdraw(
    client: FhirClient,
    case_id: str,
    known: PublishedReport,
    status: WithdrawalStatus,
    reason: str,
    *,
    systems: IdentifierSystems | None = None,
    capabilities: Capabilities | None = None,
) -> PublishedReport:
    """Withdraw our draft, read it back, and say where it stands. Safe to repeat after any failure.

    known: what the last publish of this case returned.
    reason: one sentence for whoever opens the report, why it is withdrawn.
    capabilities: what the server says it can do; None takes it for one that can do everything.

    1. See that status and reason can be said, so that a withdrawal that may not leave asks nothing.
    2. Read the report where it stands.
    3. Stop unless its present version is ours: our identifier, our words, and the version that is known
       or a later one of ours.
    4. One that is withdrawn already is left as it is; only a cancelled one can still become one that was
       entered in error.
    5. Replace exactly the version that was looked at, and say in a Provenance what did it and why. Where the
       answer is lost, go back to 2, once.
    6. Read back and compare.

    Raises HumanVersion or another Conflict when somebody else's version stands (nothing is written),
    Absent when the report is gone, ForbiddenStatus, NotKept, Rejected, Unreachable, Malformed.
    """
    systems = systems or IdentifierSystems()
    # 1.
    status = withdrawal_status(status)
    sentence_of(status, reason)
    try:
        return _attempt(client, case_id, known, status, reason, systems, capabilities)
    except Doubtful as earlier:
        try:
            return _attempt(client, case_id, known, status, reason, systems, capabilities)
        except Doubtful as doubt:
            raise doubt.after(earlier) from None


def _attempt(
    client: FhirClient,
    case_id: str,
    known: PublishedReport,
    status: WithdrawalStatus,
    reason: str,
    systems: IdentifierSystems,
    capabilities: Capabilities | None,
) -> PublishedReport:
    """Steps 2 to 6."""
    # 2.
    try:
        current = client.read(known.reference)
    except Absent:
        raise Absent(f"Expected our draft to withdraw, came none: it is gone. {Absent.next_step}") from None
    # 3.
    if (systems.report, case_id) not in values_of(current):
        raise HumanVersion(
            "Expected our report with our identifier, came one without; nothing was withdrawn. "
            "Let a person see to it."
        )
    if not follows(client, systems, current, known):
        raise HumanVersion(
            "Expected the version that Prelim wrote, came another one; nothing was withdrawn. "
            "The other version stands."
        )
    # 4.
    base = published_at(client, current)
    if withdrawn_numbers(current, systems) and not (
        status is WithdrawalStatus.ENTERED_IN_ERROR and status_of(current) is ReportStatus.CANCELLED
    ):
        _complete(client, case_id, known, current, reason, systems, capabilities)
        return base
    # 5.
    if capabilities is not None and not capabilities.may_replace:
        raise Conflict(
            "Expected a server that honours If-Match, came one that says it does not: a withdrawal could go "
            "over a person's version, so it was not written. Let a person retire the draft."
        )
    made = withdrawal_bundle(
        current,
        base,
        status,
        reason,
        systems=systems,
        at=datetime.now(UTC),
        findings=findings_of(client, current),
    )
    bundle = once(made, _name(case_id, current, status, systems), systems, capabilities)
    with in_doubt():
        written = write(client, bundle, capabilities).of("DiagnosticReport")
    # 6.
    stored = client.read(known.reference)
    if written.version and version_of(stored) != written.version:
        raise HumanVersion(
            f"Expected the withdrawal just written, came another version. {HumanVersion.next_step}"
        )
    _check(stored, status, case_id, systems)
    withdrawn = published_at(client, stored)
    check_replaced(client, withdrawn, base)
    return withdrawn


def _name(case_id: str, draft: Resource, status: str, systems: IdentifierSystems) -> str:
    numbers = draft_numbers(draft, systems) or withdrawn_numbers(draft, systems)
    return f"{case_id}.{max(numbers)}.{status}"


def _complete(
    client: FhirClient,
    case_id: str,
    known: PublishedReport,
    current: Resource,
    reason: str,
    systems: IdentifierSystems,
    capabilities: Capabilities | None,
) -> None:
    """Write what an attempt an entry at a time left out; the report is withdrawn already.

    1. Retire the findings that it names and that still are ours.
    2. Say in a Provenance what did it.
    """
    if capabilities is None or capabilities.transactions or known.version == version_of(current):
        return
    status = WithdrawalStatus(status_of(current).value)
    provenance = withdrawal_provenance(known, status, reason, systems=systems, at=datetime.now(UTC))
    request = {"method": "POST", "url": "Provenance"}
    entry = {"fullUrl": uuid.uuid4().urn, "resource": provenance, "request": request}
    found = (retirement(one, case_id, status, systems) for one in findings_of(client, current))
    entries = [*(one for one in found if one), entry]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    write(client, once(bundle, _name(case_id, current, status, systems), systems, capabilities), capabilities)


def _check(stored: Resource, status: WithdrawalStatus, case_id: str, systems: IdentifierSystems) -> None:
    """Compare what the server keeps with what was written."""
    kept = {
        "status": stored.get("status") == status.value,
        "text": bool(withdrawn_numbers(stored, systems)),
        "report identifier": (systems.report, case_id) in values_of(stored),
        "machine label": labelled(stored),
    }
    lost = [name for name, held in kept.items() if not held]
    if lost:
        raise NotKept(f"Expected what was written, came another {', '.join(lost)}. {NotKept.next_step}")
