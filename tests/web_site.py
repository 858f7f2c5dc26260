"""A migrated database, filled through the functions that fill the real one, and its pages."""

from __future__ import annotations

import functools
import io
import shutil
import tempfile
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask.testing import FlaskClient
from PIL import Image

from connectors.exchange import (
    Coding,
    DraftStatus,
    Order,
    OrderAction,
    Patient,
    Practitioner,
    ReportStatus,
    SignedReport,
    StudyRef,
)
from model.study import Draft, Evidence, ModelCard, Sentence
from plugin import translate
from plugin.cases import CaseState
from plugin.casework import Job, find_case, hold, move
from plugin.db import Database, now
from plugin.intake import Intake
from plugin.migrate import migrate
from plugin.orders import take_order, take_study
from plugin.pipeline import rules
from plugin.reports import latest_draft
from plugin.settings import Settings
from plugin.tables import AuditLeaf, Case, Picture
from plugin.web.app import create_app
from tests.case_samples import see_report

PATIENT = Patient("MRN1", "HOSP", "Doe", "Jane", date(1960, 5, 4), "female")
SIGNER = Practitioner("R7", "Osei", "Kwame", "Dr.")
NOTICE = "Written by software. A radiologist must read and sign it."
SECTIONS = ("Findings", "There is a small left pleural effusion.")
ACTOR = "prelim/worker"


def order(accession: str, action: OrderAction = OrderAction.PLACE, **words: Any) -> Order:
    """An order for an accession; `words` replace the usual ones."""
    usual: dict[str, Any] = {
        "patient": PATIENT,
        "procedure": Coding("24627-2", "CT chest", "LN"),
        "modality": "CT",
        "study_instance_uid": f"1.2.3.{abs(int.from_bytes(accession.encode(), 'big'))}"[:64],
        "clinical_question": "Effusion?",
    }
    return Order(action, accession, **{**usual, **words})


def draft(text: str = SECTIONS[1]) -> Draft:
    """A draft of one sentence that a finding head supports."""
    card = ModelCard("demo", "1", "ab" * 32, "1", NOTICE)
    evidence = (Evidence("image", "pleural effusion", "left", 0.97, 8),)
    heads = {"pleural effusion, left": 0.97}
    return Draft((Sentence(SECTIONS[0], text, evidence),), card, heads, tokens=9, seconds=0.5)


def guarded_draft(language: str = "en") -> Draft:
    """A draft of every kind of sentence: supported, rewritten, marked, without evidence, without an image."""
    card = ModelCard("demo", "1", "ab" * 32, "2", NOTICE)
    seen = Evidence("image", "pleural effusion", "left", 0.97, 8, (6, 40, 60, 12, 70, 90), 0.62, 14.0)
    unsupported = Evidence("image", "pulmonary nodule", "right", 0.56, 20, None, 0.03, 12.0)
    absent = Evidence("image", "pneumothorax", "left", 0.02, 3)
    told = (
        Sentence("Comparison", "No prior available.", (Evidence("template"),)),
        Sentence("Findings", "12 mm nodule.", (unsupported,), "Lungs", 0.56, "marked"),
        Sentence("Findings", "Small left effusion.", (seen,), "Pleura", 0.97, "rewritten"),
        Sentence("Findings", "No pneumothorax.", (absent,), "Pleura", 0.98),
        Sentence("Findings", "The heart is of normal size.", (), "Heart", 0.91),
        Sentence("Impression", "Small left effusion.", (seen,), "", 0.97),
    )
    heads = {"pleural effusion, left": 0.97, "pulmonary nodule, right": 0.56}
    return Draft(told, card, heads, language, 0.74, 60, 1.5)


def png() -> bytes:
    """A picture of 4 x 4 pixels."""
    out = io.BytesIO()
    Image.new("L", (4, 4), 90).save(out, format="PNG")
    return out.getvalue()


@functools.cache
def _migrated() -> Path:
    path = Path(tempfile.mkdtemp(prefix="prelim-web-")) / "empty.sqlite"
    database = Database(f"sqlite:///{path}")
    migrate(database)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return path


class WebSite:
    """The pages over a database of their own."""

    def __init__(self, folder: Path, database_url: str = "", **settings: Any) -> None:
        """On a fresh SQLite file in `folder`, or on the empty database that is named."""
        if database_url:
            self.database = Database(database_url)
            migrate(self.database)
        else:
            path = folder / "prelim.sqlite"
            shutil.copy(_migrated(), path)
            self.database = Database(f"sqlite:///{path}")
        self.settings = Settings(database_url=self.database.url, **settings)
        self.jobs: list[Job] = []
        self.intake = Intake(self.database, self._enqueue, rules(self.settings))
        self.app = create_app(self.database, self.settings, self.intake)

    @property
    def client(self) -> FlaskClient:
        """A browser."""
        return self.app.test_client()

    def get(self, path: str, **more: Any) -> str:
        """The text of an address that must answer 200."""
        answer = self.client.get(path, **more)
        assert answer.status_code == 200, answer.status_code
        return answer.get_data(as_text=True)

    def json(self, path: str, status: int = 200) -> Any:
        """The JSON of an address."""
        answer = self.client.get(path)
        assert answer.status_code == status, answer.status_code
        return answer.get_json()

    def id_of(self, accession: str) -> str:
        """The case of an accession."""
        with self.database.read() as session:
            case = find_case(session, accession)
            assert case is not None
            return case.id

    def leaves(self, action: str) -> list[AuditLeaf]:
        """The entries of an action."""
        with self.database.read() as session:
            return list(session.scalars(sa.select(AuditLeaf).where(AuditLeaf.action == action)))

    def order(self, accession: str, action: OrderAction = OrderAction.PLACE, **words: Any) -> str:
        """Take an order; returns the case's id."""
        with self.database.write() as session:
            take_order(session, order(accession, action, **words), self._enqueue, "hl7/RIS")
        return self.id_of(accession)

    def ready(self, accession: str, **words: Any) -> str:
        """A case with its images."""
        self.order(accession, **words)
        placed = order(accession, **words)
        with self.database.write() as session:
            ref = StudyRef(placed.study_instance_uid, placed.patient, accession, ("CT",), "", 32)
            take_study(session, ref, self._enqueue, "archive")
        return self.id_of(accession)

    def drafted(self, accession: str, text: str | Draft = SECTIONS[1], **words: Any) -> str:
        """A case with a draft and one picture of slice 9."""
        case_id = self.ready(accession, **words)
        self.draft_again(case_id, text)
        return case_id

    def draft_again(self, case_id: str, text: str | Draft = SECTIONS[1]) -> None:
        """Write the draft that is due: this one, or one of this sentence."""
        written = draft(text) if isinstance(text, str) else text
        with self.database.write() as session:
            case = session.get_one(Case, case_id)
            row = translate.draft_row(case, written, DraftStatus.PRELIMINARY, now())
            session.add(row)
            session.flush()
            session.add(
                Picture(
                    draft_id=row.id, ordinal=0, slice_index=8, caption="Effusion: slice 9 of 32", png=png()
                )
            )
            move(session, case, CaseState.DRAFTED, ACTOR)

    def published(self, accession: str, text: str = SECTIONS[1], **words: Any) -> str:
        """A case whose draft stands on the FHIR server."""
        case_id = self.drafted(accession, text, **words)
        with self.database.write() as session:
            row = latest_draft(session, case_id)
            assert row is not None
            row.reference, row.version = "DiagnosticReport/7", "1"
            row.url = "https://fhir.example/DiagnosticReport/7"
            row.published_at = now()
            move(session, session.get_one(Case, case_id), CaseState.PUBLISHED, ACTOR)
        return case_id

    def report(
        self,
        accession: str,
        text: str,
        status: ReportStatus = ReportStatus.FINAL,
        signer: Practitioner | None = SIGNER,
        patient: Patient = PATIENT,
        evidence: str = "",
        **changes: Any,
    ) -> None:
        """A human's report, seen in an ORU; `changes` are fields of it that differ."""
        signed_at = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
        plain = SignedReport(accession, patient, status, text, "hl7-oru", "RIS|HOSP", signer, signed_at)
        with self.database.write() as session:
            seen = replace(plain, **changes)
            see_report(session, seen, evidence or f"message {accession} {status}", "hl7/RIS")

    def move(self, case_id: str, state: CaseState, reason: str) -> None:
        """Move a case, with a reason."""
        with self.database.write() as session:
            move(session, session.get_one(Case, case_id), state, ACTOR, reason=reason)

    def held(self, accession: str, reason: str) -> str:
        """A case that is held."""
        case_id = self.ready(accession)
        with self.database.write() as session:
            hold(session, session.get_one(Case, case_id), ACTOR, reason)
        return case_id

    def every_state(self) -> dict[CaseState, str]:
        """One case in each state."""
        cases = {
            CaseState.RECEIVED: self.order("S1"),
            CaseState.READY: self.ready("S2"),
            CaseState.DRAFTED: self.drafted("S3"),
            CaseState.PUBLISHED: self.published("S4"),
            CaseState.SIGNED: self.published("S5"),
            CaseState.SUPERSEDED: self.published("S6"),
            CaseState.WITHHELD: self.drafted("S7"),
            CaseState.HELD: self.held("S8", "The patient identifiers disagree."),
            CaseState.FAILED: self.ready("S9"),
            CaseState.CANCELLED: self.order("S10"),
        }
        self.report("S5", "Findings\nThere is a large left pleural effusion.")
        self.report("S6", "Findings\nEffusion.", ReportStatus.PRELIMINARY)
        self.move(cases[CaseState.WITHHELD], CaseState.WITHHELD, "A human's version is there.")
        self.move(cases[CaseState.FAILED], CaseState.FAILED, "The study could not be read.")
        self.order("S10", OrderAction.CANCEL)
        return cases

    def _enqueue(self, _session: object, job: Job) -> None:
        self.jobs.append(job)
