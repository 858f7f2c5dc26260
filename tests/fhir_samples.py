"""Made-up drafts, and the FHIR servers that tests run against: the sandbox, HAPI and Medplum."""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any

import httpx
import pytest

from connectors.exchange import Coding, DraftAuthor, DraftReport, DraftStatus, Patient, Practitioner
from connectors.fhir.client import FhirClient
from connectors.sandbox.fhir import FhirServer

ROSA = Practitioner(identifier="D-77", family_name="Rosa", given_name="Elena", prefix="Dr")
SIGNER = dataclasses.replace(ROSA, role="resultsInterpreter")
"""Rosa as a report names her that she signed."""


def a_draft(**changes: Any) -> DraftReport:
    """A draft whose every identifier is its own, since real servers keep data between tests."""
    mark = secrets.token_hex(6)
    draft = DraftReport(
        case_id=f"case-{mark}",
        number=1,
        accession=f"ACC{mark}",
        patient=Patient(f"PID{mark}", "HOSP", "Example", "Ada", date(1961, 4, 2), "female"),
        study_instance_uid=f"1.2.826.0.1.3680043.8.498.{int(mark, 16)}",
        procedure=Coding("30746-2", "Portable XR Chest Views", "LN"),
        status=DraftStatus.PRELIMINARY,
        sections=(("Findings", "The lungs are clear."), ("Impression", "No acute abnormality.")),
        conclusion="No acute abnormality.",
        notice="Drafted by software; not a report until a radiologist signs it.",
        issued_at=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
        author=DraftAuthor("prelim-small", "0.1.0", "ab" * 32, "prompt-3"),
        placer_order_number=f"PL{mark}",
    )
    return dataclasses.replace(draft, **changes)


def redone(draft: DraftReport, words: str = "A small left effusion.", **changes: Any) -> DraftReport:
    """The next draft of the same case, with other words."""
    return dataclasses.replace(
        draft,
        number=draft.number + 1,
        sections=(("Findings", words), ("Impression", words)),
        conclusion=words,
        **changes,
    )


def raw_put(client: FhirClient, resource: dict[str, object]) -> None:
    """What another program on the same server can do and we cannot."""
    httpx.put(
        f"{client.base_url}/DiagnosticReport/{resource['id']}",
        json=resource,
        headers={"Content-Type": "application/fhir+json"},
        trust_env=False,
        timeout=60,
    ).raise_for_status()


class Meddling(httpx.HTTPTransport):
    """Lets somebody else act just before or after our transaction; may lose its ifMatch on the way."""

    def __init__(
        self, *, before: Callable[[], object] = int, after: Callable[[], object] = int, strip: bool = False
    ) -> None:
        super().__init__()
        self.before, self.after, self.strip = before, after, strip

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method != "POST" or not request.url.path.endswith("/fhir"):
            return super().handle_request(request)
        self.before()
        if self.strip:
            bundle = json.loads(request.read())
            for entry in bundle["entry"]:
                entry["request"].pop("ifMatch", None)
            headers = {k: v for k, v in request.headers.items() if k != "content-length"}
            request = httpx.Request("POST", request.url, headers=headers, content=json.dumps(bundle).encode())
        response = super().handle_request(request)
        response.read()
        self.after()
        return response


WHOLE_SERVERS = ["sandbox", pytest.param("hapi", marks=pytest.mark.services)]
"""Servers that check references and take transactions back. Medplum's memory does neither."""
SERVERS = [*WHOLE_SERVERS, pytest.param("medplum", marks=pytest.mark.services)]


@pytest.fixture(params=SERVERS)
def fhir_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Base URL of a FHIR server: every test that asks for it runs on the sandbox, HAPI and Medplum."""
    yield from _address(request)


@pytest.fixture(params=WHOLE_SERVERS)
def whole_fhir_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The same without Medplum, for what its memory cannot do or does not count."""
    yield from _address(request)


def _address(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param != "sandbox":
        yield request.getfixturevalue(f"{request.param}_url")
        return
    with FhirServer() as server:
        yield server.base_url
