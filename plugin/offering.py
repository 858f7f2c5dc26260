"""From a draft to the result messages that offer it to the RIS, and that take it back."""

from __future__ import annotations

from sqlalchemy.orm import Session

from connectors.hl7.drafts import check_egress, draft_message, withdrawal_message
from connectors.pdf import report_pdf
from plugin import outbox, translate
from plugin.db import now
from plugin.messages import Subject
from plugin.settings import Settings
from plugin.tables import Case, Delivery, DraftRecord

ACTOR = "prelim/worker"


def offer_message(case: Case, row: DraftRecord, settings: Settings, *, pdf: bytes | None = None) -> bytes:
    """The ORU^R01 that offers a draft, checked as it would leave. Raises ExchangeError.

    To be made before the transaction that puts it in the outbox: a PDF takes its time.
    pdf: of this very draft, where the caller has it already.
    """
    draft = translate.draft_report(case, row)
    message = draft_message(
        draft,
        control_id=outbox.offer_id(row.id),
        at=now(),
        pdf=(pdf or report_pdf(draft)) if "pdf" in settings.ris_content else None,
        with_text="text" in settings.ris_content,
    )
    check_egress(message)
    return message


def offer(session: Session, case: Case, row: DraftRecord, message: bytes) -> None:
    """Put the offer of a draft in the outbox, behind whatever of its case is there already."""
    outbox.put(session, outbox.RIS, case.id, message, subjects=[_subject(case)], about=row, offers=True)


def take_back(session: Session, case: Case, row: DraftRecord, reason: str) -> bool:
    """Put the withdrawal of a draft in the outbox where the RIS has the draft, or may have it.

    An offer that was never tried is dropped instead. reason: for a person, without patient data. Says whether
    a withdrawal was put.
    """
    offers = outbox.offers_of(session, row.id)
    if any(message.control_id == outbox.withdrawal_id(row.id) for message in offers):
        return False
    for message in offers:
        waiting = session.get(Delivery, message.id)
        if waiting is not None and not message.attempts:
            outbox.drop(session, waiting)
    if not any(outbox.may_have(message) for message in offers):
        return False
    draft = translate.draft_report(case, row)
    body = withdrawal_message(draft, reason=reason, control_id=outbox.withdrawal_id(row.id), at=now())
    check_egress(body)
    outbox.put(session, outbox.RIS, case.id, body, subjects=[_subject(case)], about=row)
    return True


def _subject(case: Case) -> Subject:
    return Subject(case.accession, translate.order_from_json(case.order).patient)
