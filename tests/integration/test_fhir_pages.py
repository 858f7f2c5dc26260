"""Open drafts and changes asked for in pages: on the sandbox and on HAPI, and what 10,000 drafts cost."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from connectors.fhir.client import FhirClient, reference_of
from connectors.fhir.drafts.publish import publish
from connectors.fhir.drafts.report import report_of
from connectors.fhir.identifiers import IdentifierSystems
from connectors.fhir.readers.pages import changed, look
from connectors.sandbox.fhir import FhirServer
from connectors.sandbox.fhir_radiologist import sign
from tests.fhir_samples import ROSA, WHOLE_SERVERS, a_draft, fhir_url  # noqa: F401 - a fixture

SYSTEMS = IdentifierSystems()


class Counting(httpx.HTTPTransport):
    """Counts requests, and the bytes of what comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.requests = 0
        self.largest = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        response = super().handle_request(request)
        self.largest = max(self.largest, len(response.read()))
        return response


@pytest.fixture
def client(fhir_url: str) -> Iterator[FhirClient]:  # noqa: F811 - the fixture
    with FhirClient(fhir_url, timeout_seconds=60) as client:
        yield client


def test_draft_and_the_report_of_a_person_are_sighted_together(client: FhirClient) -> None:
    """By accession both are found, by reference ours; each with its version, status and time."""
    draft = a_draft()
    known = publish(client, draft)
    theirs = sign(client.base_url, known.reference, ROSA, "Their words.", as_new_report=True)
    found = {one.reference: one for one in look(client, SYSTEMS, accessions=[draft.accession], references=[])}
    assert set(found) == {known.reference, reference_of(theirs)}
    ours = found[known.reference]
    assert (ours.version, ours.status, ours.case_ids) == (known.version, "preliminary", (draft.case_id,))
    assert ours.accessions == (draft.accession,)
    assert ours.last_updated is not None
    assert found[reference_of(theirs)].status == "final"
    alone = look(client, SYSTEMS, accessions=[], references=[known.reference, "DiagnosticReport/none-such"])
    assert [one.reference for one in alone] == [known.reference]


@pytest.mark.parametrize("fhir_url", WHOLE_SERVERS, indirect=True)
def test_several_pages_are_read(fhir_url: str) -> None:  # noqa: F811
    """Reports that fill more than a page of the server are all sighted, and pages hold no report text."""
    transport = Counting()
    text = "Many words. " * 2000
    drafts = [
        a_draft(case_id=f"case-{secrets.token_hex(8)}", sections=(("Findings", text),)) for _ in range(60)
    ]
    with FhirClient(fhir_url, timeout_seconds=60) as writer:
        subject = writer.create({"resourceType": "Patient"}).reference
        stored = [writer.create(report_of(draft, SYSTEMS, subject=subject)) for draft in drafts]
    with FhirClient(fhir_url, timeout_seconds=60, transport=transport) as client:
        found = look(client, SYSTEMS, accessions=[draft.accession for draft in drafts], references=[])
    assert {one.reference for one in found} == {one.reference for one in stored}
    assert transport.requests <= 2
    assert transport.largest < 60 * len(text) / 4


def test_changes_are_followed_by_the_servers_clock(client: FhirClient) -> None:
    """A new version after the cursor is seen by the next call."""
    draft = a_draft()
    known = publish(client, draft)
    first = next(
        one for one in look(client, SYSTEMS, accessions=[draft.accession], references=[]) if one.last_updated
    )
    assert first.last_updated is not None
    begun = first.last_updated - timedelta(milliseconds=1)
    found, cursor = changed(client, "DiagnosticReport", begun, params={}, overlap_seconds=0)
    assert (known.reference, known.version) in {(one.reference, one.version) for one in found}
    sign(client.base_url, known.reference, ROSA, "Signed words.")
    found, later = changed(client, "DiagnosticReport", cursor, params={"status": "final"}, overlap_seconds=1)
    assert known.reference in {one.reference for one in found}
    assert {one.status for one in found} == {"final"}
    assert later > begun


def test_ten_thousand_open_drafts_cost_at_most_a_hundred_requests() -> None:
    """10,000 accessions and 10,000 references, where the ones find the others and where they do not."""
    accessions, references = [], []
    draft = a_draft()
    with FhirServer() as server:
        for number in range(10_000):
            identifiers = [
                {"system": SYSTEMS.report, "value": f"case-{number}"},
                {"system": SYSTEMS.accession, "value": f"{draft.accession}-{number}"},
            ]
            report = {"resourceType": "DiagnosticReport", "status": "preliminary", "identifier": identifiers}
            accessions.append(f"{draft.accession}-{number}")
            references.append(f"DiagnosticReport/{number}")
            server.store.load(str(number), report)
            if number % 10 == 0:
                server.store.load(f"x{number}", {**report, "status": "final", "identifier": identifiers[1:]})
        transport = Counting()
        with FhirClient(server.base_url, transport=transport) as client:
            found = look(client, SYSTEMS, accessions=accessions, references=references)
            assert len(found) == 11_000
            assert transport.requests <= 60
            transport.requests = 0
            unknown = [f"no-{one}" for one in accessions]
            found = look(client, SYSTEMS, accessions=unknown, references=references)
            assert len(found) == 10_000
            assert transport.requests <= 100
