"""Taking a message in: answered only when it is committed, kept whatever it is, never applied twice."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session

from connectors.exchange import Order, OrderAction, Practitioner, ReportStatus
from connectors.hl7.ack import read_ack
from connectors.hl7.identifiers import Places
from connectors.hl7.message import parse
from connectors.sandbox.ris import order_message, report_message
from plugin import outbox
from plugin.audit.log import record
from plugin.cases import CaseState
from plugin.casework import Job
from plugin.db import Database
from plugin.incoming import Arrival, Rules
from plugin.intake import Intake, UnknownMessage
from plugin.messages import LONGEST, subjects_of
from plugin.orders import take_study
from plugin.tables import AuditLeaf, Case, Message, SignOff
from tests.case_samples import BEN, ROSA, Jobs, a_study, an_order, fresh_database, holds, state_of

AT = datetime(2026, 1, 6, 9, 30, tzinfo=UTC)
PEER = "127.0.0.1:50000"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with fresh_database(tmp_path) as database:
        yield database


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


@pytest.fixture
def intake(database: Database, jobs: Jobs) -> Intake:
    return Intake(database, jobs.enqueue)


def ordering(control_id: str = "M1", **changes: Any) -> bytes:
    """An order as the RIS sends it."""
    return order_message(an_order(**changes), control_id, AT)


def signing(
    control_id: str = "M2",
    status: ReportStatus = ReportStatus.FINAL,
    signer: Practitioner | None = ROSA,
    **changes: Any,
) -> bytes:
    """A report of that order as the RIS sends it."""
    order: Order = an_order(**changes)
    return report_message(
        accession=order.accession,
        patient=order.patient,
        procedure=order.procedure,
        text="Normal.",
        status=status,
        signer=signer,
        control_id=control_id,
        at=AT,
        study_instance_uid=order.study_instance_uid,
    )


def with_msh(body: bytes, **fields: str) -> bytes:
    """A message with fields of its MSH set: f15="AL"."""
    header, _, rest = body.partition(b"\r")
    parts = header.split(b"|")
    for name, value in fields.items():
        number = int(name[1:])
        parts += [b""] * (number - len(parts))
        parts[number - 1] = value.encode()
    return b"|".join(parts) + b"\r" + rest


def taken(intake: Intake, body: bytes, peer: str = PEER) -> bytes:
    """What goes back for one message."""
    return b"".join(intake.receive(body, peer).in_order)


def kept(database: Database) -> list[Message]:
    with database.read() as session:
        return list(session.scalars(sa.select(Message).order_by(Message.id)).all())


def accessions(database: Database, message: Message) -> list[str]:
    with database.read() as session:
        return [subject.accession for subject in subjects_of(session, message.id)]


def count(database: Database, table: Any) -> int:
    with database.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def actions(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(sa.select(AuditLeaf.action).order_by(AuditLeaf.position)).all())


def test_an_accepted_message_is_committed_before_it_is_answered(
    database: Database, intake: Intake, tmp_path: Path
) -> None:
    """Another connection sees nothing before the commit, and everything once there is an AA."""
    other = sqlite3.connect(tmp_path / "prelim.sqlite")
    seen: list[int] = []

    def look(*_: object) -> None:
        seen.append(other.execute("SELECT count(*) FROM messages").fetchone()[0])

    event.listen(Session, "before_commit", look)
    event.listen(Session, "after_commit", look)
    try:
        answer = read_ack(taken(intake, ordering(), PEER))
    finally:
        event.remove(Session, "before_commit", look)
        event.remove(Session, "after_commit", look)
    assert (answer.code, answer.control_id) == ("AA", "M1")
    assert (seen[0], seen[-1]) == (0, 1)
    tables = {
        name: other.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("messages", "cases")
    }
    other.close()
    assert tables == {"messages": 1, "cases": 1}
    assert actions(database) == ["case.opened", "order.taken", "message.processed"]
    assert holds(database)


def test_no_answer_leaves_when_the_commit_fails(database: Database, intake: Intake) -> None:
    """A commit that fails at the very end is AR, and nothing of the message is there."""

    def full(*_: object) -> None:
        raise sa.exc.OperationalError("COMMIT", {}, sqlite3.OperationalError("disk I/O error"))

    event.listen(Session, "before_commit", full)
    try:
        answer = read_ack(taken(intake, ordering(), PEER))
    finally:
        event.remove(Session, "before_commit", full)
    assert (answer.code, answer.control_id) == ("AR", "M1")
    assert (kept(database), count(database, Case), actions(database)) == ([], 0, [])


def test_a_database_that_refuses_to_write_is_a_retryable_nack(tmp_path: Path, jobs: Jobs) -> None:
    """AR and nothing stored; the same message is taken once the database can be written."""
    with fresh_database(tmp_path) as database:
        intake = Intake(database, jobs.enqueue)

        def read_only(connection: Any, *_: object) -> None:
            connection.execute("PRAGMA query_only = ON")

        event.listen(database.engine, "connect", read_only)
        assert read_ack(taken(intake, ordering(), PEER)).code == "AR"
        event.remove(database.engine, "connect", read_only)
        database.engine.dispose()
        assert kept(database) == []
        assert read_ack(taken(intake, ordering(), PEER)).code == "AA"


def test_a_database_that_is_away_is_cr_in_enhanced_mode(database: Database, intake: Intake) -> None:
    """Where MSH-15 asks for accept acknowledgements, the retryable nack is CR."""

    def away(*_: object) -> None:
        raise sa.exc.OperationalError("BEGIN", {}, sqlite3.OperationalError("locked"))

    event.listen(database.engine, "begin", away)
    code = read_ack(taken(intake, with_msh(ordering(), f15="AL"), PEER)).code
    event.remove(database.engine, "begin", away)
    assert code == "CR"
    assert kept(database) == []


def test_a_copy_gets_the_same_answer_and_changes_nothing(
    database: Database, intake: Intake, jobs: Jobs
) -> None:
    """The same sender, MSH-10 and body: the stored ack byte for byte, and one leaf."""
    with database.write() as session:
        take_study(session, a_study(), jobs.enqueue, "archive")
    first = taken(intake, ordering(), PEER)
    before = actions(database)
    assert taken(intake, ordering(), "10.0.0.9:1") == first
    assert actions(database) == [*before, "message.repeated"]
    assert (len(kept(database)), count(database, Case), len(jobs.asked)) == (1, 1, 1)


def test_the_same_control_id_with_another_body_is_quarantined(
    database: Database, intake: Intake, jobs: Jobs
) -> None:
    """AE with ERR 205; it is kept and not applied, and so is its copy; the first still stands."""
    first = taken(intake, ordering(), PEER)
    for _ in range(2):
        answer = read_ack(taken(intake, ordering(accession="ACC2"), PEER))
        assert (answer.code, answer.error_code) == ("AE", "205")
    assert [row.state for row in kept(database)] == ["PROCESSED", "QUARANTINED", "QUARANTINED"]
    assert count(database, Case) == 1
    assert taken(intake, ordering(), PEER) == first


def test_the_same_control_id_of_another_sender_is_another_message(database: Database, intake: Intake) -> None:
    """MSH-3 and MSH-4 tell senders apart."""
    taken(intake, ordering(), PEER)
    assert read_ack(taken(intake, with_msh(ordering(accession="ACC2"), f4="OTHER"), PEER)).code == "AA"
    assert count(database, Case) == 2


def test_messages_without_a_control_id_are_all_taken(database: Database, intake: Intake) -> None:
    """Without MSH-10 nothing can be recognised: each is applied, and applying twice opens one case."""
    for _ in range(2):
        assert read_ack(taken(intake, ordering(""), PEER)).code == "AA"
    assert (len(kept(database)), count(database, Case)) == (2, 1)


def test_a_refused_message_that_was_mended_is_taken(database: Database, intake: Intake) -> None:
    """The sender keeps MSH-10 when it mends a message: only processed ones are remembered."""
    assert read_ack(taken(intake, ordering(accession=""), PEER)).code == "AE"
    assert read_ack(taken(intake, ordering(), PEER)).code == "AA"
    assert [row.state for row in kept(database)] == ["REFUSED", "PROCESSED"]


@pytest.mark.parametrize("body", [b"", b"hello", b"<xml/>", b"\xff\xfeM\x00", b"MSH"], ids=repr)
def test_what_cannot_be_read_is_rejected_and_kept(database: Database, intake: Intake, body: bytes) -> None:
    """AR, and the bytes as they came are stored for a person to look at."""
    answer = read_ack(taken(intake, body, PEER))
    assert (answer.code, answer.control_id) == ("AR", "")
    (row,) = kept(database)
    assert (row.body, row.state, row.sender, row.peer) == (body, "REFUSED", "", PEER)
    assert actions(database) == ["message.refused"]


@pytest.mark.parametrize(
    "harm",
    [
        lambda body: with_msh(body, f18="UNICODE UTF-8").replace(b"Example", b"Ex\xffmple"),
        lambda body: body + b"0BX|1\r",
    ],
    ids=["character set", "segment"],
)
def test_what_is_harmed_behind_a_readable_header_is_an_error(
    database: Database, intake: Intake, harm: Callable[[bytes], bytes]
) -> None:
    """AE, with the sender's control id: unchanged it would be refused again, so that AR would never end."""
    answer = read_ack(taken(intake, harm(ordering())))
    assert (answer.code, answer.control_id) == ("AE", "M1")
    assert [row.state for row in kept(database)] == ["REFUSED"]


def test_an_unsupported_type_is_rejected_and_kept(database: Database, intake: Intake) -> None:
    """AR with ERR 200 at MSH-9 (table 0357), naming what is taken here."""
    raw = taken(intake, with_msh(ordering(), f9="SIU^S12"), PEER)
    answer = read_ack(raw)
    assert (answer.code, answer.error_code) == ("AR", "200")
    assert parse(raw).first("ERR").value(1) == "MSH"
    assert "ORM^O01" in answer.text
    (row,) = kept(database)
    assert (row.message_type, row.state) == ("SIU^S12", "REFUSED")


@pytest.mark.parametrize("mode", ["order", "report"])
def test_a_missing_accession_is_an_error_that_names_the_setting(
    database: Database, intake: Intake, mode: str
) -> None:
    """AE with ERR 101, where it was looked for, and what to set; the message is kept."""
    body = ordering(accession="") if mode == "order" else signing(accession="")
    answer = read_ack(taken(intake, body, PEER))
    assert (answer.code, answer.error_code) == ("AE", "101")
    assert "setting for accession places" in answer.text
    (row,) = kept(database)
    assert (row.state, row.control_id, row.reason) == (
        "REFUSED",
        "M1" if mode == "order" else "M2",
        answer.text,
    )


def test_every_order_of_a_message_is_applied(database: Database, intake: Intake) -> None:
    """Three ORC groups are three cases, all in the transaction of the one message."""
    one = ordering().decode()
    groups = one[one.index("ORC|") :]
    body = one + groups.replace("ACC1", "ACC2") + groups.replace("ACC1", "ACC3")
    assert read_ack(taken(intake, body.encode(), PEER)).code == "AA"
    assert count(database, Case) == 3
    assert actions(database)[-1] == "message.processed"


def two_reports(second: str) -> bytes:
    """A report that fits ACC1 and, in the same message, one of the same patient for another accession."""
    one = signing(study_instance_uid="").decode()
    return (one + one[one.index("OBR|") :].replace("ACC1", second)).encode()


def test_one_report_that_does_not_fit_takes_all_of_them_back(database: Database, intake: Intake) -> None:
    """Nothing of a message is applied when one of its reports is of another patient; the message is kept."""
    taken(intake, ordering(), PEER)
    taken(intake, ordering("M0", accession="ACC2", patient=BEN), PEER)
    before = actions(database)
    answer = read_ack(taken(intake, two_reports("ACC2"), PEER))
    assert (answer.code, answer.error_code) == ("AE", "204")
    assert state_of(database, "ACC1") is CaseState.RECEIVED
    assert count(database, SignOff) == 0
    assert actions(database) == [*before, "message.refused"]
    assert kept(database)[-1].state == "REFUSED"
    assert holds(database)


def test_several_reports_of_a_message_all_sign(database: Database, intake: Intake) -> None:
    """One report dictated for two cases signs both."""
    taken(intake, ordering(), PEER)
    taken(intake, ordering("M0", accession="ACC2"), PEER)
    assert read_ack(taken(intake, two_reports("ACC2"), PEER)).code == "AA"
    assert {state_of(database, name) for name in ("ACC1", "ACC2")} == {CaseState.SIGNED}


def test_a_replay_is_a_new_message_linked_to_the_original(database: Database, intake: Intake) -> None:
    """It is applied anew with the settings of now; the log says who and why."""
    taken(intake, ordering(accession="", filler_order_number="FILL-9"), PEER)
    mended = Intake(
        database, Jobs().enqueue, {"default": Rules(places=Places(accession=("OBR-18", "OBR-3")))}
    )
    (answer,) = mended.replay(1, "The site writes OBR-3.", "operator:ada").in_order
    assert read_ack(answer).code == "AA"
    rows = kept(database)
    assert [(row.state, row.replay_of, accessions(database, row)) for row in rows] == [
        ("REFUSED", None, []),
        ("PROCESSED", 1, ["FILL-9"]),
    ]
    assert rows[1].body == rows[0].body
    with database.read() as session:
        leaf = session.scalars(sa.select(AuditLeaf).where(AuditLeaf.action == "message.replayed")).one()
    assert (leaf.actor, leaf.message_id) == ("operator:ada", 1)
    assert "The site writes OBR-3." in leaf.entry


def test_a_processed_message_can_be_replayed_and_signs_once_more(database: Database, intake: Intake) -> None:
    """A replay is not taken for a copy; what follows it is still compared with the original."""
    taken(intake, signing(), PEER)
    assert read_ack(b"".join(intake.replay(1, "again", "operator:ada").in_order)).code == "AA"
    assert (count(database, SignOff), state_of(database)) == (2, CaseState.SIGNED)


def test_replaying_what_is_not_there_says_so(database: Database, intake: Intake) -> None:
    """UnknownMessage, and no leaf."""
    with pytest.raises(UnknownMessage, match="no message 7"):
        intake.replay(7, "again", "operator:ada")
    assert actions(database) == []


@pytest.mark.parametrize(
    ("accept", "application", "good", "bad"),
    [("NE", "NE", None, None), ("ER", "NE", None, "CE"), ("SU", "NE", "CA", None), ("AL", "", "CA", "CE")],
)
def test_a_sender_gets_the_answers_that_it_wants(
    database: Database, intake: Intake, accept: str, application: str, good: str | None, bad: str | None
) -> None:
    """MSH-15 and MSH-16 choose; a message that wants no answer is taken and kept all the same."""
    for body, expected in ((ordering("M1"), good), (ordering("M2", accession=""), bad)):
        answer = taken(intake, with_msh(body, f15=accept, f16=application), PEER)
        assert (read_ack(answer).code if answer else None) == expected
    assert [row.state for row in kept(database)] == ["PROCESSED", "REFUSED"]
    assert kept(database)[0].ack == b"" or good


def test_an_error_that_nobody_foresaw_is_ae_and_the_message_is_kept(database: Database) -> None:
    """What fails in our own code is not sent for ever: AE, kept as refused, and nothing of it applied."""

    def broken(session: Session, _job: Job) -> None:
        record(session, "test", "half.done")
        raise ZeroDivisionError("Example^Ada")

    with database.write() as session:
        take_study(session, a_study(), broken, "archive")
    answer = read_ack(taken(Intake(database, broken), ordering(), PEER))
    assert (answer.code, answer.error_code) == ("AE", "207")
    (row,) = kept(database)
    assert (row.state, row.body) == ("REFUSED", ordering())
    assert (count(database, Case), actions(database)) == (0, ["study.announced", "message.refused"])
    assert "Ada" not in row.reason + answer.text
    assert holds(database)


def test_a_signed_report_signs_and_what_is_ours_does_not(database: Database, intake: Intake) -> None:
    """An ORU of our own, come back from the RIS, moves nothing."""
    taken(intake, ordering(), PEER)
    ours = with_msh(signing("M2"), f3="PRELIM")
    assert read_ack(taken(intake, ours, PEER)).code == "AA"
    assert state_of(database) is CaseState.RECEIVED
    taken(intake, signing("M3"), PEER)
    assert state_of(database) is CaseState.SIGNED


def test_a_cancelled_order_is_remembered(database: Database, intake: Intake) -> None:
    """ORC-1 OC cancels the case that NW opened."""
    taken(intake, ordering(), PEER)
    taken(intake, ordering("M2", action=OrderAction.CANCEL), PEER)
    assert state_of(database) is CaseState.CANCELLED


def test_an_update_of_nobody_in_particular_is_an_error_with_its_reason(
    database: Database, intake: Intake
) -> None:
    """A08 without an authority, where two authorities have given the identifier, changes no patient."""
    for number, authority in enumerate(("A", "B"), 1):
        patient = replace(BEN, assigning_authority=authority)
        intake.receive(ordering(f"M{number}", accession=f"ACC{number}", patient=patient), PEER)
    body = b"MSH|^~\\&|ADT|H|||20260106093000||ADT^A08|M9|P|2.5.1\rPID|1||PAT-2||Third^Carl\r"
    ack = read_ack(b"".join(intake.receive(body, PEER).in_order))
    assert (ack.code, ack.error_code) == ("AE", "204")
    with database.read() as session:
        told = {case.order["patient"]["family_name"] for case in session.scalars(sa.select(Case))}
    assert told == {BEN.family_name}


def test_a_message_that_still_waits_to_be_sent_is_not_replayed(database: Database, intake: Intake) -> None:
    """It is sent by itself; nothing is logged, for nothing was done."""
    with database.write() as session:
        number = outbox.put(session, "ris", "lane", ordering("OUT-1"))
    with pytest.raises(outbox.Overtaken, match="still waits"):
        intake.replay(number, "because", "somebody")
    with database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Message)) == 1
        assert "message.replayed" not in session.scalars(sa.select(AuditLeaf.action)).all()


@pytest.mark.parametrize(("length", "code"), [(LONGEST, "AA"), (LONGEST + 1, "AE")])
@pytest.mark.parametrize("place", ["control id", "accession", "patient"])
def test_what_identifies_something_is_at_most_199_characters_long(
    database: Database, intake: Intake, place: str, length: int, code: str
) -> None:
    """A longer one is refused with the place, and kept; nothing is looked up by half an identifier."""
    long = "7" * length
    body = {
        "control id": ordering(long),
        "accession": ordering(accession=long),
        "patient": ordering(patient=replace(BEN, identifier=long)),
    }[place]
    ack = read_ack(b"".join(intake.receive(body, PEER).in_order))
    assert (ack.code, ack.error_code) == (code, "" if code == "AA" else "104")
    with database.read() as session:
        assert session.scalars(sa.select(Message)).one().body == body


def test_orders_that_are_too_many_for_one_query_are_looked_up_one_by_one(
    database: Database, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every order of a large group finds its case all the same."""
    monkeypatch.setattr("plugin.taking.REMEMBERED", 1)
    arrivals = [
        Arrival(ordering(f"M{number}", accession=f"ACC{number % 2}"), PEER, intake.rules("default"))
        for number in range(4)
    ]
    assert all(intake.receive_all(arrivals))
    with database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Case)) == 2
