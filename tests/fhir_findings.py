"""Made-up findings, and drafts of every kind of Bundle that we write."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

from connectors.exchange import Coding, DraftFinding, DraftStatus, Patient, PublishedReport, WithdrawalStatus
from connectors.fhir.drafts.codes import LOINC, RADLEX, CodeMap
from connectors.fhir.drafts.observations import SNOMED
from connectors.fhir.drafts.report import draft_bundle
from connectors.fhir.drafts.withdrawn import withdrawal_bundle
from connectors.fhir.identifiers import IdentifierSystems
from connectors.pdf import report_pdf
from tests.fhir_samples import a_draft, redone

Resource = dict[str, Any]

SYSTEMS = IdentifierSystems()
AT = datetime(2026, 3, 5, 6, 7, 8, tzinfo=UTC)
EFFUSION = DraftFinding(
    "pleural effusion",
    True,
    "left",
    Coding("60046008", "Pleural effusion", SNOMED),
    Coding("53727004", "Left pleura", SNOMED),
    0.9731,
)
NO_CARDIOMEGALY = DraftFinding("cardiomegaly", False, "", Coding("8186001", "Cardiomegaly", SNOMED))
UNCODED = DraftFinding("rib notching", True, "bilateral")
FINDINGS = (EFFUSION, NO_CARDIOMEGALY, UNCODED)
LOCAL = Coding("CTCH", "CT chest", "99SITE")
CODES = CodeMap(
    {
        ("99SITE", "CTCH"): (
            Coding("29252-4", "CT Chest WO contrast", LOINC),
            Coding("RPID16", "CT Chest wo IV Contrast", RADLEX),
        )
    }
)


def standing(bundle: Resource) -> tuple[Resource, list[Resource]]:
    """The report and the findings of a Bundle as a server keeps them, urns made references."""
    places = {entry["fullUrl"]: place for place, entry in enumerate(bundle["entry"], 1)}
    kept = []
    for entry in bundle["entry"]:
        resource = dict(entry["resource"])
        if resource["resourceType"] in {"DiagnosticReport", "Observation"}:
            resource["id"] = str(places[entry["fullUrl"]])
            resource["meta"] = {**resource["meta"], "versionId": "1", "lastUpdated": "2026-03-04T05:06:08Z"}
            resource["subject"] = {"reference": "Patient/1"}
        if "device" in resource:
            resource["device"] = {"reference": "Device/2"}
        if "result" in resource:
            resource["result"] = [
                {"reference": f"Observation/{places[one['reference']]}"} for one in resource["result"]
            ]
        kept.append(resource)
    report = next(one for one in kept if one["resourceType"] == "DiagnosticReport")
    return report, [one for one in kept if one["resourceType"] == "Observation"]


def known(report: Resource) -> PublishedReport:
    """Where that report stands."""
    place = f"DiagnosticReport/{report['id']}"
    return PublishedReport(place, "1", f"http://fhir.test/r4/{place}")


def first(**changes: Any) -> Resource:
    """A first draft with everything that a draft can have."""
    full: dict[str, Any] = {
        "findings": FINDINGS,
        "visit_number": "V-1",
        "service_request": "ServiceRequest/7",
        "studied_on": date(2026, 3, 4),
    }
    draft = a_draft(**{**full, **changes})
    return draft_bundle(draft, pdf=report_pdf(draft))


def again() -> Resource:
    """A second draft, over the first one, whose findings it cancels."""
    draft = a_draft(findings=FINDINGS)
    report, findings = standing(draft_bundle(draft, pdf=report_pdf(draft)))
    later = redone(draft, findings=(dataclasses.replace(EFFUSION, side="right"),))
    return draft_bundle(later, known=known(report), superseded=findings)


def withdrawn(status: WithdrawalStatus, turned: Callable[[Resource], Resource] = dict) -> Resource:
    """The withdrawal of a draft with findings. turned: how the server gives what it keeps."""
    report, findings = standing(first())
    return withdrawal_bundle(
        turned(report),
        known(report),
        status,
        "the order was cancelled",
        systems=SYSTEMS,
        at=AT,
        findings=[turned(finding) for finding in findings],
    )


BUNDLES: dict[str, Callable[[], Resource]] = {
    "draft": first,
    "partial draft": lambda: first(status=DraftStatus.PARTIAL),
    "draft of a coded procedure": lambda: draft_bundle(a_draft(procedure=LOCAL), codes=CODES),
    "draft of a procedure without a code": lambda: draft_bundle(a_draft(procedure=LOCAL)),
    "draft with nothing more than it must have": lambda: draft_bundle(
        a_draft(patient=Patient("PID-1"), placer_order_number="", conclusion="", sections=())
    ),
    "draft over another": again,
    "cancelled": lambda: withdrawn(WithdrawalStatus.CANCELLED),
    "entered in error": lambda: withdrawn(WithdrawalStatus.ENTERED_IN_ERROR),
}
"""Every kind of Bundle that we write, by what it is."""
