"""The client's manners towards a server that errs, lies or is not there."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import Conflict, ExchangeError, Malformed, Rejected, Unreachable
from connectors.fhir.client import FhirClient, Stored
from connectors.fhir.egress import ForbiddenStatus
from connectors.fhir.outcome import Absent, summary
from connectors.fhir.retrying import ONE_ATTEMPT

BASE = "http://fhir.test/r4"
EMPTY = {"resourceType": "Bundle", "type": "searchset"}


def client(answer: Callable[[httpx.Request], httpx.Response], **options: object) -> FhirClient:
    options = {"patience": ONE_ATTEMPT, **options}
    return FhirClient(BASE, transport=httpx.MockTransport(answer), **options)  # type: ignore[arg-type]


def answers(
    status: int, document: object = None, **headers: str
) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(status, json=document, headers=headers)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (301, Rejected),
        (307, Rejected),
        (400, Rejected),
        (401, Rejected),
        (404, Absent),
        (408, Unreachable),
        (409, Conflict),
        (410, Absent),
        (412, Conflict),
        (422, Rejected),
        (429, Unreachable),
        (500, Unreachable),
        (501, Rejected),
        (503, Unreachable),
    ],
)
def test_status_becomes_the_error_that_says_what_to_do(status: int, expected: type[ExchangeError]) -> None:
    """One table from HTTP status to the errors of an exchange."""
    with pytest.raises(ExchangeError) as refused:
        client(answers(status, Location=f"{BASE}/elsewhere")).read("Patient/1")
    assert type(refused.value) is expected


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (httpx.ConnectError, Unreachable),
        (httpx.ConnectTimeout, Unreachable),
        (httpx.ReadTimeout, Unreachable),
        (httpx.PoolTimeout, Unreachable),
        (httpx.RemoteProtocolError, Unreachable),
        (httpx.LocalProtocolError, Rejected),
    ],
)
def test_missing_answer_becomes_the_error_that_says_what_to_do(
    failure: type[httpx.TransportError], expected: type[ExchangeError]
) -> None:
    """One table from the network's failures, whose own text is not passed on."""

    def fails(request: httpx.Request) -> httpx.Response:
        raise failure("about Zebedee", request=request)

    with pytest.raises(expected) as refused:
        client(fails).read("Patient/1")
    assert "Zebedee" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b'"x"', b"{", b"[" * 100_000, b'{"resourceType": "Patient", "x": NaN}', b"\xff"],
)
def test_unreadable_body_is_malformed(body: bytes) -> None:
    """What is no resource is not guessed at."""
    with pytest.raises(Malformed):
        client(lambda _: httpx.Response(200, content=body)).read("Patient/1")


def test_another_resource_than_asked_is_malformed() -> None:
    """A read of a Patient must answer a Patient."""
    with pytest.raises(Malformed):
        client(answers(200, {"resourceType": "Basic"})).read("Patient/1")


def test_body_at_the_cap_is_read_and_one_byte_more_is_not() -> None:
    """The cap holds to the byte."""
    body = json.dumps({"resourceType": "Patient", "id": "1"}).encode()

    def sized(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=body)

    assert client(sized, max_body_bytes=len(body)).read("Patient/1")["id"] == "1"
    with pytest.raises(Malformed):
        client(sized, max_body_bytes=len(body) - 1).read("Patient/1")


def test_endless_body_is_left_at_the_cap() -> None:
    """A body that never ends is not waited for."""
    pulled = []

    class Endless(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                pulled.append(1)
                yield b" " * 1024

    with pytest.raises(Malformed):
        client(lambda _: httpx.Response(200, stream=Endless()), max_body_bytes=10 * 1024).read("Patient/1")
    assert len(pulled) == 11


def test_answer_that_outlasts_its_time_is_unreachable() -> None:
    """A byte now and then does not hold a worker for ever: the whole answer has one deadline."""

    class Slow(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b" "

    slow = client(lambda _: httpx.Response(200, stream=Slow()), timeout_seconds=0.05, max_body_bytes=2**40)
    with pytest.raises(Unreachable):
        slow.read("Patient/1")


@pytest.mark.parametrize(
    "link",
    [
        "http://evil.test/r4?page=2",
        "https://fhir.test/r4?page=2",
        "http://fhir.test:8080/r4?page=2",
        "http://fhir.test.evil.test/r4?page=2",
        "http://fhir.test@evil.test/r4?page=2",
        "http://user@fhir.test/r4?page=2",
        "//evil.test/r4?page=2",
        "http://fhir.test/r4-other?page=2",
        "http://fhir.test/admin",
        "/admin",
        "../admin",
        "http://fhir.test/r4/%2e%2e/admin",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "http://[",
    ],
)
def test_next_page_elsewhere_is_not_followed(link: str) -> None:
    """A page link must lie below our own base URL; any other is refused, and not one byte goes there."""
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        return httpx.Response(200, json={**EMPTY, "link": [{"relation": "next", "url": link}]})

    with pytest.raises(Malformed):
        client(answer, token="secret").search("Patient", {"identifier": "x"})
    assert len(asked) == 1


@pytest.mark.parametrize(
    "link", [f"{BASE}?_getpages=1", f"{BASE}/Patient?page=2", "?page=2", "Patient?page=2"]
)
def test_next_page_below_our_base_is_followed(link: str) -> None:
    """Absolute or relative."""
    pages = [{**EMPTY, "link": [{"relation": "next", "url": link}]}, EMPTY]
    assert client(lambda _: httpx.Response(200, json=pages.pop(0))).search("Patient", {}) == []
    assert pages == []


def test_pages_in_a_circle_end() -> None:
    """A link back to a page already read is refused."""
    circle = {**EMPTY, "link": [{"relation": "next", "url": f"{BASE}?page=2"}]}
    with pytest.raises(Malformed):
        client(answers(200, circle)).search("Patient", {})


def test_redirect_is_not_followed() -> None:
    """A redirect, to wherever, is a Rejected: the token goes nowhere else."""
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(302, headers={"Location": "http://evil.test/"})

    with pytest.raises(Rejected):
        client(answer, token="secret").read("Patient/1")
    assert asked == ["fhir.test"]


@pytest.mark.parametrize(
    "reference",
    [
        "http://evil.test/Patient/1",
        "Patient/..",
        "Patient/1/../../x",
        "Patient/1?x",
        "patient/1",
        "Patient/",
        "",
    ],
)
def test_reference_elsewhere_is_never_asked_for(reference: str) -> None:
    """Only Type/id on the configured server is read."""

    def unexpected(_: httpx.Request) -> httpx.Response:
        raise AssertionError("a request left")

    with pytest.raises(Rejected):
        client(unexpected).read(reference)


def test_search_carries_its_identifiers_in_the_body_and_nothing_logs_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """POST _search: neither the URL nor any log record at any level holds the identifier."""
    caplog.set_level(logging.DEBUG)
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json=EMPTY)

    client(answer).search("Patient", {"identifier": "urn:x|Zebedee"})
    assert asked[0].method == "POST"
    assert "Zebedee" not in str(asked[0].url)
    assert b"Zebedee" in asked[0].content
    assert [record for record in caplog.records if record.name.startswith("http")] == []


def test_token_is_sent_and_asked_for_each_time() -> None:
    """A function as token is called before every request, so that a short-lived one can be renewed."""
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["Authorization"])
        return httpx.Response(200, json={"resourceType": "Patient"})

    tokens = iter(["one", "two"])
    asking = client(answer, token=lambda: next(tokens))
    asking.read("Patient/1")
    asking.read("Patient/1")
    assert seen == ["Bearer one", "Bearer two"]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://fhir.test",
        "fhir.test/r4",
        "http://",
        "http://me:pw@fhir.test",
        "http://fhir.test?x=1",
        "http://fhir.test:port",
    ],
)
def test_base_url_that_is_none_is_refused(url: str) -> None:
    """http or https, a host, no user information and no query."""
    with pytest.raises(Rejected):
        FhirClient(url)


def test_outcome_keeps_codes_and_places_only() -> None:
    """Diagnostics quote what was sent: only issue types and plain element paths remain."""
    outcome = {
        "resourceType": "OperationOutcome",
        "issue": [
            {
                "severity": "error",
                "code": "invalid",
                "diagnostics": "Zebedee",
                "details": {"text": "Zebedee"},
                "expression": [
                    "Bundle.entry[2].resource/*DiagnosticReport/17*/.status",
                    "Patient.where(id='Zebedee')",
                ],
            },
            {"code": "Zebedee"},
        ],
    }
    assert summary(json.dumps(outcome).encode()) == (
        "invalid at Bundle.entry[2].resource.status; unnamed issue"
    )


@given(st.binary(max_size=200))
def test_outcome_of_any_bytes_is_a_short_summary(body: bytes) -> None:
    """No body, however broken, breaks the error that reports it."""
    assert len(summary(body)) < 2000


def transacting(*entries: dict[str, object], **asked: bool) -> tuple[list[Stored], httpx.Request]:
    """A transaction that reads, searches and creates, answered with these entries."""
    requests = [
        {"request": {"method": "GET", "url": "Device/1"}},
        {"request": {"method": "GET", "url": "Device?identifier=a"}},
        {"request": {"method": "POST", "url": "Device"}, "resource": {"resourceType": "Device"}},
    ]
    sent = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json={**EMPTY, "type": "transaction-response", "entry": entries})

    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": requests}
    return client(answer).transaction(bundle, **asked), sent[0]


DEVICE = {"resourceType": "Device", "id": "1", "meta": {"versionId": "7"}}
FOUND = {**EMPTY, "id": "search-1", "entry": [{"resource": DEVICE}]}
CREATED = {"status": "201 Created", "location": "Device/2/_history/1", "etag": 'W/"1"'}


def test_a_transaction_gives_what_its_entries_read_and_wrote() -> None:
    """A resource as it stands, what a search found as a Bundle that stands nowhere, and the new one."""
    new = {"resourceType": "Device", "id": "2"}
    stored, request = transacting(
        {"response": {"status": "200 OK"}, "resource": DEVICE},
        {"response": {"status": "200"}, "resource": FOUND},
        {"response": CREATED, "resource": new},
        representation=True,
    )
    assert stored == [
        Stored("Device/1", "7", False, DEVICE),
        Stored("", "", False, FOUND),
        Stored("Device/2", "1", True, new),
    ]
    assert request.headers["Prefer"] == "return=representation"


def test_a_transaction_asks_for_no_resources_unless_told() -> None:
    """return=minimal, and no resource in what it gives; an entry that found nothing names nothing."""
    nothing = {"response": {"status": "404 Not Found"}, "resource": {"resourceType": "OperationOutcome"}}
    stored, request = transacting(nothing, {"response": {"status": "200"}}, {"response": CREATED})
    assert stored == [Stored("", "", False), Stored("", "", False), Stored("Device/2", "1", True)]
    assert request.headers["Prefer"] == "return=minimal"


@pytest.mark.parametrize(
    ("status", "expected"), [("412 Precondition Failed", Conflict), ("400", Rejected), ("503", Unreachable)]
)
def test_a_refused_entry_is_no_success(status: str, expected: type[ExchangeError]) -> None:
    """A server that treats a transaction as a batch answers 200 around a refusal."""
    read = {"response": {"status": "200"}}
    with pytest.raises(expected):
        transacting(read, read, {"response": {"status": status}})


def searched(**options: object) -> httpx.Request:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json=EMPTY)

    by_get = bool(options.pop("search_by_get", False))
    client(answer, search_by_get=by_get).search("Patient", {"identifier": "urn:x|a b"}, **options)  # type: ignore[arg-type]
    return asked[0]


def test_a_search_names_elements_and_page_size() -> None:
    """_elements and _count, beside what was asked for."""
    body = parse_qs(searched(elements=("id", "status"), count=50).content.decode())
    assert body == {"identifier": ["urn:x|a b"], "_elements": ["id,status"], "_count": ["50"]}


def test_an_element_that_is_none_is_not_asked_for() -> None:
    """A name is a name: nothing slips into the search by it."""
    with pytest.raises(Rejected):
        searched(elements=("id&status=final",))


def test_a_server_without_post_search_is_searched_by_get() -> None:
    """Only where the client was told so."""
    request = searched(search_by_get=True)
    assert (request.method, request.url.path) == ("GET", "/r4/Patient")
    assert dict(request.url.params) == {"identifier": "urn:x|a b"}


def test_a_document_for_r5_is_made_r5_before_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the conversion gives is what is checked and what leaves; R4 leaves as it is."""
    sent = []
    observation = {"resourceType": "Observation", "status": "preliminary"}

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.content))
        return httpx.Response(201)

    def to_final(document: dict[str, object]) -> dict[str, object]:
        return {**document, "status": "final"}

    monkeypatch.setattr("connectors.fhir.client.as_r5", to_final)
    with pytest.raises(ForbiddenStatus):
        client(answer, release="R5").create(observation)
    client(answer, release="R4").create(observation)
    assert sent == [observation]


def test_another_release_is_refused() -> None:
    """R4 or R5."""
    with pytest.raises(Rejected):
        FhirClient(BASE, release="R3")
    assert FhirClient(BASE, release="R5").release == "R5"


@pytest.mark.parametrize(("most", "pages"), [(2, 1), (3, 2), (4, 2), (5, 3)])
def test_no_more_of_a_history_is_asked_for_than_is_wanted(most: int, pages: int) -> None:
    """Versions hold whole documents, and a server may name ever more: two a page here, without an end."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        link = f"{request.url.copy_with(query=None)}?page={len(asked)}"
        version = {"resource": {"resourceType": "DiagnosticReport", "id": "1"}}
        bundle = {
            "resourceType": "Bundle",
            "entry": [version, version],
            "link": [{"relation": "next", "url": link}],
        }
        return httpx.Response(200, json=bundle)

    with FhirClient("http://fhir.example/fhir", transport=httpx.MockTransport(answer)) as client:
        assert len(client.history("DiagnosticReport/1", most=most)) == most
    assert len(asked) == pages
