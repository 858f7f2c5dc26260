"""Messages in groups: committed together, each answered for itself, none at the cost of another."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session

from connectors.exchange import OrderAction
from connectors.hl7.ack import read_ack
from connectors.hl7.batches import split
from connectors.hl7.message import parse
from connectors.hl7.mllp import Peer
from connectors.sandbox.ris import order_message
from plugin.casework import Job
from plugin.db import Database
from plugin.incoming import Arrival, Rules
from plugin.intake import GROUP, Intake
from plugin.messages import PROCESSED, REFUSED
from plugin.orders import take_study
from plugin.reception import GROUP_BYTES, NotTaken, Reception, _fitting, replies_to
from plugin.tables import AuditLeaf, Case, Delivery, Message
from tests.case_samples import Jobs, a_study, an_order, fresh_database, holds, state_of

AT = datetime(2026, 1, 6, 9, 30, tzinfo=UTC)
RULES = Rules()
PEER = Peer("127.0.0.1", 50000, "default")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with fresh_database(tmp_path) as database:
        yield database


@pytest.fixture
def intake(database: Database) -> Intake:
    return Intake(database, Jobs().enqueue)


def ordering(number: int, **changes: Any) -> bytes:
    """An order of an accession of its own."""
    words = {"study_instance_uid": f"1.2.3.4.5.{number}", **changes}
    return order_message(an_order(f"ACC{number}", **words), f"M{number}", AT)


def arrivals(*bodies: bytes, rules: Rules = RULES) -> list[Arrival]:
    return [Arrival(body, "127.0.0.1:50000", rules) for body in bodies]


def count(database: Database, table: Any) -> int:
    with database.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def commits() -> Any:
    """Counts the commits of writing transactions while it is entered."""

    class Counter:
        seen = 0

        def __enter__(self) -> Counter:
            event.listen(Session, "after_commit", self.count)
            return self

        def __exit__(self, *_: object) -> None:
            event.remove(Session, "after_commit", self.count)

        def count(self, _session: Session) -> None:
            self.seen += 1

    return Counter()


def codes(replies: list[tuple[bytes, ...]]) -> list[tuple[str, str]]:
    """(code, control id) of each reply."""
    found = [read_ack(reply) for own in replies for reply in own]
    return [(ack.code.value, ack.control_id) for ack in found]


def test_a_group_is_one_transaction_and_each_message_gets_its_own_answer(
    database: Database, intake: Intake
) -> None:
    """Twenty messages that wait together cost one commit; the log has every leaf in order, and verifies."""
    with commits() as counter:
        replies = replies_to(intake, arrivals(*(ordering(n) for n in range(20))))
    assert counter.seen == 1
    assert codes(replies) == [("AA", f"M{n}") for n in range(20)]
    assert (count(database, Message), count(database, Case)) == (20, 20)
    with database.read() as session:
        told = session.scalars(sa.select(AuditLeaf.action).order_by(AuditLeaf.position)).all()
    assert list(told) == ["case.opened", "order.taken", "message.processed"] * 20
    assert holds(database)


@pytest.mark.parametrize("extra", [0, 1])
def test_a_group_has_a_most(database: Database, intake: Intake, extra: int) -> None:
    """As many messages as GROUP share a transaction; one more begins another."""
    bodies = [ordering(n) for n in range(GROUP + extra)]
    with commits() as counter:
        intake.receive_all(arrivals(*bodies))
    assert counter.seen == 1 + extra
    assert count(database, Message) == GROUP + extra


@pytest.mark.parametrize("extra", [0, 1])
def test_a_group_has_a_most_in_bytes_too(extra: int) -> None:
    """Messages up to GROUP_BYTES together; the one that goes over is of the next group, alone if it must."""
    half = b"x" * (GROUP_BYTES // 2)
    assert _fitting(arrivals(half, half + b"x" * extra, b"x")) == (2 if not extra else 1)
    assert _fitting(arrivals(b"x" * (GROUP_BYTES + 1), b"x")) == 1


def test_one_message_at_fault_costs_the_others_nothing(database: Database) -> None:
    """An error that nobody foresaw refuses its own message; those around it are taken."""

    def enqueue(_session: Session, job: Job) -> None:
        raise ZeroDivisionError(job.kind)

    with database.write() as session:
        take_study(session, a_study("ACC1", study_instance_uid="1.2.3.4.5.1"), Jobs().enqueue, "archive")
    replies = replies_to(Intake(database, enqueue), arrivals(*(ordering(n) for n in range(3))))
    assert codes(replies) == [("AA", "M0"), ("AE", "M1"), ("AA", "M2")]
    with database.read() as session:
        states = session.scalars(sa.select(Message.state).order_by(Message.id)).all()
    assert list(states) == [PROCESSED, REFUSED, PROCESSED]
    assert count(database, Case) == 2
    assert holds(database)


def test_a_database_at_fault_stores_none_and_asks_for_all_again(database: Database, intake: Intake) -> None:
    """Every message of the group gets AR, and nothing of any is kept."""

    def away(*_: object) -> None:
        raise sa.exc.OperationalError("BEGIN", {}, sqlite3.OperationalError("locked"))

    event.listen(database.engine, "begin", away)
    replies = replies_to(intake, arrivals(ordering(1), ordering(2)))
    event.remove(database.engine, "begin", away)
    assert codes(replies) == [("AR", "M1"), ("AR", "M2")]
    assert count(database, Message) == 0


def test_a_repeat_within_a_group_is_a_repeat(database: Database, intake: Intake) -> None:
    """A sender that repeats while its first copy still waits gets the same bytes, and one case."""
    one, two = replies_to(intake, arrivals(ordering(1), ordering(1)))
    assert one == two
    assert (count(database, Message), count(database, Case)) == (1, 1)


def test_another_body_under_the_same_id_within_a_group_is_quarantined(
    database: Database, intake: Intake
) -> None:
    """The first of the group stands."""
    other = ordering(1, clinical_question="Something else?")
    replies = replies_to(intake, arrivals(ordering(1), other))
    assert codes(replies) == [("AA", "M1"), ("AE", "M1")]
    assert count(database, Case) == 1


def test_messages_of_one_accession_in_a_group_are_applied_in_their_order(
    database: Database, intake: Intake
) -> None:
    """Placed, then cancelled: the case ends cancelled; the other way round it lives."""
    cancel = order_message(an_order("ACC1", action=OrderAction.CANCEL), "C1", AT)
    again = order_message(an_order("ACC1"), "C2", AT)
    replies_to(intake, arrivals(order_message(an_order("ACC1"), "C0", AT), cancel))
    assert state_of(database) == "CANCELLED"
    replies_to(intake, arrivals(again))
    assert state_of(database) == "RECEIVED"


BATCH = "BHS|^~\\&|RIS|HOSP|||20260106||||B7\r{}BTS|{}\r"


def batch(*bodies: bytes, declared: int | None = None) -> bytes:
    told = b"".join(bodies).decode()
    return BATCH.format(told, len(bodies) if declared is None else declared).encode()


def test_a_batch_is_taken_message_by_message_and_answered_as_a_batch(
    database: Database, intake: Intake
) -> None:
    """Each message is stored and applied; the answers come back under the sender's batch."""
    (replies,) = replies_to(intake, arrivals(batch(ordering(1), ordering(2))))
    (told,) = replies
    answered = split(told)
    assert [read_ack(one).control_id for one in answered.messages] == ["M1", "M2"]
    assert answered.batches[0].header.value(12) == "B7"
    assert count(database, Case) == 2


def test_a_broken_message_in_a_batch_costs_the_others_nothing(database: Database, intake: Intake) -> None:
    """Good, incomplete, good: AA, AE, AA, and all three are kept."""
    bad = order_message(an_order(""), "M2", AT)
    ((told,),) = replies_to(intake, arrivals(batch(ordering(1), bad, ordering(3))))
    assert [read_ack(one).code for one in split(told).messages] == ["AA", "AE", "AA"]
    assert (count(database, Message), count(database, Case)) == (3, 2)


def test_a_batch_that_counts_wrong_is_refused_whole_and_kept(database: Database, intake: Intake) -> None:
    """A message went missing on the way: nothing of it is taken, so that nobody thinks that all is well."""
    ((told,),) = replies_to(intake, arrivals(batch(ordering(1), ordering(2), declared=3)))
    (answer,) = split(told).messages
    ack = read_ack(answer)
    assert (ack.code, ack.control_id) == ("AE", "")
    assert "BTS-1" in ack.text
    with database.read() as session:
        (kept,) = session.scalars(sa.select(Message))
    assert kept.state == REFUSED
    assert count(database, Case) == 0


def test_messages_strung_together_are_answered_one_by_one(database: Database, intake: Intake) -> None:
    """Without an envelope each answer is a message of its own, for a frame of its own."""
    (replies,) = replies_to(intake, arrivals(ordering(1) + ordering(2)))
    assert [read_ack(reply).control_id for reply in replies] == ["M1", "M2"]
    assert count(database, Case) == 2


def enhanced(body: bytes) -> bytes:
    """The message asking for both acknowledgements."""
    header, _, rest = body.partition(b"\r")
    return b"|".join([*header.split(b"|")[:12], b"", b"", b"AL", b"AL"]) + b"\r" + rest


def test_both_acknowledgements_go_back_on_the_same_connection(intake: Intake) -> None:
    """CA, then AA, each with the sender's control id."""
    assert codes(replies_to(intake, arrivals(enhanced(ordering(1))))) == [("CA", "M1"), ("AA", "M1")]


def test_the_application_acknowledgement_goes_to_the_outbox_where_it_has_its_own_way(
    database: Database, intake: Intake
) -> None:
    """CA at once; AA waits in the outbox for its destination, in the transaction of the message."""
    rules = Rules(application_acks="10.0.0.9:2576")
    first = replies_to(intake, arrivals(enhanced(ordering(1)), rules=rules))
    assert codes(first) == [("CA", "M1")]
    with database.read() as session:
        (waiting,) = session.scalars(sa.select(Delivery))
        body = session.get_one(Message, waiting.message_id).body
    assert (waiting.destination, waiting.lane) == ("10.0.0.9:2576", "SANDBOX_RIS|SANDBOX_HOSPITAL")
    ack = parse(body)
    assert (ack.first("MSA").value(1), ack.first("MSA").value(2), ack.header.value(15)) == ("AA", "M1", "AL")
    assert holds(database)


def test_a_repeat_sends_the_application_acknowledgement_again(database: Database, intake: Intake) -> None:
    """Who repeats has missed it."""
    rules = Rules(application_acks="10.0.0.9:2576")
    for _ in range(2):
        replies_to(intake, arrivals(enhanced(ordering(1)), rules=rules))
    assert count(database, Delivery) == 2


def test_the_future_of_a_message_holds_its_replies_once_it_is_committed(
    database: Database, intake: Intake
) -> None:
    """Messages of one loop are answered in order, and each answer means that its message is there."""
    reception = Reception(intake)
    reception.start()

    async def send() -> list[str]:
        futures = [reception.receive(ordering(n), PEER) for n in range(30)]
        found = []
        for number, future in enumerate(futures):
            (reply,) = await future
            found.append(read_ack(reply).control_id)
            assert count(database, Message) > number
        return found

    assert asyncio.run(send()) == [f"M{n}" for n in range(30)]
    reception.stop()


def test_what_waits_when_it_stops_is_still_taken(database: Database, intake: Intake) -> None:
    """Stopping loses no message that was handed over."""
    reception = Reception(intake)

    async def send() -> None:
        futures = [reception.receive(ordering(n), PEER) for n in range(5)]
        reception.start()
        await asyncio.to_thread(reception.stop)
        await asyncio.gather(*futures)

    asyncio.run(send())
    assert count(database, Message) == 5


def test_an_intake_that_fails_takes_nothing_and_the_connection_is_told(intake: Intake) -> None:
    """The future fails, so that the sender is told to send again; the next message is taken."""
    reception = Reception(intake)
    reception.start()
    receive_all = intake.receive_all

    async def send() -> None:
        intake.receive_all = lambda _: (_ for _ in ()).throw(MemoryError())  # type: ignore[method-assign]
        with pytest.raises(NotTaken):
            await reception.receive(ordering(1), PEER)
        intake.receive_all = receive_all  # type: ignore[method-assign]
        (reply,) = await reception.receive(ordering(2), PEER)
        assert read_ack(reply).code == "AA"

    asyncio.run(send())
    reception.stop()
