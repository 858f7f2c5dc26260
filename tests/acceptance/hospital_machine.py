"""The state machine behind the test of interleavings: three cases, a FHIR server, a RIS, people and faults.

After every step it looks at what may never be; at the end of each run the faults stop, everything that waits
is done, and nothing may be lost.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy.orm import Session

from connectors.errors import ExchangeError
from connectors.exchange import (
    Coding,
    Order,
    OrderAction,
    Patient,
    PatientMerge,
    Practitioner,
    ReportStatus,
)
from connectors.fhir.client import FhirClient
from connectors.fhir.drafts.report import RADIOLOGY
from connectors.fhir.identifiers import IDENTIFIER_TYPE, IdentifierSystems
from connectors.fhir.retrying import Patience
from connectors.sandbox.fhir import FhirServer
from connectors.sandbox.fhir_radiologist import signed_version
from connectors.sandbox.ris import report_message
from plugin import following
from plugin.attesting import Attesting
from plugin.cases import CaseState
from plugin.casework import Job
from plugin.following import Following
from plugin.intake import Intake
from plugin.notices import notice
from plugin.orders import take_order, take_study
from plugin.patients import take_merge
from plugin.publishing import Publishing
from plugin.settings import Settings
from plugin.tables import Case, Message, SignOff
from plugin.withdrawing import Withdrawing
from tests.acceptance.interleavings import PERSON, US, AuthoredStore, Interruption, Network
from tests.case_samples import Jobs, a_draft, a_study, an_order, fresh_database, holds, store_draft

ACCESSION_TYPE = {"coding": [{"system": IDENTIFIER_TYPE, "code": "ACSN"}]}
RADIOLOGY_SYSTEM = RADIOLOGY["system"]


def client_of(base_url: str, network: Network) -> FhirClient:
    """Our client, on that network."""
    return FhirClient(base_url, transport=network, patience=Patience(sleep=lambda _seconds: None))


CASES = ("ACC-A", "ACC-B", "ACC-C")
PATIENTS = {
    "ACC-A": Patient("P-A", "HOSP", "Example", "Ada", sex="female"),
    "ACC-B": Patient("P-B", "HOSP", "Sample", "Ben", sex="male"),
    "ACC-C": Patient("P-A", "HOSP", "Example", "Ada", sex="female"),
}
SURVIVOR = Patient("P-Z", "HOSP", "Example", "Ada", sex="female")
UIDS = {accession: f"1.2.826.0.1.3680043.8.498.{number}" for number, accession in enumerate(CASES, 1)}
ROSA = Practitioner("D-77", "Rosa", "Elena", "Dr.")
FINAL = (ReportStatus.FINAL, ReportStatus.AMENDED, ReportStatus.CORRECTED, ReportStatus.APPENDED)
SPOKEN = (*FINAL, *[ReportStatus.PRELIMINARY] * 4)
"""What a person writes: as often a report that is not final yet, which leaves most ways open."""
IN_HL7 = (ReportStatus.FINAL, ReportStatus.CORRECTED, ReportStatus.PRELIMINARY)
LIVE = frozenset({"preliminary", "partial"})
CLOSED = frozenset({"final", "amended", "corrected", "appended"})
BASE_PORT = 8080
"""Nobody listens there: the server is called without a socket."""

accessions = st.sampled_from(CASES)
faults = st.builds(
    Interruption, at=st.integers(0, 6), what=st.sampled_from(["lost", "dropped", "twice", "cut"])
)
AROUND_A_WRITE = (0, 1, 1, 1, 2, 3)
"""Requests before which a person writes while we redraft: the second one writes, where nothing is lost."""
SEEN_BY = st.lists(faults, max_size=2)


class OnceJobs(Jobs):
    """Jobs as the queue takes them: one that was ever asked for is not asked for again."""

    def __init__(self) -> None:
        super().__init__()
        self.known: set[tuple[str, str, int, int]] = set()

    def enqueue(self, session: Session, job: Job) -> None:
        """Takes a job unless it is known; what the transaction takes back is forgotten with it."""
        name = (job.kind, job.case_id, job.number, job.attempt)
        if name not in self.known:
            self.known.add(name)
            super().enqueue(session, job)


class HospitalMachine(RuleBasedStateMachine):
    """One run of the hospital."""

    steps = 0
    """Taken by every run in this process."""

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        self._folder = Path(tempfile.mkdtemp(dir=memory if os.access(memory, os.W_OK) else None))
        self._open = fresh_database(self._folder)
        self.database = self._open.__enter__()
        self.jobs = OnceJobs()
        self.server = FhirServer(port=BASE_PORT)
        self.server.store = self.store = AuthoredStore()
        self.network = Network(self.server, self.store)
        self.settings = Settings(fhir_url=self.server.base_url, retry_seconds=0.05)
        self.told = 0
        """ORU messages that were acknowledged."""
        self.messages = 0
        self.looked_at = 0
        """Bodies of ours that were looked at."""
        self.authored = 0
        """Versions that were looked at."""
        self.merged = False
        self.early: set[str] = set()
        """Reports that were there before anybody had told us of their accession."""
        self._connect()

    def teardown(self) -> None:
        try:
            self._settle()
            self._nothing_is_lost()
        finally:
            self.client.close()
            self._open.__exit__(None, None, None)
            shutil.rmtree(self._folder)

    def _connect(self) -> None:
        """Start a process of Prelim: nothing is remembered but what the database holds."""
        self.client = client_of(self.server.base_url, self.network)
        self.intake = Intake(self.database, self.jobs.enqueue)
        systems = IdentifierSystems()
        parts = (self.settings, self.database, self.jobs.enqueue, self.client, systems)
        self.publishing = Publishing(*parts)
        self.withdrawing = Withdrawing(*parts)
        self.attesting = Attesting(*parts)
        self.following = Following(self.settings, self.database, self.intake, self.client, systems)

    # --- what Prelim does -----------------------------------------------------------------------------

    @initialize(trouble=SEEN_BY)
    def begin(self, trouble: list[Interruption]) -> None:
        """Every run begins with two drafts, one on its way to a server that is followed already."""
        self.look([])
        for accession in CASES[:2]:
            self.order(accession)
            self.images(accession, 1)
            self._do(self.jobs.asked.pop(), [])
        self._do(self.jobs.asked.pop(), trouble)

    @rule(accession=accessions)
    def order(self, accession: str) -> None:
        """An order comes, or comes once more."""
        with self.database.write() as session:
            take_order(session, self._order(accession), self.jobs.enqueue, "ris")

    @rule(accession=accessions)
    def cancel(self, accession: str) -> None:
        """The order is cancelled."""
        with self.database.write() as session:
            take_order(session, self._order(accession, OrderAction.CANCEL), self.jobs.enqueue, "ris")

    @rule(accession=accessions, count=st.integers(1, 1000))
    def images(self, accession: str, count: int) -> None:
        """Images are announced, or more or fewer of them: the next draft is due."""
        study = a_study(accession, study_instance_uid=UIDS[accession], patient=PATIENTS[accession])
        with self.database.write() as session:
            take_study(session, replace(study, instance_count=count), self.jobs.enqueue, "archive")

    @rule()
    def merge(self) -> None:
        """The patient of two cases turns out to be another record."""
        with self.database.write() as session:
            self.merged = True
            merge = PatientMerge(SURVIVOR, "P-A", "HOSP")
            take_merge(session, merge, self.jobs.enqueue, "adt", 0)

    @rule(which=st.integers(0, 30), trouble=SEEN_BY, again=st.booleans())
    def job(self, which: int, trouble: list[Interruption], again: bool) -> None:
        """A worker does a job, perhaps twice, perhaps in trouble."""
        if self.jobs.asked:
            job = self.jobs.asked.pop(which % len(self.jobs.asked))
            for _ in range(1 + again):
                self._do(job, trouble)

    @rule(
        which=st.integers(0, 30),
        at=st.integers(0, 5),
        status=st.sampled_from(SPOKEN),
        elsewhere=st.booleans(),
        trouble=SEEN_BY,
    )
    def job_interrupted_by_a_person(
        self,
        which: int,
        at: int,
        status: ReportStatus,
        elsewhere: bool,
        trouble: list[Interruption],
    ) -> None:
        """A person writes just between two requests of a job, on the case that it is about."""
        if self.jobs.asked:
            job = self.jobs.asked.pop(which % len(self.jobs.asked))
            with self.database.read() as session:
                accession = session.get_one(Case, job.case_id).accession
            writes = self.report_elsewhere if elsewhere else self.report_in_place
            act = Interruption(at, "meanwhile", lambda: writes(accession, status, True))
            self._do(job, [act, *trouble])

    @rule(
        which=st.integers(0, 5),
        count=st.integers(1, 1000),
        at=st.sampled_from(AROUND_A_WRITE),
        status=st.sampled_from((*SPOKEN, None)),
        elsewhere=st.booleans(),
        trouble=SEEN_BY,
    )
    def redraft_interrupted_by_a_person(
        self,
        which: int,
        count: int,
        at: int,
        status: ReportStatus | None,
        elsewhere: bool,
        trouble: list[Interruption],
    ) -> None:
        """More images come; a person may write just before a request of the draft that they lead to."""
        accession = self._drafted(which)
        self.images(accession, count)
        writes = self.report_elsewhere if elsewhere else self.report_in_place
        acts = [Interruption(at, "meanwhile", lambda: writes(accession, status, True))] if status else []
        for kind, around in (("draft", []), ("publish", [*acts, *trouble])):
            for job in [one for one in self.jobs.asked if one.kind == kind]:
                self.jobs.asked.remove(job)
                self._do(job, around)

    @rule(trouble=SEEN_BY)
    def look(self, trouble: list[Interruption]) -> None:
        """The server is followed."""
        self.network.begin(trouble)
        with suppress(ExchangeError):
            self.following.round()
        self.network.begin()

    @rule(at=st.integers(0, 5), accession=accessions, status=st.sampled_from(SPOKEN), elsewhere=st.booleans())
    def look_interrupted_by_a_person(
        self, at: int, accession: str, status: ReportStatus, elsewhere: bool
    ) -> None:
        """A person writes while the server is looked at."""
        writes = self.report_elsewhere if elsewhere else self.report_in_place
        self.look([Interruption(at, "meanwhile", lambda: writes(accession, status, True))])

    @rule(which=st.integers(0, 30))
    def notification(self, which: int) -> None:
        """The server tells of any report, or of one that is not there."""
        reports = [*self._reports(), "DiagnosticReport/none-such"]
        with self.database.write() as session:
            notice(session, reports[which % len(reports)], "fhir-notification")

    @rule()
    def work(self) -> None:
        """The workers do everything that waits."""
        jobs, self.jobs.asked = self.jobs.asked, []
        for job in jobs:
            self._do(job, [])

    @rule()
    def restart(self) -> None:
        """The process ends and another one starts."""
        self.client.close()
        self._connect()

    # --- what people do -------------------------------------------------------------------------------

    @rule(accession=accessions, status=st.sampled_from(SPOKEN), named=st.booleans())
    def report_in_place(self, accession: str, status: ReportStatus, named: bool) -> None:
        """A person writes over our report, or over what another person made of it."""
        reference = self._ours(accession)
        if reference:
            kind, _, identity = reference.partition("/")
            draft = self.store.read(kind, identity).resource or {}
            self.store.update(kind, identity, self._spoken(draft, status, named))

    @rule(accession=accessions, status=st.sampled_from(SPOKEN), named=st.booleans())
    def report_elsewhere(self, accession: str, status: ReportStatus, named: bool) -> None:
        """A person writes a report of their own, as some RIS do."""
        patient = PATIENTS[accession]
        own: dict[str, Any] = {
            "resourceType": "DiagnosticReport",
            "identifier": [{"type": ACCESSION_TYPE, "system": "urn:ris", "value": accession}],
            "category": [{"coding": [{"system": RADIOLOGY_SYSTEM, "code": "RAD"}]}],
            "code": {"text": "CT Chest"},
            "subject": {"identifier": {"system": "urn:prelim:patient:HOSP", "value": patient.identifier}},
        }
        with self.database.read() as session:
            early = session.scalar(sa.select(Case.id).where(Case.accession == accession)) is None
        created, _ = self.store.create(self._spoken(own, status, named))
        if early:
            self.early.add(created.id)

    @rule(accession=accessions, status=st.sampled_from(IN_HL7), named=st.booleans())
    def report_by_oru(self, accession: str, status: ReportStatus, named: bool) -> None:
        """The RIS sends a person's report, twice as RIS do."""
        self.messages += 1
        message = report_message(
            accession=accession,
            patient=PATIENTS[accession],
            procedure=Coding("24627-2", "CT Chest", "LN"),
            text=f"Findings: Seen {self.messages}.\nImpression: Said {self.messages}.",
            status=status,
            signer=ROSA if named else None,
            control_id=f"ORU{self.messages}",
            at=datetime.now(UTC),
        )
        for _ in range(2):
            answers = self.intake.receive(message, "127.0.0.1:1")
        self.told += b"MSA|AA" in answers.accept + answers.application

    def _spoken(self, report: dict[str, Any], status: ReportStatus, named: bool) -> dict[str, Any]:
        self.messages += 1
        said = signed_version(report, f"Findings: Seen {self.messages}.", status=status)
        said["conclusion"] = f"Said {self.messages}."
        said.pop("resultsInterpreter", None)
        if named:
            said["resultsInterpreter"] = [{"type": "Practitioner", "display": "Dr. Elena Rosa"}]
        return said

    # --- what may never be ----------------------------------------------------------------------------

    @invariant()
    def nothing_of_ours_is_final(self) -> None:
        """No document that we sent has a closing status, wherever in it."""
        type(self).steps += 1
        for body in self.network.sent[self.looked_at :]:
            assert not closing(body)
        self.looked_at = len(self.network.sent)

    @invariant()
    def nothing_is_written_over_a_person(self) -> None:
        """Behind a version that a person wrote stands none of ours."""
        for kind, identity, number in self.store.order[self.authored :]:
            if self.store.authors[kind, identity, number] == US and kind == "DiagnosticReport":
                before = {self.store.authors[kind, identity, earlier] for earlier in range(1, number)}
                assert PERSON not in before
        self.authored = len(self.store.order)

    def _nothing_is_drafted_beside_a_final_report(self, begun: int) -> None:
        """A job that began when a person's final report of the accession stood elsewhere writes no draft."""
        for kind, identity, number in self.store.order[begun:]:
            written = self.store._versions[kind, identity][number - 1].resource or {}
            ours = self.store.authors[kind, identity, number] == US
            if kind == "DiagnosticReport" and ours and written["status"] in LIVE:
                accession = next(one["value"] for one in written["identifier"] if one["value"] in CASES)
                # A report under the identifier that was merged away is found when the server is followed.
                assert self.merged or accession not in self._final_before(begun)

    def _final_before(self, begun: int) -> set[str]:
        """Accessions of which a person's own final report stood when so many versions were written."""
        standing: dict[str, dict[str, Any]] = {}
        for kind, identity, number in self.store.order[:begun]:
            if kind == "DiagnosticReport" and self.store.authors[kind, identity, 1] == PERSON:
                standing[identity] = self.store._versions[kind, identity][number - 1].resource or {}
        return {
            one["value"]
            for report in standing.values()
            if report["status"] in CLOSED
            for one in report["identifier"]
        }

    @invariant()
    def one_live_draft_a_case(self) -> None:
        """Two drafts of one case never stand side by side."""
        living: dict[str, int] = {}
        for reference in self._reports():
            _, _, identity = reference.partition("/")
            version = self.store._versions["DiagnosticReport", identity][-1]
            report = version.resource or {}
            if self.store.authors["DiagnosticReport", identity, version.number] == US:
                case = report["identifier"][0]["value"]
                living[case] = living.get(case, 0) + (report["status"] in LIVE)
        assert all(count <= 1 for count in living.values())

    @invariant()
    def signatures_are_of_named_people(self) -> None:
        """What counts as signed names a person, and was not written by us."""
        with self.database.read() as session:
            signed = session.execute(
                sa.select(SignOff.signer_name, SignOff.status, SignOff.source, SignOff.version).where(
                    SignOff.verdict == "signed"
                )
            ).all()
        for name, status, source, version in signed:
            assert "Rosa" in name
            assert status in CLOSED
            if "/DiagnosticReport/" in source:
                identity = source.rpartition("/")[2]
                assert self.store.authors["DiagnosticReport", identity, int(version)] == PERSON

    # --- the end --------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """No more faults: everything that waits is done."""
        for _ in range(60):
            self.look([])
            jobs, self.jobs.asked = self.jobs.asked, []
            for job in jobs:
                self._do(job, [])
            if not jobs and not self.jobs.asked:
                return
        raise AssertionError("jobs lead to jobs without an end")

    def _nothing_is_lost(self) -> None:
        """Every report of a person was seen, once; who signed has signed; nothing of ours lives beside it."""
        for check in (
            self.nothing_of_ours_is_final,
            self.nothing_is_written_over_a_person,
            self.one_live_draft_a_case,
            self.signatures_are_of_named_people,
        ):
            check()
        with self.database.read() as session:
            cases = {case.accession: case for case in session.scalars(sa.select(Case))}
            rows = session.scalars(sa.select(SignOff)).all()
            refused = set(session.scalars(sa.select(Message.control_id).where(Message.state == "REFUSED")))
        seen = [(row.source.rpartition("/")[2], row.version) for row in rows if row.channel == "fhir"]
        assert len(seen) == len(set(seen)), "a version was counted twice"
        for kind, identity, number in self.store.order:
            if kind != "DiagnosticReport" or self.store.authors[kind, identity, number] == US:
                continue
            report = self.store._versions[kind, identity][number - 1].resource or {}
            accession = next(one["value"] for one in report["identifier"] if one["value"] in CASES)
            name = f"DiagnosticReport/{identity}/_history/{number}"
            if identity in self.early and cases.get(accession) and cases[accession].state == CaseState.SIGNED:
                continue  # Another channel opened the case, with that very signature or a later one.
            if accession in cases and name not in refused:
                assert (identity, str(number)) in seen, f"{name} was lost"
        assert sum(row.channel == "hl7-oru" for row in rows) == self.told
        for accession, case in cases.items():
            assert case.state != CaseState.FAILED, f"{accession}: {case.reason}"
            signed = [row for row in rows if row.case_id == case.id and row.verdict == "signed"]
            assert (case.state == CaseState.SIGNED) == bool(signed), accession
            if signed:
                assert not self._lives(case.id), "a draft of ours lives beside a signature"
        assert holds(self.database)

    def _drafted(self, which: int) -> str:
        """An accession with a draft that Prelim may still write again; any while there is none."""
        states = (CaseState.PUBLISHED, CaseState.DRAFTED)
        with self.database.read() as session:
            open_ones = sa.select(Case.accession).where(Case.state.in_(states)).order_by(Case.accession)
            found = session.scalars(open_ones).all()
        return (found or CASES)[which % len(found or CASES)]

    # --- means ----------------------------------------------------------------------------------------

    def _order(self, accession: str, action: OrderAction = OrderAction.PLACE) -> Order:
        return an_order(
            accession, action=action, patient=PATIENTS[accession], study_instance_uid=UIDS[accession]
        )

    def _do(self, job: Job, trouble: Sequence[Interruption]) -> None:
        doers: dict[str, Callable[[str, int, int], None]] = {
            "draft": self._draft,
            "conclude": lambda *_: None,
            "publish": self.publishing.publish,
            "withdraw": self.withdrawing.withdraw,
            "retire": self.withdrawing.retire,
            "attest": self.attesting.attest,
        }
        self.network.begin(trouble)
        begun = len(self.store.order)
        doers[job.kind](job.case_id, job.number, job.attempt)
        self.network.begin()
        self._nothing_is_drafted_beside_a_final_report(begun)

    def _draft(self, case_id: str, number: int, _attempt: int) -> None:
        with self.database.write() as session:
            case = session.get_one(Case, case_id)
            if case.state == CaseState.READY and case.draft_number == number:
                words = (("Findings", f"Draft {number}."), ("Impression", f"Drafted {number}."))
                store_draft(session, case, a_draft(*words))
                self.jobs.enqueue(session, Job("publish", case_id, number))

    def _reports(self) -> list[str]:
        return [
            f"DiagnosticReport/{identity}"
            for kind, identity in self.store._versions
            if kind == "DiagnosticReport"
        ]

    def _ours(self, accession: str) -> str:
        """Where the report of a case stands that we created; empty while it stands nowhere."""
        for reference in self._reports():
            identity = reference.partition("/")[2]
            first = self.store._versions["DiagnosticReport", identity][0].resource or {}
            values = [one["value"] for one in first["identifier"]]
            if self.store.authors["DiagnosticReport", identity, 1] == US and accession in values:
                return reference
        return ""

    def _lives(self, case_id: str) -> bool:
        for reference in self._reports():
            identity = reference.partition("/")[2]
            version = self.store._versions["DiagnosticReport", identity][-1]
            report = version.resource or {}
            ours = self.store.authors["DiagnosticReport", identity, version.number] == US
            if ours and report["status"] in LIVE and report["identifier"][0]["value"] == case_id:
                return True
        return False


def closing(node: Any) -> bool:
    """Whether any resource in a document has a status that says a person verified it."""
    pending = [node]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            if "resourceType" in one and one.get("status") in CLOSED:
                return True
            pending += one.values()
        elif isinstance(one, list):
            pending += one
    return False


def run_shard(number: int, steps: int) -> int:
    """Run the machine from a seed of its own until it took so many steps; how many it took."""
    # A run takes a second: with an overlap everything would be looked at twice, and nothing could be missed.
    following.OVERLAP_SECONDS = 0.0
    HospitalMachine.steps = 0
    round_number = 0
    while HospitalMachine.steps < steps:
        machine = seed(number * 1_000 + round_number)(type("Shard", (HospitalMachine,), {}))
        machine.steps = 0
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=max(1, (steps - HospitalMachine.steps) // 40 + 1),
                stateful_step_count=50,
                deadline=None,
                database=None,
                derandomize=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
        HospitalMachine.steps += machine.steps
        round_number += 1
    return HospitalMachine.steps
