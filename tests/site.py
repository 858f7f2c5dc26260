"""A running Prelim in this process, with a hospital around it: embedded, or the real peers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import sqlalchemy as sa

from connectors.dicomweb.client import DicomwebClient
from connectors.dicomweb.uids import new_uid
from connectors.exchange import Coding, Order, OrderAction, Patient, Practitioner, ReportStatus
from connectors.fhir.client import FhirClient
from connectors.sandbox.fhir import FhirServer
from connectors.sandbox.pacs import SandboxPacs
from connectors.sandbox.ris import Ris
from model.load import SCRIPTED_WEIGHTS
from plugin.messages import MessageQuery, find_messages
from plugin.serve import Service
from plugin.settings import Settings
from plugin.tables import AuditLeaf, Case, DraftRecord, Message, SignOff
from tests.dicom import ct_series, encoded, phantom

Found = TypeVar("Found")

RADIOLOGIST = Practitioner("R-12", "Castellanos", "Ines", "Dr.")


@dataclass(frozen=True, slots=True)
class Peers:
    """Where the hospital's servers are."""

    fhir_url: str
    dicomweb_url: str
    changes_url: str


def until(look: Callable[[], Found], what: str, seconds: float = 60.0) -> Found:
    """Look again until there is something, and return it; fail with `what` when it never comes."""
    ends = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > ends:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)
    return found


@contextmanager
def embedded() -> Iterator[tuple[Peers, SandboxPacs, FhirServer]]:
    """The embedded hospital."""
    with FhirServer() as fhir, SandboxPacs(announce_stored=True) as pacs:
        yield Peers(fhir.base_url, pacs.dicomweb_url, pacs.root_url), pacs, fhir


def new_order(**changes: Any) -> Order:
    """An order that no other test has: its own patient, accession and study."""
    mark = uuid4().hex[:10].upper()
    order = Order(
        action=OrderAction.PLACE,
        accession=f"A{mark}",
        patient=Patient(f"P{mark}", "TESTHOSP", "Example", "Robin", sex="female"),
        procedure=Coding("24627-2", "CT Chest", "LN"),
        placer_order_number=f"PL{mark}",
        filler_order_number=f"FI{mark}",
        study_instance_uid=new_uid(),
        modality="CT",
        clinical_question="Effusion?",
    )
    return replace(order, **changes)


def study_of(order: Order, **changes: Any) -> list[bytes]:
    """The images that belong to an order, as DICOM files; `changes` are DICOM attributes that differ."""
    tags = {
        "StudyInstanceUID": order.study_instance_uid,
        "AccessionNumber": order.accession,
        "PatientID": order.patient.identifier,
        "IssuerOfPatientID": order.patient.assigning_authority,
        "PatientName": f"{order.patient.family_name}^{order.patient.given_name}",
    }
    return [encoded(image) for image in ct_series(phantom(), **{**tags, **changes})]


class Site:
    """Prelim, running."""

    def __init__(self, peers: Peers, database_url: str, **settings: Any) -> None:
        self.peers = peers
        chosen: dict[str, Any] = {
            "database_url": database_url,
            "mllp_port": 0,
            "http_port": 0,
            "fhir_url": peers.fhir_url,
            "dicomweb_url": peers.dicomweb_url,
            "pacs_changes_url": peers.changes_url,
            "model": SCRIPTED_WEIGHTS,
            "poll_seconds": 0.05,
            "retry_seconds": 0.1,
            "study_settle_seconds": 0.2,
            "worker_name": "test",
        }
        self.settings = Settings(**{**chosen, **settings})
        self.service = Service(self.settings)
        self.service.start()
        self.database = self.service.pipeline.database
        self.ris = Ris("127.0.0.1", self.service.mllp_port)

    def place(self, order: Order) -> str:
        """Send an order; return the ack code."""
        return self.ris.send_order(order, at=datetime.now(UTC)).code.value

    def store(self, files: list[bytes]) -> None:
        """Store images in the archive."""
        with DicomwebClient(self.peers.dicomweb_url) as archive:
            archive.store(files)

    def case(self, accession: str) -> Case | None:
        """The case of an accession."""
        with self.database.read() as session:
            return session.scalar(sa.select(Case).where(Case.accession == accession))

    def comes_to(self, order: Order, *states: str, seconds: float = 60.0) -> Case:
        """Wait until the case is in one of the states."""

        def look() -> Case | None:
            case = self.case(order.accession)
            return case if case is not None and case.state in states else None

        def now() -> str:
            case = self.case(order.accession)
            return f"{case.state}: {case.reason}" if case else "no case"

        try:
            return until(look, " or ".join(states), seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; the case is {now()}") from None

    def drafts(self, case: Case) -> list[DraftRecord]:
        """All drafts of a case."""
        with self.database.read() as session:
            rows = sa.select(DraftRecord).where(DraftRecord.case_id == case.id).order_by(DraftRecord.number)
            return list(session.scalars(rows))

    def signoffs(self, case: Case) -> list[SignOff]:
        """All human reports of a case."""
        with self.database.read() as session:
            return list(
                session.scalars(sa.select(SignOff).where(SignOff.case_id == case.id).order_by(SignOff.id))
            )

    def sign(self, order: Order, text: str, *, status: ReportStatus = ReportStatus.FINAL) -> None:
        """A radiologist's report, sent by the RIS."""
        self.ris.sign(order, text, RADIOLOGIST, at=datetime.now(UTC), status=status)

    def actions(self, case: Case) -> list[str]:
        """What the log says of a case, in order."""
        chosen = sa.select(AuditLeaf.action).where(AuditLeaf.case_id == case.id)
        with self.database.read() as session:
            return list(session.scalars(chosen.order_by(AuditLeaf.position)))

    def messages(self, order: Order, direction: str) -> list[Message]:
        """The messages about an order, oldest first."""
        with self.database.read() as session:
            query = MessageQuery(accession=order.accession, direction=direction)
            return list(reversed(find_messages(session, query)))

    def waits(self) -> list[float]:
        """How long each attempt to send that failed made its message wait, in seconds, oldest first."""
        chosen = sa.select(AuditLeaf.at, AuditLeaf.entry).where(AuditLeaf.action == "message.waits")
        with self.database.read() as session:
            rows = session.execute(chosen.order_by(AuditLeaf.position)).all()
        again = [datetime.fromisoformat(json.loads(entry)["details"]["again_at"]) for _, entry in rows]
        return [(until - at).total_seconds() for until, (at, _) in zip(again, rows, strict=True)]

    def reports(self, case: Case) -> list[dict[str, Any]]:
        """Every DiagnosticReport on the FHIR server that carries our identifier of this case."""
        with FhirClient(self.peers.fhir_url) as client:
            return client.search("DiagnosticReport", {"identifier": f"urn:prelim:case|{case.id}"})


@contextmanager
def running(peers: Peers, database_url: str, **settings: Any) -> Iterator[Site]:
    """Run Prelim for a while."""
    site = Site(peers, database_url, **settings)
    with ExitStack() as stack:
        stack.callback(site.service.stop)
        yield site


def sqlite(folder: Path) -> str:
    """URL of a new SQLite database."""
    return f"sqlite:///{folder / 'prelim.sqlite'}"
