"""Prelim on PostgreSQL with every part in a process of its own, one of which is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from connectors.dicomweb.client import DicomwebClient
from connectors.exchange import Order, OrderAction
from connectors.fhir.client import FhirClient
from connectors.sandbox.ris import Ris
from model.load import SCRIPTED_WEIGHTS
from plugin.audit.verify import verify
from plugin.db import Database
from plugin.tables import AuditLeaf, Case, DraftRecord
from tests.site import Peers, embedded, new_order, study_of, until

ORDERS = 6
DRAFT_SECONDS = 2.0
LEASE_SECONDS = 3.0


class Processes:
    """`prelim serve --only PART`, each in a process of its own."""

    def __init__(self, peers: Peers, database_url: str, model: Path, folder: Path) -> None:
        self._folder = folder
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith("PRELIM_")
        }
        self._environment |= {
            "PRELIM_DATABASE_URL": database_url,
            "PRELIM_FHIR_URL": peers.fhir_url,
            "PRELIM_DICOMWEB_URL": peers.dicomweb_url,
            "PRELIM_PACS_CHANGES_URL": peers.changes_url,
            "PRELIM_MODEL": str(model),
            "PRELIM_MLLP_PORT": "0",
            "PRELIM_HTTP_PORT": "0",
            "PRELIM_POLL_SECONDS": "0.2",
            "PRELIM_STUDY_SETTLE_SECONDS": "0.5",
            "PRELIM_WORKER_LEASE_SECONDS": str(LEASE_SECONDS),
        }
        self.running: dict[str, subprocess.Popen[str]] = {}

    def start(self, part: str, name: str) -> dict[str, Any]:
        """Start one part and wait until it says where it serves."""
        command = [sys.executable, "-c", "from plugin.cli import main; main()", "serve"]
        with (self._folder / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                [*command, "--only", part, "--worker-name", name, "--json"],
                env=self._environment,
                cwd=self._folder,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.running[name] = process
        assert process.stdout is not None
        told = ""
        for line in process.stdout:
            told += line
            if line.startswith("}"):
                return dict(json.loads(told))
        raise AssertionError(f"{name} ended: {(self._folder / f'{name}.log').read_text()}")

    def kill(self, name: str) -> None:
        """SIGKILL, as a power cut would."""
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """End all of them politely."""
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            process.wait(timeout=60)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A drafter that takes its time, so that it can be killed in the middle."""
    folder = tmp_path / "slow"
    folder.mkdir()
    told = json.loads((SCRIPTED_WEIGHTS / "drafter.json").read_text())
    told["script"]["seconds"] = DRAFT_SECONDS
    (folder / "drafter.json").write_text(json.dumps(told))
    return folder


@pytest.fixture
def site(
    postgres_url: str, model: Path, tmp_path: Path
) -> Iterator[tuple[Processes, Peers, Database, Ris, str]]:
    """Listener, two workers and the pages, each a process, on one PostgreSQL."""
    with ExitStack() as stack:
        peers, _, _ = stack.enter_context(embedded())
        processes = Processes(peers, postgres_url, model, tmp_path)
        stack.callback(processes.stop)
        host, port = processes.start("listen", "listener")["mllp"].split(":")
        pages = processes.start("web", "pages")["pages"]
        processes.start("work", "worker-1")
        processes.start("work", "worker-2")
        database = Database(postgres_url)
        stack.callback(database.close)
        yield processes, peers, database, Ris(host, int(port)), pages


def test_a_worker_killed_in_the_middle_of_a_draft_loses_nothing_and_writes_nothing_twice(
    site: tuple[Processes, Peers, Database, Ris, str],
) -> None:
    """Every order ends with one draft and one report, whoever dies; each accession keeps its order."""
    processes, peers, database, ris, pages = site
    orders = [new_order() for _ in range(ORDERS)]
    _store(peers, orders)
    for order in orders:
        assert ris.send_order(order, at=datetime.now(UTC)).code == "AA"

    victim = until(lambda: _drafting(database), "a worker is drafting")
    processes.kill(victim)

    # Changes of one accession are sent in order, while its draft is being lost and taken over.
    questions = [f"Question {number}?" for number in range(1, 4)]
    for question in questions:
        changed = replace(orders[-1], action=OrderAction.CHANGE, clinical_question=question)
        assert ris.send_order(changed, at=datetime.now(UTC)).code == "AA"

    until(lambda: _published(database) == ORDERS, "every case is published", seconds=120)
    with database.read() as session:
        cases = {case.accession: case for case in session.scalars(sa.select(Case))}
        drafts = session.scalars(sa.select(DraftRecord)).all()
        taken_over = session.scalars(sa.select(AuditLeaf).where(AuditLeaf.action == "worker.lost")).all()
        asked = session.scalars(
            sa.select(AuditLeaf)
            .where(
                AuditLeaf.case_id == cases[orders[-1].accession].id,
                AuditLeaf.action.in_(["order.taken", "order.changed"]),
            )
            .order_by(AuditLeaf.position)
        ).all()
        assert verify(session).verified
    assert len(cases) == ORDERS
    assert cases[orders[-1].accession].order["clinical_question"] == questions[-1]
    assert [leaf.message_id for leaf in asked] == sorted(leaf.message_id or 0 for leaf in asked)
    assert len({(draft.case_id, draft.number) for draft in drafts}) == len(drafts)
    for order in orders[:-1]:
        assert [d.number for d in drafts if d.case_id == cases[order.accession].id] == [1]
    with FhirClient(peers.fhir_url) as client:
        for case in cases.values():
            (report,) = client.search("DiagnosticReport", {"identifier": f"urn:prelim:case|{case.id}"})
            assert report["status"] == "preliminary"
    assert len(taken_over) == 1
    assert victim in taken_over[0].entry
    with urllib.request.urlopen(f"{pages}api/cases", timeout=30) as answer:
        assert {case["state"] for case in json.load(answer)["cases"]} == {"PUBLISHED"}


def _store(peers: Peers, orders: list[Order]) -> None:
    with DicomwebClient(peers.dicomweb_url) as archive:
        for order in orders:
            archive.store(study_of(order))


def _drafting(database: Database) -> str:
    """The name of a worker that has a draft in hand; empty while none has."""
    query = "SELECT executor_id FROM dbos.workflow_status WHERE name = 'draft' AND status = 'PENDING' LIMIT 1"
    with database.engine.connect() as connection:
        return str(connection.exec_driver_sql(query).scalar() or "")


def _published(database: Database) -> int:
    with database.read() as session:
        published = sa.select(sa.func.count()).select_from(Case).where(Case.state == "PUBLISHED")
        return session.scalar(published) or 0
