"""Subscriptions of ours on a FHIR server, and what they make it send: the sandbox and a real HAPI."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from connectors.fhir.client import FhirClient
from connectors.fhir.notices.notifications import Kind, gap
from connectors.fhir.notices.subscriptions import Standing, ensure, missed, remove, standing
from connectors.fhir.notices.wanted import ORDERS, REPORTS, STUDIES, TAG_SYSTEM, Wanted, subscription
from connectors.sandbox.fhir import FhirServer
from tests.fhir_receiver import Receiver, receiver  # noqa: F401 - a fixture
from tests.fhir_samples import whole_fhir_url  # noqa: F401 - a fixture

SECRET = "a-secret-of-this-test"
REPORT: dict[str, Any] = {"resourceType": "DiagnosticReport", "status": "preliminary", "code": {"text": "CT"}}


@pytest.fixture
def client(whole_fhir_url: str) -> Iterator[FhirClient]:  # noqa: F811 - the fixture
    with FhirClient(whole_fhir_url, timeout_seconds=60) as client:
        yield client


@pytest.fixture
def sandbox() -> Iterator[FhirServer]:
    with FhirServer() as server:
        yield server


def a_kind(wanted: Wanted = REPORTS) -> tuple[Wanted, dict[str, Any]]:
    """Something wanted that only this test writes, and a report that is it: HAPI is shared."""
    mark = secrets.token_hex(6)
    category = [{"coding": [{"system": "urn:prelim:test", "code": mark}]}]
    wanted = dataclasses.replace(wanted, criteria=f"DiagnosticReport?category={mark}", site=mark)
    return wanted, {**REPORT, "category": category}


def until_active(client: FhirClient, wanted: Wanted) -> Standing:
    """How it stands once the server stopped thinking: HAPI looks at new subscriptions every few seconds."""
    for _ in range(240):
        told = standing(client, wanted)
        if told.status != "requested":
            return told
        time.sleep(0.25)  # nothing announces that a plain rest-hook is active
    raise AssertionError("the server activates nothing")


def write(base_url: str, resource: dict[str, Any]) -> dict[str, Any]:
    """What a RIS writes: our own client would let nothing final leave."""
    known = f"/{resource['id']}" if "id" in resource else ""
    answer = httpx.request(
        "PUT" if known else "POST",
        f"{base_url}/{resource['resourceType']}{known}",
        json=resource,
        headers={"Content-Type": "application/fhir+json"},
        trust_env=False,
        timeout=60,
    )
    written: dict[str, Any] = answer.raise_for_status().json()
    return written


def test_change_to_final_is_told_by_a_hook_that_names_no_status(
    client: FhirClient,
    receiver: Receiver,  # noqa: F811 - the fixture
) -> None:
    """The hook fires for the draft and again for its final version, empty, with our name and our secret."""
    wanted, report = a_kind()
    ensure(client, wanted, endpoint=receiver.url, secret=SECRET)
    assert until_active(client, wanted).active
    written = write(client.base_url, report)
    calls = [receiver.next()]
    write(client.base_url, {**written, "status": "final"})
    calls.append(receiver.next())
    for call in calls:
        told = call.read(client.base_url)
        assert (call.method, call.body, told.kind, told.name) == ("POST", b"", Kind.HOOK, "reports")
        assert told.unnamed
        assert call.headers["Authorization"] == f"Bearer {SECRET}"
    remove(client, wanted)


def test_resource_that_comes_along_is_read_for_its_place_alone(
    hapi_url: str,
    receiver: Receiver,  # noqa: F811 - the fixture
) -> None:
    """HAPI puts the resource below the endpoint where a payload is asked for: its path says where."""
    wanted, report = a_kind()
    asked = subscription(wanted, endpoint=receiver.url, secret=SECRET, mechanism="rest-hook", release="R4")
    with FhirClient(hapi_url, timeout_seconds=60) as client:
        client.create({**asked, "channel": {**asked["channel"], "payload": "application/fhir+json"}})
        assert until_active(client, wanted).active
        written = write(client.base_url, report)
        call = receiver.next()
        told = call.read(client.base_url)
        assert (call.method, told.kind, told.name) == ("PUT", Kind.HOOK, "reports")
        assert told.references == (f"DiagnosticReport/{written['id']}",)
        remove(client, wanted)


def test_ensure_leaves_alone_what_stands(client: FhirClient) -> None:
    """A second ensure finds the first one's subscription and writes nothing."""
    wanted, _ = a_kind()
    first = ensure(client, wanted, endpoint="http://127.0.0.1:9/notify/fhir", secret=SECRET)
    until_active(client, wanted)
    before = client.read(first.reference)["meta"]["versionId"]
    again = ensure(client, wanted, endpoint="http://127.0.0.1:9/notify/fhir", secret=SECRET)
    assert (again.reference, again.active) == (first.reference, True)
    assert client.read(first.reference)["meta"]["versionId"] == before
    remove(client, wanted)


@pytest.mark.parametrize("what", ["changed", "off"])
def test_ensure_renews_what_no_longer_stands_as_it_is_wanted(client: FhirClient, what: str) -> None:
    """Another endpoint, secret and criteria, or one that was switched off: the same one, renewed."""
    wanted, _ = a_kind()
    asked: dict[str, Any] = {"endpoint": "http://127.0.0.1:9/notify/fhir", "secret": SECRET}
    first = ensure(client, wanted, **asked)
    # HAPI's activation can write back the version it saw: a change meanwhile is mended by the next ensure.
    assert until_active(client, wanted).active
    if what == "off":
        assert remove(client, wanted)
        assert not remove(client, wanted)
    else:
        wanted = dataclasses.replace(wanted, criteria=f"{wanted.criteria},another")
        asked = {"endpoint": "http://127.0.0.1:9/elsewhere", "secret": "another"}
    assert ensure(client, wanted, **asked).reference == first.reference
    assert until_active(client, wanted).active
    stored = client.read(first.reference)
    assert stored["criteria"] == wanted.criteria
    assert stored["channel"]["endpoint"] == f"{asked['endpoint']}/reports"
    assert stored["channel"]["header"] == [f"Authorization: Bearer {asked['secret']}"]
    remove(client, wanted)


def test_workers_that_start_together_leave_one_subscription(client: FhirClient) -> None:
    """Of those that several workers made at once one stays, whichever looks next."""
    wanted, _ = a_kind()
    asked = {"endpoint": "http://127.0.0.1:9/notify/fhir", "secret": SECRET}

    def one(_: int) -> Standing:
        return ensure(client, wanted, **asked)

    with ThreadPoolExecutor(4) as workers:
        list(workers.map(one, range(4)))
    ensure(client, wanted, **asked)
    found = client.search("Subscription", {"_tag": f"{TAG_SYSTEM}|{wanted.tag['code']}"})
    assert sum(one["status"] != "off" for one in found) == 1
    remove(client, wanted)


def test_installations_leave_each_others_subscriptions_alone(client: FhirClient) -> None:
    """Two sites on one server have one subscription each."""
    (one, _), (other, _) = a_kind(), a_kind()
    first = ensure(client, one, endpoint="http://127.0.0.1:9/notify/fhir", secret=SECRET)
    second = ensure(client, other, endpoint="http://127.0.0.1:9/notify/fhir", secret=SECRET)
    assert first.reference != second.reference
    assert ensure(client, one, endpoint="http://127.0.0.1:9/x", secret=SECRET).reference == first.reference
    remove(client, one)
    remove(client, other)


def test_what_prelim_asks_for_is_activated(client: FhirClient) -> None:
    """The criteria as they ship are such as the server can match in memory."""
    mark = secrets.token_hex(6)
    all_wanted = [dataclasses.replace(one, site=mark) for one in (REPORTS, ORDERS, STUDIES)]
    for wanted in all_wanted:
        told = ensure(client, wanted, endpoint="http://127.0.0.1:9/notify/fhir", secret=SECRET)
        tags = client.read(told.reference)["meta"]["tag"]
        assert not any(tag["code"] == "DATABASE" for tag in tags)
    for wanted in all_wanted:
        assert until_active(client, wanted).active
        remove(client, wanted)


def test_topics_that_a_server_does_not_announce_are_not_asked_for(hapi_url: str) -> None:
    """HAPI without its topics would take the subscription, call it active, and never send anything."""
    wanted, _ = a_kind()
    with FhirClient(hapi_url, timeout_seconds=60) as client:
        told = ensure(
            client, wanted, endpoint="http://127.0.0.1:9/notify/fhir", secret=SECRET, mechanism="topic"
        )
        assert (told.active, told.reference) == (False, "")
        assert "no topics" in told.why
        assert standing(client, wanted).why == "there is none"


def test_server_without_events_is_polled(hapi_url: str) -> None:
    """HAPI answers $events with 400: missed says None, which means poll."""
    wanted, _ = a_kind()
    with FhirClient(hapi_url, timeout_seconds=60) as client:
        told = ensure(client, wanted, endpoint="http://127.0.0.1:9/notify/fhir", secret=SECRET)
        assert missed(client, told.reference, 1, 2) is None
        remove(client, wanted)


@pytest.fixture
def followed(
    sandbox: FhirServer,
    receiver: Receiver,  # noqa: F811 - the fixture
) -> Iterator[tuple[FhirClient, Standing, Callable[[], str]]]:
    """A topic subscription whose handshake is over, and a function that causes one event."""
    wanted, report = a_kind()
    with FhirClient(sandbox.base_url) as client:
        told = ensure(client, wanted, endpoint=receiver.url, secret=SECRET, mechanism="topic")
        sandbox.subscriptions.settle()
        handshake = receiver.next().read(sandbox.base_url)
        assert (handshake.kind, handshake.since_start) == (Kind.HANDSHAKE, 0)
        assert handshake.subscription == told.reference
        assert standing(client, wanted).active
        yield client, told, lambda: f"DiagnosticReport/{write(sandbox.base_url, report)['id']}"


Followed = tuple[FhirClient, Standing, Callable[[], str]]


def test_events_are_numbered_and_name_their_report(
    sandbox: FhirServer,
    receiver: Receiver,  # noqa: F811 - the fixture
    followed: Followed,
) -> None:
    """Each notification brings its number, the count, and the place of the report below our base URL."""
    _, told, happen = followed
    for number in (1, 2):
        reference = happen()
        call = receiver.next()
        read = call.read(sandbox.base_url)
        assert call.headers["Authorization"] == f"Bearer {SECRET}"
        assert (read.kind, read.name, read.subscription) == (Kind.EVENT, "reports", told.reference)
        assert [(one.number, one.references) for one in read.events] == [(number, (reference,))]
        assert (read.since_start, read.references, read.strangers) == (number, (reference,), 0)
        assert gap(number - 1, read) is None


@pytest.mark.parametrize("told_by", ["event", "heartbeat"])
def test_lost_notification_is_found_by_the_next_and_asked_for(
    sandbox: FhirServer,
    receiver: Receiver,  # noqa: F811 - the fixture
    followed: Followed,
    told_by: str,
) -> None:
    """A gap in the numbers is filled from $events, whether an event or a heartbeat shows it."""
    client, told, happen = followed
    sandbox.subscriptions.drop_next(2)
    lost = [happen(), happen()]
    if told_by == "event":
        happen()
    else:
        sandbox.subscriptions.heartbeat(told.reference.partition("/")[2])
    missing = gap(0, receiver.next().read(sandbox.base_url))
    assert missing == range(1, 3)
    answer = missed(client, told.reference, missing[0], missing[-1])
    assert answer is not None
    assert answer.kind is Kind.QUERY
    assert [event.references for event in answer.events] == [(one,) for one in lost]


def test_events_that_are_not_all_known_are_no_answer(followed: Followed) -> None:
    """A server that no longer knows every event leaves us to poll."""
    client, told, happen = followed
    happen()
    assert missed(client, told.reference, 1, 1) is not None
    assert missed(client, told.reference, 1, 2) is None
    assert missed(client, "Subscription/unknown", 1, 1) is None
    assert missed(client, told.reference, 0, 1) is None


def test_events_that_come_twice_or_late_are_no_gap(
    sandbox: FhirServer,
    receiver: Receiver,  # noqa: F811 - the fixture
    followed: Followed,
) -> None:
    """Delivered twice and in reverse: the first to come shows the gap, the others none."""
    _, _, happen = followed
    sandbox.subscriptions.pause()
    happen()
    sandbox.subscriptions.repeat_next()
    happen()
    sandbox.subscriptions.resume(reverse=True)
    read = [receiver.next().read(sandbox.base_url) for _ in range(3)]
    assert [event.number for one in read for event in one.events] == [2, 2, 1]
    assert [gap(0, read[0]), gap(2, read[1]), gap(2, read[2])] == [range(1, 2), None, None]


def test_endpoint_that_refuses_ends_in_error_and_is_renewed(
    sandbox: FhirServer,
    receiver: Receiver,  # noqa: F811 - the fixture
) -> None:
    """The server's error is told; ensure asks anew, and what happened meanwhile is in $events."""
    wanted, report = a_kind()
    with FhirClient(sandbox.base_url) as client:
        asked = {"endpoint": receiver.url, "secret": SECRET, "mechanism": "topic"}
        first = ensure(client, wanted, **asked)
        sandbox.subscriptions.settle()
        receiver.status = 503
        write(sandbox.base_url, report)
        sandbox.subscriptions.settle()
        told = standing(client, wanted)
        assert (told.active, told.status) == (False, "error")
        assert "2xx" in str(told)
        receiver.status = 200
        assert ensure(client, wanted, **asked).reference == first.reference
        sandbox.subscriptions.settle()
        assert standing(client, wanted).active
        kinds = [receiver.next().read(sandbox.base_url).kind for _ in range(3)]
        assert kinds == [Kind.HANDSHAKE, Kind.EVENT, Kind.HANDSHAKE]
        assert missed(client, first.reference, 1, 1) is not None


@pytest.mark.parametrize("change", ["delete", "cease"])
def test_sandbox_tells_nothing_of_what_is_gone(
    sandbox: FhirServer,
    receiver: Receiver,  # noqa: F811 - the fixture
    change: str,
) -> None:
    """No notice on a delete or on ceasing to match, as with real servers."""
    wanted, report = a_kind()
    with FhirClient(sandbox.base_url) as client:
        ensure(client, wanted, endpoint=receiver.url, secret=SECRET)
        sandbox.subscriptions.settle()
        written = write(sandbox.base_url, report)
        receiver.next()
        if change == "delete":
            sandbox.store.delete("DiagnosticReport", written["id"])
        else:
            write(sandbox.base_url, {**written, "category": [{"text": "other"}]})
        remove(client, wanted)
        write(sandbox.base_url, report)
        sandbox.subscriptions.settle()
        assert receiver.calls.empty()


@pytest.mark.parametrize(
    ("endpoint", "active"),
    [("http://127.0.0.1:9/x", True), ("http://[::1]:9/x", True), ("http://192.0.2.1/x", False)],
)
def test_sandbox_delivers_to_loopback_alone(sandbox: FhirServer, endpoint: str, active: bool) -> None:
    """A subscription to any other host ends in error before anything is sent."""
    wanted, _ = a_kind()
    with FhirClient(sandbox.base_url) as client:
        ensure(client, wanted, endpoint=endpoint, secret=SECRET)
        sandbox.subscriptions.settle()
        assert standing(client, wanted).active is active


def test_transaction_tells_of_each_report_once_and_of_nothing_rolled_back(
    sandbox: FhirServer,
    receiver: Receiver,  # noqa: F811 - the fixture
) -> None:
    """A transaction that fails tells nothing; one that stands tells of what it wrote."""
    wanted, report = a_kind()
    entry = {"resource": report, "request": {"method": "POST", "url": "DiagnosticReport"}}
    lost = {"resourceType": "DiagnosticReport", "subject": {"reference": "Patient/none"}, **report}
    bad = {**entry, "resource": {**lost, "subject": {"reference": "Patient/none"}}}
    with FhirClient(sandbox.base_url) as client:
        ensure(client, wanted, endpoint=receiver.url, secret=SECRET)
        sandbox.subscriptions.settle()
        for entries in ([entry, bad], [entry, entry]):
            bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
            httpx.post(sandbox.base_url, json=bundle, trust_env=False)
        sandbox.subscriptions.settle()
        assert receiver.calls.qsize() == 2


@pytest.mark.parametrize("mechanism", ["rest-hook", "topic"])
@pytest.mark.parametrize(
    ("wanted", "told", "untold"),
    [
        (
            REPORTS,
            {"category": [{"coding": [{"system": "http://loinc.org", "code": "LP29684-5"}]}], **REPORT},
            {"category": [{"coding": [{"code": "LAB"}]}], **REPORT},
        ),
        (
            ORDERS,
            {"resourceType": "ServiceRequest", "status": "revoked", "intent": "order", "subject": {}},
            {"resourceType": "ServiceRequest", "status": "active", "intent": "proposal", "subject": {}},
        ),
        (
            STUDIES,
            {"resourceType": "ImagingStudy", "status": "available", "subject": {}},
            {"resourceType": "ImagingStudy", "status": "registered", "subject": {}},
        ),
    ],
    ids=["reports", "orders", "studies"],
)
def test_sandbox_tells_of_what_prelim_asks_for_and_of_nothing_else(
    sandbox: FhirServer,
    receiver: Receiver,  # noqa: F811 - the fixture
    mechanism: str,
    wanted: Wanted,
    told: dict[str, Any],
    untold: dict[str, Any],
) -> None:
    """A radiology report, a cancelled order, a study that is there; no laboratory, no proposal, no plan."""
    named = {"display": "Somebody"}
    with FhirClient(sandbox.base_url) as client:
        ensure(client, wanted, endpoint=receiver.url, secret=SECRET, mechanism=mechanism)
        sandbox.subscriptions.settle()
        if mechanism == "topic":
            assert receiver.next().read(sandbox.base_url).kind is Kind.HANDSHAKE
        for resource in (untold, told):
            write(sandbox.base_url, {**resource, **({"subject": named} if "subject" in resource else {})})
        sandbox.subscriptions.settle()
        assert receiver.next().read(sandbox.base_url).name == wanted.name
        assert receiver.calls.empty()
