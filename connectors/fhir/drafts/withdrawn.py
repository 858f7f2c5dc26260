"""A withdrawn draft as FHIR R4 resources: one transaction Bundle of DiagnosticReport and Provenance.

Pure. The words stay, for somebody may have read them, and above them in every form stands that they are
withdrawn and why. What cannot carry that sentence is left out: the PDF, whose pages would still read as a
draft, and the codes of the conclusion. The version before keeps them. The report keeps its identifiers,
patient and label.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Sequence
from datetime import datetime

from connectors.errors import Rejected
from connectors.exchange import PublishedReport, WithdrawalStatus
from connectors.fhir.attachment import HTML, PDF, clean, form_of, narrative_under, page_under
from connectors.fhir.drafts.authorship import PARTICIPANT_TYPE
from connectors.fhir.drafts.observations import retirement
from connectors.fhir.drafts.resources import Resource, validated
from connectors.fhir.egress import AIAST, labelled, withdrawal_status
from connectors.fhir.elements import record, records, text
from connectors.fhir.identifiers import IdentifierSystems, values_of
from connectors.fhir.instants import instant
from connectors.fhir.ours import step_of, version_tag
from connectors.fhir.r5 import as_r4

DATA_OPERATION = "http://terminology.hl7.org/CodeSystem/v3-DataOperation"
ACTIVITIES = {
    WithdrawalStatus.CANCELLED: {"system": DATA_OPERATION, "code": "CANCEL", "display": "cancel"},
    WithdrawalStatus.ENTERED_IN_ERROR: {"system": DATA_OPERATION, "code": "NULLIFY", "display": "nullify"},
}
"""Provenance.activity of each withdrawal (v3-DataOperation)."""

_OPENINGS = {
    WithdrawalStatus.CANCELLED: "Withdrawn, not a report",
    WithdrawalStatus.ENTERED_IN_ERROR: "Withdrawn, entered in error, not a report",
}


def withdrawal_bundle(
    report: Resource,
    standing: PublishedReport,
    status: WithdrawalStatus,
    reason: str,
    *,
    systems: IdentifierSystems,
    at: datetime,
    findings: Sequence[Resource] = (),
) -> Resource:
    """The transaction Bundle that replaces this version of a report of ours by its withdrawal.

    report: the version of ours as the server keeps it, in R4 or R5. standing: where that version stands.
    reason: one sentence for the reader, why. at: time of the withdrawal, with a zone.
    findings: the Observations that the report names, as the server keeps them; those that still are ours
    take the status of the withdrawal.

    Raises ForbiddenStatus for any status but cancelled and entered-in-error, Rejected when no reason is
    given or the report is not one that we wrote.
    """
    status = withdrawal_status(status)
    report = as_r4(report)
    target = standing.reference
    withdrawn = withdrawn_report(report, status, reason, systems=systems, at=at)
    provenance = withdrawal_provenance(standing, status, reason, systems=systems, at=at)
    case_ids = [value for system, value in values_of(report) if system == systems.report]
    retired = [retirement(found, case_ids[0], status, systems) for found in findings if case_ids]
    request = {"method": "PUT", "url": target, "ifMatch": f'W/"{standing.version}"'}
    return validated(
        {
            "resourceType": "Bundle",
            "type": "transaction",
            "entry": [
                {"fullUrl": standing.url, "resource": withdrawn, "request": request},
                {
                    "fullUrl": uuid.uuid4().urn,
                    "resource": provenance,
                    "request": {"method": "POST", "url": "Provenance"},
                },
                *(entry for entry in retired if entry),
            ],
        }
    )


def withdrawn_report(
    report: Resource, status: WithdrawalStatus, reason: str, *, systems: IdentifierSystems, at: datetime
) -> Resource:
    """The report with the status and the sentence of its withdrawal, its words kept below."""
    step = step_of(report, systems)
    if step is None:
        raise Rejected("Expected a version that Prelim wrote, came another one, so nothing was built.")
    sentence = sentence_of(status, reason)
    written = [form for form in records(report, "presentedForm") if text(form, "contentType") != PDF]
    forms = [_under(sentence, form, at) for form in written]
    conclusion = "\n".join(filter(None, [sentence, text(report, "conclusion").strip()]))
    meta = record(report, "meta")
    data = [form["data"] for form in forms]
    return {
        **{name: value for name, value in report.items() if name != "conclusionCode"},
        "meta": {
            **{name: meta[name] for name in ("profile", "security") if name in meta},
            **({} if labelled(report) else {"security": [*records(meta, "security"), AIAST]}),
            "tag": [
                *(tag for tag in records(meta, "tag") if tag.get("system") != systems.draft),
                version_tag(systems, step[0], status, conclusion, data),
            ],
        },
        "text": {
            "status": "additional",
            "div": narrative_under(sentence, text(record(report, "text"), "div")),
        },
        "status": status.value,
        "issued": instant(at),
        "conclusion": conclusion,
        "presentedForm": forms,
    }


def withdrawal_provenance(
    standing: PublishedReport,
    status: WithdrawalStatus,
    reason: str,
    *,
    systems: IdentifierSystems,
    at: datetime,
) -> Resource:
    """What withdrew which version, and why. The agent is the software: no person and no model did it."""
    software = {"system": systems.device, "value": "prelim"}
    return {
        "resourceType": "Provenance",
        "target": [{"reference": standing.reference}],
        "recorded": instant(at),
        "activity": {"coding": [ACTIVITIES[status]]},
        "reason": [{"text": _reason(reason)}],
        "agent": [
            {
                "type": {
                    "coding": [{"system": PARTICIPANT_TYPE, "code": "performer", "display": "Performer"}]
                },
                "who": {"type": "Device", "identifier": software, "display": "Prelim"},
            }
        ],
        "entity": [
            {
                "role": "revision",
                # Servers may strip versions from references: the display says it once more.
                "what": {
                    "reference": f"{standing.reference}/_history/{standing.version}",
                    "display": f"Version {standing.version}",
                },
            }
        ],
    }


def sentence_of(status: WithdrawalStatus, reason: str) -> str:
    """The sentence that stands above the words of a withdrawn draft."""
    return f"{_OPENINGS[status]}: {_reason(reason)}."


def _reason(reason: str) -> str:
    words = " ".join(clean(reason).split()).rstrip(". ")
    if not words:
        raise Rejected("Expected the reason of the withdrawal, came none, so nothing was built.")
    return words


def _under(sentence: str, form: Resource, at: datetime) -> Resource:
    """A presentedForm of ours with the sentence above its words."""
    try:
        html = page_under(sentence, base64.b64decode(text(form, "data")))
    except (binascii.Error, ValueError):
        raise Rejected("Expected the HTML that Prelim wrote, came another form of the report.") from None
    title = f"{sentence} {text(form, 'title')}".strip()
    language = text(form, "language") or "en"
    return {**form, **form_of(HTML, html, title=title, created=instant(at), language=language)}
