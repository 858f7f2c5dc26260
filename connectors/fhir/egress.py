"""The last door before a FHIR server: what may leave, and what never does.

Nothing machine-written may become final without a human, so the check is made on the very document
that is sent, whatever built it, and walks every nesting: Bundle entries, contained resources,
Parameters. One thing beside drafts may leave: the withdrawal of a report or finding of our own, over the
very version that was looked at.
"""

from __future__ import annotations

import re
from typing import Any

from connectors.errors import Rejected
from connectors.exchange import DraftStatus, WithdrawalStatus
from connectors.fhir.elements import record, records, text
from connectors.fhir.identifiers import IdentifierSystems, values_of

AIAST = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
    "code": "AIAST",
    "display": "Artificial Intelligence asserted",
}
"""The security label of everything that Prelim writes about a patient's images."""
DRAFT_STATUSES = frozenset(status.value for status in DraftStatus)
WITHDRAWAL_STATUSES = frozenset(status.value for status in WithdrawalStatus)
CLOSING_STATUSES = frozenset({"final", "amended", "corrected", "appended"})
"""Statuses that say a human verified the content (FHIR R4 DiagnosticReportStatus, ObservationStatus)."""
BUNDLE_METHODS = frozenset({"GET", "POST", "PUT"})
"""PATCH could set a status that this check cannot see, and DELETE leaves no words to read: neither leaves."""
OBSERVATION_STATUSES = WITHDRAWAL_STATUSES | {DraftStatus.PRELIMINARY.value}
"""What a finding of a draft can be: R4 has no partial for an Observation."""
REPORT_SYSTEM = IdentifierSystems().report
DEVICE_SYSTEM = IdentifierSystems().device
CONTENT_TYPES = frozenset({"DiagnosticReport", "Observation", "Device"})
"""What a draft consists of when it is shared as content; nothing else is ever shared."""

_ETAG = re.compile(r'W/"[A-Za-z0-9\-.]{1,64}"')


class ForbiddenStatus(Rejected):
    """A resource would have left with a status, or by a method, that Prelim may not send."""

    next_step = "Mend the code that built it: only a person can finalise a report."


def draft_status(status: object) -> DraftStatus:
    """The status as a draft may carry it. Raises ForbiddenStatus for every other one."""
    try:
        return DraftStatus(str(status))
    except ValueError:
        raise ForbiddenStatus(
            "Expected a draft's status, preliminary or partial; came another one, so nothing was built."
        ) from None


def withdrawal_status(status: object) -> WithdrawalStatus:
    """The status as a withdrawal may carry it. Raises ForbiddenStatus for every other one."""
    try:
        return WithdrawalStatus(str(status))
    except ValueError:
        raise ForbiddenStatus(
            "Expected a withdrawal's status, cancelled or entered-in-error; came another one, so nothing "
            "was built."
        ) from None


def labelled(resource: object) -> bool:
    """Whether the resource says of itself that a machine wrote it."""
    labels = records(record(resource, "meta"), "security")
    return any(text(label, "code") == AIAST["code"] for label in labels)


def check_egress(document: object, *, report_system: str = REPORT_SYSTEM) -> None:
    """Raise ForbiddenStatus unless everything in the document may leave.

    document: the parsed JSON of a request body.
    report_system: of our own report identifier; only a report that carries one can be withdrawn.
    """
    pending: list[object] = [_withdrawals_as_drafts(document, report_system)]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            _check_resource(node)
            _check_bundle_request(node)
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)


def _withdrawals_as_drafts(document: object, report_system: str) -> object:
    """The document with every permitted withdrawal put back into a draft's status.

    So nothing but this one status is excused: whatever else a withdrawal holds is checked as ever.
    """
    if not isinstance(document, dict) or document.get("type") != "transaction":
        return document
    entries = document.get("entry")
    if document.get("resourceType") != "Bundle" or not isinstance(entries, list):
        return document
    as_drafts = [
        {**entry, "resource": {**entry["resource"], "status": DraftStatus.PARTIAL.value}}
        if _withdraws_ours(entry, report_system)
        else entry
        for entry in entries
    ]
    return {**document, "entry": as_drafts}


def _withdraws_ours(entry: object, report_system: str) -> bool:
    """Whether the entry replaces one version of one labelled report of ours by its withdrawal."""
    request, resource = record(entry, "request"), record(entry, "resource")
    return (
        resource.get("resourceType") == "DiagnosticReport"
        and text(resource, "status") in WITHDRAWAL_STATUSES
        and labelled(resource)
        and any(system == report_system and value for system, value in values_of(resource))
        and request.get("method") == "PUT"
        and bool(text(resource, "id"))
        and request.get("url") == f"DiagnosticReport/{resource['id']}"
        and _ETAG.fullmatch(text(request, "ifMatch")) is not None
    )


def _check_resource(node: dict[str, Any]) -> None:
    if "resourceType" not in node:
        return
    # A server that is lax about case or spaces must not be a way around the check.
    kind = str(node["resourceType"]).strip().casefold()
    status = node.get("status")
    if kind == "diagnosticreport" and not (isinstance(status, str) and status in DRAFT_STATUSES):
        raise ForbiddenStatus(
            "Expected every DiagnosticReport to leave as preliminary or partial, or as the withdrawal of a "
            "named version of ours; came one with another status or none, so nothing was sent."
        )
    if kind == "observation" and not (isinstance(status, str) and status in OBSERVATION_STATUSES):
        raise ForbiddenStatus(
            "Expected every Observation to leave as preliminary, cancelled or entered-in-error; came one "
            "with another status or none, so nothing was sent."
        )
    if isinstance(status, str) and status.strip().casefold() in CLOSING_STATUSES:
        raise ForbiddenStatus(
            "Expected no resource with a final, amended, corrected or appended status; came one, "
            "so nothing was sent."
        )


def _check_bundle_request(node: dict[str, Any]) -> None:
    request = node.get("request")
    if not isinstance(request, dict) or "method" not in request:
        return
    method = request["method"]
    if method not in BUNDLE_METHODS:
        raise ForbiddenStatus(
            "Expected Bundle entries to read, create or update; came another method, so nothing was sent."
        )
    resource = node.get("resource")
    kind = str(resource.get("resourceType") if isinstance(resource, dict) else "").strip().casefold()
    url = str(request.get("url", "")).casefold()
    guarded = any(kind == name or name in url for name in ("diagnosticreport", "observation"))
    if method == "PUT" and guarded and not request.get("ifMatch"):
        raise ForbiddenStatus(
            "Expected every update of a DiagnosticReport or Observation to name the version it replaces "
            "(ifMatch); came one without, so nothing was sent."
        )


def check_content(
    bundle: object, *, report_system: str = REPORT_SYSTEM, device_system: str = DEVICE_SYSTEM
) -> None:
    """Raise ForbiddenStatus unless the Bundle shares one labelled draft of ours, and nothing else.

    Shared content is no write to a server: its PUT entries name no version (FHIRcast 3.0.0 section 2.10), so
    what `check_egress` rests on is not there, and every element that an entry may have is listed here.

    1. A transaction of plain PUT entries, each at the place of its resource, none twice.
    2. One DiagnosticReport: ours by its identifier, labelled, a draft, naming no reader.
    3. Observations: labelled and preliminary. Devices: ours by their identifier.
    4. Nothing inside them has a status that `check_egress` refuses.
    """
    if not isinstance(bundle, dict) or not set(bundle) <= {"resourceType", "id", "type", "entry"}:  # 1
        raise _not_content("a Bundle and no more")
    entries = records(bundle, "entry")
    kind = (bundle.get("resourceType"), bundle.get("type"))
    if kind != ("Bundle", "transaction") or entries != bundle.get("entry"):
        raise _not_content("a transaction of resources")
    places = [_place(entry) for entry in entries]
    if len(set(places)) != len(places):
        raise _not_content("every resource once")
    resources = [record(entry, "resource") for entry in entries]
    reports = [one for one in resources if one["resourceType"] == "DiagnosticReport"]
    if len(reports) != 1 or not all(_is_ours(one, report_system, device_system) for one in resources):  # 2, 3
        raise _not_content("one labelled draft of ours with its Observations and Device")
    check_egress(resources, report_system=report_system)  # 4


def _place(entry: dict[str, Any]) -> str:
    resource = record(entry, "resource")
    kind, identity = text(resource, "resourceType"), text(resource, "id")
    place = f"{kind}/{identity}"
    plain = set(entry) <= {"fullUrl", "resource", "request"} and "contained" not in resource
    if not (plain and kind in CONTENT_TYPES and identity):
        raise _not_content("a DiagnosticReport, Observation or Device with its id")
    if record(entry, "request") != {"method": "PUT", "url": place}:
        raise _not_content("a plain PUT at the place of each resource")
    return place


def _is_ours(resource: dict[str, Any], report_system: str, device_system: str) -> bool:
    owned = {system for system, value in values_of(resource) if value}
    anonymous = labelled(resource) and "resultsInterpreter" not in resource and "performer" not in resource
    match resource["resourceType"]:
        case "DiagnosticReport":
            return report_system in owned and anonymous and text(resource, "status") in DRAFT_STATUSES
        case "Observation":
            return anonymous and text(resource, "status") == DraftStatus.PRELIMINARY.value
        case _:
            return device_system in owned


def _not_content(expected: str) -> ForbiddenStatus:
    return ForbiddenStatus(
        f"Expected shared content to be {expected}; came something else; nothing was sent."
    )
