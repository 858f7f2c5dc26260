"""What a human's report does to a case, inside the caller's transaction."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from connectors.exchange import PublishedReport, SignedReport
from plugin.audit.log import record
from plugin.cases import MOVES, OF_A_HUMAN, CaseState
from plugin.casework import Enqueue, Job, find_case, move, open_case
from plugin.db import now
from plugin.identity import disagreements
from plugin.links import surviving
from plugin.signoff import (
    SectionChange,
    Verdict,
    asks_for_conclusion,
    changes,
    judge,
    seconds_to_sign,
    untouched,
    words_between,
)
from plugin.tables import CONCLUSION, REPORT, Case, DraftRecord, SignOff
from plugin.translate import order_from_json, published

FHIR = "fhir"
"""The channel whose reports are resources that a Provenance can name."""


class Mismatch(Exception):
    """A report speaks of another patient or study than its case, or of no case; nothing was changed."""


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


def may_stand(session: Session, case_id: str) -> bool:
    """Whether a report of ours may stand on the FHIR server: a draft was written, and nobody withdrew it.

    Also one whose publishing is under way, or whose answer was lost.
    """
    newest = sa.select(DraftRecord.withdrawn_at).where(
        DraftRecord.case_id == case_id, DraftRecord.task == REPORT
    )
    row = session.execute(newest.order_by(DraftRecord.number.desc()).limit(1)).first()
    return row is not None and row.withdrawn_at is None


def ask_to_retire(session: Session, case: Case, enqueue: Enqueue) -> None:
    """A human's report is there: have our draft retired where it stands beside it."""
    if CaseState(case.state) in OF_A_HUMAN and may_stand(session, case.id):
        enqueue(session, Job("retire", case.id, case.draft_number))


def case_of_report(session: Session, report: SignedReport) -> Case | None:
    """The case that a report belongs to; None where there is none yet.

    Our identifier names it, else its place on the FHIR server where a draft of ours stood, else the
    accession: an identifier that no case of ours has says nothing.
    """
    named = session.get(Case, report.case_id) if report.case_id else None
    placed = named or _case_at(session, report)
    return placed or (find_case(session, report.accession) if report.accession else None)


def _case_at(session: Session, report: SignedReport) -> Case | None:
    # Whatever a person took out of our report when they made it theirs, it still is that case's.
    if report.channel != FHIR:
        return None
    reference = "/".join(report.source.rsplit("/", 2)[-2:])
    drafts = sa.select(DraftRecord.case_id).where(
        DraftRecord.reference == reference, DraftRecord.url == report.source
    )
    found = session.scalar(drafts.limit(1))
    return session.get(Case, found) if found else None


def check_report(session: Session, report: SignedReport) -> None:
    """Raise Mismatch for what is no sign-off: it names no case, or its patient, accession or study are
    not those of the case."""
    case = case_of_report(session, report)
    if case is None and not report.accession:
        raise Mismatch(
            "The report names no case: neither an identifier of ours that is known nor an accession number."
        )
    if case is None:
        return
    if not case.order:
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
) -> SignOff | None:
    """Record a human's report on its case; None when this very evidence is known already.

    The caller has asked `check_report` first.

    1. The case is that of our identifier, else that of the place, else that of the accession; a report for an
       unknown accession opens one, so that an order that comes late finds the human's word and no draft is
       made.
    2. A version of a resource that was read before, and read the same, is known: whoever brings it again.
    3. Who, what, when and the difference to the newest draft are kept with the evidence, and said in the log.
       A correction or an addendum is a sign-off of its own.
    4. The case moves as the verdict says; a verdict that is no human's word moves nothing.
    5. A signature on the FHIR server is attested there, and a draft of ours beside a human's report retired.
    6. A human's findings without a conclusion ask for one.

    Raises Mismatch for a report that names no case.
    """
    seen = sa.select(SignOff.id).where(SignOff.channel == report.channel, SignOff.evidence == evidence)
    if session.scalar(seen) is not None:
        return None
    case = case_of_report(session, report)  # 1
    if case is None:
        if not report.accession:
            raise Mismatch("The report names no case; nothing can be opened without an accession number.")
        case = open_case(session, report.accession, actor, message_id, "report")
    verdict = judge(report)
    text_sha256 = hashlib.sha256(report.text.encode()).hexdigest()
    if _read_before(session, case, report, verdict, text_sha256):  # 2
        return None
    draft = latest_draft(session, case.id)  # 3
    # A report that came as a PDF alone was not read: nobody can say what was changed.
    compared = draft if report.text.strip() or not report.documents else None
    found = _changes(compared, report) if compared else ()
    distance = sum(change.words_changed for change in found) if compared else None
    readable_at = (draft.published_at or draft.delivered_at) if draft else None
    seconds = seconds_to_sign(readable_at, report.signed_at)
    signer = report.signer
    row = SignOff(
        case_id=case.id,
        draft_id=draft.id if draft else None,
        channel=report.channel,
        evidence=evidence,
        source=report.source,
        version=report.version,
        verdict=verdict.value,
        status=report.status.value,
        signer_identifier=signer.identifier if signer else "",
        signer_name=signer.printed_name if signer else "",
        patient_identifier=report.patient.identifier,
        assigning_authority=report.patient.assigning_authority,
        signed_at=report.signed_at,
        seen_at=now(),
        text=report.text,
        text_sha256=text_sha256,
        draft_sha256=draft.text_sha256 if draft else "",
        changes=[asdict(change) for change in found],
        edit_distance=distance,
        signer_role=signer.role if signer else "",
        untouched=_untouched(compared, report, distance) if compared else None,
        seconds_to_sign=seconds,
        since_previous=_since_previous(session, case, report),
    )
    session.add(row)
    session.flush()
    details: dict[str, object] = {
        "verdict": verdict.value,
        "status": report.status.value,
        "channel": report.channel,
        "evidence": evidence,
        "version": report.version,
        "signer": row.signer_name,
        "signer_role": row.signer_role,
        "signed_at": _moment(report.signed_at),
        "seconds_to_sign": seconds,
        "draft": draft.number if draft else None,
        "text_sha256": row.text_sha256,
        "draft_sha256": row.draft_sha256,
        "edit_distance": distance,
        "untouched": row.untouched,
        "changed_in": {change.title: change.words_changed for change in found if change.words_changed},
        "since_previous": row.since_previous,
    }
    if readable_at and report.signed_at and seconds is None:
        details["clock"] = "The signature is earlier than the draft: a clock runs behind."
    if report.documents:
        # A PDF is not read: that it came, and which one, is what can be said of it.
        details["documents"] = [asdict(document) for document in report.documents]
    record(session, actor, "report.seen", case_id=case.id, message_id=message_id, details=details)
    target, reason = _consequence(verdict, report.status.value, row.signer_name)  # 4
    state = CaseState(case.state)
    if target and state is not target and target in MOVES[state]:
        move(session, case, target, actor, reason=reason, message_id=message_id)
    if verdict is Verdict.SIGNED and report.channel == FHIR:  # 5
        enqueue(session, Job("attest", case.id, row.id))
    if target:
        ask_to_retire(session, case, enqueue)
    if verdict is Verdict.SUPERSEDED and asks_for_conclusion(report.text):  # 6
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


def _read_before(
    session: Session, case: Case, report: SignedReport, verdict: Verdict, text_sha256: str
) -> bool:
    """Whether this version of this resource was read before, with the same outcome."""
    if report.channel != FHIR or not report.version:
        return False
    same = sa.select(SignOff.id).where(
        SignOff.case_id == case.id,
        SignOff.channel == report.channel,
        SignOff.source == report.source,
        SignOff.version == report.version,
        SignOff.verdict == verdict.value,
        SignOff.text_sha256 == text_sha256,
    )
    return session.scalar(same.limit(1)) is not None


def _untouched(draft: DraftRecord, report: SignedReport, distance: int | None) -> bool:
    """Of a drafted conclusion, whether it was taken over as it is; of a report, whether all of it was."""
    if draft.task == CONCLUSION:
        return distance == 0
    return untouched([(title, text) for title, text in draft.sections], draft.notice, report.text)


def _since_previous(session: Session, case: Case, report: SignedReport) -> int | None:
    signed = sa.select(SignOff.text).where(
        SignOff.case_id == case.id, SignOff.verdict == Verdict.SIGNED.value
    )
    before = session.scalar(signed.order_by(SignOff.id.desc()).limit(1))
    return None if before is None else words_between(before, report.text)


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
