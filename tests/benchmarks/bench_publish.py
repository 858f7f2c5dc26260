"""Writing drafts back to HAPI FHIR, beside a bare HTTP client that posts the very same Bundles.

Ours is the whole of publishing a draft with three findings: building and checking the Bundle, looking whether
a person was there first, writing, reading back and comparing. The peer has its Bundles built beforehand, byte
for byte as publishing would send them for drafts of their own, posts them and reads what comes. Neither makes
the PDF that is in them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx

from connectors.exchange import Coding, DraftFinding, DraftReport
from connectors.fhir.capabilities import Capabilities, of
from connectors.fhir.client import JSON, FhirClient
from connectors.fhir.drafts.publish import publish
from connectors.pdf import report_pdf
from tests.benchmarks.table import Progress, Row, figure, skipped
from tests.fhir_samples import a_draft
from tests.services import state

REPORTS = 200
"""Of one measurement."""
TURNS = 3
THREADS = (1, 4)
WARM_UP = 20
PART = 20
"""Reports that one side writes before it is the other side's turn."""
GOAL = "≥ 0.9"
"""Of reports a second, ours to the bare client's."""


FINDINGS = (
    DraftFinding(
        "Pneumothorax",
        present=True,
        side="left",
        code=Coding("36118008", "Pneumothorax", "http://snomed.info/sct"),
        body_site=Coding("39607008", "Lung structure", "http://snomed.info/sct"),
        probability=0.91,
    ),
    DraftFinding("Pleural effusion", present=True, side="right", probability=0.74),
    DraftFinding("Cardiomegaly", present=False, probability=0.04),
)


class _Kept(Exception):
    """The transaction was recorded, and goes no further."""


class _Recording(httpx.BaseTransport):
    """Keeps the body of each transaction and sends nothing: the Bundle as publishing would send it."""

    def __init__(self) -> None:
        self.bundle = b""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/_search"):
            return httpx.Response(200, json={"resourceType": "Bundle", "type": "searchset"})
        self.bundle = request.read()
        raise _Kept


def run(reports: int = REPORTS, turns: int = TURNS, progress: Progress = print) -> list[Row]:
    """Rows for one thread and for several, against HAPI where it is started.

    Raises RuntimeError when the bare client's Bundles are not taken.
    """
    services = state.read()
    if "fhir" not in services:
        return [skipped("publish", "no HAPI FHIR; run `make services`")]
    url = str(services["fhir"])
    # Of one draft, for all: the time of making it is not what is measured.
    pdf = report_pdf(a_draft(findings=FINDINGS))
    rows = []
    with (
        FhirClient(url, timeout_seconds=60) as client,
        httpx.Client(timeout=60, trust_env=False) as http,
    ):
        able = of(client.capabilities())
        _ours(client, able, pdf, _drafts(WARM_UP), 1)
        _bare(http, url, _bundles(url, able, pdf, WARM_UP), 1)
        for threads in THREADS:
            rates: dict[str, list[float]] = {"ours": [], "bare": []}
            for turn in range(turns):
                progress(f"publish: {threads} at a time, turn {turn + 1} of {turns}")
                for part in range(0, reports, PART):
                    count = min(PART, reports - part)
                    drafts, bundles = _drafts(count), _bundles(url, able, pdf, count)
                    # In small parts and in turn: the server slows as it fills, and others use the machine.
                    # It also stands still for seconds at a time, which the median over the parts leaves out.
                    for name in sorted(rates, reverse=bool(part // PART % 2)):
                        seconds = (
                            _ours(client, able, pdf, drafts, threads)
                            if name == "ours"
                            else _bare(http, url, bundles, threads)
                        )
                        rates[name].append(count / seconds)
            peer = "bare httpx client, the same Bundles"
            what = f"reports a second, 3 findings, {threads} at a time"
            rows.append(figure("publish", what, "1/s", rates["ours"], rates["bare"], peer, goal=GOAL))
    return rows


def _drafts(count: int) -> list[DraftReport]:
    return [a_draft(findings=FINDINGS) for _ in range(count)]


def _bundles(url: str, able: Capabilities, pdf: bytes, count: int) -> list[bytes]:
    """The bodies that publishing would post for so many drafts of their own."""
    recording = _Recording()
    bundles = []
    with FhirClient(url, transport=recording) as client:
        for draft in _drafts(count):
            with suppress(_Kept):
                publish(client, draft, pdf=pdf, capabilities=able)
            bundles.append(recording.bundle)
    return bundles


def _ours(
    client: FhirClient, able: Capabilities, pdf: bytes, drafts: list[DraftReport], threads: int
) -> float:
    """Seconds for all of them."""
    return _seconds(lambda draft: publish(client, draft, pdf=pdf, capabilities=able), drafts, threads)


def _bare(http: httpx.Client, url: str, bundles: list[bytes], threads: int) -> float:
    """Seconds for all of them."""
    headers = {"Content-Type": JSON, "Accept": JSON, "Prefer": "return=representation"}

    def post(bundle: bytes) -> None:
        if http.post(url, content=bundle, headers=headers).json()["type"] != "transaction-response":
            raise RuntimeError("HAPI did not take a Bundle of ours from the bare client")

    return _seconds(post, bundles, threads)


def _seconds(act: Callable[[Any], object], items: Sequence[Any], threads: int) -> float:
    with ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        for _ in pool.map(act, items):
            pass
        return time.perf_counter() - began
