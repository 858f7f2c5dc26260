"""The outbox: what leaves is kept first, goes in order within its lane, and is never sent for nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from connectors.hl7.ack import Ack, AckCode, read_ack
from connectors.hl7.message import build
from plugin import outbox
from plugin.cases import CaseState
from plugin.casework import find_case, move
from plugin.db import Database, now
from plugin.messages import DROPPED, REFUSED, SENT, WAITING, MessageQuery, Subject, find_messages
from plugin.orders import take_order, take_study
from plugin.outbox import RIS, Due, Overtaken
from plugin.tables import AuditLeaf, Case, Delivery, DraftRecord, Message
from tests.case_samples import (
    ADA,
    Jobs,
    a_study,
    an_order,
    fresh_database,
    holds,
    see_report,
    store_draft,
)
from tests.case_samples import a_report as report_of

ACTOR = "prelim/worker"
MINUTE = timedelta(minutes=1)
ACCEPTED = Ack(AckCode.AA, "1", raw=b"the ack as it came")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with fresh_database(tmp_path) as database:
        yield database


def message(control_id: str) -> bytes:
    return build([("MSH", {3: "PRELIM", 9: ("ORU", "R01"), 10: control_id})])


def ack_of(code: AckCode, sender: str = "RIS") -> Ack:
    """An acknowledgement of CID-1 as it came from a sender."""
    msh = {3: sender, 4: "HOSP", 9: "ACK", 10: "A1", 12: "2.5.1"}
    return read_ack(build([("MSH", msh), ("MSA", {1: code.value, 2: "CID-1"})]))


def put(database: Database, control_id: str, lane: str = "lane", destination: str = RIS) -> int:
    with database.write() as session:
        return outbox.put(session, destination, lane, message(control_id))


def claim(database: Database, in_hand: timedelta = MINUTE, destination: str = RIS) -> Due | None:
    with database.write() as session:
        return outbox.claim(session, destination, in_hand)


def number(due: Due | None) -> int | None:
    return due.message_id if due else None


def state(database: Database, number: int) -> str:
    with database.read() as session:
        return session.get_one(Message, number).state


def published(database: Database) -> DraftRecord:
    """A case whose draft stands on the FHIR server."""
    with database.write() as session:
        jobs = Jobs()
        take_study(session, a_study(), jobs.enqueue, "archive")
        take_order(session, an_order(), jobs.enqueue, "hl7:RIS")
        case = find_case(session, "ACC1")
        assert case is not None
        row = store_draft(session, case)
        move(session, case, CaseState.PUBLISHED, ACTOR)
        return row


def offered(database: Database, row: DraftRecord) -> int:
    with database.write() as session:
        about = session.get_one(DraftRecord, row.id)
        body = message(outbox.offer_id(row.id))
        return outbox.put(
            session, RIS, row.case_id, body, subjects=[Subject("ACC1", ADA)], about=about, offers=True
        )


def test_what_is_put_is_kept_and_found_by_what_it_is_about(database: Database) -> None:
    """A message that waits stands in the store of messages with its subjects, and in the log."""
    row = published(database)
    number = offered(database, row)
    with database.read() as session:
        (found,) = find_messages(session, MessageQuery(accession="ACC1", direction="out"))
        leaf = session.scalars(sa.select(AuditLeaf).where(AuditLeaf.message_id == number)).one()
    assert (found.id, found.state, found.channel) == (number, WAITING, RIS)
    assert (leaf.action, leaf.case_id) == ("message.waiting", row.case_id)
    assert holds(database)


def test_the_first_of_a_lane_goes_first_and_holds_back_the_others(database: Database) -> None:
    """What is in hand, or put off, holds back its lane; another lane goes on."""
    first, second, other = put(database, "1"), put(database, "2"), put(database, "3", "other")
    assert number(claim(database)) == first
    assert number(claim(database)) == other
    assert claim(database) is None
    with database.write() as session:
        outbox.put_off(session, first, "Busy.", now() + MINUTE)
    assert claim(database) is None
    with database.write() as session:
        outbox.sent(session, first, ACCEPTED)
    assert number(claim(database)) == second


def test_each_destination_has_its_own_messages(database: Database) -> None:
    """A sender sees only what goes where it sends."""
    put(database, "1", destination="10.0.0.1:2575")
    assert claim(database) is None
    assert claim(database, destination="10.0.0.1:2575") is not None


def test_a_message_in_the_hands_of_a_dead_sender_is_taken_again(database: Database) -> None:
    """After the time that it may be in hand, and not before."""
    first = put(database, "1")
    assert number(claim(database, MINUTE)) == first
    assert claim(database) is None
    with database.write() as session:
        session.get_one(Delivery, first).next_attempt_at = now() - timedelta(milliseconds=1)
    again = claim(database)
    assert again is not None
    assert (again.message_id, again.attempts) == (first, 2)


def test_what_was_sent_is_kept_with_its_acknowledgement(database: Database) -> None:
    """SENT, the ack as it came, the draft's delivery recorded, and nothing waits any more."""
    row = published(database)
    first = offered(database, row)
    claim(database)
    with database.write() as session:
        outbox.sent(session, first, ACCEPTED)
    with database.read() as session:
        kept = session.get_one(Message, first)
        assert (kept.state, kept.ack) == (SENT, ACCEPTED.raw)
        assert session.get_one(DraftRecord, row.id).delivered_at is not None
        assert session.get(Delivery, first) is None
    assert holds(database)


def test_a_second_settlement_changes_nothing(database: Database) -> None:
    """Two senders that both sent one message, one of them thought dead, record it once."""
    first = put(database, "1")
    claim(database)
    with database.write() as session:
        outbox.sent(session, first, ACCEPTED)
    for late in (
        lambda session: outbox.sent(session, first, ACCEPTED),
        lambda session: outbox.refused(session, first, "No.", None),
        lambda session: outbox.put_off(session, first, "Busy.", now()),
    ):
        with database.write() as session:
            late(session)
    assert state(database, first) == SENT


def test_what_the_receiver_refuses_is_a_dead_letter(database: Database) -> None:
    """REFUSED with the reason; the case says so; the lane goes on."""
    row = published(database)
    first = offered(database, row)
    second = put(database, "2", row.case_id)
    claim(database)
    with database.write() as session:
        outbox.refused(session, first, "It answered AE.", None)
    with database.read() as session:
        assert session.get_one(Message, first).reason == "It answered AE."
        assert session.get_one(Case, row.case_id).reason == "The RIS refused the draft: It answered AE."
    assert (state(database, first), number(claim(database))) == (REFUSED, second)


def test_a_draft_that_was_overtaken_is_dropped_and_not_offered(database: Database) -> None:
    """While the RIS was away a human signed: the draft must not come after the final report."""
    row = published(database)
    first = offered(database, row)
    with database.write() as session:
        see_report(session, report_of(), "message 9:0", "hl7:RIS")
    assert claim(database) is None
    assert state(database, first) == DROPPED
    with database.read() as session:
        assert session.get_one(DraftRecord, row.id).delivered_at is None


def test_an_overtaken_draft_is_not_sent_again_by_hand_either(database: Database) -> None:
    """A replay of an offer asks whether the draft still stands; a replay of anything else goes out."""
    row = published(database)
    first = offered(database, row)
    with database.write() as session:
        outbox.sent(session, first, ACCEPTED)
        again = outbox.send_again(session, session.get_one(Message, first), "operator:ada")
        assert session.get_one(Message, again).replay_of == first
        see_report(session, report_of(), "message 9:0", "hl7:RIS")
    with pytest.raises(Overtaken, match="stands no longer"), database.write() as session:
        outbox.send_again(session, session.get_one(Message, first), "operator:ada")
    other = put(database, "5")
    with database.write() as session:
        outbox.refused(session, other, "No.", None)
        outbox.send_again(session, session.get_one(Message, other), "operator:ada")


def test_a_replay_is_found_by_the_subjects_of_its_original(database: Database) -> None:
    """Who looks for the accession sees the original and every replay."""
    first = offered(database, published(database))
    with database.write() as session:
        outbox.sent(session, first, ACCEPTED)
        again = outbox.send_again(session, session.get_one(Message, first), "operator:ada")
    with database.read() as session:
        found = find_messages(session, MessageQuery(accession="ACC1", direction="out"))
        assert [row.id for row in found] == [again, first]


@pytest.mark.parametrize(("code", "state_after"), [(AckCode.AA, SENT), (AckCode.AE, REFUSED)])
def test_a_late_application_acknowledgement_is_told_to_its_message(
    database: Database, code: AckCode, state_after: str
) -> None:
    """A receiver that stored a message and could not process it makes a dead letter of it."""
    first = put(database, "CID-1")
    claim(database)
    accept, later = ack_of(AckCode.CA), ack_of(code)
    with database.write() as session:
        outbox.sent(session, first, accept)
        outbox.answered(session, later, "hl7:RIS", 99)
    with database.read() as session:
        kept = session.get_one(Message, first)
    assert (kept.state, kept.ack, kept.application_ack) == (state_after, accept.raw, later.raw)


@pytest.mark.parametrize(
    ("first_code", "sender"), [(AckCode.CA, "STRANGER"), (AckCode.AA, "RIS")], ids=["stranger", "original"]
)
def test_nobody_but_the_receiver_undoes_a_delivery(
    database: Database, first_code: AckCode, sender: str
) -> None:
    """An error from anybody else, or after the receiver's last word, is logged and changes nothing."""
    first = put(database, "CID-1")
    claim(database)
    with database.write() as session:
        outbox.sent(session, first, ack_of(first_code))
        outbox.answered(session, ack_of(AckCode.AE, sender), "hl7:STRANGER", 99)
    assert state(database, first) == SENT
    with database.read() as session:
        last = session.scalars(sa.select(AuditLeaf.action).order_by(AuditLeaf.position.desc())).first()
    assert last == "message.answered"


def test_an_acknowledgement_of_nothing_that_we_sent_is_only_logged(database: Database) -> None:
    """It changes no message."""
    first = put(database, "CID-1")
    with database.write() as session:
        outbox.answered(session, Ack(AckCode.AE, "CID-2"), "hl7:RIS", 99)
    assert state(database, first) == WAITING


LANES = st.sampled_from(["a", "b", "c"])


class Sending(RuleBasedStateMachine):
    """Any puts, claims, acknowledgements and deaths of senders: every lane in order, nothing lost."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="prelim-outbox-"))
        self.database = self.stack.enter_context(fresh_database(Path(folder)))
        self.waiting: dict[str, list[int]] = {"a": [], "b": [], "c": []}
        self.in_hand: dict[int, str] = {}
        self.count = 0

    def teardown(self) -> None:
        self.stack.close()

    @rule(lane=LANES)
    def put(self, lane: str) -> None:
        self.count += 1
        self.waiting[lane].append(put(self.database, str(self.count), lane))

    @rule()
    def claim(self) -> None:
        due = claim(self.database)
        free = [lane for lane, numbers in self.waiting.items() if numbers and numbers[0] not in self.in_hand]
        if due is None:
            assert not free
            return
        lane = next(lane for lane in free if self.waiting[lane][0] == due.message_id)
        assert due.message_id == min(self.waiting[one][0] for one in free), "the longest wait goes first"
        self.in_hand[due.message_id] = lane

    @rule(outcome=st.sampled_from(["sent", "refused", "put off", "died"]), data=st.data())
    def settle(self, outcome: str, data: st.DataObject) -> None:
        if not self.in_hand:
            return
        chosen = data.draw(st.sampled_from(sorted(self.in_hand)))
        lane = self.in_hand.pop(chosen)
        with self.database.write() as session:
            if outcome == "sent":
                outbox.sent(session, chosen, ACCEPTED)
            elif outcome == "refused":
                outbox.refused(session, chosen, "No.", None)
            elif outcome == "put off":
                outbox.put_off(session, chosen, "Busy.", now())
            else:
                session.get_one(Delivery, chosen).next_attempt_at = now()
        if outcome in {"sent", "refused"}:
            assert self.waiting[lane].pop(0) == chosen

    @invariant()
    def what_waits_is_what_was_not_settled(self) -> None:
        with self.database.read() as session:
            there = set(session.scalars(sa.select(Delivery.message_id)))
            states = dict(session.execute(sa.select(Message.id, Message.state)).all())
        assert there == {number for numbers in self.waiting.values() for number in numbers}
        assert {number for number, now in states.items() if now == WAITING} == there
        assert len(states) == self.count


TestSending = Sending.TestCase
TestSending.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
