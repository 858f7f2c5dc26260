"""A cancelled order takes back what the RIS has or may have, and never anything of a human's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from connectors.exchange import OrderAction, ReportStatus
from connectors.fhir.identifiers import IdentifierSystems
from connectors.hl7.ack import Ack, AckCode, read_ack
from connectors.hl7.message import build
from plugin import outbox
from plugin.cases import CaseState
from plugin.casework import find_case, move
from plugin.db import Database, now
from plugin.messages import DROPPED, REFUSED, SENT, WAITING
from plugin.offering import offer, offer_message
from plugin.orders import take_order, take_study
from plugin.outbox import RIS, Due, Overtaken
from plugin.settings import Settings
from plugin.tables import AuditLeaf, Case, Message
from plugin.withdrawing import REASON, Withdrawing
from tests.case_samples import BEN, Jobs, a_study, an_order, fresh_database, holds, see_report, store_draft
from tests.case_samples import a_report as report_of

SETTINGS = Settings(ris="127.0.0.1:1")
ACCEPTED = Ack(AckCode.AA, "1", raw=b"the ack as it came")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with fresh_database(tmp_path) as database:
        yield database


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


@pytest.fixture
def offered(database: Database, jobs: Jobs) -> Database:
    """A database in which one draft is published and its offer waits."""
    with database.write() as session:
        take_study(session, a_study(), jobs.enqueue, "archive")
        take_order(session, an_order(), jobs.enqueue, "hl7:RIS")
        case = case_of(session)
        row = store_draft(session, case)
        move(session, case, CaseState.PUBLISHED, "prelim/worker")
        offer(session, case, row, offer_message(case, row, SETTINGS))
    return database


def case_of(session: Any) -> Case:
    case = find_case(session, "ACC1")
    assert case is not None
    return case


def where(database: Database) -> tuple[str, str]:
    with database.read() as session:
        case = case_of(session)
        return case.state, case.reason


def order(database: Database, jobs: Jobs, action: OrderAction, **changes: Any) -> None:
    with database.write() as session:
        take_order(session, an_order(action=action, **changes), jobs.enqueue, "hl7:RIS", 1)


def report(database: Database, **changes: Any) -> None:
    with database.write() as session:
        see_report(session, report_of(**changes), "message 9:0", "hl7:RIS")


def claim(database: Database) -> Due | None:
    with database.write() as session:
        return outbox.claim(session, RIS, timedelta(0))


def send(database: Database, ack: Ack | None = None) -> int:
    """Send what is next, and have it accepted; return its number."""
    due = claim(database)
    assert due is not None
    with database.write() as session:
        outbox.sent(session, due.message_id, ack or ACCEPTED)
    return due.message_id


def withdraw(database: Database, jobs: Jobs) -> None:
    """Do the withdraw jobs that were asked for."""
    doing = Withdrawing(SETTINGS, database, jobs.enqueue, None, IdentifierSystems())
    for job in [job for job in jobs.asked if job.kind == "withdraw"]:
        doing.withdraw(job.case_id, job.number, job.attempt)


def left(database: Database) -> list[tuple[str, str]]:
    with database.read() as session:
        out = sa.select(Message).where(Message.direction == "out").order_by(Message.id)
        return [(message.control_id, message.state) for message in session.scalars(out)]


@pytest.mark.parametrize("action", [OrderAction.REQUEST_CANCEL, OrderAction.CANCEL])
def test_a_request_behind_the_cancellation_stops_no_withdrawal(
    offered: Database, jobs: Jobs, action: OrderAction
) -> None:
    """OC, then a CA that was slower: the case stays cancelled, and the RIS is told."""
    send(offered)
    order(offered, jobs, OrderAction.CANCEL)
    order(offered, jobs, action)
    withdraw(offered, jobs)
    assert where(offered) == ("CANCELLED", "The order was cancelled.")
    assert left(offered) == [("PRELIM1", SENT), ("PRELIM1X", WAITING)]


def test_a_cancelled_case_that_is_then_held_is_withdrawn_and_keeps_its_reason(
    offered: Database, jobs: Jobs
) -> None:
    """Another patient under a cancelled accession is for a human; the draft of before is taken back."""
    send(offered)
    order(offered, jobs, OrderAction.CANCEL)
    order(offered, jobs, OrderAction.PLACE, patient=BEN)
    held = where(offered)
    withdraw(offered, jobs)
    assert where(offered) == held
    assert held[0] == "HELD"
    assert left(offered) == [("PRELIM1", SENT), ("PRELIM1X", WAITING)]
    with offered.read() as session:
        body = session.scalars(sa.select(Message).where(Message.control_id == "PRELIM1X")).one().body
    assert REASON.encode() in body


@pytest.mark.parametrize("status", [ReportStatus.FINAL, ReportStatus.PRELIMINARY])
def test_no_withdrawal_follows_a_humans_report(offered: Database, jobs: Jobs, status: ReportStatus) -> None:
    """A withdrawal that waits while the human reports would take back the human's report: it is dropped."""
    send(offered)
    order(offered, jobs, OrderAction.CANCEL)
    withdraw(offered, jobs)
    report(offered, status=status)
    assert claim(offered) is None
    assert left(offered) == [("PRELIM1", SENT), ("PRELIM1X", DROPPED)]
    assert holds(offered)


def test_an_offer_that_was_tried_and_overtaken_is_withdrawn(offered: Database, jobs: Jobs) -> None:
    """Its acknowledgement may be what was lost: the RIS may show the draft of a cancelled order."""
    due = claim(offered)
    assert due is not None
    with offered.write() as session:
        outbox.put_off(session, due.message_id, "No answer.", now())
    order(offered, jobs, OrderAction.CANCEL)
    assert claim(offered) is None
    withdraw(offered, jobs)
    assert left(offered) == [("PRELIM1", DROPPED), ("PRELIM1X", WAITING)]


def test_an_offer_that_was_never_tried_needs_no_withdrawal(offered: Database, jobs: Jobs) -> None:
    """The RIS has seen nothing that could be taken back."""
    order(offered, jobs, OrderAction.CANCEL)
    assert claim(offered) is None
    withdraw(offered, jobs)
    assert left(offered) == [("PRELIM1", DROPPED)]


@pytest.mark.parametrize(("raw", "withdrawn"), [(b"", True), (b"an AE", False)])
def test_what_was_refused_is_withdrawn_only_where_no_acknowledgement_said_so(
    offered: Database, jobs: Jobs, raw: bytes, withdrawn: bool
) -> None:
    """An answer that is no acknowledgement says nothing of what the RIS did with the draft."""
    due = claim(offered)
    assert due is not None
    with offered.write() as session:
        outbox.refused(session, due.message_id, "Refused.", Ack(AckCode.AE, "", raw=raw) if raw else None)
    order(offered, jobs, OrderAction.CANCEL)
    withdraw(offered, jobs)
    assert (("PRELIM1X", WAITING) in left(offered)) is withdrawn


@pytest.mark.parametrize("settle", ["sent", "refused", "put off"])
def test_an_answer_that_comes_late_leaves_the_reason_of_the_case(
    offered: Database, jobs: Jobs, settle: str
) -> None:
    """Why a case is signed or held is not overwritten by what became of an offer that was under way."""
    due = claim(offered)
    assert due is not None
    report(offered)
    before = where(offered)
    with offered.write() as session:
        if settle == "sent":
            outbox.sent(session, due.message_id, ACCEPTED)
        elif settle == "refused":
            outbox.refused(session, due.message_id, "No.", None)
        else:
            outbox.put_off(session, due.message_id, "Busy.", now())
    assert where(offered) == before
    assert before[0] == "SIGNED"


def test_a_withdrawal_is_sent_again_by_hand_only_while_the_case_is_cancelled(
    offered: Database, jobs: Jobs
) -> None:
    """After a human's report it would take that back; while it waits it is sent by itself."""
    send(offered)
    order(offered, jobs, OrderAction.CANCEL)
    withdraw(offered, jobs)
    again = sa.select(Message).where(Message.control_id == "PRELIM1X").order_by(Message.id)
    with offered.write() as session, pytest.raises(Overtaken, match="still waits"):
        outbox.send_again(session, session.scalars(again).one(), "somebody")
    send(offered)
    with offered.write() as session:
        outbox.send_again(session, session.scalars(again).one(), "somebody")
    send(offered)
    report(offered)
    with offered.write() as session, pytest.raises(Overtaken, match="cancelled no longer"):
        outbox.send_again(session, session.scalars(again).first(), "somebody")  # type: ignore[arg-type]


def test_a_refusal_that_comes_as_a_message_is_logged_and_told_to_the_case(offered: Database) -> None:
    """The RIS stored the draft and could not process it: its message is refused now, and the log says so."""
    accept, error = (
        read_ack(build([("MSH", {3: "RIS", 9: "ACK", 10: "A"}), ("MSA", {1: code.value, 2: "PRELIM1"})]))
        for code in (AckCode.CA, AckCode.AE)
    )
    number = send(offered, accept)
    with offered.write() as session:
        outbox.answered(session, error, "hl7:RIS", 77)
    assert left(offered) == [("PRELIM1", REFUSED)]
    assert where(offered)[1].startswith("The RIS refused the draft")
    with offered.read() as session:
        of_message = sa.select(AuditLeaf).where(AuditLeaf.message_id == number)
        leaf = session.scalars(of_message.order_by(AuditLeaf.position.desc())).first()
        assert leaf is not None
        assert (leaf.action, bool(leaf.case_id)) == ("message.refused", True)
    assert holds(offered)
