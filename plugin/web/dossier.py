"""All that is known of one case, put together for its page and its JSON twin. Reads only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from plugin.cases import CaseState
from plugin.signoff import Verdict
from plugin.tables import AuditLeaf, Case, DraftRecord, Picture, SignOff
from plugin.translate import order_from_json
from plugin.web.leaf import leaf_fields
from plugin.web.lifeline import life_line
from plugin.web.sentences import sections
from plugin.web.summary import summary
from plugin.web.words import CHANNELS, ROLES, STATES, VERDICTS, machine_moment, shown_duration

LEAVES = 100
"""Entries of the log on a case page; the audit page has the others."""


def dossier(session: Session, case: Case) -> dict[str, Any]:
    """The case, its way, its order, drafts (newest first), sign-offs (newest first) and newest entries."""
    state = CaseState(case.state)
    drafts = session.scalars(
        sa.select(DraftRecord).where(DraftRecord.case_id == case.id).order_by(DraftRecord.number.desc())
    ).all()
    signoffs = session.scalars(
        sa.select(SignOff).where(SignOff.case_id == case.id).order_by(SignOff.id.desc())
    ).all()
    of_case = sa.select(AuditLeaf).where(AuditLeaf.case_id == case.id)
    moves = session.scalars(
        of_case.where(AuditLeaf.action.startswith("case."), AuditLeaf.action != "case.viewed").order_by(
            AuditLeaf.position
        )
    )
    leaves = session.scalars(of_case.order_by(AuditLeaf.position.desc()).limit(LEAVES)).all()
    return {
        **summary(case),
        "meaning": STATES[state].meaning,
        "advice": STATES[state].advice.format(id=case.id),
        "life_line": [
            {"state": step.state.value, "at": machine_moment(step.at) or None, "stage": step.stage}
            for step in life_line(moves, state)
        ],
        "order": _order(case),
        "study_instance_uid": case.study_instance_uid,
        "drafts": [_draft(session, draft) for draft in drafts],
        "signoffs": [_signoff(signoff, drafts) for signoff in signoffs],
        "audit": [leaf_fields(leaf) for leaf in reversed(leaves)],
    }


def _order(case: Case) -> dict[str, Any] | None:
    if not case.order:
        return None
    order = order_from_json(case.order)
    provider = order.ordering_provider
    return {
        "procedure": order.procedure.text,
        "procedure_code": order.procedure.code,
        "clinical_question": order.clinical_question,
        "history": order.history,
        "priority": order.priority,
        "ordering_provider": provider.printed_name if provider else "",
        "ordered_at": machine_moment(order.ordered_at) or None,
        "placer_order_number": order.placer_order_number,
        "filler_order_number": order.filler_order_number,
        "requested_procedure_id": order.requested_procedure_id,
        "laterality": order.laterality,
        "prior_reports": [
            {
                "performed_on": prior.performed_on.isoformat() if prior.performed_on else None,
                "procedure": prior.procedure.text or prior.procedure.code,
                "text": prior.text,
            }
            for prior in order.prior_reports
        ],
    }


def _draft(session: Session, row: DraftRecord) -> dict[str, Any]:
    pictures = session.execute(
        sa.select(Picture.ordinal, Picture.slice_index, Picture.finding, Picture.caption)
        .where(Picture.draft_id == row.id)
        .order_by(Picture.ordinal)
    ).all()
    shown = [
        {
            "ordinal": ordinal,
            "caption": caption,
            "path": f"/cases/{row.case_id}/drafts/{row.number}/pictures/{ordinal}.png",
        }
        for ordinal, _, _, caption in pictures
    ]
    return {
        "number": row.number,
        "task": row.task,
        "status": row.status,
        "notice": row.notice,
        "language": row.language,
        "confidence": row.confidence,
        # The first picture of a slice is the one with its evidence.
        "sections": sections(
            row, {(index, finding): ordinal for ordinal, index, finding, _ in reversed(pictures)}
        ),
        "text": row.text,
        "text_sha256": row.text_sha256,
        "findings": row.findings,
        "model": row.model_name,
        "model_version": row.model_version,
        "weights_sha256": row.weights_sha256,
        "prompt_version": row.prompt_version,
        "tokens": row.tokens,
        "seconds": round(row.seconds, 3),
        "written_at": machine_moment(row.written_at),
        "published_at": machine_moment(row.published_at) or None,
        "delivered_at": machine_moment(row.delivered_at) or None,
        "withdrawn_at": machine_moment(row.withdrawn_at) or None,
        "reference": row.reference,
        "version": row.version,
        "url": row.url,
        "pictures": shown,
    }


def _signoff(row: SignOff, drafts: Sequence[DraftRecord]) -> dict[str, Any]:
    numbers = {draft.id: draft.number for draft in drafts}
    return {
        "verdict": row.verdict,
        "verdict_words": VERDICTS.get(row.verdict, row.verdict),
        "is_signature": row.verdict == Verdict.SIGNED.value,
        "status": row.status,
        "signer": row.signer_name,
        "signer_identifier": row.signer_identifier,
        "signer_role": row.signer_role,
        "signer_role_words": ROLES.get(row.signer_role, row.signer_role),
        "signed_at": machine_moment(row.signed_at) or None,
        "seconds_to_sign": row.seconds_to_sign,
        "took": shown_duration(row.seconds_to_sign),
        "seen_at": machine_moment(row.seen_at),
        "channel": row.channel,
        "channel_words": CHANNELS.get(row.channel, row.channel),
        "source": row.source,
        "version": row.version,
        "evidence": row.evidence,
        "evidence_path": _evidence_path(row),
        "text": row.text,
        "text_sha256": row.text_sha256,
        "draft": numbers.get(row.draft_id) if row.draft_id else None,
        "draft_sha256": row.draft_sha256,
        "changes": row.changes,
        "edit_distance": row.edit_distance,
        "untouched": row.untouched,
        "since_previous": row.since_previous,
    }


def _evidence_path(row: SignOff) -> str:
    """Where a person can read the evidence again: the message, else that version of the resource."""
    message = re.fullmatch(r"message (\d{1,18}):\d+", row.evidence)
    if message:
        return f"/messages/{message[1]}"
    version = f"/_history/{row.version}" if re.fullmatch(r"[A-Za-z0-9\-.]{1,64}", row.version) else ""
    return f"{row.source}{version}" if row.source.startswith(("http://", "https://")) else ""
