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
from plugin.casework import Enqueue, Job, find_case, move, open_case
from plugin.db import now
from plugin.identity import disagreements
from plugin.links import surviving
from plugin.signoff import SectionChange, Verdict, asks_for_conclusion, changes, judge
from plugin.tables import CONCLUSION, Case, DraftRecord, SignOff
from plugin.translate import order_from_json, published


class Mismatch(Exception):
    """A report speaks of another patient or study than its case; nothing was changed."""


def latest_draft(session: Session, case_id: str) -> DraftRecord | None:
    """The newest draft of a case."""
    return session.scalars(
        sa.select(DraftRecord).where(DraftRecord.case_id == case_id).order_by(DraftRecord.number.desc())
    ).first()


def published_row(session: Session, case_id: str) -> DraftRecord | None:
    """The newest draft of a case that was written to the FHIR server; None before the first time."""
    return session.scalars(
        sa.select(DraftRecord)
        .where(DraftRecord.case_id == case_id, DraftRecord.reference != "")
        .order_by(DraftRecord.number.desc())
    ).first()


def published_before(session: Session, case_id: str) -> PublishedReport | None:
    """Where the case's report stands on the FHIR server as we last wrote it; None before the first time."""
    row = published_row(session, case_id)
    return published(row) if row else None


def check_report(session: Session, report: SignedReport, *, case_id: str = "") -> None:
    """Raise Mismatch unless patient and study agree with the order of the case: it is no sign-off of it."""
    case = session.get_one(Case, case_id) if case_id else find_case(session, report.accession)
    if case is None or not case.order:
        return
    order = order_from_json(case.order)
    differing = disagreements(
        "the order",
        "the report",
        patients=(surviving(session, order.patient), surviving(session, report.patient)),
        accessions=(order.accession, report.accession),
        studies=(case.study_instance_uid, report.study_instance_uid),
    )
    if differing:
        raise Mismatch(" ".join(differing))


def take_report(
    session: Session,
    report: SignedReport,
    evidence: str,
    actor: str,
    message_id: int | None = None,
    *,
    enqueue: Enqueue,
    case_id: str = "",
) -> SignOff | None:
    """Record a human's report on its case; None when this very evidence is known already.

    The caller has asked `check_report` first.

    1. The case is the one that was asked about (`case_id`), else that of the accession; a report for an
       unknown accession opens one, so that an order that comes late finds the human's word and no draft
       is made.
    2. Who, what, when and the difference to the newest draft are kept with the evidence.
    3. The case moves as the verdict says; a verdict that is no human's word moves nothing.
    4. A human's findings without a conclusion ask for one.
    """
    seen = sa.select(SignOff).where(SignOff.channel == report.channel, SignOff.evidence == evidence)
    if session.scalar(seen) is not None:
        return None
    case = session.get_one(Case, case_id) if case_id else find_case(session, report.accession)  # 1
    if case is None:
        case = open_case(session, report.accession, actor, message_id, "report")
    verdict = judge(report)
    draft = latest_draft(session, case.id)  # 2
    found = _changes(draft, report) if draft else ()
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
        patient_identifier=report.patient.identifier,
        assigning_authority=report.patient.assigning_authority,
        signed_at=report.signed_at,
        seen_at=now(),
        text=report.text,
        text_sha256=hashlib.sha256(report.text.encode()).hexdigest(),
        draft_sha256=draft.text_sha256 if draft else "",
        changes=[asdict(change) for change in found],
        edit_distance=distance,
        signer_role=signer.role if signer else "",
        untouched=None if distance is None else distance == 0,
        seconds_to_sign=None,
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
    if report.documents:
        # A PDF is not read: that it came, and which one, is what can be said of it.
        details["documents"] = [asdict(document) for document in report.documents]
    record(session, actor, "report.seen", case_id=case.id, message_id=message_id, details=details)
    target, reason = _consequence(verdict, report.status.value, row.signer_name)  # 3
    state = CaseState(case.state)
    if target and state is not target and target in MOVES[state]:
        move(session, case, target, actor, reason=reason, message_id=message_id)
    if verdict is Verdict.SUPERSEDED and asks_for_conclusion(report.text):  # 4
        _ask_for_conclusion(session, case, enqueue, actor, message_id)
    return row


def _ask_for_conclusion(
    session: Session, case: Case, enqueue: Enqueue, actor: str, message_id: int | None
) -> None:
    if not case.order or CaseState(case.state) is not CaseState.SUPERSEDED:
        return
    case.draft_number += 1
    details = {"draft": case.draft_number}
    record(session, actor, "conclusion.asked", case_id=case.id, message_id=message_id, details=details)
    enqueue(session, Job("conclude", case.id, case.draft_number))


def _changes(draft: DraftRecord, report: SignedReport) -> tuple[SectionChange, ...]:
    """What the human changed; of a drafted conclusion, in the sections that it drafted."""
    found = changes([(title, text) for title, text in draft.sections], draft.notice, report.text)
    titles = {title for title, _ in draft.sections}
    return tuple(one for one in found if draft.task != CONCLUSION or one.title in titles)


def _consequence(verdict: Verdict, status: str, signer: str) -> tuple[CaseState | None, str]:
    if verdict is Verdict.SIGNED:
        return CaseState.SIGNED, f"{status.capitalize()} report, signed by {signer}."
    if verdict is Verdict.SUPERSEDED:
        return CaseState.SUPERSEDED, "A human's own report is there, not final yet."
    return None, ""


def _moment(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
