"""From a stored draft to a preliminary report on the FHIR server, never over a human's version."""

from __future__ import annotations

from connectors.errors import Conflict, ExchangeError, Unreachable
from connectors.exchange import DraftReport
from connectors.fhir.client import FhirClient
from connectors.fhir.drafts.codes import CodeMap
from connectors.fhir.drafts.publish import HumanVersion, publish
from connectors.fhir.identifiers import IdentifierSystems
from connectors.pdf import Unprintable, report_pdf
from plugin import translate
from plugin.abilities import Abilities
from plugin.audit.log import record
from plugin.cases import CaseState
from plugin.casework import Enqueue, Job, move
from plugin.db import Database, now
from plugin.offering import offer, offer_message
from plugin.reports import ask_to_retire, latest_draft, published_before
from plugin.retry import retry
from plugin.settings import Settings
from plugin.tables import Case, DraftRecord

ACTOR = "prelim/worker"


class Publishing:
    """Writes drafts to the FHIR server.

    codes: the hospital's map of procedure codes; None when it has none.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        enqueue: Enqueue,
        server: FhirClient,
        systems: IdentifierSystems,
        codes: CodeMap | None = None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._enqueue = enqueue
        self._server = server
        self._systems = systems
        self._codes = codes
        self._abilities = Abilities(server)

    def publish(self, case_id: str, number: int, attempt: int) -> None:
        """Publish one draft.

        1. Stop unless the case is DRAFTED and this is its draft.
        2. Write with If-None-Exist or If-Match, and read back (connectors.fhir.drafts.publish); its PDF is
           made once, for the FHIR server and for the RIS.
        3. A human's version withholds the draft; a server that does not answer is asked again later; a
           server that refuses fails the case.
        4. Record where the draft stands.
        """
        with self._database.read() as session:  # 1
            case = session.get(Case, case_id)
            row = latest_draft(session, case_id)
            if case is None or row is None or not _due(case, row, number):
                return
            draft = translate.draft_report(case, row)
            known = published_before(session, case_id)
        try:
            # Made before anything leaves: what cannot be offered to the RIS must not stand anywhere else.
            pdf = _pdf(draft)
            message = offer_message(case, row, self._settings, pdf=pdf) if self._settings.ris else b""
            written = publish(  # 2
                self._server,
                draft,
                systems=self._systems,
                known=known,
                codes=self._codes,
                pdf=pdf,
                capabilities=self._abilities.now(),
            )
        except Unreachable as error:  # 3
            self._wait(case_id, number, attempt, error)
            return
        except Conflict as error:
            reported = isinstance(error, HumanVersion)
            self._settle(case_id, number, CaseState.WITHHELD, str(error), reported=reported)
            return
        except ExchangeError as error:
            self._settle(case_id, number, CaseState.FAILED, f"{error} {error.next_step}")
            return
        with self._database.write() as session:  # 4
            case = session.get_one(Case, case_id)
            row = latest_draft(session, case_id)
            if row is None or row.number != number or row.reference:
                return
            row.reference, row.version, row.url = written.reference, written.version, written.url
            row.published_at = now()
            where: dict[str, object] = {
                "draft": number,
                "status": row.status,
                "reference": row.reference,
                "version": row.version,
            }
            if _due(case, row, number):
                move(session, case, CaseState.PUBLISHED, ACTOR, details=where)
                if message:
                    offer(session, case, row, message)
            else:
                # The case moved on while the server was writing: the draft is there, and the log says so.
                record(session, ACTOR, "draft.written-late", case_id=case_id, details=where)
                if case.state == CaseState.CANCELLED:
                    # The first attempt may have been made before the draft was there.
                    self._enqueue(session, Job("withdraw", case_id, case.draft_number, 1))
                ask_to_retire(session, case, self._enqueue)

    def _settle(
        self, case_id: str, number: int, state: CaseState, reason: str, *, reported: bool = False
    ) -> None:
        """reported: a human's report is there; an earlier draft of ours must not stand beside it."""
        with self._database.write() as session:
            case = session.get_one(Case, case_id)
            row = latest_draft(session, case_id)
            if row is not None and _due(case, row, number):
                move(session, case, state, ACTOR, reason=reason, details={"draft": number})
                if reported:
                    ask_to_retire(session, case, self._enqueue)

    def _wait(self, case_id: str, number: int, attempt: int, error: Unreachable) -> None:
        with self._database.write() as session:
            case = session.get_one(Case, case_id)
            row = latest_draft(session, case_id)
            if row is not None and _due(case, row, number):
                job = Job("publish", case_id, number, attempt)
                asked = error.retry_after_seconds
                retry(
                    session, case, job, str(error), self._settings, self._enqueue, ACTOR, asked_seconds=asked
                )


def _pdf(draft: DraftReport) -> bytes | None:
    """The draft as a PDF; None when it holds a script that no font of ours has: the HTML says it then."""
    try:
        return report_pdf(draft)
    except Unprintable:
        return None


def _due(case: Case, row: DraftRecord, number: int) -> bool:
    return case.state == CaseState.DRAFTED and case.draft_number == row.number == number
