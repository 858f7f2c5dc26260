"""What is sent again, how often, and what is waited before; nothing here sleeps."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import Conflict, ExchangeError, Malformed, Rejected, Unreachable
from connectors.fhir.client import FhirClient
from connectors.fhir.retrying import Patience, Repeat, repeat_of_transaction, retry_after_seconds

BASE = "http://fhir.test/r4"
PATIENT = {"resourceType": "Patient", "id": "1"}
DEVICE = {"resourceType": "Device"}
AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


class Peer:
    """A server that gives the answers of a list in turn, and a clock that only notes what is waited."""

    def __init__(self, *answers: int | httpx.Response | type[httpx.TransportError], **patience: Any) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.waited: list[float] = []
        self.at = 0.0
        self.takes_seconds = 0.0
        patience = {"attempts": 4, "first_seconds": 1.0, "jitter": lambda: 1.0, **patience}
        self.client = FhirClient(
            BASE,
            transport=httpx.MockTransport(self._answer),
            patience=Patience(sleep=self._sleep, clock=lambda: self.at, **patience),
        )

    def _sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.at += seconds

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        self.at += self.takes_seconds
        answer = self.answers.pop(0)
        if isinstance(answer, int):
            return httpx.Response(answer, json=PATIENT if answer == 200 else None)
        if isinstance(answer, httpx.Response):
            return answer
        raise answer("gone", request=request)


def asked_to_wait(status: int, seconds: str) -> httpx.Response:
    return httpx.Response(status, headers={"Retry-After": seconds})


def bundle(*requests: dict[str, str]) -> dict[str, Any]:
    entries = [{"resource": DEVICE, "request": request} for request in requests]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


NEW = {"method": "POST", "url": "Device"}
NEW_IF_NONE = {**NEW, "ifNoneExist": "identifier=a"}
OVER_VERSION = {"method": "PUT", "url": "Device/1", "ifMatch": 'W/"1"'}
OVER_ANY = {"method": "PUT", "url": "Device/1"}
READING = {"method": "GET", "url": "Device/1"}

Write = Callable[[FhirClient], object]
CONDITIONAL: list[Write] = [
    lambda client: client.create(DEVICE, if_none_exist="identifier=a"),
    lambda client: client.update({**DEVICE, "id": "1"}, if_match="1"),
    lambda client: client.transaction(bundle(NEW_IF_NONE, OVER_VERSION, READING)),
    lambda client: client.transaction(bundle(NEW), repeatable=True),
]
UNCONDITIONAL: list[Write] = [
    lambda client: client.create(DEVICE),
    lambda client: client.transaction(bundle(NEW_IF_NONE, NEW)),
    lambda client: client.transaction(bundle(OVER_ANY)),
]


@pytest.mark.parametrize(
    "trouble",
    [
        *(408, 429, 500, 502, 503, 504),
        *(httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError),
        httpx.Response(200, content=b'{"resourceType": "Pat'),
    ],
)
def test_a_read_is_repeated_after_whatever_did_not_work(trouble: Any) -> None:
    """Throttled, failed, timed out, dropped or cut off: the next attempt counts."""
    peer = Peer(trouble, 200)
    assert peer.client.read("Patient/1") == PATIENT
    assert peer.asked == 2


@pytest.mark.parametrize("status", [400, 403, 404, 409, 410, 412, 422, 501])
def test_a_refused_read_is_not_repeated(status: int) -> None:
    """The same thing asked again is refused again."""
    peer = Peer(status)
    with pytest.raises(ExchangeError):
        peer.client.read("Patient/1")
    assert peer.waited == []


def test_a_search_by_post_is_a_read() -> None:
    """POST _search changes nothing."""
    peer = Peer(503, httpx.Response(200, json={"resourceType": "Bundle"}))
    assert peer.client.search("Patient", {"identifier": "x"}) == []


@pytest.mark.parametrize("write", CONDITIONAL)
@pytest.mark.parametrize("status", [429, 503])
def test_a_conditional_write_is_repeated_when_it_was_not_carried_out(write: Write, status: int) -> None:
    """A second arrival would find the first, or the wrong version."""
    peer = Peer(status, 422)
    with pytest.raises(Rejected):
        write(peer.client)
    assert peer.asked == 2


@pytest.mark.parametrize("write", UNCONDITIONAL)
def test_an_unconditional_write_is_repeated_only_when_throttled(write: Write) -> None:
    """A proxy's 503 can hide that the first was carried out: two would stand there."""
    throttled, unavailable = Peer(429, 422), Peer(503)
    with pytest.raises(Rejected):
        write(throttled.client)
    with pytest.raises(Unreachable):
        write(unavailable.client)
    assert (throttled.asked, unavailable.asked) == (2, 1)


@pytest.mark.parametrize("write", CONDITIONAL + UNCONDITIONAL)
@pytest.mark.parametrize("trouble", [500, 502, 504, httpx.ReadTimeout, httpx.RemoteProtocolError])
def test_a_write_whose_fate_is_unknown_is_not_repeated(write: Write, trouble: Any) -> None:
    """Whoever asked for it looks first at what stands there."""
    peer = Peer(trouble)
    with pytest.raises(Unreachable):
        write(peer.client)
    assert peer.asked == 1


def test_a_write_whose_answer_is_cut_off_is_to_be_sent_again() -> None:
    """Nothing is known to be wrong with it: Unreachable, not Malformed."""
    peer = Peer(httpx.Response(200, content=b'{"resourceType": "Bun'))
    with pytest.raises(Unreachable):
        peer.client.transaction(bundle(NEW_IF_NONE))


@pytest.mark.parametrize(("first", "expected"), [(503, Unreachable), (429, Conflict)])
def test_a_conflict_with_ourselves_is_not_taken_for_a_person(
    first: int, expected: type[ExchangeError]
) -> None:
    """After a 503 that may hide a write, 412 can mean our own version; after 429 it cannot."""
    with pytest.raises(ExchangeError) as raised:
        Peer(first, 412).client.update({**DEVICE, "id": "1"}, if_match="1")
    assert type(raised.value) is expected


@pytest.mark.parametrize(("attempts", "works"), [(4, True), (3, False)])
def test_a_request_is_sent_so_often_and_no_more(attempts: int, works: bool) -> None:
    """The first included; then the last error stands."""
    peer = Peer(503, 503, 503, 200, attempts=attempts)
    if works:
        assert peer.client.read("Patient/1") == PATIENT
    else:
        with pytest.raises(Unreachable):
            peer.client.read("Patient/1")
    assert peer.asked == attempts


def test_waits_double_and_are_jittered() -> None:
    """Full jitter: any part of 1, 2, 4 s."""
    peer = Peer(503, 503, 503, 200, jitter=iter([1.0, 0.25, 0.5]).__next__)
    peer.client.read("Patient/1")
    assert peer.waited == [1.0, 0.5, 2.0]


@pytest.mark.parametrize(("budget", "waited"), [(3.0, [1.0, 2.0]), (2.99, [1.0])])
def test_the_waits_of_a_request_have_one_budget(budget: float, waited: list[float]) -> None:
    """1 and 2 s fit in 3 s, not in a hair less."""
    peer = Peer(503, 503, 503, 503, budget_seconds=budget)
    with pytest.raises(Unreachable):
        peer.client.read("Patient/1")
    assert peer.waited == waited


@pytest.mark.parametrize(("takes", "asked"), [(9.0, 2), (8.0, 3)])
def test_a_server_that_hangs_is_not_waited_for_again_and_again(takes: float, asked: int) -> None:
    """What further attempts take counts as well: 1 s, 8 s and 2 s fit in 11 s, 1 s, 9 s and 2 s do not."""
    peer = Peer(*[httpx.ReadTimeout] * 4, budget_seconds=11.0)
    peer.takes_seconds = takes
    with pytest.raises(Unreachable):
        peer.client.read("Patient/1")
    assert peer.asked == asked


def test_the_budget_of_a_client_is_its_time_out() -> None:
    """What the peer may take to answer is also what is waited for it at most."""
    client = FhirClient(BASE, timeout_seconds=7.0)
    assert client._patience.budget_seconds == 7.0


@pytest.mark.parametrize(("asked", "waited"), [("30", [30.0]), ("31", [])])
def test_retry_after_is_waited_for_within_the_budget_only(asked: str, waited: list[float]) -> None:
    """A longer one is not cut short: it is carried in the error, for whoever waits durably."""
    peer = Peer(asked_to_wait(429, asked), 200, jitter=lambda: 0.0, budget_seconds=30.0)
    if waited:
        peer.client.read("Patient/1")
    else:
        with pytest.raises(Unreachable) as raised:
            peer.client.read("Patient/1")
        assert raised.value.retry_after_seconds == 31.0
    assert peer.waited == waited


def test_an_error_without_retry_after_says_so() -> None:
    """None, not zero."""
    with pytest.raises(Unreachable) as raised:
        Peer(503, attempts=1).client.read("Patient/1")
    assert raised.value.retry_after_seconds is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 5 ", 5.0),
        ("999999999", 999_999_999.0),
        ("1000000000", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        (format_datetime(AT + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(AT - timedelta(seconds=90), usegmt=True), 0.0),
        ("Wed Mar  4 05:07:07 2026", 60.0),
        ("Wed, 04 Mar 2026 05:07:07 -0000", 60.0),
        ("Wed, 99 Mar 2026 05:07:07 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str, seconds: float | None) -> None:
    """RFC 9110 10.2.3; whatever else is no wish."""
    assert retry_after_seconds({"Retry-After": header}, at=AT) == seconds


@given(st.text(max_size=60))
def test_no_retry_after_breaks_the_client(header: str) -> None:
    """Whatever stands there gives a time that can be waited, or none."""
    seconds = retry_after_seconds({"Retry-After": header}, at=AT)
    assert seconds is None or seconds >= 0.0


@pytest.mark.parametrize(
    "broken",
    [{"entry": "x"}, {"entry": [None]}, {"entry": [{}]}, bundle({"method": "DELETE", "url": "Device/1"})],
)
def test_a_transaction_that_is_not_understood_is_sent_once(broken: dict[str, Any]) -> None:
    """What cannot be seen to be conditional is not taken to be."""
    assert repeat_of_transaction(broken) is Repeat.ONCE


def test_an_answer_that_is_whole_and_wrong_is_not_fetched_again() -> None:
    """Only what may have been cut off is."""
    peer = Peer(httpx.Response(200, content=b"[]"))
    with pytest.raises(Malformed):
        peer.client.read("Patient/1")
    assert peer.asked == 1
