"""What a human's report does to a case, inside the caller's transaction."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from connectors.exchange import PublishedReport, SignedReport
from plugin.audit.log import record
from plugin.cases import MOVES, CaseState
from plugin.casework import find_case, move, open_case
from plugin.db import now
from plugin.identity import disagreements
from plugin.signoff import Verdict, changes, judge
from plugin.tables import Case, DraftRecord, SignOff
from plugin.translate import order_from_json, published


class Mismatch(Exception):
    """A report speaks of another patient or study than its case; nothing was changed."""


def latest_draft(session: Session, case_id: str) -> DraftRecord | None:
    """The newest draft of a case."""
    return session.scalars(
        sa.select(DraftRecord).where(DraftRecord.case_id == case_id).order_by(DraftRecord.number.desc())
    ).first()


def published_before(session: Session, case_id: str) -> PublishedReport | None:
    """Where the case's report stands on the FHIR server as we last wrote it; None before the first time."""
    row = session.scalars(
        sa.select(DraftRecord)
        .where(DraftRecord.case_id == case_id, DraftRecord.reference != "")
        .order_by(DraftRecord.number.desc())
    ).first()
    return published(row) if row else None


def take_report(
    session: Session,
    report: SignedReport,
    evidence: str,
    actor: str,
    message_id: int | None = None,
    *,
    case_id: str = "",
) -> SignOff | None:
    """Record a human's report on its case; None when this very evidence is known already.

    1. The case is the one that was asked about (`case_id`), else that of the accession; a report for an
       unknown accession opens one, so that an order that comes late finds the human's word and no draft
       is made.
    2. Patient and study must agree with the case, otherwise Mismatch: it is no sign-off of this case.
    3. Who, what, when and the difference to the newest draft are kept with the evidence.
    4. The case moves as the verdict says; a verdict that is no human's word moves nothing.
    """
    seen = sa.select(SignOff).where(SignOff.channel == report.channel, SignOff.evidence == evidence)
    if session.scalar(seen) is not None:
        return None
    case = session.get_one(Case, case_id) if case_id else find_case(session, report.accession)  # 1
    if case is None:
        case = open_case(session, report.accession, actor, message_id, "report")
    if case.order:  # 2
        order = order_from_json(case.order)
        differing = disagreements(
            "the order",
            "the report",
            patients=(order.patient, report.patient),
            accessions=(order.accession, report.accession),
            studies=(case.study_instance_uid, report.study_instance_uid),
        )
        if differing:
            raise Mismatch(" ".join(differing))
    verdict = judge(report)
    draft = latest_draft(session, case.id)  # 3
    found = changes([(t, b) for t, b in draft.sections], draft.notice, report.text) if draft else ()
    distance = sum(change.words_changed for change in found) if draft else None
    signer = report.signer
    row = SignOff(
        case_id=case.id,
        draft_id=draft.id if draft else None,
        channel=report.channel,
        evidence=evidence,
        source=report.source,
        verdict=verdict.value,
        status=report.status.value,
        signer_identifier=signer.identifier if signer else "",
        signer_name=signer.printed_name if signer else "",
        signed_at=report.signed_at,
        seen_at=now(),
        text=report.text,
        text_sha256=hashlib.sha256(report.text.encode()).hexdigest(),
        draft_sha256=draft.text_sha256 if draft else "",
        changes=[asdict(change) for change in found],
        edit_distance=distance,
    )
    session.add(row)
    session.flush()
    details: dict[str, object] = {
        "verdict": verdict.value,
        "status": report.status.value,
        "channel": report.channel,
        "signer": row.signer_name,
        "signed_at": _moment(report.signed_at),
        "text_sha256": row.text_sha256,
        "draft_sha256": row.draft_sha256,
        "edit_distance": distance,
    }
    record(session, actor, "report.seen", case_id=case.id, message_id=message_id, details=details)
    target, reason = _consequence(verdict, report.status.value, row.signer_name)  # 4
    state = CaseState(case.state)
    if target and state is not target and target in MOVES[state]:
        move(session, case, target, actor, reason=reason, message_id=message_id)
    return row


def _consequence(verdict: Verdict, status: str, signer: str) -> tuple[CaseState | None, str]:
    if verdict is Verdict.SIGNED:
        return CaseState.SIGNED, f"{status.capitalize()} report, signed by {signer}."
    if verdict is Verdict.SUPERSEDED:
        return CaseState.SUPERSEDED, "A human's own report is there, not final yet."
    return None, ""


def _moment(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
