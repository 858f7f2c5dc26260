"""Retires a draft on a FHIR server: only our own, only the version we know, believed only once read back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from connectors.exchange import PublishedReport, ReportStatus, WithdrawalStatus
from connectors.fhir.client import FhirClient, version_of
from connectors.fhir.drafts import HumanVersion, NotKept, check_replaced, follows, published_at
from connectors.fhir.egress import labelled, withdrawal_status
from connectors.fhir.findings import findings_of
from connectors.fhir.identifiers import IdentifierSystems, values_of
from connectors.fhir.ours import withdrawn_numbers
from connectors.fhir.outcome import Absent
from connectors.fhir.reports import status_of
from connectors.fhir.withdrawn import sentence_of, withdrawal_bundle

Resource = dict[str, Any]

_REPORT_ENTRY = 0


def withdraw(
    client: FhirClient,
    case_id: str,
    known: PublishedReport,
    status: WithdrawalStatus,
    reason: str,
    *,
    systems: IdentifierSystems | None = None,
) -> PublishedReport:
    """Withdraw our draft, read it back, and say where it stands. Safe to repeat after any failure.

    known: what the last publish of this case returned.
    reason: one sentence for whoever opens the report, why it is withdrawn.

    1. See that status and reason can be said, so that a withdrawal that may not leave asks nothing.
    2. Read the report where it stands.
    3. Stop unless its present version is ours: our identifier, our words, and the version that is known
       or a later one of ours.
    4. One that is withdrawn already is left as it is; only a cancelled one can still become one that was
       entered in error.
    5. Replace exactly the version that was looked at, and say in a Provenance what did it and why.
    6. Read back and compare.

    Raises HumanVersion or another Conflict when somebody else's version stands (nothing is written),
    Absent when the report is gone, ForbiddenStatus, NotKept, Rejected, Unreachable, Malformed.
    """
    systems = systems or IdentifierSystems()
    # 1.
    status = withdrawal_status(status)
    sentence_of(status, reason)
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
        return base
    # 5.
    bundle = withdrawal_bundle(
        current,
        base,
        status,
        reason,
        systems=systems,
        at=datetime.now(UTC),
        findings=findings_of(client, current),
    )
    written = client.transaction(bundle)[_REPORT_ENTRY]
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
