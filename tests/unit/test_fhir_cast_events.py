"""FHIRcast messages, read: tolerant, capped, and nothing in them is followed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import Malformed
from connectors.fhir.cast.events import (
    MAX_CONTEXT,
    MAX_ENTRIES,
    MAX_ID,
    MAX_MESSAGE_BYTES,
    OPEN,
    UPDATE,
    Anchor,
    Confirmed,
    Context,
    Denied,
    Event,
    UnreadableEvent,
    answer,
    read_context,
    read_endpoint,
    read_message,
    update_request,
)
from connectors.fhir.identifiers import IdentifierSystems
from tests.cast_samples import a_patient, a_report, a_study

BASE = "https://fhir.test/r4"
SYSTEMS = IdentifierSystems()


def said(context: list[Any], name: str = OPEN, **event: Any) -> str:
    """An event as a hub sends it."""
    told = {"hub.topic": "T", "hub.event": name, "context": context, **event}
    return json.dumps({"timestamp": "2026-03-04T05:06:07Z", "id": "e1", "event": told})


def read(data: str | bytes) -> Any:
    return read_message(data, SYSTEMS, base_url=BASE)


def test_open_event_says_whose_report_it_is() -> None:
    """Place, identifiers, accession, study and patient, from wherever the standard puts them."""
    context = [
        {"key": "report", "resource": a_report("17", "ACC1", identifier=[{"system": "urn:x", "value": "9"}])},
        {"key": "patient", "resource": a_patient("PID1")},
        {"key": "study", "resource": a_study("1.2.3")},
    ]
    event = read(said(context, **{"context.versionId": "v1"}))
    assert event == Event(
        "e1",
        "T",
        OPEN,
        "v1",
        Anchor(
            "DiagnosticReport/17",
            frozenset({("urn:x", "9")}),
            frozenset({"ACC1"}),
            frozenset({"1.2.3"}),
            (frozenset({"PID1"}),),
        ),
    )


@pytest.mark.parametrize("name", ["diagnosticreport-OPEN", "DiagnosticReport-open", "DIAGNOSTICREPORT-OPEN"])
def test_names_of_events_are_compared_without_case(name: str) -> None:
    """Section 2.6."""
    assert read(said([], name)).name == OPEN


@pytest.mark.parametrize(
    ("reference", "kept"),
    [
        ("DiagnosticReport/17", "DiagnosticReport/17"),
        (f"{BASE}/DiagnosticReport/17", "DiagnosticReport/17"),
        ("DiagnosticReport/17/_history/3", "DiagnosticReport/17"),
        (f"DiagnosticReport/{'a' * 64}", f"DiagnosticReport/{'a' * 64}"),
        (f"DiagnosticReport/{'a' * 65}", ""),
        ("https://fhir.test.evil.example/r4/DiagnosticReport/17", ""),
        ("http://169.254.169.254/DiagnosticReport/17", ""),
        ("DiagnosticReport/..", ""),
        ("DiagnosticReport/../Patient/1", ""),
        ("DiagnosticReport/17?_format=x", ""),
        ("Patient/17", ""),
        ("#17", ""),
        ("", ""),
    ],
)
def test_only_a_place_on_our_own_server_is_kept_of_a_reference(reference: str, kept: str) -> None:
    """Relative, or below our base URL; anything else names nothing."""
    for entry in ({"reference": reference}, [{"reference": reference}]):
        event = read(said([{"key": "report", "reference": entry}], "DiagnosticReport-close"))
        assert event.anchor.reference == kept


def test_two_reports_at_once_are_none() -> None:
    """It could not be said which one is open."""
    both = [{"key": "report", "resource": a_report(identity)} for identity in ("1", "2")]
    assert read(said(both)).anchor.reference == ""


def test_each_place_that_names_a_patient_is_kept_apart() -> None:
    """So that one that disagrees can be seen."""
    report = a_report("1", subject={"reference": "Patient/9", "identifier": {"value": "OTHER"}})
    context = [{"key": "report", "resource": report}, {"key": "patient", "resource": a_patient("PID1")}]
    assert read(said(context)).anchor.patients == (frozenset({"PID1"}), frozenset({"OTHER"}))


@pytest.mark.parametrize("status", ["final", "amended", "corrected", "appended"])
def test_a_final_status_is_seen_in_the_report_and_in_what_is_shared(status: str) -> None:
    """A hint either way."""
    shared = {"resourceType": "Bundle", "entry": [{"resource": a_report("2", status=status)}, {}, 7]}
    context = [
        {"key": "report", "resource": a_report("1", status=status)},
        {"key": "updates", "resource": shared},
    ]
    assert read(said(context, UPDATE)).finals == {"DiagnosticReport/1", "DiagnosticReport/2"}


@pytest.mark.parametrize("status", ["preliminary", "partial", "registered", "unknown", "Final", 7, None])
def test_no_other_status_is_final(status: object) -> None:
    """Our own draft, come back, is none."""
    context = [{"key": "report", "resource": a_report("1", status=status)}]
    assert read(said(context, UPDATE)).finals == frozenset()


def test_confirmation_and_denial_are_told_apart() -> None:
    """A lease is read as a number or as text; a reason is not kept."""
    confirmed = {"hub.mode": "subscribe", "hub.topic": "T", "hub.events": "x"}
    assert read(json.dumps({**confirmed, "hub.lease_seconds": 7200})) == Confirmed("T", 7200)
    assert read(json.dumps({**confirmed, "hub.lease_seconds": "7200"})) == Confirmed("T", 7200)
    for strange in (None, True, -1, 1e300, "soon", [1]):
        assert read(json.dumps({**confirmed, "hub.lease_seconds": strange})) == Confirmed("T", 0)
    denied = {"hub.mode": "denied", "hub.topic": "T", "hub.events": "x", "hub.reason": "Doe, Jane"}
    assert read(json.dumps(denied)) == Denied("T")


def test_a_heartbeat_says_its_period() -> None:
    """As the ballots of version 3 write it."""
    event = read(said([{"key": "period", "decimal": "10"}], "Heartbeat"))
    assert (event.name, event.period_seconds) == ("heartbeat", 10.0)


@pytest.mark.parametrize(
    "data",
    [
        "",
        "nonsense",
        "[]",
        "null",
        "NaN",
        '{"id": NaN}',
        "{}",
        '{"id": 7}',
        '{"id": ""}',
        "[" * 100_000,
        b"\xff",
    ],
)
def test_what_cannot_be_read_is_malformed(data: str | bytes) -> None:
    """And nothing else."""
    with pytest.raises(Malformed) as refused:
        read(data)
    assert not isinstance(refused.value, UnreadableEvent)


@pytest.mark.parametrize("event", [None, {}, {"hub.event": ""}, {"hub.event": OPEN, "context": {}}])
def test_an_event_with_an_id_can_be_answered_though_it_cannot_be_read(event: object) -> None:
    """The id comes with the error."""
    with pytest.raises(UnreadableEvent) as refused:
        read(json.dumps({"id": "e1", "event": event}))
    assert refused.value.event_id == "e1"


def test_a_message_is_read_up_to_its_cap() -> None:
    """Just under and just over."""
    message = said([])
    assert read(message + " " * (MAX_MESSAGE_BYTES - len(message))).id == "e1"
    with pytest.raises(Malformed):
        read(message + " " * (MAX_MESSAGE_BYTES - len(message) + 1))


def test_context_is_read_up_to_its_cap() -> None:
    """Just under and just over."""
    assert read(said([{}] * MAX_CONTEXT)).id == "e1"
    with pytest.raises(UnreadableEvent):
        read(said([{}] * (MAX_CONTEXT + 1)))


def test_shared_resources_are_read_up_to_their_cap() -> None:
    """Just under and just over, in an event and in the context."""

    def shared(count: int, key: str) -> list[Any]:
        return [{"key": key, "resource": {"resourceType": "Bundle", "entry": [{}] * count}}]

    assert read(said(shared(MAX_ENTRIES, "updates"), UPDATE)).id == "e1"
    with pytest.raises(UnreadableEvent):
        read(said(shared(MAX_ENTRIES + 1, "updates"), UPDATE))
    told = {"context.type": "DiagnosticReport", "context": shared(MAX_ENTRIES, "content")}
    assert read_context(json.dumps(told).encode(), SYSTEMS, base_url=BASE) is not None
    told["context"] = shared(MAX_ENTRIES + 1, "content")
    with pytest.raises(Malformed):
        read_context(json.dumps(told).encode(), SYSTEMS, base_url=BASE)


def test_an_id_is_read_up_to_its_cap() -> None:
    """Just under and just over."""
    for length, readable in ((MAX_ID, True), (MAX_ID + 1, False)):
        message = json.dumps({"id": "e" * length, "event": {"hub.event": OPEN, "context": []}})
        if readable:
            assert read(message).id == "e" * length
        else:
            with pytest.raises(Malformed):
                read(message)


ELEMENTS = [
    "key",
    "resource",
    "reference",
    "identifier",
    "system",
    "value",
    "type",
    "coding",
    "code",
    "entry",
]
ELEMENTS += ["resourceType", "id", "status", "subject", "basedOn", "imagingStudy", "decimal"]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(ELEMENTS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(
    event_id=st.text(max_size=3),
    name=st.sampled_from([OPEN, UPDATE, "Heartbeat", "SyncError", "", "x"]),
    context=st.lists(
        st.fixed_dictionaries(
            {"key": st.sampled_from(["report", "study", "patient", "updates", "period"])},
            optional={"resource": values, "reference": values, "decimal": values},
        )
        | values,
        max_size=4,
    ),
)
def test_any_shape_is_read_or_malformed(event_id: str, name: str, context: list[Any]) -> None:
    """No other error, whatever stands where."""
    told = {"hub.topic": "T", "hub.event": name, "context": context}
    try:
        read(json.dumps({"id": event_id, "event": told}))
        read_context(
            json.dumps({"context.type": "DiagnosticReport", "context": context}).encode(),
            SYSTEMS,
            base_url=BASE,
        )
    except Malformed:
        assert not event_id or not name


def test_context_says_what_is_open_and_what_was_shared() -> None:
    """The version and the places of the shared resources; none when no report is open."""
    content = {"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Observation", "id": "o1"}}]}
    told = {
        "context.type": "DiagnosticReport",
        "context.versionId": "v7",
        "context": [
            {"key": "report", "resource": a_report("17")},
            {"key": "content", "resource": content},
        ],
    }
    assert read_context(json.dumps(told).encode(), SYSTEMS, base_url=BASE) == Context(
        Anchor("DiagnosticReport/17"), "v7", frozenset({"Observation/o1"})
    )
    for empty in ({"context.type": "", "context": []}, {"context.type": "Patient", "context": []}, {}):
        assert read_context(json.dumps(empty).encode(), SYSTEMS, base_url=BASE) is None


def test_an_answer_without_an_address_is_malformed() -> None:
    """There is nothing to connect to."""
    assert read_endpoint(b'{"hub.channel.endpoint": "wss://h/x"}') == "wss://h/x"
    with pytest.raises(Malformed):
        read_endpoint(b"{}")


def test_what_we_say_is_what_the_standard_asks_for() -> None:
    """An answer is id and status; an update names its report by reference and shares one Bundle."""
    assert json.loads(answer("e1", 202)) == {"id": "e1", "status": 202}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": []}
    request = update_request("e2", "2026-03-04T05:06:07Z", "T", "DiagnosticReport/17", "v1", bundle)
    assert request == {
        "timestamp": "2026-03-04T05:06:07Z",
        "id": "e2",
        "event": {
            "hub.topic": "T",
            "hub.event": "DiagnosticReport-update",
            "context.versionId": "v1",
            "context": [
                {"key": "report", "reference": {"reference": "DiagnosticReport/17"}},
                {"key": "updates", "resource": bundle},
            ],
        },
    }
