"""From a case that is READY to a report that is written and read back, without generation.

The scripted drafter writes, so that what is left is the way: queue, archive, reader, database, FHIR
server. The peer is a bare script that fetches a study of its own with the same client, sends the same Bundle
and reads the report back, without queue, reader, database, audit or a look for a person's report.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import httpx
import numpy as np
import sqlalchemy as sa

import plugin.drafting
import plugin.publishing
from connectors.dicomweb.client import DicomwebClient
from connectors.exchange import DraftReport, Order
from connectors.fhir.client import FhirClient
from connectors.fhir.drafts.report import draft_bundle
from plugin import translate
from plugin.settings import Settings
from plugin.tables import AuditLeaf, Case, Study
from tests.benchmarks.table import Progress, Row, figure
from tests.dicom import ct_series, encoded
from tests.services import state
from tests.site import Peers, Site, embedded, new_order, running, sqlite, until

CASES = 20
SHAPE = (24, 256, 256)
"""Slices, rows and columns of a study: about 3 MB."""
FAST_POLL_SECONDS = 0.05
DEFAULT_POLL_SECONDS = Settings().poll_seconds
STEPS = (
    "wait in the draft queue",
    "fetch the study",
    "read it in a child process",
    "check, draft (scripted), store",
    "wait in the publish queue",
    "publish and read back",
    "record",
)


@dataclass(slots=True)
class _Spans:
    """When each step of the case in hand began and ended, in seconds of time.time()."""

    taken: dict[str, tuple[float, float]] = field(default_factory=dict)

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its time noted."""

        def call(*args: Any, **kwargs: Any) -> Any:
            began = time.time()
            try:
                return function(*args, **kwargs)
            finally:
                self.taken[name] = (began, time.time())

        return call

    def steps(self, ready: float) -> list[float]:
        """Seconds of each of STEPS, which follow one another without a gap. ready: when the case was."""
        job, fetch, read = self.taken["draft"], self.taken["fetch"], self.taken["read"]
        sent, written = self.taken["publish"], self.taken["send"]
        ends = [job[0], fetch[1], read[1], job[1], sent[0], written[1], sent[1]]
        return [end - began for began, end in zip([ready, *ends], ends, strict=False)]


@contextmanager
def _watched(spans: _Spans) -> Iterator[None]:
    places = (
        ("draft", plugin.drafting.Drafting, "draft"),
        ("fetch", DicomwebClient, "fetch_study"),
        ("read", plugin.drafting, "read_series"),
        ("publish", plugin.publishing.Publishing, "publish"),
        ("send", plugin.publishing, "publish"),
    )
    with ExitStack() as stack:
        for name, owner, attribute in places:
            stack.enter_context(patch.object(owner, attribute, spans.timed(name, getattr(owner, attribute))))
        yield


def run(cases: int = CASES, shape: tuple[int, int, int] = SHAPE, progress: Progress = print) -> list[Row]:
    """Rows for the whole and for each step, with the queue polled fast and as it is set by default."""
    services = state.read()
    with ExitStack() as stack:
        if {"fhir", "dicomweb", "orthanc"} <= services.keys():
            peers = Peers(str(services["fhir"]), str(services["dicomweb"]), str(services["orthanc"]))
            where = "HAPI FHIR and Orthanc"
        else:
            peers, _, _ = stack.enter_context(embedded())
            where = "the sandbox"
        rows = _rows(peers, where, FAST_POLL_SECONDS, cases, shape, progress)
        return rows + _rows(peers, where, DEFAULT_POLL_SECONDS, max(1, cases // 2), shape, progress)


def _rows(
    peers: Peers,
    where: str,
    poll_seconds: float,
    cases: int,
    shape: tuple[int, int, int],
    progress: Progress,
) -> list[Row]:
    # The queue is never asked more seldom than once a second (plugin.worker).
    polled = f"queue polled every {min(poll_seconds, 1.0):g} s"
    voxels = np.random.default_rng(11).integers(-1000, 1500, shape).astype(np.float32)
    spans = _Spans()
    ours: list[list[float]] = []
    bare: list[float] = []
    with tempfile.TemporaryDirectory(prefix="prelim-bench-") as folder, ExitStack() as stack:
        # Patched until the service has stopped: a job still running finds the same functions.
        stack.enter_context(_watched(spans))
        site = stack.enter_context(
            running(peers, sqlite(Path(folder)), poll_seconds=poll_seconds, worker_name="bench")
        )
        fhir = stack.enter_context(FhirClient(peers.fhir_url))
        archive = stack.enter_context(DicomwebClient(peers.dicomweb_url))
        # All images first: then each order alone makes its case READY, whatever the archive's pace is.
        pairs = [(new_order(), new_order()) for _ in range(cases + 1)]
        for pair in pairs:
            stack.callback(_forget, peers, pair)
            site.store([file for order in pair for file in _study(order, voxels)])
        _await_studies(site, [order for order, _ in pairs])
        for number, (order, other) in enumerate(pairs):
            spans.taken.clear()
            site.place(order)
            case = site.comes_to(order, "PUBLISHED")
            until(lambda: "publish" in spans.taken, "the end of the publish job")
            took = spans.steps(_ready_at(site, case))
            script = _bare(archive, fhir, _as_other(site, case, other))
            if number == 0:  # connections, imports and caches are warm from here
                continue
            ours.append(took)
            bare.append(script)
            if number % 5 == 0:
                progress(f"report: {where}, {polled}, case {number} of {cases}")
    whole = figure(
        "report",
        f"READY to written and read back, {where}, {polled}",
        "ms",
        [sum(took) * 1000 for took in ours],
        [took * 1000 for took in bare],
        "bare script: same clients, same study size, same Bundle",
        less_is_better=True,
    )
    steps = [
        figure("report", f"- of it: {step}", "ms", [took[place] * 1000 for took in ours])
        for place, step in enumerate(STEPS)
    ]
    return [whole, *steps]


def _study(order: Order, voxels: np.ndarray) -> list[bytes]:
    tags = {
        "StudyInstanceUID": order.study_instance_uid,
        "AccessionNumber": order.accession,
        "PatientID": order.patient.identifier,
        "IssuerOfPatientID": order.patient.assigning_authority,
        "PatientName": f"{order.patient.family_name}^{order.patient.given_name}",
    }
    return [encoded(image) for image in ct_series(voxels, **tags)]


def _await_studies(site: Site, orders: Sequence[Order]) -> None:
    uids = {order.study_instance_uid for order in orders}

    def known() -> bool:
        with site.database.read() as session:
            return uids <= set(session.scalars(sa.select(Study.study_instance_uid)))

    until(known, "the announcement of every study")


def _ready_at(site: Site, case: Case) -> float:
    with site.database.read() as session:
        leaf = sa.select(AuditLeaf.at).where(AuditLeaf.case_id == case.id, AuditLeaf.action == "case.ready")
        return session.scalars(leaf).one().timestamp()


def _as_other(site: Site, case: Case, other: Order) -> DraftReport:
    """The draft that Prelim published, of the other order."""
    return replace(
        translate.draft_report(case, site.drafts(case)[0]),
        case_id=uuid4().hex,
        accession=other.accession,
        patient=other.patient,
        study_instance_uid=other.study_instance_uid,
        placer_order_number=other.placer_order_number,
        filler_order_number=other.filler_order_number,
    )


def _bare(archive: DicomwebClient, fhir: FhirClient, draft: DraftReport) -> float:
    """Seconds of the same exchanges without Prelim around them."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        archive.fetch_study(draft.study_instance_uid, Path(folder), byte_cap=1 << 31)
    bundle = draft_bundle(draft)
    kinds = [entry["resource"]["resourceType"] for entry in bundle["entry"]]
    fhir.read(fhir.transaction(bundle)[kinds.index("DiagnosticReport")].reference)
    return time.perf_counter() - began


def _forget(peers: Peers, orders: Iterable[Order]) -> None:
    """Take the studies out of a real Orthanc again; the sandbox forgets by itself."""
    with suppress(httpx.HTTPError), httpx.Client(base_url=peers.changes_url, timeout=30) as orthanc:
        for order in orders:
            found = orthanc.post("/tools/lookup", content=order.study_instance_uid)
            if found.status_code == 200:
                for entry in found.json():
                    orthanc.delete(entry["Path"])
