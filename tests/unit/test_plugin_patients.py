"""Messages about patients: demographics and identifiers follow the patient, and no merge loses anybody."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from connectors.exchange import Patient, PatientMerge, PatientUpdate
from plugin.cases import CaseState
from plugin.casework import find_case, move
from plugin.db import Database
from plugin.links import surviving
from plugin.orders import take_order, take_study
from plugin.patients import Ambiguous, MergeRefused, check_merge, take_merge, take_update
from plugin.tables import AuditLeaf, Case, PatientLink
from tests.case_samples import (
    ADA,
    BEN,
    OTHER_UID,
    Jobs,
    a_study,
    an_order,
    fresh_database,
    holds,
    see_report,
    state_of,
    store_draft,
)
from tests.case_samples import a_report as report_of

ACTOR = "hl7:RIS|HOSP"
CARL = Patient("PAT-3", "HOSP", "Third", "Carl")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with fresh_database(tmp_path) as database:
        yield database


def merge(database: Database, surviving: Patient, retired: Patient, jobs: Jobs | None = None) -> None:
    """One patient's record goes up in another's."""
    told = PatientMerge(surviving, retired.identifier, retired.assigning_authority)
    with database.write() as session:
        take_merge(session, told, (jobs or Jobs()).enqueue, ACTOR, 7)


def place(database: Database, patient: Patient, accession: str = "ACC1", jobs: Jobs | None = None) -> None:
    """An order of a patient, for a study of its own."""
    with database.write() as session:
        order = an_order(accession, patient=patient, study_instance_uid="")
        take_order(session, order, (jobs or Jobs()).enqueue, ACTOR)


def patient_of(database: Database, accession: str = "ACC1") -> tuple[str, str]:
    """Identifier and family name of a case's patient, and that the columns say the same."""
    with database.read() as session:
        case = find_case(session, accession)
        assert case is not None
        told = case.order["patient"]
        assert (case.patient_identifier, case.assigning_authority) == (
            told["identifier"],
            told["assigning_authority"],
        )
        return told["identifier"], told["family_name"]


def actions(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(sa.select(AuditLeaf.action).order_by(AuditLeaf.position)))


def links(database: Database) -> dict[str, str]:
    with database.read() as session:
        found = session.scalars(sa.select(PatientLink))
        return {link.identifier: link.surviving_identifier for link in found}


def test_a_merge_moves_the_cases_of_the_retired_patient(database: Database) -> None:
    """PID-3 survives: the case carries its identifier and name; the log says so, and verifies."""
    place(database, BEN)
    merge(database, ADA, BEN)
    assert patient_of(database) == (ADA.identifier, ADA.family_name)
    assert actions(database)[-2:] == ["patient.merged", "case.patient-merged"]
    assert holds(database)


def test_an_order_that_still_names_the_retired_patient_is_the_survivors(database: Database) -> None:
    """Messages under way when the merge came, and senders that never hear of it, hold nothing up."""
    merge(database, ADA, BEN)
    place(database, BEN)
    assert patient_of(database)[0] == ADA.identifier


def test_images_under_the_retired_identifier_agree_with_the_survivors_order(database: Database) -> None:
    """Archives keep the identifier under which images were taken."""
    jobs = Jobs()
    merge(database, ADA, BEN)
    place(database, ADA, jobs=jobs)
    with database.write() as session:
        take_study(session, a_study(patient=BEN), jobs.enqueue, "archive")
    assert state_of(database) is CaseState.READY


def test_a_report_under_the_retired_identifier_signs_the_survivors_case(database: Database) -> None:
    """A signature of one person counts for that person under whichever identifier."""
    place(database, ADA)
    merge(database, ADA, BEN)
    with database.write() as session:
        see_report(session, report_of(patient=BEN, study_instance_uid=""), "message 1:0", ACTOR)
    assert state_of(database) is CaseState.SIGNED


def test_a_repeated_merge_changes_nothing(database: Database) -> None:
    """The same merge again is told in the log and nowhere else."""
    place(database, BEN)
    merge(database, ADA, BEN)
    before = links(database)
    merge(database, ADA, BEN)
    assert links(database) == before
    assert actions(database)[-1] == "patient.merge-repeated"


def test_an_inverse_merge_turns_the_survivor_round(database: Database) -> None:
    """B into A after A into B: one person still, under the identifier that was named last."""
    place(database, ADA, "ACC1")
    place(database, BEN, "ACC2")
    merge(database, ADA, BEN)
    merge(database, BEN, ADA)
    assert links(database) == {ADA.identifier: BEN.identifier}
    assert {patient_of(database, name)[0] for name in ("ACC1", "ACC2")} == {BEN.identifier}


def test_a_circle_of_merges_ends_at_the_last_survivor(database: Database) -> None:
    """A into B, B into C, C into A: every identifier leads to A with one step, and nobody waits for ever."""
    for accession, patient in (("ACC1", ADA), ("ACC2", BEN), ("ACC3", CARL)):
        place(database, patient, accession)
    merge(database, BEN, ADA)
    merge(database, CARL, BEN)
    merge(database, ADA, CARL)
    assert links(database) == {BEN.identifier: ADA.identifier, CARL.identifier: ADA.identifier}
    assert {patient_of(database, name)[0] for name in ("ACC1", "ACC2", "ACC3")} == {ADA.identifier}


def test_a_merge_into_a_retired_patient_goes_on_to_the_survivor(database: Database) -> None:
    """B was merged into A; C into B is C into A."""
    place(database, CARL)
    merge(database, ADA, BEN)
    merge(database, BEN, CARL)
    assert patient_of(database)[0] == ADA.identifier
    assert links(database)[CARL.identifier] == ADA.identifier


def test_a_patient_is_not_merged_into_two_others(database: Database) -> None:
    """B into A, then B into C, says that A is C: a person decides that, and nothing is changed."""
    merge(database, ADA, BEN)
    before = actions(database)
    with pytest.raises(MergeRefused, match="merged into another patient before"), database.read() as session:
        check_merge(session, PatientMerge(CARL, BEN.identifier, BEN.assigning_authority))
    with pytest.raises(MergeRefused):
        merge(database, CARL, BEN)
    assert actions(database) == before


def test_the_same_identifier_of_another_authority_is_another_patient(database: Database) -> None:
    """A merge at one hospital leaves the patients of another alone."""
    elsewhere = replace(BEN, assigning_authority="OTHER")
    place(database, elsewhere)
    merge(database, ADA, BEN)
    assert patient_of(database)[0] == BEN.identifier
    with database.read() as session:
        assert surviving(session, elsewhere) == elsewhere


def known(database: Database) -> dict[str, tuple[str, str]]:
    """Identifier and authority of each case's patient."""
    with database.read() as session:
        cases = session.scalars(sa.select(Case))
        return {case.accession: (case.patient_identifier, case.assigning_authority) for case in cases}


def test_a_merge_without_an_authority_takes_nobody_elses_patient(database: Database) -> None:
    """MRG-1 says 7 where only A's 7 is known: B's 7, ordered for afterwards, stays who they are."""
    place(database, replace(ADA, identifier="7", assigning_authority="A"), "ACC1")
    merge(database, Patient("9", "A"), Patient("7"))
    place(database, replace(BEN, identifier="7", assigning_authority="B"), "ACC2")
    assert known(database) == {"ACC1": ("9", "A"), "ACC2": ("7", "B")}
    assert patient_of(database, "ACC2")[1] == BEN.family_name


def test_a_merge_without_any_authority_takes_no_patient_that_has_one(database: Database) -> None:
    """Nothing was known of 7 when it was merged: only an order that names no authority either is its."""
    merge(database, Patient("9"), Patient("7"))
    place(database, replace(BEN, identifier="7", assigning_authority="B"), "ACC1")
    place(database, replace(ADA, identifier="7", assigning_authority=""), "ACC2")
    assert known(database) == {"ACC1": ("7", "B"), "ACC2": ("9", "")}


def test_a_survivor_without_an_authority_has_that_of_the_retired_one(database: Database) -> None:
    """Cases from before and after the merge are of one patient, under one identifier and authority."""
    mine = replace(ADA, identifier="7", assigning_authority="A")
    place(database, mine, "ACC1")
    merge(database, Patient("9"), mine)
    place(database, mine, "ACC2")
    assert known(database) == {"ACC1": ("9", "A"), "ACC2": ("9", "A")}


def test_an_identifier_is_not_merged_with_itself_under_a_known_authority(database: Database) -> None:
    """MRG-1 leaves out the authority that PID-3 names: one identifier, and nothing to merge."""
    place(database, replace(ADA, identifier="7", assigning_authority="A"))
    with pytest.raises(MergeRefused, match="one and the same patient"):
        merge(database, Patient("7", "A"), Patient("7"))


def test_a_case_without_an_authority_is_not_merged_where_two_give_the_identifier(database: Database) -> None:
    """Nobody can tell whose 7 it is: it stays as it was ordered."""
    place(database, replace(CARL, identifier="7", assigning_authority=""), "ACC1")
    place(database, replace(ADA, identifier="7", assigning_authority="A"), "ACC2")
    place(database, replace(BEN, identifier="7", assigning_authority="B"), "ACC3")
    merge(database, Patient("9", "A"), Patient("7", "A"))
    assert known(database) == {"ACC1": ("7", ""), "ACC2": ("9", "A"), "ACC3": ("7", "B")}


def test_a_written_draft_is_written_again_under_the_survivor(database: Database) -> None:
    """A draft that stands under the retired identifier is redone; a signed case is left to its human."""
    jobs = Jobs()
    place(database, BEN, jobs=jobs)
    with database.write() as session:
        take_study(session, a_study(patient=BEN), jobs.enqueue, "archive")
        case = find_case(session, "ACC1")
        assert case is not None
        store_draft(session, case)
        move(session, case, CaseState.PUBLISHED, ACTOR)
    merge(database, ADA, BEN, jobs)
    assert state_of(database) is CaseState.READY
    assert [(job.kind, job.number) for job in jobs.asked] == [("draft", 1), ("draft", 2)]


def update(database: Database, patient: Patient, jobs: Jobs | None = None) -> None:
    with database.write() as session:
        take_update(session, PatientUpdate(patient), (jobs or Jobs()).enqueue, ACTOR, 9)


def test_demographics_follow_the_patient_into_every_case(database: Database) -> None:
    """A new name reaches each case of that patient, and no case of another; the log names fields only."""
    place(database, ADA, "ACC1")
    place(database, ADA, "ACC2")
    place(database, BEN, "ACC3")
    update(database, replace(ADA, family_name="Married"))
    assert [patient_of(database, name)[1] for name in ("ACC1", "ACC2", "ACC3")] == [
        "Married",
        "Married",
        BEN.family_name,
    ]
    with database.read() as session:
        told = session.scalars(sa.select(AuditLeaf.entry).order_by(AuditLeaf.position.desc())).first()
    assert told is not None
    assert "family_name" in told
    assert "Married" not in told


def test_what_an_update_leaves_out_stands(database: Database) -> None:
    """An empty field says nothing: it erases no name and no birthday."""
    place(database, ADA)
    update(database, Patient(ADA.identifier, ADA.assigning_authority))
    assert patient_of(database) == (ADA.identifier, ADA.family_name)
    assert "case.patient-updated" not in actions(database)


@pytest.mark.parametrize(
    ("change", "again"),
    [({"sex": "male"}, True), ({"birth_date": date(1999, 1, 1)}, True), ({"given_name": "Eda"}, False)],
)
def test_a_draft_is_written_again_when_what_the_model_reads_changed(
    database: Database, change: dict[str, object], again: bool
) -> None:
    """Sex and birth date reach the model, a name does not."""
    jobs = Jobs()
    place(database, ADA, jobs=jobs)
    with database.write() as session:
        take_study(session, a_study(), jobs.enqueue, "archive")
        case = find_case(session, "ACC1")
        assert case is not None
        store_draft(session, case)
    update(database, replace(ADA, **change), jobs)  # type: ignore[arg-type]
    assert (len(jobs.asked) == 2) is again


@pytest.mark.parametrize("known", [("A", "B"), ("A", "A"), ("A", "")])
def test_an_identifier_without_authority_is_nobodys_where_several_have_given_it(
    database: Database, known: tuple[str, str]
) -> None:
    """One number of two authorities is two people: neither a merge nor an update may take both for one."""
    for number, (patient, authority) in enumerate(zip((ADA, BEN), known, strict=True), 1):
        place(database, replace(patient, identifier="7", assigning_authority=authority), f"ACC{number}")
    plain = Patient("7", family_name="Third")
    several = known == ("A", "B")
    for told in (PatientMerge(CARL, "7"), PatientMerge(plain, "8", "HOSP")):
        with database.write() as session:
            if several:
                with pytest.raises(MergeRefused, match="no assigning authority"):
                    check_merge(session, told)
            else:
                check_merge(session, told)
    with database.write() as session:
        if several:
            with pytest.raises(Ambiguous):
                take_update(session, PatientUpdate(plain), Jobs().enqueue, ACTOR, 8)
        else:
            take_update(session, PatientUpdate(plain), Jobs().enqueue, ACTOR, 8)
    names = [patient_of(database, accession)[1] for accession in ("ACC1", "ACC2")]
    assert names == (["Example", "Sample"] if several else ["Third", "Third"])


def test_a_draft_under_way_is_begun_anew_when_what_the_model_reads_changed(database: Database) -> None:
    """A worker that has read the old sex must not store its draft: another one is due."""
    jobs = Jobs()
    with database.write() as session:
        take_study(session, a_study(), jobs.enqueue, "archive")
        take_order(session, an_order(), jobs.enqueue, ACTOR)
    with database.write() as session:
        take_update(session, PatientUpdate(replace(ADA, sex="male")), jobs.enqueue, ACTOR, 8)
    assert [(job.kind, job.number) for job in jobs.asked] == [("draft", 1), ("draft", 2)]


def test_an_order_after_a_report_of_another_patient_is_not_taken(database: Database) -> None:
    """The report came first and names somebody else: the case is held or, when signed, told as a mismatch."""
    with database.write() as session:
        see_report(session, report_of(patient=BEN, study_instance_uid=OTHER_UID), "message 1:0", ACTOR)
    place(database, ADA)
    assert state_of(database) is CaseState.SIGNED
    assert actions(database)[-1] == "case.mismatch"
    with database.read() as session:
        case = find_case(session, "ACC1")
        assert case is not None
        assert case.order == {}


PEOPLE = [Patient(f"P{number}", "HOSP") for number in range(5)]


class Merges(RuleBasedStateMachine):
    """Any merges, orders and updates, in any order, against sets of people that are known to be one."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="prelim-merges-"))
        self.database = self.stack.enter_context(fresh_database(Path(folder)))
        self.ones = [{patient.identifier} for patient in PEOPLE]
        self.survivor = {patient.identifier: patient.identifier for patient in PEOPLE}
        self.ordered: dict[str, str] = {}

    def teardown(self) -> None:
        self.stack.close()

    def one(self, identifier: str) -> set[str]:
        return next(group for group in self.ones if identifier in group)

    @rule(surviving=st.sampled_from(PEOPLE), retired=st.sampled_from(PEOPLE))
    def merge(self, surviving: Patient, retired: Patient) -> None:
        if surviving == retired:
            return  # the reader refuses it before
        kept, given_up = self.one(surviving.identifier), self.one(retired.identifier)
        known = self.survivor[retired.identifier]
        elsewhere = known != retired.identifier and known != self.survivor[surviving.identifier]
        try:
            merge(self.database, surviving, retired)
        except MergeRefused:
            assert elsewhere
            return
        assert not elsewhere
        if known != retired.identifier:
            return  # repeated
        target = self.survivor[surviving.identifier]
        if target == retired.identifier:
            target = surviving.identifier
        for identifier in kept | given_up:
            self.survivor[identifier] = target
        if kept is not given_up:
            self.ones.remove(given_up)
            kept |= given_up

    @rule(patient=st.sampled_from(PEOPLE))
    def order(self, patient: Patient) -> None:
        accession = f"A{len(self.ordered)}"
        place(self.database, patient, accession)
        self.ordered[accession] = patient.identifier

    @invariant()
    def everybody_is_found_under_one_identifier(self) -> None:
        found = links(self.database)
        assert not set(found) & set(found.values()), "a link leads to an identifier that is retired itself"
        with self.database.read() as session:
            for patient in PEOPLE:
                known = surviving(session, patient).identifier
                assert known == self.survivor[patient.identifier]
                assert known in self.one(patient.identifier)
            cases = {case.accession: case.patient_identifier for case in session.scalars(sa.select(Case))}
        assert cases == {
            accession: self.survivor[identifier] for accession, identifier in self.ordered.items()
        }


TestMerges = Merges.TestCase
TestMerges.settings = settings(max_examples=30, stateful_step_count=15, deadline=None)
