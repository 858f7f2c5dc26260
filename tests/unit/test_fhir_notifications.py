"""What a server's notification is taken for: a hint, about our own server, or nothing."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import Malformed
from connectors.fhir.notices.notifications import (
    MAX_EVENTS,
    MAX_NOTIFICATION_BYTES,
    MAX_REFERENCES,
    Event,
    Kind,
    Notification,
    gap,
    newest,
    read_answer,
    read_notification,
)

BASE = "https://fhir.hospital.example/r4"
OWN = re.compile(r"[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}")


def parameters(
    kind: str = "event-notification",
    events: list[tuple[object, str]] | None = None,
    **told: Any,
) -> dict[str, Any]:
    """A backport-subscription-status-r4."""
    parts = [
        {
            "name": "notification-event",
            "part": [
                {"name": "event-number", "valueString": number},
                *([{"name": "focus", "valueReference": {"reference": focus}}] if focus else []),
            ],
        }
        for number, focus in events or []
    ]
    rows = [{"name": "type", "valueCode": kind}, *parts]
    return {"resourceType": "Parameters", "parameter": [*rows, *told.get("more", [])]}


def status(
    kind: str = "event-notification", events: list[tuple[object, str]] | None = None
) -> dict[str, Any]:
    """A SubscriptionStatus of R5."""
    told = [
        {"eventNumber": number, **({"focus": {"reference": focus}} if focus else {})}
        for number, focus in events or []
    ]
    return {"resourceType": "SubscriptionStatus", "type": kind, "notificationEvent": told}


def bundle(first: dict[str, Any], *entries: dict[str, Any], kind: str = "history") -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": kind, "entry": [{"resource": first}, *entries]}


def read(document: object, path: str = "/reports") -> Notification:
    return read_notification(json.dumps(document).encode(), path, base_url=BASE)


@pytest.mark.parametrize("body", [b"", b" \r\n"])
def test_empty_hook_says_that_something_changed_and_no_more(body: bytes) -> None:
    """R4 rest-hook without payload: look at everything of that name."""
    told = read_notification(body, "/reports", base_url=BASE)
    assert told == Notification(Kind.HOOK, name="reports")
    assert told.unnamed


@pytest.mark.parametrize(
    ("path", "name", "references"),
    [
        ("", "", ()),
        ("/", "", ()),
        ("/reports", "reports", ()),
        ("/DiagnosticReport/17", "", ("DiagnosticReport/17",)),
        ("/reports/DiagnosticReport/17/", "reports", ("DiagnosticReport/17",)),
    ],
)
def test_path_says_name_and_place(path: str, name: str, references: tuple[str, ...]) -> None:
    """What follows the endpoint is a name of ours, a place, or both."""
    told = read_notification(b"", path, base_url=BASE)
    assert (told.name, told.references) == (name, references)


@pytest.mark.parametrize(
    "path",
    [
        "/Reports",
        "/reports/DiagnosticReport",
        "/reports/DiagnosticReport/..",
        "/reports/DiagnosticReport/1/_history/2",
        "/reports/x/DiagnosticReport/1",
        "/reports//DiagnosticReport/1",
        "/re ports",
        f"/{'a' * 33}",
        f"/DiagnosticReport/{'1' * 65}",
    ],
)
def test_any_other_path_is_refused(path: str) -> None:
    """Nothing is guessed from a path."""
    with pytest.raises(Malformed):
        read_notification(b"", path, base_url=BASE)


def test_resource_is_read_for_its_type_and_id_alone() -> None:
    """Whatever else came along is not taken over."""
    document = {"resourceType": "DiagnosticReport", "id": "17", "status": "final", "conclusion": "x"}
    told = read(document, "/reports/DiagnosticReport/17")
    assert told == Notification(Kind.HOOK, name="reports", references=("DiagnosticReport/17",))
    assert not told.unnamed


@pytest.mark.parametrize("make", [parameters, status])
@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("handshake", Kind.HANDSHAKE),
        ("heartbeat", Kind.HEARTBEAT),
        ("event-notification", Kind.EVENT),
        ("query-status", Kind.QUERY),
        ("query-event", Kind.QUERY),
    ],
)
def test_every_type_of_notification_is_known(make: Any, word: str, kind: Kind) -> None:
    """The value set subscription-notification-type, in R4 and R5."""
    assert read(bundle(make(word))).kind is kind


@pytest.mark.parametrize("make", [parameters, status])
@pytest.mark.parametrize("kind", ["history", "subscription-notification", "searchset"])
def test_events_come_in_order_each_once_with_their_references(make: Any, kind: str) -> None:
    """Sent twice, out of order, absolute, relative or versioned: one event, one place."""
    events = [
        ("9", f"{BASE}/DiagnosticReport/2"),
        ("8", "DiagnosticReport/1/_history/3"),
        ("9", "DiagnosticReport/2"),
        ("10", ""),
    ]
    told = read(bundle(make(events=events), kind=kind))
    assert told.events == (Event(8, ("DiagnosticReport/1",)), Event(9, ("DiagnosticReport/2",)), Event(10))
    assert told.references == ("DiagnosticReport/2", "DiagnosticReport/1")
    assert (told.strangers, told.unnamed) == (0, True)


def test_status_of_r4_is_read_whole() -> None:
    """Subscription, topic, status, count, context and errors of the Parameters."""
    focus = {"name": "focus", "valueReference": {"reference": "ServiceRequest/5"}}
    context = {"name": "additional-context", "valueReference": {"reference": f"{BASE}/ImagingStudy/7"}}
    number = {"name": "event-number", "valueUnsignedInt": 3}
    trouble = {"coding": [{"code": "no-response"}, {"code": "words of a stranger"}]}
    more = [
        {"name": "subscription", "valueReference": {"reference": f"{BASE}/Subscription/4"}},
        {"name": "topic", "valueCanonical": "urn:prelim:topic:orders"},
        {"name": "status", "valueCode": "error"},
        {"name": "events-since-subscription-start", "valueString": "3"},
        {"name": "notification-event", "part": [number, focus, context]},
        {"name": "error", "valueCodeableConcept": trouble},
    ]
    assert read(bundle(parameters(more=more))) == Notification(
        Kind.EVENT,
        name="reports",
        subscription="Subscription/4",
        topic="urn:prelim:topic:orders",
        status="error",
        events=(Event(3, ("ServiceRequest/5", "ImagingStudy/7")),),
        since_start=3,
        references=("ServiceRequest/5", "ImagingStudy/7"),
        errors=("no-response",),
    )


def test_status_of_r5_is_read_whole() -> None:
    """The same of SubscriptionStatus; integer64 is a string in JSON."""
    document = {
        **status(),
        "subscription": {"reference": f"{BASE}/Subscription/4"},
        "topic": "https://hospital.example/topics/orders",
        "status": "active",
        "eventsSinceSubscriptionStart": "3",
        "notificationEvent": [
            {
                "eventNumber": "3",
                "focus": {"reference": "ServiceRequest/5"},
                "additionalContext": [{"reference": "ImagingStudy/7"}],
            }
        ],
        "error": [{"coding": [{"code": "no-response"}]}],
    }
    told = read(bundle(document, kind="subscription-notification"))
    assert (told.subscription, told.status, told.since_start) == ("Subscription/4", "active", 3)
    assert told.topic == "https://hospital.example/topics/orders"
    assert told.events == (Event(3, ("ServiceRequest/5", "ImagingStudy/7")),)
    assert told.errors == ("no-response",)


@pytest.mark.parametrize(
    "stranger",
    [
        "https://evil.example/r4/DiagnosticReport/1",
        f"{BASE}.evil.example/DiagnosticReport/1",
        f"{BASE}evil/DiagnosticReport/1",
        "https://user@fhir.hospital.example/r4/DiagnosticReport/1",
        "http://fhir.hospital.example/r4/DiagnosticReport/1",
        f"{BASE}/../DiagnosticReport/1",
        f"{BASE}/DiagnosticReport/..",
        f"{BASE}/DiagnosticReport/1?x=y",
        f"{BASE}/DiagnosticReport/1\n",
        f"{BASE}/DiagnosticReport/$expunge",
        "//evil.example/DiagnosticReport/1",
        "#contained",
        "DiagnosticReport",
    ],
)
@pytest.mark.parametrize("make", [parameters, status])
def test_reference_elsewhere_is_dropped_and_counted(make: Any, stranger: str) -> None:
    """Only what lies below our own base URL is looked at; an event without a place calls for polling."""
    told = read(bundle(make(events=[("1", stranger)]), {"fullUrl": stranger}))
    assert (told.references, told.strangers, told.events) == ((), 2, (Event(1),))
    assert told.unnamed


def test_subscription_elsewhere_is_not_ours() -> None:
    """A notification cannot speak for a subscription on another server."""
    more = [{"name": "subscription", "valueReference": {"reference": "https://evil.example/Subscription/4"}}]
    assert read(bundle(parameters(more=more))).subscription == ""


@pytest.mark.parametrize(
    "entry",
    [
        {"fullUrl": f"{BASE}/DiagnosticReport/1", "request": {"method": "PUT", "url": "elsewhere"}},
        {"fullUrl": "urn:uuid:0", "resource": {"resourceType": "DiagnosticReport", "id": "1"}},
        {"resource": {"resourceType": "DiagnosticReport", "id": "1", "subject": {"reference": "Patient/2"}}},
    ],
)
def test_entries_tell_their_place_and_nothing_more(entry: dict[str, Any]) -> None:
    """fullUrl, or type and id of the resource; nothing inside of it."""
    assert read(bundle(parameters(), entry)).references == ("DiagnosticReport/1",)


@pytest.mark.parametrize("number", ["0", "-1", "x", "", str(2**63), "9" * 5000, True, 1.5, None, [1]])
def test_event_without_a_number_is_no_event(number: object) -> None:
    """Numbers run from 1 to the largest integer64."""
    assert read(bundle(status(events=[(number, "DiagnosticReport/1")]))).events == ()


def test_largest_number_is_a_number() -> None:
    """2^63 - 1, the last of integer64."""
    told = read(bundle(status(events=[(str(2**63 - 1), "DiagnosticReport/1")])))
    assert [event.number for event in told.events] == [2**63 - 1]


@pytest.mark.parametrize(
    "body",
    [
        b"<Bundle xmlns='http://hl7.org/fhir'/>",
        b"\xef\xbb\xbf<?xml version='1.0'?>",
        b"{",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        b'{"resourceType": 5}',
        b'{"resourceType": "Bundle"}',
        b'{"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Patient"}}]}',
        json.dumps(bundle(parameters("another"))).encode(),
        json.dumps(bundle({"resourceType": "Parameters"})).encode(),
        b"9" * 5000,
        b"[" * 100_000,
        b'{"resourceType":"Bundle","entry":' + b"[" * 100_000,
    ],
)
def test_what_is_no_notification_is_refused(body: bytes) -> None:
    """XML, other JSON, other Bundles, deep nesting: one error, and nothing of the body in it."""
    with pytest.raises(Malformed) as refused:
        read_notification(body, "", base_url=BASE)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("extra", [0, 1])
def test_body_is_capped(extra: int) -> None:
    """A notification of the largest size is read, one byte more is not."""
    body = json.dumps(bundle(parameters())).encode()
    body += b" " * (MAX_NOTIFICATION_BYTES - len(body) + extra)
    if extra:
        with pytest.raises(Malformed, match="bytes"):
            read_notification(body, "", base_url=BASE)
    else:
        assert read_notification(body, "", base_url=BASE).kind is Kind.EVENT


@pytest.mark.parametrize("extra", [0, 1])
def test_events_are_capped(extra: int) -> None:
    """As many events as one notification may hold, and one more."""
    document = bundle(parameters(events=[(str(n), "") for n in range(1, MAX_EVENTS + extra + 1)]))
    if extra:
        with pytest.raises(Malformed, match="events"):
            read(document)
    else:
        assert len(read(document).events) == MAX_EVENTS


@pytest.mark.parametrize("extra", [0, 1])
def test_references_are_capped(extra: int) -> None:
    """As many references as one notification may hold, and one more."""
    entries = ({"fullUrl": f"Patient/{n}"} for n in range(MAX_REFERENCES + extra))
    document = bundle(parameters(), *entries)
    if extra:
        with pytest.raises(Malformed, match="references"):
            read(document)
    else:
        assert len(read(document).references) == MAX_REFERENCES


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
references = st.one_of(
    st.sampled_from([f"{BASE}/DiagnosticReport/1", "ServiceRequest/2", "https://evil.example/Patient/1"]),
    st.text(max_size=30),
    json_values,
)


@st.composite
def near_notifications(draw: st.DrawFn) -> Any:
    """A notification with any of its parts replaced by something else."""
    names = st.sampled_from(["type", "status", "topic", "subscription", "notification-event", "error", "x"])
    events = draw(st.lists(st.tuples(json_values, references), max_size=4))
    first: Any = draw(st.sampled_from([parameters, status]))(events=events)
    key = next(key for key in ("parameter", "notificationEvent") if key in first)
    values = st.sampled_from(["valueString", "valueCode", "valueReference", "part", "name"])
    rows = st.lists(st.dictionaries(values, json_values | names, max_size=3), max_size=3)
    first[key] = [*first[key], *draw(rows)]
    entries = draw(st.lists(st.fixed_dictionaries({"fullUrl": references, "resource": json_values})))
    return draw(st.sampled_from([bundle(first, *entries), first, {**first, "id": draw(references)}]))


@given(st.one_of(json_values, near_notifications()), st.text(max_size=20))
def test_any_json_is_read_or_refused_and_only_our_own_places_come_out(document: Any, path: str) -> None:
    """Never another error, never a reference that could lead anywhere but below our base URL."""
    for rest in ("", path):
        try:
            told = read_notification(json.dumps(document).encode(), rest, base_url=BASE)
        except Malformed:
            continue
        named = [*told.references, *(one for event in told.events for one in event.references)]
        assert all(OWN.fullmatch(reference) for reference in named)
        assert told.subscription == "" or OWN.fullmatch(told.subscription)
        numbers = [event.number for event in told.events]
        assert numbers == sorted(set(numbers))


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """Never another error than Malformed."""
    with suppress(Malformed):
        assert read_notification(body, "", base_url=BASE).kind is Kind.HOOK


def counted(kind: Kind, since_start: int | None, *numbers: int) -> Notification:
    return Notification(kind, since_start=since_start, events=tuple(Event(number) for number in numbers))


@pytest.mark.parametrize(
    ("last_seen", "told", "missing", "next_seen"),
    [
        (4, counted(Kind.EVENT, 5, 5), None, 5),
        (4, counted(Kind.EVENT, 6, 6), range(5, 6), 6),
        (4, counted(Kind.EVENT, None, 7), range(5, 7), 7),
        (4, counted(Kind.EVENT, 9, 5, 6), range(7, 10), 9),
        (4, counted(Kind.EVENT, 9, 6, 8), range(5, 10), 9),
        (4, counted(Kind.EVENT, 3, 3), None, 4),
        (4, counted(Kind.EVENT, 4, 4), None, 4),
        (0, counted(Kind.EVENT, 1, 1), None, 1),
        (4, counted(Kind.HEARTBEAT, 4), None, 4),
        (4, counted(Kind.HEARTBEAT, 7), range(5, 8), 7),
        (4, counted(Kind.HEARTBEAT, 2), None, 4),
        (4, counted(Kind.HANDSHAKE, 4), None, 4),
        (4, counted(Kind.HANDSHAKE, 0), None, 0),
        (4, counted(Kind.HANDSHAKE, 2), range(1, 3), 2),
        (4, counted(Kind.QUERY, 2, 1), range(2, 3), 2),
        (4, Notification(Kind.HOOK), None, 4),
    ],
)
def test_gap_is_what_happened_and_was_not_brought(
    last_seen: int, told: Notification, missing: range | None, next_seen: int
) -> None:
    """Numbers between the last that was seen and the newest that is known; a late event is no gap."""
    assert (gap(last_seen, told), newest(last_seen, told)) == (missing, next_seen)


@given(st.integers(0, 40), st.lists(st.integers(1, 40)), st.none() | st.integers(0, 40))
def test_gap_holds_every_number_that_is_missing(last: int, brought: list[int], since: int | None) -> None:
    """No event between what was seen and what is known is outside of both the notification and the gap."""
    told = counted(Kind.EVENT, since, *brought)
    missing = gap(last, told) or range(0)
    assert set(range(last + 1, newest(last, told) + 1)) <= {*brought, *missing}
    assert all(last < number <= newest(last, told) for number in missing)


def test_answer_is_read_as_a_notification_is() -> None:
    """$events answers with a Bundle of the same shape."""
    told = read_answer(bundle(parameters("query-event", [("1", "DiagnosticReport/1")])), base_url=BASE)
    assert (told.kind, told.references, told.name) == (Kind.QUERY, ("DiagnosticReport/1",), "")
    with pytest.raises(Malformed):
        read_answer({"resourceType": "OperationOutcome"}, base_url=BASE)
