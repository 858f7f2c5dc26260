"""The last door before a FHIR server: what may leave, and what never does.

Nothing machine-written may become final without a human, so the check is made on the very document
that is sent, whatever built it, and walks every nesting: Bundle entries, contained resources,
Parameters.
"""

from __future__ import annotations

from typing import Any

from connectors.errors import Rejected
from connectors.exchange import DraftStatus

DRAFT_STATUSES = frozenset(status.value for status in DraftStatus)
CLOSING_STATUSES = frozenset({"final", "amended", "corrected", "appended"})
"""Statuses that say a human verified the content (FHIR R4 DiagnosticReportStatus, ObservationStatus)."""
BUNDLE_METHODS = frozenset({"GET", "POST", "PUT"})
"""PATCH could set a status that this check cannot see, and DELETE withdraws: neither leaves."""


class ForbiddenStatus(Rejected):
    """A resource would have left with a status, or by a method, that Prelim may not send."""

    next_step = "Mend the code that built it: only a person can finalise or withdraw a report."


def draft_status(status: object) -> DraftStatus:
    """The status as a draft may carry it. Raises ForbiddenStatus for every other one."""
    try:
        return DraftStatus(str(status))
    except ValueError:
        raise ForbiddenStatus(
            "Expected a draft's status, preliminary or partial; came another one, so nothing was built."
        ) from None


def check_egress(document: object) -> None:
    """Raise ForbiddenStatus unless everything in the document may leave.

    document: the parsed JSON of a request body.
    """
    pending: list[object] = [document]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            _check_resource(node)
            _check_bundle_request(node)
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)


def _check_resource(node: dict[str, Any]) -> None:
    if "resourceType" not in node:
        return
    # A server that is lax about case or spaces must not be a way around the check.
    kind = str(node["resourceType"]).strip().casefold()
    status = node.get("status")
    if kind == "diagnosticreport" and not (isinstance(status, str) and status in DRAFT_STATUSES):
        raise ForbiddenStatus(
            "Expected every DiagnosticReport to leave as preliminary or partial; came one with another "
            "status or none, so nothing was sent."
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
    reports = kind == "diagnosticreport" or "diagnosticreport" in str(request.get("url", "")).casefold()
    if method == "PUT" and reports and not request.get("ifMatch"):
        raise ForbiddenStatus(
            "Expected every update of a DiagnosticReport to name the version it replaces (ifMatch); "
            "came one without, so nothing was sent."
        )
