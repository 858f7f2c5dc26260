"""Looking at many reports at once, on servers that refuse, ignore or shuffle."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.errors import Malformed, Rejected
from connectors.fhir.client import FhirClient
from connectors.fhir.identifiers import IdentifierSystems
from connectors.fhir.readers.pages import AT_ONCE, EARLIEST, MAX_REFUSALS, Sighting, changed, look

BASE = "http://fhir.test/r4"
SYSTEMS = IdentifierSystems()
DAY = datetime(2026, 3, 4, tzinfo=UTC)

Resource = dict[str, Any]


def report(number: int, accession: str = "", at: datetime = DAY, version: str = "1") -> Resource:
    identifiers = [
        {"system": SYSTEMS.report, "value": f"case-{number}"},
        {"system": SYSTEMS.accession, "value": accession or f"A{number}"},
    ]
    return {
        "resourceType": "DiagnosticReport",
        "id": str(number),
        "status": "preliminary",
        "meta": {"versionId": version, "lastUpdated": at.isoformat(timespec="milliseconds")},
        "identifier": identifiers,
    }


def bundle(resources: list[Resource], following: str = "") -> httpx.Response:
    links = [{"relation": "next", "url": following}] if following else []
    entries = [{"resource": resource} for resource in resources]
    return httpx.Response(200, json={"resourceType": "Bundle", "link": links, "entry": entries})


class Server:
    """Reports behind a search that finds by identifier and _id, and keeps count of what it was asked."""

    def __init__(self, reports: list[Resource], *, most: int = 10_000, bad: str = "") -> None:
        self.reports, self.most, self.bad = reports, most, bad
        self.asked: list[list[str]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        form = parse_qs(request.content.decode())
        [(name, values)] = [
            (name, form[name][0].split(",")) for name in ("identifier", "_id") if name in form
        ]
        self.asked.append(values)
        if len(values) > self.most:
            return httpx.Response(400)
        if self.bad in values:
            return httpx.Response(200, content=b"no JSON")
        return bundle([one for one in self.reports if self._keys(name, one) & set(values)])

    def _keys(self, name: str, one: Resource) -> set[str]:
        return {one["id"]} if name == "_id" else {identifier["value"] for identifier in one["identifier"]}


def seen(
    answer: Callable[[httpx.Request], httpx.Response],
    accessions: list[str],
    references: list[str] | None = None,
) -> list[str]:
    with FhirClient(BASE, transport=httpx.MockTransport(answer)) as client:
        found = look(client, SYSTEMS, accessions=accessions, references=references or [])
    return [one.reference for one in found]


def test_sighting_tells_identifiers_status_and_version() -> None:
    """What the watch needs to choose the reports that it fetches, and no more."""
    server = Server([report(1)])
    with FhirClient(BASE, transport=httpx.MockTransport(server)) as client:
        found = look(client, SYSTEMS, accessions=["A1"], references=[])
    assert found == [Sighting("DiagnosticReport/1", "1", DAY, "preliminary", ("case-1",), ("A1",))]


def test_reports_are_found_by_accession_or_by_reference_each_once() -> None:
    """A reference that its accession found is not asked for again."""
    server = Server([report(1), report(2), report(3, "other")])
    found = seen(server, ["A1", "A2", "A1", ""], ["DiagnosticReport/1", "DiagnosticReport/3", "Patient/2"])
    assert found == ["DiagnosticReport/1", "DiagnosticReport/2", "DiagnosticReport/3"]
    assert server.asked == [["A1", "A2"], ["3"]]


def test_nothing_open_asks_nothing() -> None:
    """A quiet night costs no request."""
    server = Server([])
    assert seen(server, []) == []
    assert server.asked == []


@pytest.mark.parametrize(("count", "requests"), [(AT_ONCE, 1), (AT_ONCE + 1, 2)])
def test_search_asks_for_so_many_at_once(count: int, requests: int) -> None:
    """At the limit one search, just over it two."""
    server = Server([report(number) for number in range(count)])
    assert len(seen(server, [f"A{number}" for number in range(count)])) == count
    assert len(server.asked) == requests


def test_server_that_refuses_a_long_search_is_asked_for_less_from_then_on() -> None:
    """Halved until it is answered; later searches begin with what was answered."""
    server = Server([report(number) for number in range(300)], most=60)
    assert len(seen(server, [f"A{number}" for number in range(300)])) == 300
    assert [len(values) for values in server.asked] == [200, 100, 50, 50, 50, 50, 50, 50]


def test_value_that_cannot_be_asked_for_hides_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """One poisoned answer is left out, with a line in the log; the others go on as before."""
    server = Server([report(number) for number in range(2 * AT_ONCE)], bad="A77")
    found = seen(server, [f"A{number}" for number in range(2 * AT_ONCE)])
    assert len(found) == 2 * AT_ONCE - 1
    assert "DiagnosticReport/77" not in found
    assert "left out" in caplog.text
    assert "A77" not in caplog.text
    assert len(server.asked[-2]) == AT_ONCE


def test_server_that_refuses_everything_is_given_up() -> None:
    """The refusal comes out after a bounded number of requests."""
    server = Server([], most=0)
    with pytest.raises(Rejected):
        seen(server, [f"A{number}" for number in range(1000)])
    assert len(server.asked) == MAX_REFUSALS + 1


@pytest.mark.parametrize("strangers", [3, 4])
def test_server_that_ignores_the_search_is_an_error_and_no_flood(strangers: int) -> None:
    """A page of mostly strangers ends the look at once; as many matches as strangers are a RIS's own way."""
    reports = [report(number, "A0") for number in range(3)]
    reports += [report(number, f"X{number}") for number in range(10, 10 + strangers)]
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return bundle(reports, f"{BASE}?page={len(asked)}" if len(asked) < 2 else "")

    if strangers > 3:
        with pytest.raises(Malformed, match="mostly others"):
            seen(answer, ["A0"])
        assert len(asked) == 1
    else:
        assert len(seen(answer, ["A0"])) == 3


def test_special_characters_of_an_accession_are_escaped() -> None:
    """A comma inside a number makes no second number (FHIR R4 search.html#escaping)."""
    forms = []

    def answer(request: httpx.Request) -> httpx.Response:
        forms.append(parse_qs(request.content.decode())["identifier"][0])
        return bundle([])

    seen(answer, ["A,1", "B|2"])
    assert forms == [r"A\,1,B\|2"]


# --- changes ---------------------------------------------------------------------------------------------


class Feed:
    """Reports by lastUpdated, in counted pages over what stands now: what others write shifts them."""

    def __init__(self, reports: list[Resource], *, page: int = 10, shuffled: bool = False) -> None:
        self.reports, self.page, self.shuffled = reports, page, shuffled
        self.starts: list[datetime] = []
        self.between: Callable[[], None] = lambda: None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            form = parse_qs(request.content.decode())
            start, offset = form["_lastUpdated"][0].removeprefix("ge"), 0
            self.starts.append(datetime.fromisoformat(start))
        else:
            start, offset = request.url.params["start"], int(request.url.params["offset"])
            self.between()
        since = datetime.fromisoformat(start)
        found = [one for one in self.reports if self._at(one) >= since]
        found.sort(key=self._at, reverse=self.shuffled)
        end = offset + self.page
        following = f"{BASE}?start={start}&offset={end}" if end < len(found) else ""
        return bundle(found[offset:end], following)

    def _at(self, one: Resource) -> datetime:
        return datetime.fromisoformat(one["meta"]["lastUpdated"])

    def follow(
        self, since: datetime | None, *, limit: int = 5000, overlap: float = 0
    ) -> tuple[list[Sighting], datetime]:
        with FhirClient(BASE, transport=httpx.MockTransport(self)) as client:
            return changed(client, "DiagnosticReport", since, params={}, overlap_seconds=overlap, limit=limit)


def at(seconds: float) -> datetime:
    return DAY + timedelta(seconds=seconds)


def numbers(found: list[Sighting]) -> list[int]:
    return [int(one.reference.partition("/")[2]) for one in found]


def test_changes_come_in_order_with_the_servers_newest_time() -> None:
    """The next call goes on from there and sees only what is at least as new."""
    feed = Feed([report(number, at=at(number)) for number in range(25)])
    found, cursor = feed.follow(None)
    assert (numbers(found), cursor) == (list(range(25)), at(24))
    found, again = feed.follow(cursor)
    assert (numbers(found), again) == ([24], cursor)


def test_overlap_looks_again_at_what_a_server_showed_late() -> None:
    """A change that was committed after a later one is seen by the next call."""
    feed = Feed([report(1, at=at(100))])
    _, cursor = feed.follow(None)
    feed.reports.append(report(2, at=at(95)))
    assert numbers(feed.follow(cursor, overlap=4)[0]) == [1]
    assert numbers(feed.follow(cursor, overlap=5)[0]) == [2, 1]


def test_empty_server_is_followed_from_the_beginning_on() -> None:
    """Without a change there is a cursor all the same, and it never goes back."""
    feed = Feed([])
    assert feed.follow(None) == ([], EARLIEST)
    assert feed.follow(DAY) == ([], DAY)


@pytest.mark.parametrize("same", [9, 10, 11, 35])
def test_equal_times_at_a_page_border_are_all_seen(same: int) -> None:
    """Many resources of one instant, as one transaction writes them, on fewer and on more pages than one."""
    feed = Feed([report(number, at=at(5 if number < same else 6 + number)) for number in range(60)])
    found, cursor = feed.follow(None)
    assert (sorted(numbers(found)), cursor) == (list(range(60)), at(65))


def test_call_that_reached_its_limit_is_gone_on_with_by_the_next() -> None:
    """A limit inside one instant takes the whole instant, or leaves its rest to the next call."""
    feed = Feed([report(number, at=at(number // 15)) for number in range(90)])
    collected: set[int] = set()
    cursor, calls = None, 0
    while len(collected) < 90:
        found, cursor = feed.follow(cursor, limit=12)
        collected |= set(numbers(found))
        calls += 1
        assert calls < 10
    assert calls > 2


def test_limit_inside_the_overlap_is_passed() -> None:
    """What is looked at again never keeps a call from coming to what is new, and time never goes back."""
    feed = Feed([report(number, at=at(number)) for number in range(80)], page=5)
    found, cursor = feed.follow(at(40), overlap=30, limit=3)
    assert cursor > at(40)
    assert 40 in numbers(found)


def test_change_between_two_pages_hides_no_other() -> None:
    """One report of the first page is written again, so that all others move up one place."""
    feed = Feed([report(number, at=at(0 if number < 10 else number)) for number in range(40)])

    def write() -> None:
        feed.reports[3] = report(3, at=at(100), version="2")

    feed.between = write
    found, _ = feed.follow(None)
    assert set(numbers(found)) == set(range(40))


def test_server_without_order_is_read_to_its_end() -> None:
    """A server that ignores _sort: every page is read before the newest time is believed."""
    feed = Feed([report(number, at=at(number)) for number in range(35)], shuffled=True)
    found, cursor = feed.follow(None, limit=5)
    assert (set(numbers(found)), cursor) == (set(range(35)), at(34))
    assert set(feed.starts) == {EARLIEST}


def test_server_that_ignores_the_time_is_an_error() -> None:
    """Older changes than were asked for: following it would read the whole server each time."""
    old = report(1, at=at(-100))
    with (
        FhirClient(BASE, transport=httpx.MockTransport(lambda _: bundle([old]))) as client,
        pytest.raises(Malformed, match="_lastUpdated"),
    ):
        changed(client, "DiagnosticReport", DAY, params={}, overlap_seconds=0)


def test_clock_of_the_server_that_ran_ahead_hides_nothing_later() -> None:
    """A time in the future is not where the next call begins."""
    feed = Feed([report(1, at=datetime(2199, 1, 1, tzinfo=UTC))])
    before = datetime.now(UTC)
    found, cursor = feed.follow(None)
    assert numbers(found) == [1]
    assert before <= cursor <= datetime.now(UTC)


def test_further_parameters_are_asked_for() -> None:
    """Which reports, which orders: the caller says."""
    forms: list[dict[str, list[str]]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        forms.append(parse_qs(request.content.decode()))
        return bundle([])

    with FhirClient(BASE, transport=httpx.MockTransport(answer)) as client:
        changed(client, "ServiceRequest", DAY, params={"category": "363679005"}, overlap_seconds=2)
    assert forms[0]["category"] == ["363679005"]
    assert forms[0]["_lastUpdated"] == ["ge2026-03-03T23:59:58.000Z"]


@settings(max_examples=200)
@given(
    times=st.lists(st.integers(0, 12), max_size=60),
    page=st.integers(1, 12),
    limit=st.integers(1, 20),
    rewrites=st.lists(st.tuples(st.integers(0, 59), st.integers(13, 20)), max_size=6),
)
def test_no_change_is_ever_skipped(
    times: list[int], page: int, limit: int, rewrites: list[tuple[int, int]]
) -> None:
    """Any times, page sizes and limits, with reports written again while they are read: the last version of
    each is seen by the call after the last one at the latest."""
    feed = Feed([report(number, at=at(moment)) for number, moment in enumerate(times)], page=page)
    pending = sorted(rewrites, key=lambda rewrite: -rewrite[1])

    def write() -> None:
        if pending and feed.reports:
            number, moment = pending.pop()
            number %= len(feed.reports)
            version = str(int(feed.reports[number]["meta"]["versionId"]) + 1)
            feed.reports[number] = report(number, at=at(moment), version=version)

    feed.between = write
    seen: set[tuple[str, str]] = set()
    cursor: datetime | None = None
    for _ in range(70):
        found, after = feed.follow(cursor, limit=limit)
        seen |= {(one.reference, one.version) for one in found}
        if after == cursor and not pending:
            break
        cursor = after
    standing = {(f"DiagnosticReport/{one['id']}", one["meta"]["versionId"]) for one in feed.reports}
    assert json.dumps(sorted(standing - seen)) == "[]"
