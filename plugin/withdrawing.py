"""From a cancelled order to a draft that stands no longer, in the RIS and on the FHIR server."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from connectors.errors import ExchangeError, Unreachable
from connectors.exchange import PublishedReport, WithdrawalStatus
from connectors.fhir.client import FhirClient
from connectors.fhir.identifiers import IdentifierSystems
from connectors.fhir.withdrawal import withdraw
from plugin.audit.log import record
from plugin.cases import CaseState
from plugin.casework import Enqueue, Job
from plugin.db import Database, now
from plugin.offering import take_back
from plugin.reports import published_row
from plugin.retry import retry
from plugin.settings import Settings
from plugin.tables import Case, DraftRecord
from plugin.translate import published

ACTOR = "prelim/worker"
REASON = "The order was cancelled."


class Withdrawing:
    """Takes drafts back."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        enqueue: Enqueue,
        server: FhirClient | None,
        systems: IdentifierSystems,
    ) -> None:
        """server: None where no FHIR server is set; then no draft stands there."""
        self._settings = settings
        self._database = database
        self._enqueue = enqueue
        self._server = server
        self._systems = systems

    def withdraw(self, case_id: str, number: int, attempt: int) -> None:
        """Take back whatever draft of a cancelled case stands anywhere.

        1. Stop unless the case is still CANCELLED, or was held since, and no newer draft is due.
        2. Put the withdrawal for the RIS in the outbox, where the RIS has a draft or may have one.
        3. Withdraw on the FHIR server: only the version that is ours (connectors.fhir.withdrawal). A server
           that does not answer is asked again later; a human's version stays, and the log says so.
        4. Record that the draft stands no longer.
        """
        with self._database.write() as session:  # 1
            case = session.get_one(Case, case_id)
            if not _due(case, number):
                return
            _take_back(session, case)  # 2
            row = published_row(session, case_id)
            known = published(row) if row is not None and row.withdrawn_at is None else None
        if known is None or self._server is None:
            return
        try:
            status = WithdrawalStatus.CANCELLED
            withdrawn = withdraw(self._server, case_id, known, status, REASON, systems=self._systems)  # 3
        except Unreachable as error:
            with self._database.write() as session:
                case = session.get_one(Case, case_id)
                if _due(case, number):
                    job = Job("withdraw", case_id, number, attempt)
                    held = case.reason if case.state == CaseState.HELD else ""
                    retry(
                        session,
                        case,
                        job,
                        str(error),
                        self._settings,
                        self._enqueue,
                        ACTOR,
                        asked_seconds=error.retry_after_seconds,
                    )
                    case.reason = held or case.reason
            return
        except ExchangeError as error:
            self._stays(case_id, number, f"{error} {error.next_step}")
            return
        self._record(case_id, known, withdrawn)  # 4

    def _stays(self, case_id: str, number: int, problem: str) -> None:
        with self._database.write() as session:
            case = session.get_one(Case, case_id)
            details = {"draft": number, "reason": problem}
            record(session, ACTOR, "draft.not-withdrawn", case_id=case_id, details=details)
            if case.state == CaseState.CANCELLED and _due(case, number):
                case.reason = f"{REASON} Its draft could not be withdrawn: {problem}"
                case.updated_at = now()

    def _record(self, case_id: str, known: PublishedReport, withdrawn: PublishedReport) -> None:
        with self._database.write() as session:
            case = session.get_one(Case, case_id)
            row = published_row(session, case_id)
            if row is None or row.reference != known.reference:
                return
            row.version, row.withdrawn_at = withdrawn.version, now()
            details = {
                "draft": row.number,
                "status": WithdrawalStatus.CANCELLED.value,
                "reference": row.reference,
                "version": row.version,
            }
            record(session, ACTOR, "draft.withdrawn", case_id=case_id, details=details)
            if CaseState(case.state) is CaseState.CANCELLED:
                case.reason = f"{REASON} Its draft was withdrawn."
                case.updated_at = now()


def _take_back(session: Session, case: Case) -> None:
    """Newest first: one withdrawal takes back the report, whichever draft of it the RIS had last."""
    drafts = sa.select(DraftRecord).where(DraftRecord.case_id == case.id).order_by(DraftRecord.number.desc())
    for row in session.scalars(drafts).all():
        if take_back(session, case, row, REASON):
            return


def _due(case: Case, number: int) -> bool:
    # A cancelled case that a later message holds is wanted no more than before.
    return case.state in {CaseState.CANCELLED, CaseState.HELD} and case.draft_number == number
