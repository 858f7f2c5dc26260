"""From a draft that is wanted no more to one that stands no longer, in the RIS and on the FHIR server.

A cancelled order takes the draft back from both. A human's report retires it on the FHIR server alone: in the
RIS it replaced the draft, and a withdrawal behind it would take the human's report back.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from connectors.errors import Conflict, ExchangeError, Unreachable
from connectors.exchange import PublishedReport, WithdrawalStatus
from connectors.fhir.client import FhirClient
from connectors.fhir.drafts.publish import HumanVersion
from connectors.fhir.drafts.standing import look, published_at
from connectors.fhir.drafts.withdrawal import withdraw
from connectors.fhir.identifiers import IdentifierSystems
from connectors.fhir.outcome import Absent
from plugin.abilities import Abilities
from plugin.audit.log import record
from plugin.cases import OF_A_HUMAN, CaseState
from plugin.casework import Enqueue, Job
from plugin.db import Database, now
from plugin.offering import take_back
from plugin.reports import may_stand, published_row
from plugin.retry import retry
from plugin.settings import Settings
from plugin.tables import REPORT, Case, DraftRecord
from plugin.translate import published

ACTOR = "prelim/worker"
REASON = "The order was cancelled."
REPORTED = "A radiologist's report is there."
CONFLICTS = 3
"""How often a withdrawal that met another write is tried again: either a human's version stands by then, or
the server was busy with itself."""


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
        self._server = None if settings.shadow else server
        self._systems = systems
        self._abilities = Abilities(self._server) if self._server else None

    def withdraw(self, case_id: str, number: int, attempt: int) -> None:
        """Take back whatever draft of a cancelled case stands anywhere.

        1. Stop unless the case is still CANCELLED, or was held since, and no newer draft is due.
        2. Put the withdrawal for the RIS in the outbox, where the RIS has a draft or may have one.
        3. Withdraw on the FHIR server.
        """
        with self._database.write() as session:  # 1
            case = session.get_one(Case, case_id)
            if not _cancelled(case, number):
                return
            _take_back(session, case)  # 2
        self._on_server(Job("withdraw", case_id, number, attempt), REASON)  # 3

    def retire(self, case_id: str, number: int, attempt: int) -> None:
        """Withdraw the draft that stands beside a human's report.

        1. Stop unless a human's report is there still, and a draft of ours may stand.
        2. The first attempt only puts it off: a RIS that is about to write the human's report over our draft
           holds its version and must not find another one.
        3. Withdraw on the FHIR server. The RIS is told nothing.
        """
        with self._database.write() as session:
            case = session.get_one(Case, case_id)
            if not _reported(case) or not may_stand(session, case_id) or self._server is None:  # 1
                return
            if attempt == 0:  # 2
                later = Job("retire", case_id, number, 1, self._settings.fhir_retire_seconds)
                self._enqueue(session, later)
                return
        self._on_server(Job("retire", case_id, number, attempt), REPORTED)  # 3

    def _on_server(self, job: Job, why: str) -> None:
        """Withdraw what stands on the FHIR server: only what is ours (connectors.fhir.drafts.withdrawal).

        1. Where we last wrote it, else where our identifier is: an answer of the server may have been lost.
        2. Withdraw it. A server that does not answer is asked again later; a human's version stays.
        3. Record that the draft stands no longer.
        """
        if self._server is None or self._abilities is None:
            return
        with self._database.read() as session:
            row = published_row(session, job.case_id)
            accession = session.get_one(Case, job.case_id).accession
            last = published(row) if row is not None else None
            if not may_stand(session, job.case_id):
                return
        try:
            known = last or self._find(self._server, job.case_id, accession)  # 1
            if known is None:
                return
            withdrawn = withdraw(  # 2
                self._server,
                job.case_id,
                known,
                WithdrawalStatus.CANCELLED,
                why,
                systems=self._systems,
                capabilities=self._abilities.now(),
            )
        except ExchangeError as error:
            busy = isinstance(error, Conflict) and not isinstance(error, HumanVersion)
            if isinstance(error, Unreachable) or (busy and job.attempt < CONFLICTS):
                self._again(job, error)
            else:
                self._stays(job, error)
            return
        if row is None or row.withdrawn_at is None or withdrawn != last:
            self._record(job, withdrawn, why)  # 3

    def _find(self, server: FhirClient, case_id: str, accession: str) -> PublishedReport | None:
        found = look(server, self._systems, case_id, accession).ours
        if not found:
            return None
        if len(found) > 1:
            raise Conflict(
                f"Expected one report of ours for the case, came {len(found)}. "
                "Let a person retire all but one."
            )
        return published_at(server, found[0])

    def _again(self, job: Job, error: ExchangeError) -> None:
        with self._database.write() as session:
            case = session.get_one(Case, job.case_id)
            if _due(case, job):
                # Only a cancelled case waits for this; any other has a reason of its own.
                kept = "" if case.state == CaseState.CANCELLED else case.reason
                asked = error.retry_after_seconds if isinstance(error, Unreachable) else None
                retry(
                    session, case, job, str(error), self._settings, self._enqueue, ACTOR, asked_seconds=asked
                )
                case.reason = kept or case.reason

    def _stays(self, job: Job, error: ExchangeError) -> None:
        problem, action = f"{error} {error.next_step}", "draft.not-withdrawn"
        if job.kind == "retire" and isinstance(error, HumanVersion | Absent):
            # Nothing of ours stands there, which is what was wanted.
            problem, action = str(error), "draft.gone" if isinstance(error, Absent) else "draft.replaced"
        with self._database.write() as session:
            case = session.get_one(Case, job.case_id)
            details = {"draft": job.number, "reason": problem}
            record(session, ACTOR, action, case_id=job.case_id, details=details)
            if action != "draft.not-withdrawn" or not _due(case, job):
                return
            if case.state == CaseState.CANCELLED:
                case.reason = f"{REASON} Its draft could not be withdrawn: {problem}"
                case.updated_at = now()
            elif job.kind == "retire":
                case.reason = f"{case.reason} Our draft still stands beside it: {problem}".lstrip()
                case.updated_at = now()

    def _record(self, job: Job, withdrawn: PublishedReport, why: str) -> None:
        with self._database.write() as session:
            case = session.get_one(Case, job.case_id)
            row = _newest(session, job.case_id)
            if row is None or row.withdrawn_at is not None:
                return
            if row.reference not in {"", withdrawn.reference}:
                return
            row.reference, row.version, row.url = withdrawn.reference, withdrawn.version, withdrawn.url
            row.withdrawn_at = now()
            details = {
                "draft": row.number,
                "status": WithdrawalStatus.CANCELLED.value,
                "reference": row.reference,
                "version": row.version,
                "reason": why,
            }
            record(session, ACTOR, "draft.withdrawn", case_id=job.case_id, details=details)
            if CaseState(case.state) is CaseState.CANCELLED:
                case.reason = f"{REASON} Its draft was withdrawn."
                case.updated_at = now()


def _newest(session: Session, case_id: str) -> DraftRecord | None:
    """The newest draft of a report; that of a conclusion is never on the FHIR server."""
    drafts = sa.select(DraftRecord).where(DraftRecord.case_id == case_id, DraftRecord.task == REPORT)
    return session.scalars(drafts.order_by(DraftRecord.number.desc()).limit(1)).first()


def _take_back(session: Session, case: Case) -> None:
    """Newest first: one withdrawal takes back the report, whichever draft of it the RIS had last."""
    drafts = sa.select(DraftRecord).where(DraftRecord.case_id == case.id).order_by(DraftRecord.number.desc())
    for row in session.scalars(drafts).all():
        if take_back(session, case, row, REASON):
            return


def _due(case: Case, job: Job) -> bool:
    return _reported(case) if job.kind == "retire" else _cancelled(case, job.number)


def _cancelled(case: Case, number: int) -> bool:
    # A cancelled case that a later message holds is wanted no more than before.
    return case.state in {CaseState.CANCELLED, CaseState.HELD} and case.draft_number == number


def _reported(case: Case) -> bool:
    return case.state in OF_A_HUMAN
