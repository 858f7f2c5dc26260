"""From a published draft to a preliminary result in the RIS's own inbox (ORU^R01 over MLLP)."""

from __future__ import annotations

from connectors.errors import ExchangeError, Rejected, Unreachable
from connectors.hl7.ack import Ack
from connectors.hl7.drafts import check_egress, draft_message
from connectors.hl7.mllp import send
from plugin import translate
from plugin.audit.log import record
from plugin.cases import CaseState
from plugin.casework import Enqueue, Job
from plugin.db import Database, now
from plugin.reports import latest_draft
from plugin.retry import retry
from plugin.settings import Settings
from plugin.tables import Case, DraftRecord

ACTOR = "prelim/worker"


class Delivering:
    """Sends drafts to the RIS."""

    def __init__(self, settings: Settings, database: Database, enqueue: Enqueue) -> None:
        self._settings = settings
        self._database = database
        self._enqueue = enqueue

    def deliver(self, case_id: str, number: int, attempt: int) -> None:
        """Deliver one draft.

        1. Stop unless the case is PUBLISHED and this draft of it was not delivered yet.
        2. Build the message, look at what is about to leave, send it, wait for its ack.
        3. No answer, AR or CR: again later. AE or CE: the RIS refuses; the case says so.
        4. Record the delivery.
        """
        with self._database.read() as session:  # 1
            case = session.get(Case, case_id)
            row = latest_draft(session, case_id)
            if case is None or row is None or not _due(case, row, number):
                return
            draft = translate.draft_report(case, row)
        try:
            message = draft_message(draft, control_id=f"PRELIM{row.id}", at=now())  # 2
            check_egress(message)
            _accepted(self._send(message))
        except Unreachable as error:  # 3
            self._record(case_id, number, attempt, str(error), again=True)
            return
        except ExchangeError as error:
            self._record(case_id, number, attempt, f"{error} {error.next_step}", again=False)
            return
        self._record(case_id, number, attempt, "", again=False)  # 4

    def _send(self, message: bytes) -> Ack:
        host, _, port = self._settings.ris.rpartition(":")
        return next(send(host, int(port), [message], self._settings.peer_timeout_seconds))

    def _record(self, case_id: str, number: int, attempt: int, problem: str, *, again: bool) -> None:
        with self._database.write() as session:
            case = session.get_one(Case, case_id)
            row = latest_draft(session, case_id)
            if row is None or not _due(case, row, number):
                return
            if again:
                job = Job("deliver", case_id, number, attempt)
                retry(session, case, job, problem, self._settings, self._enqueue, ACTOR)
                return
            case.reason = f"The RIS refused the draft: {problem}" if problem else ""
            case.updated_at = now()
            row.delivered_at = None if problem else now()
            action = "draft.refused-by-ris" if problem else "draft.delivered"
            record(session, ACTOR, action, case_id=case_id, details={"draft": number, "reason": problem})


def _accepted(ack: Ack) -> None:
    """Raise unless the RIS has the draft. Its words may quote the message and are not repeated."""
    if ack.retryable:
        raise Unreachable(f"the RIS answered {ack.code.value}: it cannot take the draft now.")
    if not ack.accepted:
        raise Rejected(f"the RIS answered {ack.code.value} with error code {ack.error_code or 'none'}.")


def _due(case: Case, row: DraftRecord, number: int) -> bool:
    return case.state == CaseState.PUBLISHED and row.number == number and row.delivered_at is None
