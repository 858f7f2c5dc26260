"""The client against a server: the same rules for the sandbox, HAPI and Medplum."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from connectors.errors import Conflict, Rejected, Unreachable
from connectors.fhir.client import FhirClient, version_of
from connectors.fhir.drafts.report import draft_bundle
from connectors.fhir.identifiers import IdentifierSystems, query, token
from connectors.fhir.outcome import Absent
from connectors.sandbox.fhir import FhirServer
from tests.fhir_samples import WHOLE_SERVERS, a_draft, fhir_url  # noqa: F401 - a fixture

SYSTEM = "urn:prelim:test"


@pytest.fixture
def client(fhir_url: str) -> Iterator[FhirClient]:  # noqa: F811 - the fixture
    with FhirClient(fhir_url, timeout_seconds=60) as client:
        yield client


def patient(value: str) -> dict[str, object]:
    return {"resourceType": "Patient", "identifier": [{"system": SYSTEM, "value": value}]}


def test_server_says_that_it_is_r4(client: FhirClient) -> None:
    """The CapabilityStatement names FHIR 4.0.1."""
    assert client.capabilities()["fhirVersion"] == "4.0.1"


def test_created_resource_reads_back_in_the_version_that_was_told(client: FhirClient) -> None:
    """create gives reference and version, read the same resource."""
    stored = client.create(patient(secrets.token_hex(8)))
    read = client.read(stored.reference)
    assert stored.created
    assert stored.version in {"", version_of(read)}


# Medplum takes an escaped | for the one between system and value.
@pytest.mark.parametrize(
    ("fhir_url", "special"),
    [
        ("sandbox", "a|b,c$d\\"),
        pytest.param("hapi", "a|b,c$d\\", marks=pytest.mark.services),
        pytest.param("medplum", "b,c", marks=pytest.mark.services),
    ],
    indirect=["fhir_url"],
)
def test_conditional_create_finds_the_one_that_is_there(client: FhirClient, special: str) -> None:
    """If-None-Exist of a known identifier creates nothing."""
    value = f"{special}{secrets.token_hex(8)}"
    first = client.create(patient(value), if_none_exist=query(SYSTEM, value))
    second = client.create(patient(value), if_none_exist=query(SYSTEM, value))
    assert first.created
    assert not second.created
    assert len(client.search("Patient", {"identifier": token(SYSTEM, value)})) == 1


def test_conditional_create_with_several_matches_is_a_conflict(client: FhirClient) -> None:
    """412: nobody can say which one is meant."""
    value = secrets.token_hex(8)
    client.create(patient(value))
    client.create(patient(value))
    with pytest.raises(Conflict):
        client.create(patient(value), if_none_exist=query(SYSTEM, value))


def test_update_of_the_current_version_is_kept_and_the_older_one_stays(client: FhirClient) -> None:
    """PUT with a matching If-Match makes another version; vread and history still give the first."""
    value = secrets.token_hex(8)
    stored = client.create(patient(value))
    before = client.read(stored.reference)
    first = version_of(before)
    client.update({**before, "gender": "female"}, if_match=first)
    second = version_of(client.read(stored.reference))
    assert "gender" not in client.vread(stored.reference, first)
    assert second != first
    assert [version_of(version) for version in client.history(stored.reference)] == [second, first]


def test_update_of_a_stale_version_is_a_conflict(client: FhirClient) -> None:
    """412 Precondition Failed becomes Conflict and changes nothing (FHIR R4 http.html#concurrency)."""
    stored = client.create(patient(secrets.token_hex(8)))
    before = client.read(stored.reference)
    changed = {**before, "gender": "female"}
    client.update(changed, if_match=version_of(before))
    with pytest.raises(Conflict):
        client.update({**changed, "gender": "male"}, if_match=version_of(before))
    assert client.read(stored.reference)["gender"] == "female"


def test_what_is_not_there_is_absent(client: FhirClient) -> None:
    """404 becomes Absent, which is a Rejected."""
    with pytest.raises(Absent):
        client.read("Patient/none-such")


@pytest.mark.parametrize("fhir_url", WHOLE_SERVERS, indirect=True)
def test_refusal_is_rejected_without_the_words_sent(client: FhirClient) -> None:
    """400 (a reference to nothing) becomes Rejected; what was sent is not in the message."""
    astray = {"generalPractitioner": [{"reference": "Practitioner/Zebedee"}], "name": [{"text": "Zebedee"}]}
    with pytest.raises(Rejected) as refused:
        client.create({**patient("Zebedee"), **astray})
    assert "Zebedee" not in str(refused.value)


def test_search_reads_every_page(client: FhirClient) -> None:
    """Five matches, two to a page, are all found, once each."""
    value = secrets.token_hex(8)
    created = {client.create(patient(value)).reference for _ in range(5)}
    found = client.search("Patient", {"identifier": token(SYSTEM, value), "_count": "2"})
    assert len(found) == 5
    assert {f"Patient/{one['id']}" for one in found} == created


@pytest.mark.parametrize("fhir_url", WHOLE_SERVERS, indirect=True)
def test_transaction_is_all_or_nothing(client: FhirClient) -> None:
    """A Bundle whose last entry is refused leaves no trace of its first."""
    draft = a_draft()
    bundle = draft_bundle(draft)
    bundle["entry"][-1]["resource"]["target"] = [{"reference": "DiagnosticReport/none-such"}]
    with pytest.raises(Rejected):
        client.transaction(bundle)
    systems = IdentifierSystems()
    identifier = token(systems.of_patient(draft.patient), draft.patient.identifier)
    assert client.search("Patient", {"identifier": identifier}) == []


def test_transaction_joins_its_entries(client: FhirClient) -> None:
    """Names of the form urn:uuid become references to what was stored."""
    subject, device, report, provenance = client.transaction(draft_bundle(a_draft()))
    assert client.read(report.reference)["subject"]["reference"] == subject.reference
    stored = client.read(provenance.reference)
    assert stored["target"][0]["reference"] == report.reference
    assert stored["agent"][0]["who"]["reference"] == device.reference


def test_transaction_with_a_stale_version_is_a_conflict(client: FhirClient) -> None:
    """ifMatch of an entry is honoured: 409 or 412, and nothing is written."""
    draft = a_draft()
    stored = client.transaction(draft_bundle(draft))[2]
    bundle = draft_bundle(draft)
    bundle["entry"][2]["resource"]["id"] = stored.reference.partition("/")[2]
    bundle["entry"][2]["resource"]["conclusion"] = "Other words."
    bundle["entry"][2]["request"] = {"method": "PUT", "url": stored.reference, "ifMatch": 'W/"7"'}
    with pytest.raises(Conflict):
        client.transaction(bundle)
    assert version_of(client.read(stored.reference)) == stored.version


def test_server_that_is_down_is_unreachable() -> None:
    """A refused connection becomes Unreachable."""
    server = FhirServer().start()
    with FhirClient(server.base_url) as client:
        client.capabilities()
        server.stop()
        with pytest.raises(Unreachable):
            client.capabilities()


def test_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the configured peer is spoken to: HTTP_PROXY does not redirect reports."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with FhirServer() as server, FhirClient(server.base_url) as client:
        assert client.capabilities()["fhirVersion"] == "4.0.1"


def test_writers_at_once_lose_nothing() -> None:
    """Forty conditional creates, four to a name: ten patients; eight updates of a version: one winner."""
    with FhirServer() as server, FhirClient(server.base_url) as client, ThreadPoolExecutor(8) as threads:
        values = [f"v{number % 10}" for number in range(40)]
        stored = list(
            threads.map(lambda v: client.create(patient(v), if_none_exist=query(SYSTEM, v)), values)
        )
        assert sum(one.created for one in stored) == len({one.reference for one in stored}) == 10

        def rename(number: int) -> bool:
            document = {
                **patient("v0"),
                "id": stored[0].reference.partition("/")[2],
                "name": [{"text": f"n{number}"}],
            }
            try:
                return bool(client.update(document, if_match="1").version)
            except Conflict:
                return False

        assert sum(threads.map(rename, range(8))) == 1


def test_browser_gets_a_page_on_which_nothing_runs() -> None:
    """The sandbox shows a report as HTML, its words escaped, under a policy that allows no script."""
    draft = a_draft(sections=(("Findings", "<script>alert(1)</script>"),))
    with FhirServer() as server, FhirClient(server.base_url) as client:
        report = client.transaction(draft_bundle(draft))[2]
        page = httpx.get(
            f"{server.base_url}/{report.reference}",
            headers={"Accept": "text/html,*/*;q=0.8"},
            trust_env=False,
        )
    assert page.headers["Content-Type"].startswith("text/html")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
