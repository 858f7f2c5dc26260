"""From the findings that a human dictated to a drafted conclusion, offered to the RIS beside their report."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from model.sections import IMPRESSION
from model.study import Drafter, Unfit
from plugin import translate
from plugin.audit.log import record
from plugin.cases import CaseState
from plugin.db import Database, now
from plugin.offering import offer, offer_message
from plugin.settings import Settings
from plugin.signoff import Verdict, findings_of
from plugin.tables import CONCLUSION, Case, SignOff

ACTOR = "prelim/worker"


class Concluding:
    """Writes conclusions."""

    def __init__(self, settings: Settings, database: Database, drafter: Drafter) -> None:
        self._settings = settings
        self._database = database
        self._drafter = drafter

    def conclude(self, case_id: str, number: int, _attempt: int) -> None:
        """Draft the conclusion of a human's findings.

        1. Stop unless the human's report still waits for its conclusion, and this is the draft that is due.
        2. Draft; weights that were not trained for it say so, and the case with them.
        3. Store the draft with its leaf and put its offer in the outbox, if 1 still holds. The case stays
           where the human's word brought it.
        """
        with self._database.read() as session:  # 1
            case = session.get(Case, case_id)
            if case is None or not _due(case, number):
                return
            findings = _findings(session, case_id)
            order = translate.order_from_json(case.order)
            context = translate.order_context(order, self._settings.language)
        try:
            draft = self._drafter.conclude(findings, context)  # 2
        except Unfit as error:
            self._say(case_id, number, f"No conclusion was drafted: {error}")
            return
        if not draft.body_of(IMPRESSION):
            self._say(case_id, number, "The model wrote no conclusion; nothing was kept.")
            return
        with self._database.write() as session:  # 3
            case = session.get_one(Case, case_id)
            if not _due(case, number):
                record(session, ACTOR, "draft.dropped", case_id=case_id, details={"draft": number})
                return
            row = translate.draft_row(case, draft, self._settings.draft_status, now(), task=CONCLUSION)
            session.add(row)
            session.flush()
            details = {
                "draft": number,
                "draft_sha256": row.text_sha256,
                "model": row.model_name,
                "weights_sha256": row.weights_sha256,
                "prompt_version": row.prompt_version,
            }
            record(session, ACTOR, "conclusion.drafted", case_id=case_id, details=details)
            case.updated_at = now()
            if self._settings.ris and not self._settings.shadow:
                offer(session, case, row, offer_message(case, row, self._settings))

    def _say(self, case_id: str, number: int, reason: str) -> None:
        with self._database.write() as session:
            case = session.get_one(Case, case_id)
            details = {"draft": number, "reason": reason}
            record(session, ACTOR, "conclusion.refused", case_id=case_id, details=details)
            if _due(case, number):
                case.reason = reason
                case.updated_at = now()


def _findings(session: Session, case_id: str) -> str:
    """Of the newest report of a human that is not final."""
    latest = sa.select(SignOff).where(SignOff.case_id == case_id, SignOff.verdict == Verdict.SUPERSEDED.value)
    row = session.scalars(latest.order_by(SignOff.id.desc()).limit(1)).one()
    return findings_of(row.text)


def _due(case: Case, number: int) -> bool:
    return case.state == CaseState.SUPERSEDED and case.draft_number == number
