"""One case with a draft, in a database of its own, beside a FHIR server; its jobs are done when asked for."""

from __future__ import annotations

import json
from typing import Any

import httpx
import sqlalchemy as sa

from connectors.exchange import ReportStatus
from connectors.fhir.client import FhirClient, version_of
from connectors.fhir.identifiers import IdentifierSystems
from plugin.attesting import Attesting
from plugin.casework import Job
from plugin.db import Database
from plugin.orders import take_order, take_study
from plugin.publishing import Publishing
from plugin.reports import latest_draft
from plugin.settings import Settings
from plugin.tables import AuditLeaf, Case, DraftRecord
from plugin.withdrawing import Withdrawing
from tests.case_samples import Jobs, a_report, a_study, see_report, store_draft
from tests.site import new_order

SYSTEMS = IdentifierSystems()
DELAY = 77.0


class Room:
    """One case with its draft, and what does the jobs about it."""

    def __init__(self, database: Database, url: str) -> None:
        self.database = database
        self.jobs = Jobs()
        self.server = FhirClient(url, timeout_seconds=60)
        self.order = new_order()
        with database.write() as session:
            study = a_study(
                self.order.accession,
                patient=self.order.patient,
                study_instance_uid=self.order.study_instance_uid,
            )
            take_study(session, study, self.jobs.enqueue, "archive")
            case = take_order(session, self.order, self.jobs.enqueue, "hl7:RIS")
            store_draft(session, case)
            self.case_id = case.id

    def publish(self, server: FhirClient | None = None) -> None:
        """Do the publish job once."""
        doing = Publishing(Settings(), self.database, self.jobs.enqueue, server or self.server, SYSTEMS)
        doing.publish(self.case_id, 1, 0)

    def report(self, status: ReportStatus = ReportStatus.FINAL, **changes: Any) -> None:
        """See a human's report, by message unless said otherwise."""
        report = a_report(
            self.order.accession,
            patient=self.order.patient,
            study_instance_uid=self.order.study_instance_uid,
            status=status,
            **changes,
        )
        with self.database.write() as session:
            see_report(session, report, "message 9:0", "hl7:RIS", jobs=self.jobs)

    def do(self, kind: str, server: FhirClient | None = None, **settings: Any) -> list[Job]:
        """Do the jobs of a kind that were asked for, and return those that these ask for in turn."""
        todo = [job for job in self.jobs.asked if job.kind == kind]
        self.jobs.asked.clear()
        chosen = Settings(fhir_retire_seconds=DELAY, **settings)
        parts = (chosen, self.database, self.jobs.enqueue, server or self.server, SYSTEMS)
        doing = {
            "retire": Withdrawing(*parts).retire,
            "withdraw": Withdrawing(*parts).withdraw,
            "attest": Attesting(*parts).attest,
        }[kind]
        for job in todo:
            doing(job.case_id, job.number, job.attempt)
        return list(self.jobs.asked)

    def retire(self, server: FhirClient | None = None, **settings: Any) -> list[Job]:
        """Let the delay pass, then retire."""
        self.do("retire")
        return self.do("retire", server, **settings)

    @property
    def case(self) -> Case:
        with self.database.read() as session:
            return session.get_one(Case, self.case_id)

    @property
    def draft(self) -> DraftRecord:
        with self.database.read() as session:
            row = latest_draft(session, self.case_id)
            assert row is not None
            return row

    @property
    def actions(self) -> list[str]:
        with self.database.read() as session:
            of_case = sa.select(AuditLeaf.action).where(AuditLeaf.case_id == self.case_id)
            return list(session.scalars(of_case.order_by(AuditLeaf.position)))

    def details(self, action: str) -> dict[str, Any]:
        with self.database.read() as session:
            leaf = sa.select(AuditLeaf.entry).where(
                AuditLeaf.case_id == self.case_id, AuditLeaf.action == action
            )
            details: dict[str, Any] = json.loads(session.scalars(leaf).one())["details"]
            return details

    def ours(self) -> list[dict[str, Any]]:
        """Every report on the server that carries our identifier of this case."""
        return self.server.search("DiagnosticReport", {"identifier": f"{SYSTEMS.report}|{self.case_id}"})

    def stands(self) -> tuple[str, str]:
        """(status, version) of our only report, as it is now."""
        (found,) = self.ours()
        report = self.server.read(f"DiagnosticReport/{found['id']}")
        return report["status"], version_of(report)

    def through(self, transport: httpx.BaseTransport) -> FhirClient:
        return FhirClient(self.server.base_url, transport=transport, timeout_seconds=60)
