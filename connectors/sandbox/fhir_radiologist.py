"""A radiologist's side of a FHIR server, for the demo and for tests: what a RIS does when a person signs.

Raw HTTP on purpose: Prelim's own client lets nothing final leave.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from html import escape
from typing import Any
from uuid import uuid4

import httpx

from connectors.exchange import Practitioner, ReportStatus

Resource = dict[str, Any]

_JSON = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json"}
_TIMEOUT_SECONDS = 30.0


def sign(
    base_url: str,
    reference: str,
    practitioner: Practitioner | None,
    text: str,
    *,
    status: ReportStatus = ReportStatus.FINAL,
    as_new_report: bool = False,
) -> Resource:
    """Sign a report as a RIS would, and return the stored resource.

    reference: DiagnosticReport/id of the draft. practitioner: who signs; None signs without a name.
    as_new_report: leave the draft and create another report of the same order, as some RIS do.
    """
    base = base_url.rstrip("/")
    with httpx.Client(timeout=_TIMEOUT_SECONDS, trust_env=False) as http:
        draft = http.get(f"{base}/{reference}", headers={**_JSON, "Cache-Control": "no-cache"})
        report = signed_version(draft.raise_for_status().json(), text, status=status)
        if practitioner is not None:
            who = _person(http, base, practitioner)
            shown = {"display": practitioner.printed_name} if practitioner.printed_name else {}
            report["resultsInterpreter"] = [{"reference": who, **shown}]
        if as_new_report:
            report["identifier"] = [
                {"system": "urn:sandbox:ris-report", "value": uuid4().hex},
                *report.get("identifier", [])[1:],
            ]
            del report["id"], report["meta"]
            answer = http.post(f"{base}/DiagnosticReport", json=report, headers=_JSON)
        else:
            answer = http.put(f"{base}/{reference}", json=report, headers=_JSON)
        stored: Resource = answer.raise_for_status().json()
        return stored


def signed_version(draft: Resource, text: str, *, status: ReportStatus) -> Resource:
    """The draft with a person's words and status, its AI label and narrative gone."""
    html = f"<html><body>{''.join(f'<p>{escape(line)}</p>' for line in text.splitlines())}</body></html>"
    report = {key: value for key, value in draft.items() if key not in {"text", "conclusion", "meta"}}
    report["meta"] = {}
    report["status"] = status.value
    report["issued"] = datetime.now(UTC).isoformat(timespec="milliseconds")
    report["presentedForm"] = [
        {"contentType": "text/html", "data": base64.b64encode(html.encode()).decode("ascii")}
    ]
    return report


def _person(http: httpx.Client, base: str, practitioner: Practitioner) -> str:
    name = {
        "family": practitioner.family_name,
        "given": [practitioner.given_name],
        "prefix": [practitioner.prefix],
    }
    person: Resource = {
        "resourceType": "Practitioner",
        "name": [{key: value for key, value in name.items() if value not in ("", [""])}],
    }
    if practitioner.identifier:
        person["identifier"] = [{"system": "urn:sandbox:practitioner", "value": practitioner.identifier}]
    answer = http.post(f"{base}/Practitioner", json=person, headers=_JSON).raise_for_status()
    return f"Practitioner/{answer.json()['id']}"
