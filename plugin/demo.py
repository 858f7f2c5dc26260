"""The whole main job on the embedded hospital, over real sockets, step by step.

Everything here plays the hospital's side; Prelim itself is the same service that `prelim serve` runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from connectors.dicomweb.client import DicomwebClient
from connectors.exchange import Coding, Order, OrderAction, Practitioner
from connectors.sandbox.fhir import FhirServer
from connectors.sandbox.inbox import Inbox
from connectors.sandbox.pacs import SandboxPacs
from connectors.sandbox.ris import Ris
from plugin.audit.verify import verify
from plugin.cases import CaseState
from plugin.serve import Service
from plugin.settings import Settings
from plugin.tables import Case, DraftRecord, SignOff

STUDY = "chest-ct.zip"
PATIENCE_SECONDS = 300.0
LOOK_SECONDS = 0.05
RADIOLOGIST = Practitioner("RAD-7", "Okafor", "Ngozi", "Dr.")
ADDED = "Clinical correlation is advised."
"""What the radiologist adds to the impression, so that there is a difference to see."""

Tell = Callable[[str], None]
"""Takes one line for the person who watches."""


class DemoFailed(Exception):
    """The main job did not come to its end."""


@dataclass(slots=True)
class Outcome:
    """What the main job led to."""

    ack: str = ""
    accession: str = ""
    draft_status: str = ""
    draft_text: str = ""
    report_url: str = ""
    signed_by: str = ""
    final_status: str = ""
    case_id: str = ""
    case_state: str = ""
    changes: list[Any] = field(default_factory=list)
    words_changed: int | None = None
    audit_entries: int = 0
    audit_verified: bool = False
    checkpoint: str = ""
    seconds: dict[str, float] = field(default_factory=dict)


class Hospital:
    """RIS, PACS and FHIR server with Prelim among them, each on a free port of 127.0.0.1."""

    def __init__(self, folder: Path, model: Path | None = None) -> None:
        """folder: where the database is kept. model: None takes the shipped weights."""
        self._stack = ExitStack()
        self.fhir = self._stack.enter_context(FhirServer())
        self.pacs = self._stack.enter_context(SandboxPacs())
        self.inbox = self._stack.enter_context(Inbox())
        with as_file(files("connectors.sandbox") / "studies" / STUDY) as study:
            (self.study_uid,) = self.pacs.hold(study)
        self.service = Service(
            Settings(
                database_url=f"sqlite:///{folder / 'prelim.sqlite'}",
                mllp_port=0,
                http_port=0,
                fhir_url=self.fhir.base_url,
                dicomweb_url=self.pacs.dicomweb_url,
                pacs_changes_url=self.pacs.root_url,
                ris=f"127.0.0.1:{self.inbox.port}",
                model=model,
                poll_seconds=0.1,
                study_settle_seconds=2.0,
                worker_name="demo",
            )
        )
        self.service.start()
        self._stack.callback(self.service.stop)
        self.ris = Ris("127.0.0.1", self.service.mllp_port)

    @property
    def pages_url(self) -> str:
        """Where Prelim's pages are."""
        return f"http://127.0.0.1:{self.service.http_port}"

    def order(self) -> Order:
        """The order that belongs to the study in the PACS."""
        with DicomwebClient(self.pacs.dicomweb_url) as archive:
            (study,) = archive.find_studies(study_instance_uid=self.study_uid)
        return Order(
            action=OrderAction.PLACE,
            accession=study.accession,
            patient=study.patient,
            procedure=Coding("24627-2", "CT Chest", "LN"),
            placer_order_number="DEMO-PLACER-1",
            filler_order_number="DEMO-FILLER-1",
            requested_procedure_id="DEMO-RP-1",
            study_instance_uid=study.study_instance_uid,
            modality="CT",
            clinical_question="Dyspnea for three days. Effusion?",
            history="Former smoker.",
            priority="R",
            ordering_provider=Practitioner("ORD-3", "Lindqvist", "Maja", "Dr."),
        )

    def close(self) -> None:
        """Stop everything, Prelim first."""
        self._stack.close()


def run(folder: Path, tell: Tell, model: Path | None = None) -> tuple[Outcome, Hospital]:
    """Run the main job once and leave the hospital running; the caller closes it.

    1. Start the hospital. 2. The RIS orders. 3. The PACS announces. 4. Prelim drafts. 5. Prelim publishes.
    6. The RIS gets the draft. 7. A radiologist signs there. 8. Prelim notices. 9. The audit log is verified.
    Raises DemoFailed when a step does not come to its end; the hospital is closed then.
    """
    outcome = Outcome()

    @contextmanager
    def step(name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        outcome.seconds[name] = round(time.perf_counter() - started, 3)
        tell(f"{outcome.seconds[name]:8.2f} s  {name}")

    with step("hospital and Prelim started"):  # 1
        hospital = Hospital(folder, model)
    try:
        order = hospital.order()
        outcome.accession = order.accession
        with step("order sent and acknowledged"):  # 2
            outcome.ack = hospital.ris.send_order(order, at=datetime.now(UTC)).code.value
        with step("images announced, order and images agree"):  # 3
            hospital.pacs.announce(hospital.study_uid)
            _wait(hospital, outcome, CaseState.READY)
        with step("draft written"):  # 4
            _wait(hospital, outcome, CaseState.DRAFTED)
        with step("preliminary report on the FHIR server"):  # 5
            _wait(hospital, outcome, CaseState.PUBLISHED)
        with step("draft in the RIS"):  # 6
            _until(lambda: hospital.inbox.messages, "The RIS did not get the draft")
        draft = _draft(hospital, outcome)
        with step("signed in the RIS"):  # 7
            hospital.ris.sign(order, _edited(draft), RADIOLOGIST, at=datetime.now(UTC))
        with step("signature noticed"):  # 8
            _wait(hospital, outcome, CaseState.SIGNED)
            _signature(hospital, outcome)
        with step("audit log verified"), hospital.service.pipeline.database.read() as session:  # 9
            found = verify(session)
            outcome.audit_entries, outcome.audit_verified = found.size, found.verified
            outcome.checkpoint = f"{found.size}:{found.root}"
    except BaseException:
        hospital.close()
        raise
    return outcome, hospital


_ORDER = (CaseState.RECEIVED, CaseState.READY, CaseState.DRAFTED, CaseState.PUBLISHED, CaseState.SIGNED)


def _wait(hospital: Hospital, outcome: Outcome, state: CaseState) -> None:
    """Wait until the case is at a state or past it."""

    def there() -> bool:
        with hospital.service.pipeline.database.read() as session:
            case = session.scalar(sa.select(Case).where(Case.accession == outcome.accession))
        if case is None:
            return False
        outcome.case_id, outcome.case_state = case.id, case.state
        now = CaseState(case.state)
        if now not in _ORDER:
            raise DemoFailed(f"The case is {now}: {case.reason}")
        return _ORDER.index(now) >= _ORDER.index(state)

    _until(there, f"The case did not become {state}")


def _until(look: Callable[[], object], failure: str) -> None:
    ends = time.monotonic() + PATIENCE_SECONDS
    while not look():
        if time.monotonic() > ends:
            raise DemoFailed(f"{failure} within {PATIENCE_SECONDS:g} s.")
        time.sleep(LOOK_SECONDS)


def _draft(hospital: Hospital, outcome: Outcome) -> DraftRecord:
    with hospital.service.pipeline.database.read() as session:
        row = session.scalars(sa.select(DraftRecord).where(DraftRecord.case_id == outcome.case_id)).one()
    outcome.draft_status, outcome.report_url = row.status, row.url
    outcome.draft_text = f"{row.notice}\n\n{row.text}"
    return row


def _edited(draft: DraftRecord) -> str:
    """The draft as a radiologist signs it: the machine's notice gone, a sentence of their own added."""
    return f"{draft.text} {ADDED}"


def _signature(hospital: Hospital, outcome: Outcome) -> None:
    with hospital.service.pipeline.database.read() as session:
        row = session.scalars(sa.select(SignOff).where(SignOff.case_id == outcome.case_id)).one()
    outcome.signed_by, outcome.final_status = row.signer_name, row.status
    outcome.changes, outcome.words_changed = row.changes, row.edit_distance
