"""The life of a case: the table of moves, and what random histories may never do to it."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy.orm import Session

from connectors.exchange import OrderAction, Patient, ReportDocument, ReportStatus
from plugin.audit.verify import verify
from plugin.cases import MOVES, OURS_TO_DRAFT, CaseState, ForbiddenMove, check_move
from plugin.casework import Job, find_case, move, open_case
from plugin.db import Database
from plugin.orders import take_order, take_study
from plugin.replay import NotReplayable, replay_case
from plugin.reports import Mismatch
from plugin.tables import AuditLeaf, Case, Study
from tests.case_samples import (
    ADA,
    BEN,
    OTHER_UID,
    ROSA,
    UID,
    Jobs,
    a_report,
    a_study,
    an_order,
    fresh_database,
    see_report,
    state_of,
    store_draft,
)

S = CaseState
HUMAN = (S.SIGNED, S.SUPERSEDED)
PAIRS = list(itertools.product(CaseState, repeat=2))
ACTOR = "test"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with fresh_database(tmp_path) as database:
        yield database


@pytest.mark.parametrize(("now", "then"), [pair for pair in PAIRS if pair[1] not in MOVES[pair[0]]])
def test_a_move_outside_the_table_raises(now: CaseState, then: CaseState) -> None:
    """Every pair that the table does not list raises ForbiddenMove and names both states."""
    with pytest.raises(ForbiddenMove, match=rf"in {now} .* move to {then}\."):
        check_move(now, then)


@pytest.mark.parametrize(("now", "then"), [pair for pair in PAIRS if pair[1] in MOVES[pair[0]]])
def test_a_move_of_the_table_is_allowed(now: CaseState, then: CaseState) -> None:
    """Every pair that the table lists passes."""
    check_move(now, then)


def test_the_table_speaks_of_every_state() -> None:
    """No state is without a line of its own, and none moves to itself."""
    assert set(MOVES) == set(CaseState)
    assert not [state for state in CaseState if state in MOVES[state]]


def test_a_humans_word_is_never_left() -> None:
    """SIGNED is the end; SUPERSEDED leads nowhere but there."""
    assert MOVES[S.SIGNED] == frozenset()
    assert MOVES[S.SUPERSEDED] == {S.SIGNED}
    assert not OURS_TO_DRAFT & set(HUMAN)


def test_every_open_state_can_end_in_a_signature() -> None:
    """Wherever a case stands, a human may sign its report."""
    assert all(S.SIGNED in MOVES[state] for state in CaseState if state is not S.SIGNED)


def test_only_a_stored_draft_can_be_published() -> None:
    """PUBLISHED is reached from DRAFTED alone, and DRAFTED from READY alone."""
    assert [state for state in CaseState if S.PUBLISHED in MOVES[state]] == [S.DRAFTED]
    assert [state for state in CaseState if S.DRAFTED in MOVES[state]] == [S.READY]


@pytest.mark.parametrize(
    ("now", "then"), [(S.SIGNED, S.READY), (S.SUPERSEDED, S.HELD), (S.READY, S.PUBLISHED)]
)
def test_a_refused_move_leaves_no_trace(database: Database, now: CaseState, then: CaseState) -> None:
    """move() raises before it changes the case or the log."""
    with database.write() as session:
        case = open_case(session, "ACC1", ACTOR, None, "order")
        case.state = now.value
    with database.write() as session, pytest.raises(ForbiddenMove):
        move(session, session.get_one(Case, case.id), then, ACTOR)
    with database.read() as session:
        assert session.get_one(Case, case.id).state == now
        assert session.scalar(sa.select(sa.func.count()).select_from(AuditLeaf)) == 1


def test_the_database_refuses_a_state_that_is_none(database: Database) -> None:
    """A state outside the table cannot be stored at all."""
    with pytest.raises(sa.exc.IntegrityError), database.write() as session:
        open_case(session, "ACC1", ACTOR, None, "order").state = "FINAL"


@pytest.mark.parametrize("status", ["final", "amended", "FINAL", ""])
def test_the_database_refuses_a_draft_that_is_final(database: Database, status: str) -> None:
    """No draft can be stored with another status than preliminary or partial."""
    with pytest.raises(sa.exc.IntegrityError), database.write() as session:  # noqa: PT012
        take_study(session, a_study(), Jobs().enqueue, ACTOR)
        store_draft(session, take_order(session, an_order(), Jobs().enqueue, ACTOR)).status = status


def test_order_and_images_make_a_draft_due_in_either_order(database: Database) -> None:
    """The second of the two to come, whichever it is, asks for exactly one draft."""
    jobs = Jobs()
    with database.write() as session:
        first = take_order(session, an_order("A"), jobs.enqueue, ACTOR)
        assert jobs.asked == []
        take_study(session, a_study("A"), jobs.enqueue, ACTOR)
        take_study(session, a_study("B", study_instance_uid=OTHER_UID), jobs.enqueue, ACTOR)
        second = take_order(session, an_order("B", study_instance_uid=""), jobs.enqueue, ACTOR)
        assert jobs.asked == [Job("draft", first.id, 1), Job("draft", second.id, 1)]
        assert second.study_instance_uid == OTHER_UID


@pytest.mark.parametrize(
    "study",
    [
        a_study(patient=BEN),
        a_study(patient=Patient("")),
        a_study(patient=replace(ADA, assigning_authority="ELSEWHERE")),
        a_study("ACC2"),
        a_study(study_instance_uid=OTHER_UID),
    ],
    ids=["patient", "no patient", "authority", "accession", "study"],
)
@pytest.mark.parametrize("images_first", [True, False])
def test_a_mismatch_holds_the_case(database: Database, study: object, images_first: bool) -> None:
    """Patient, authority, accession or study that disagree: HELD with a reason, and nothing is enqueued."""
    jobs = Jobs()
    steps = [
        lambda session: take_study(session, study, jobs.enqueue, ACTOR),
        lambda session: take_order(session, an_order(), jobs.enqueue, ACTOR),
    ]
    for step in steps if images_first else reversed(steps):
        with database.write() as session:
            step(session)
    assert state_of(database) is S.HELD
    assert jobs.asked == []
    with database.read() as session:
        case = find_case(session, "ACC1")
        assert case is not None
        assert case.reason
        assert not {"PAT-1", "PAT-2", "ACC1", "ACC2", UID, OTHER_UID} & set(case.reason.split())


@pytest.mark.parametrize(
    "study",
    [a_study(patient=BEN, study_instance_uid=OTHER_UID), a_study(study_instance_uid=OTHER_UID)],
    ids=["another patient", "another study"],
)
def test_images_that_disagree_later_hold_the_case(database: Database, study: object) -> None:
    """A second study under the accession that is not the order's holds the case and redrafts nothing."""
    jobs = Jobs()
    with database.write() as session:
        take_study(session, a_study(), jobs.enqueue, ACTOR)
        take_order(session, an_order(), jobs.enqueue, ACTOR)
        jobs.asked.clear()
    with database.write() as session:
        take_study(session, study, jobs.enqueue, ACTOR)  # type: ignore[arg-type]
    assert (state_of(database), jobs.asked) == (S.HELD, [])


def test_a_study_that_moves_to_another_accession_holds_the_case_it_leaves(database: Database) -> None:
    """When the archive corrects a study's accession, the case that was drafted from it is held."""
    jobs = Jobs()
    with database.write() as session:
        take_study(session, a_study(), jobs.enqueue, ACTOR)
        take_order(session, an_order(), jobs.enqueue, ACTOR)
        take_order(session, an_order("ACC2", study_instance_uid=""), jobs.enqueue, ACTOR)
        jobs.asked.clear()
    with database.write() as session:
        take_study(session, a_study("ACC2"), jobs.enqueue, ACTOR)
        assert [job.case_id for job in jobs.asked] == [find_case(session, "ACC2").id]  # type: ignore[union-attr]
    assert state_of(database) is S.HELD


def test_a_repeat_changes_nothing(database: Database) -> None:
    """The same study or order told twice asks for one draft, and the study adds no leaf."""
    jobs = Jobs()
    with database.write() as session:
        take_order(session, an_order(), jobs.enqueue, ACTOR)
        take_study(session, a_study(), jobs.enqueue, ACTOR)
    with database.write() as session:
        leaves = session.scalar(sa.select(sa.func.count()).select_from(AuditLeaf))
        assert take_study(session, a_study(), jobs.enqueue, ACTOR) is None
        assert session.scalar(sa.select(sa.func.count()).select_from(AuditLeaf)) == leaves
        take_order(session, an_order(), jobs.enqueue, ACTOR)
    assert len(jobs.asked) == 1


@pytest.mark.parametrize("change", [{"clinical_question": "Nodule?"}, {"history": "Smoker."}])
def test_a_changed_order_is_drafted_anew(database: Database, change: dict[str, str]) -> None:
    """Other clinical words make another draft due; the time of the order alone does not."""
    jobs = Jobs()
    with database.write() as session:
        take_study(session, a_study(), jobs.enqueue, ACTOR)
        for order in (an_order(), an_order(ordered_at=None), an_order(action=OrderAction.CHANGE, **change)):
            take_order(session, order, jobs.enqueue, ACTOR)
    assert [job.number for job in jobs.asked] == [1, 2]


def test_more_images_make_another_draft_due(database: Database) -> None:
    """A study that grew is drafted again under the next number."""
    jobs = Jobs()
    with database.write() as session:
        take_order(session, an_order(), jobs.enqueue, ACTOR)
        for count in (16, 32):
            take_study(session, a_study(instance_count=count), jobs.enqueue, ACTOR)
    assert [job.number for job in jobs.asked] == [1, 2]


@pytest.mark.parametrize("state", CaseState)
def test_a_cancellation_stops_every_case_that_no_human_closed(database: Database, state: CaseState) -> None:
    """CANCEL moves the case wherever the table allows it; a human's report is left alone."""
    with database.write() as session:
        case = take_order(session, an_order(), Jobs().enqueue, ACTOR)
        case.state = state.value
        take_order(session, an_order(action=OrderAction.CANCEL), Jobs().enqueue, ACTOR)
    with database.read() as session:
        last = session.scalars(sa.select(AuditLeaf.action).order_by(AuditLeaf.position.desc())).first()
    stopped = S.CANCELLED in MOVES[state]
    assert state_of(database) is (S.CANCELLED if stopped else state)
    assert last == ("case.cancelled" if stopped else "order.cancelled-too-late")


def test_a_request_to_cancel_holds_and_does_not_cancel(database: Database) -> None:
    """ORC-1 CA only asks: nothing leaves until a human decides."""
    with database.write() as session:
        take_order(session, an_order(), Jobs().enqueue, ACTOR)
        take_order(session, an_order(action=OrderAction.REQUEST_CANCEL), Jobs().enqueue, ACTOR)
    assert state_of(database) is S.HELD


def test_a_cancelled_order_that_is_placed_again_lives_again(database: Database) -> None:
    """PLACE after CANCEL makes a draft due; CHANGE after CANCEL does not."""
    jobs = Jobs()
    with database.write() as session:
        take_study(session, a_study(), jobs.enqueue, ACTOR)
        take_order(session, an_order(action=OrderAction.CANCEL), jobs.enqueue, ACTOR)
        take_order(session, an_order(action=OrderAction.CHANGE), jobs.enqueue, ACTOR)
        assert jobs.asked == []
        take_order(session, an_order(), jobs.enqueue, ACTOR)
        assert len(jobs.asked) == 1


def test_only_a_human_releases_a_held_case(database: Database) -> None:
    """Orders and images that agree again leave it HELD and ask for nothing; a replay makes a draft due."""
    jobs = Jobs()
    with database.write() as session:
        take_study(session, a_study(patient=BEN), jobs.enqueue, ACTOR)
        case = take_order(session, an_order(), jobs.enqueue, ACTOR)
        for order in (an_order(), an_order(action=OrderAction.CHANGE, history="Smoker.")):
            take_order(session, order, jobs.enqueue, ACTOR)
        take_study(session, a_study(instance_count=64), jobs.enqueue, ACTOR)
        take_order(session, an_order(), jobs.enqueue, ACTOR)
        assert (case.state, jobs.asked) == (S.HELD, [])
        replay_case(session, case, jobs.enqueue, who="operator:ada", why="The archive was corrected.")
        assert (case.state, len(jobs.asked)) == (S.READY, 1)


def test_no_draft_is_made_where_a_human_has_reported_first(database: Database) -> None:
    """A report for an unknown accession opens the case as SIGNED; what comes late asks for nothing."""
    jobs = Jobs()
    with database.write() as session:
        see_report(session, a_report(), "message 1:0", ACTOR)
        take_order(session, an_order(), jobs.enqueue, ACTOR)
        take_study(session, a_study(), jobs.enqueue, ACTOR)
    assert (state_of(database), jobs.asked) == (S.SIGNED, [])


def test_a_report_that_is_a_document_is_told_by_its_hash(database: Database) -> None:
    """A signed PDF signs the case; the log holds its type, hash and size, and none of its content."""
    document = ReportDocument("application/pdf", "ab" * 32, 4711)
    with database.write() as session:
        see_report(session, a_report(text="", documents=(document,)), "message 1:0", ACTOR)
    assert state_of(database) is S.SIGNED
    with database.read() as session:
        entry = session.scalars(sa.select(AuditLeaf.entry).where(AuditLeaf.action == "report.seen")).one()
    assert json.loads(entry)["details"]["documents"] == [
        {"media_type": "application/pdf", "sha256": "ab" * 32, "size_bytes": 4711}
    ]


def test_the_same_evidence_counts_once(database: Database) -> None:
    """A report that was seen is recorded once for one channel and evidence."""
    with database.write() as session:
        assert see_report(session, a_report(), "message 1:0", ACTOR) is not None
        assert see_report(session, a_report(), "message 1:0", ACTOR) is None
        assert see_report(session, a_report(channel="fhir"), "message 1:0", ACTOR) is not None


@pytest.mark.parametrize("change", [{"patient": BEN}, {"study_instance_uid": OTHER_UID}])
def test_a_report_of_another_patient_or_study_signs_nothing(
    database: Database, change: dict[str, object]
) -> None:
    """A report that disagrees with the case raises Mismatch and records no sign-off."""
    with database.write() as session:
        take_order(session, an_order(), Jobs().enqueue, ACTOR)
    with pytest.raises(Mismatch), database.write() as session:
        see_report(session, a_report(**change), "message 1:0", ACTOR)
    assert state_of(database) is S.RECEIVED


@pytest.mark.parametrize(
    ("report", "state"),
    [
        (a_report(), S.SIGNED),
        (a_report(status=ReportStatus.CORRECTED), S.SIGNED),
        (a_report(signer=None), S.RECEIVED),
        (a_report(source="PRELIM|HOSP"), S.RECEIVED),
        (a_report(status=ReportStatus.PRELIMINARY), S.SUPERSEDED),
        (a_report(status=ReportStatus.CANCELLED), S.RECEIVED),
    ],
)
def test_only_a_signature_signs(database: Database, report: object, state: CaseState) -> None:
    """The case moves as the verdict says, and stays where it is on anything that is no human's word."""
    with database.write() as session:
        take_order(session, an_order(), Jobs().enqueue, ACTOR)
        see_report(session, report, "message 1:0", ACTOR)  # type: ignore[arg-type]
    assert state_of(database) is state


@pytest.mark.parametrize("state", CaseState)
def test_a_replay_is_for_cases_that_are_ours(database: Database, state: CaseState) -> None:
    """Cases that a human closed, that are cancelled or being drafted cannot be replayed; the others can."""
    jobs = Jobs()
    with database.write() as session:
        take_study(session, a_study(), jobs.enqueue, ACTOR)
        case = take_order(session, an_order(), jobs.enqueue, ACTOR)
        case.state = state.value
    refused = state in {S.SIGNED, S.SUPERSEDED, S.WITHHELD, S.CANCELLED, S.READY}
    with database.write() as session:
        case = session.get_one(Case, case.id)
        if refused:
            with pytest.raises(NotReplayable):
                replay_case(session, case, jobs.enqueue, who="operator:ada", why="again")
        else:
            replay_case(session, case, jobs.enqueue, who="operator:ada", why="again")
    assert [job.number for job in jobs.asked] == ([1] if refused else [1, 2])
    assert state_of(database) is (state if refused else S.READY)


ACCESSIONS = st.sampled_from(["ACC1", "ACC2"])
PATIENTS = st.sampled_from([ADA, ADA, ADA, BEN, replace(ADA, assigning_authority="")])
STUDIES = st.sampled_from([UID, UID, OTHER_UID, ""])
BOUND = {"ACC1": UID, "ACC2": OTHER_UID}


class Histories(RuleBasedStateMachine):
    """Random orders, studies, reports, replays and worker moves over one real database."""

    @initialize()
    def begin(self) -> None:
        self.stack = ExitStack()
        folder = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="prelim-histories-"))
        self.database = self.stack.enter_context(fresh_database(Path(folder)))
        self.states: dict[str, str] = {}
        self.evidence = 0
        self.leaves = 0

    def enqueue(self, session: Session, job: Job) -> None:
        """The rule of decision 0006, read from the tables themselves at the moment of asking."""
        session.flush()
        case = session.get_one(Case, job.case_id)
        assert job.number == case.draft_number
        if job.kind in {"withdraw", "conclude"}:
            assert case.state == {"withdraw": S.CANCELLED, "conclude": S.SUPERSEDED}[job.kind]
            return
        assert (job.kind, case.state) == ("draft", S.READY)
        order = case.order
        study = session.get_one(Study, case.study_instance_uid)
        assert study.patient_identifier == order["patient"]["identifier"]
        authorities = {study.assigning_authority, order["patient"]["assigning_authority"]} - {""}
        assert len(authorities) <= 1
        assert study.accession in {"", case.accession}
        assert order["study_instance_uid"] in {"", study.study_instance_uid}

    @rule(
        accession=ACCESSIONS,
        patient=PATIENTS,
        study=STUDIES,
        action=st.sampled_from(OrderAction),
        q=st.text("ab", max_size=1),
    )
    def order(self, accession: str, patient: Patient, study: str, action: OrderAction, q: str) -> None:
        with self.database.write() as session:
            order = an_order(
                accession, patient=patient, study_instance_uid=study, action=action, clinical_question=q
            )
            take_order(session, order, self.enqueue, ACTOR)

    @rule(accession=ACCESSIONS)
    def matching_order(self, accession: str) -> None:
        with self.database.write() as session:
            take_order(session, an_order(accession, study_instance_uid=BOUND[accession]), self.enqueue, ACTOR)

    @rule(accession=ACCESSIONS, count=st.integers(1, 2))
    def matching_study(self, accession: str, count: int) -> None:
        with self.database.write() as session:
            ref = a_study(accession, study_instance_uid=BOUND[accession], instance_count=count)
            take_study(session, ref, self.enqueue, ACTOR)

    @rule(
        accession=st.sampled_from(["ACC1", "ACC2", "", "ACC3"]),
        patient=PATIENTS,
        uid=st.sampled_from([UID, OTHER_UID]),
    )
    def study(self, accession: str, patient: Patient, uid: str) -> None:
        with self.database.write() as session:
            take_study(
                session, a_study(accession, patient=patient, study_instance_uid=uid), self.enqueue, ACTOR
            )

    @rule(
        accession=ACCESSIONS,
        patient=PATIENTS,
        status=st.sampled_from(ReportStatus),
        signer=st.sampled_from([None, ROSA]),
        source=st.sampled_from(["RIS|HOSP", "PRELIM|HOSP"]),
    )
    def report(
        self, accession: str, patient: Patient, status: ReportStatus, signer: object, source: str
    ) -> None:
        self.evidence += 1
        report = a_report(
            accession, patient=patient, status=status, signer=signer, source=source, study_instance_uid=""
        )
        try:
            with self.database.write() as session:
                see_report(session, report, f"message {self.evidence}:0", ACTOR)
        except Mismatch:
            pass

    @rule(accession=ACCESSIONS)
    def replay(self, accession: str) -> None:
        with self.database.write() as session:
            case = find_case(session, accession)
            if case is None:
                return
            with suppress(NotReplayable):
                replay_case(session, case, self.enqueue, who="operator:ada", why="again")

    @rule(accession=ACCESSIONS, to=st.sampled_from([S.DRAFTED, S.DRAFTED, S.FAILED]))
    def work(self, accession: str, to: CaseState) -> None:
        """A worker writes the draft that is due, or fails."""
        with self.database.write() as session:
            case = find_case(session, accession)
            if case is None or case.state != S.READY:
                return
            if to is S.DRAFTED:
                store_draft(session, case)
            else:
                move(session, case, to, "prelim/worker")

    @rule(accession=ACCESSIONS, to=st.sampled_from(CaseState))
    def push(self, accession: str, to: CaseState) -> None:
        """Anybody asks for any move: what the table does not allow raises and changes nothing."""
        with self.database.write() as session:
            case = find_case(session, accession)
            if case is None or to.value == case.state or to in {S.READY, S.DRAFTED}:
                return
            allowed = to in MOVES[CaseState(case.state)]
            if not allowed:
                with pytest.raises(ForbiddenMove):
                    move(session, case, to, ACTOR)
            elif to not in HUMAN:
                move(session, case, to, ACTOR)

    @invariant()
    def one_leaf_for_every_change(self) -> None:
        """Each change of a state has exactly one leaf, which says from where to where; no state skips one."""
        if not hasattr(self, "database"):
            return
        with self.database.read() as session:
            rows = session.execute(sa.select(Case.id, Case.accession, Case.state)).all()
            fresh = session.scalars(
                sa.select(AuditLeaf).where(AuditLeaf.position >= self.leaves).order_by(AuditLeaf.position)
            ).all()
        self.leaves += len(fresh)
        assert len({accession for _, accession, _ in rows}) == len(rows)
        for case_id, _, state in rows:
            told = self.states.get(case_id, S.RECEIVED.value)
            for leaf in fresh:
                word, _, name = leaf.action.partition(".")
                if leaf.case_id != case_id or word != "case" or name.upper() not in MOVES:
                    continue
                assert f'"from":"{told}"' in leaf.entry
                assert told == name.upper() or CaseState(name.upper()) in MOVES[CaseState(told)]
                told = name.upper()
            assert told == state
            before = self.states.get(case_id)
            assert before != S.SIGNED or state == S.SIGNED
            assert before != S.SUPERSEDED or state in HUMAN
            self.states[case_id] = state

    def teardown(self) -> None:
        if hasattr(self, "database"):
            with self.database.read() as session:
                found = verify(session)
            self.stack.close()
            assert found.verified, found.problem


Histories.TestCase.settings = settings(max_examples=40, stateful_step_count=25)
TestHistories = Histories.TestCase
