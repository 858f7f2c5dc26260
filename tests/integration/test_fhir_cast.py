"""The FHIRcast client against the embedded hub: through every misbehaviour, and disturbing nobody."""

from __future__ import annotations

import dataclasses
import json
import logging
import queue
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from connectors.errors import Conflict, Malformed, Rejected, Unreachable
from connectors.fhir.cast.client import MAX_ENDPOINT, OFFERS, CastClient
from connectors.fhir.cast.content import draft_content
from connectors.fhir.cast.events import CLOSE, MAX_MESSAGE_BYTES, OPEN, SELECT, UPDATE, Event
from connectors.fhir.cast.following import MOST_UNREADABLE, Follower
from connectors.fhir.client import FhirClient
from connectors.fhir.drafts.publish import publish
from connectors.fhir.identifiers import IdentifierSystems
from connectors.fhir.outcome import Absent
from connectors.sandbox.cast_hub import CastHub
from tests.cast_samples import a_patient, a_report
from tests.certificates import Authority
from tests.fhir_samples import a_draft, fhir_url, redone  # noqa: F401 - a fixture
from tests.unit.test_fhir_cast_egress import OBSERVATION, REPORT, sharing

TOPIC = "session/of a workstation?#1"
TOKEN = "a-token"


@pytest.fixture
def hub() -> Iterator[CastHub]:
    """The embedded hub."""
    with CastHub(token=TOKEN) as running:
        yield running


@pytest.fixture
def client(hub: CastHub) -> Iterator[CastClient]:
    """A client of it."""
    with CastClient(hub.url, token=TOKEN, timeout_seconds=5) as opened:
        yield opened


class Followed:
    """A follower on its thread, and what it received."""

    def __init__(self, follower: Follower, received: queue.Queue[Event], thread: threading.Thread) -> None:
        self.follower = follower
        self.thread = thread
        self._received = received

    def next(self) -> Event:
        """The next event, waited for."""
        return self._received.get(timeout=20)

    @property
    def empty(self) -> bool:
        """Whether nothing else was received."""
        return self._received.empty()


@contextmanager
def following(client: CastClient, clock: Callable[[], float] = time.monotonic) -> Iterator[Followed]:
    """Follow the topic for a while; the follower must end promptly."""
    received: queue.Queue[Event] = queue.Queue()
    follower = Follower(client, TOPIC, received.put, first_pause_seconds=0.02, clock=clock)
    thread = threading.Thread(target=follower.run, name="test-follower")
    thread.start()
    try:
        yield Followed(follower, received, thread)
    finally:
        follower.stop()
        thread.join(timeout=10)
        assert not thread.is_alive()


def opening(hub: CastHub, identity: str = "1") -> str:
    return hub.open(TOPIC, a_report(identity, "ACC1"), patient=a_patient("PID1"))


def test_events_of_a_session_are_answered_and_handed_on(hub: CastHub, client: CastClient) -> None:
    """Each with 202 before anything is done, in their order; nobody is disturbed."""
    with following(client) as followed:
        hub.until(lambda: hub.listening(TOPIC), "the subscription")
        told = [opening(hub), hub.share(TOPIC, OBSERVATION), hub.select(TOPIC), hub.close(TOPIC)]
        events = [followed.next() for _ in told]
        hub.until(lambda: len(hub.answers) == len(told), "the answers")
    assert [event.id for event in events] == told
    assert [event.name for event in events] == [OPEN, UPDATE, SELECT, CLOSE]
    assert {event.anchor.reference for event in events} == {"DiagnosticReport/1"}
    assert hub.answers == dict.fromkeys(told, 202)
    assert hub.disturbed == []


def test_who_subscribes_late_hears_what_is_open(hub: CastHub, client: CastClient) -> None:
    """The hub repeats the open event, under its own id."""
    told = opening(hub)
    with following(client) as followed:
        assert followed.next().id == told


def test_an_end_is_prompt_and_unsubscribes(hub: CastHub, client: CastClient) -> None:
    """The hub is told, and no connection is left."""
    with following(client):
        hub.until(lambda: hub.listening(TOPIC), "the subscription")
    hub.until(lambda: hub.count("unsubscribe") == 1 and not hub.listening(TOPIC), "the unsubscription")


def test_a_dropped_connection_is_made_again(hub: CastHub, client: CastClient) -> None:
    """With a new subscription, as often as it takes."""
    with following(client) as followed:
        for times in (1, 2, 3):
            hub.until(lambda times=times: hub.count("subscribe") == times, "the subscription")
            hub.until(lambda: hub.listening(TOPIC) == 1, "the connection")
            hub.drop(TOPIC)
        hub.until(lambda: hub.listening(TOPIC) == 1, "the connection")
        told = opening(hub)
        assert followed.next().id == told


def test_a_hub_that_was_away_is_found_again(hub: CastHub, client: CastClient) -> None:
    """Stopped and started on the same port, under the same session."""
    with following(client) as followed:
        hub.until(lambda: hub.listening(TOPIC), "the subscription")
        hub.stop()
        hub.start()
        hub.until(lambda: hub.listening(TOPIC), "the subscription again")
        told = opening(hub)
        assert followed.next().id == told


def test_a_lease_is_renewed_before_it_ends(client: CastClient, hub: CastHub) -> None:
    """Over the connection that is there: the hub never ends it."""
    hub.lease_seconds = 1.5
    with following(client) as followed:
        hub.until(lambda: hub.count("subscribe") >= 4, "three renewals")
        assert hub.count("connect") == 1
        told = opening(hub)
        assert followed.next().id == told
        assert hub.listening(TOPIC) == 1
    assert hub.disturbed == []


def test_a_lease_that_is_renewed_too_late_is_asked_for_again(hub: CastHub, client: CastClient) -> None:
    """A clock that stands still renews nothing: the hub denies, and is subscribed to anew."""
    hub.lease_seconds = 0.2
    with following(client, clock=lambda: 0.0) as followed:
        hub.until(lambda: hub.count("subscribe") >= 2, "another subscription")
        hub.lease_seconds = 3600.0
        hub.until(lambda: hub.listening(TOPIC) == 1, "a connection")
        assert followed.empty


def test_a_refused_or_denied_subscription_is_asked_for_again(hub: CastHub, client: CastClient) -> None:
    """By HTTP or on the websocket, until it is granted."""
    hub.refuses = 403
    with following(client):
        hub.until(lambda: hub.count("subscribe") >= 2, "two refused subscriptions")
        hub.refuses, hub.denies = 0, True
        before = hub.count("subscribe")
        hub.until(lambda: hub.count("subscribe") >= before + 2, "a denied subscription")
        hub.denies = False
        hub.until(lambda: hub.listening(TOPIC) == 1, "the subscription")


def test_heartbeats_that_stop_end_the_connection(hub: CastHub, client: CastClient) -> None:
    """A silence of several periods is a lost connection; a heartbeat itself is answered with 200."""
    with following(client):
        hub.until(lambda: hub.listening(TOPIC), "the subscription")
        told = hub.heartbeat(TOPIC, 0.03)
        hub.until(lambda: hub.answers.get(told) == 200, "the answer")
        hub.until(lambda: hub.count("subscribe") == 2, "another subscription")


@pytest.mark.parametrize("data", ["garbage", "{}", "[1]", b"\x00\xff", "NaN"])
def test_a_message_that_cannot_be_read_is_passed_over(
    hub: CastHub, client: CastClient, data: str | bytes
) -> None:
    """The session goes on."""
    with following(client) as followed:
        hub.until(lambda: hub.listening(TOPIC), "the subscription")
        hub.send(TOPIC, data)
        told = opening(hub)
        assert followed.next().id == told
        assert hub.count("subscribe") == 1


@pytest.mark.parametrize(("count", "subscriptions"), [(MOST_UNREADABLE - 1, 1), (MOST_UNREADABLE, 2)])
def test_a_connection_of_nonsense_is_given_up(
    hub: CastHub, client: CastClient, count: int, subscriptions: int
) -> None:
    """Just under the limit it goes on, at the limit it is made again."""
    with following(client) as followed:
        hub.until(lambda: hub.listening(TOPIC), "the subscription")
        for _ in range(count):
            hub.send(TOPIC, "garbage")
        if subscriptions == 2:
            hub.until(lambda: hub.count("subscribe") == 2 and hub.listening(TOPIC) == 1, "another connection")
        told = opening(hub)
        assert followed.next().id == told
        assert hub.count("subscribe") == subscriptions


def test_an_event_of_another_session_is_refused(hub: CastHub, client: CastClient) -> None:
    """With 400, and it is not handed on; so is one without a name."""
    with following(client) as followed:
        hub.until(lambda: hub.listening(TOPIC), "the subscription")
        stray = {"hub.topic": "another", "hub.event": OPEN, "context": []}
        hub.send(TOPIC, json.dumps({"id": "stray", "event": stray}))
        hub.send(TOPIC, json.dumps({"id": "nameless", "event": {"hub.topic": TOPIC}}))
        hub.until(lambda: hub.disturbed == ["stray", "nameless"], "the refusals")
        assert followed.empty


def test_a_message_over_the_cap_ends_the_connection(hub: CastHub, client: CastClient) -> None:
    """Ten megabytes are not read; one at the cap is."""
    with following(client) as followed:
        hub.until(lambda: hub.listening(TOPIC), "the subscription")
        event = json.dumps({"id": "big", "event": {"hub.topic": TOPIC, "hub.event": OPEN, "context": []}})
        hub.send(TOPIC, event + " " * (MAX_MESSAGE_BYTES - len(event)))
        assert followed.next().id == "big"
        hub.send(TOPIC, event + " " * (MAX_MESSAGE_BYTES - len(event) + 1))
        hub.until(lambda: hub.count("subscribe") == 2, "another subscription")
        hub.until(lambda: hub.listening(TOPIC) == 1, "the connection")
        hub.send(TOPIC, " " * 10_000_000)
        hub.until(lambda: hub.count("subscribe") == 3, "another subscription")
        assert followed.empty


@pytest.mark.parametrize(
    "endpoint",
    [
        "ws://169.254.169.254/latest",
        "wss://hub.evil.example/x",
        "ws://127.0.0.1.evil.example/x",
        "http://127.0.0.1/x",
        "ws://user@127.0.0.1/x",
        "ws://127.0.0.1/x#y",
        "ws://127.0.0.1/\u00e9",
        "/relative",
        "x" * 5000,
    ],
)
def test_a_websocket_elsewhere_is_never_connected_to(hub: CastHub, client: CastClient, endpoint: str) -> None:
    """Only the hub's own host is, by TLS or on loopback."""
    hub.endpoint = endpoint
    with pytest.raises(Malformed) as refused:
        client.subscribe(TOPIC)
    assert endpoint not in str(refused.value)


def test_a_remote_hub_gives_no_way_to_our_own_loopback() -> None:
    """A wss address of its own host is taken, and one of ours is not."""
    with CastClient("https://hub.test/cast") as client:
        assert client._judged("wss://hub.test:8443/x") == "wss://hub.test:8443/x"
        longest = "wss://hub.test/" + "x" * (MAX_ENDPOINT - len("wss://hub.test/"))
        assert client._judged(longest) == longest
        for endpoint in (
            f"{longest}x",
            "ws://127.0.0.1:5432/",
            "wss://127.0.0.1/x",
            "wss://localhost/x",
            "ws://hub.test/x",
        ):
            with pytest.raises(Malformed):
                client._judged(endpoint)


def test_a_redirect_of_the_websocket_is_not_followed(hub: CastHub, client: CastClient) -> None:
    """Wherever it leads, nothing is connected there."""
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.setblocking(False)
        hub.leads_to = f"ws://127.0.0.1:{elsewhere.getsockname()[1]}/x"
        with following(client):
            hub.until(lambda: hub.count("subscribe") == 3, "three attempts")
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


def test_a_wrong_token_is_a_rejection(hub: CastHub) -> None:
    """And a token may be a function, which is asked before each request."""
    tokens = iter(["wrong", TOKEN])
    with CastClient(hub.url, token=lambda: next(tokens)) as client:
        with pytest.raises(Rejected):
            client.subscribe(TOPIC)
        assert client.subscribe(TOPIC)


def test_a_hub_that_is_down_is_unreachable(hub: CastHub, client: CastClient) -> None:
    """Nothing is known to be wrong with what was sent."""
    hub.stop()
    with pytest.raises(Unreachable):
        client.subscribe(TOPIC)
    client.unsubscribe(TOPIC, "ws://127.0.0.1:1/x")


def test_addresses_are_not_logged_by_the_libraries() -> None:
    """Whoever imports the client has them quiet: a request's URL may hold a topic."""
    code = "import connectors.fhir.cast.client; print(logging.getLogger('httpx').isEnabledFor(logging.INFO))"
    code = f"import logging; logging.basicConfig(level=logging.DEBUG); {code}"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"


def test_neither_topic_nor_patient_is_logged(
    hub: CastHub, client: CastClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong, and however much is logged."""
    caplog.set_level(logging.DEBUG)
    client.context(TOPIC)
    with following(client) as followed:
        hub.until(lambda: hub.listening(TOPIC), "the subscription")
        opening(hub)
        assert followed.next().anchor.patients == (frozenset({"PID1"}),)
        hub.send(TOPIC, "PID1")
        hub.drop(TOPIC)
        hub.until(lambda: hub.count("subscribe") == 2, "another subscription")
    told = "\n".join([record.getMessage() for record in caplog.records])
    assert "A FHIRcast message was not read" in told
    assert "is not followed" in told
    for secret in (TOPIC, "workstation", TOKEN, "PID1", "ACC1", "ws://"):
        assert secret not in told


def test_a_hub_is_spoken_to_by_tls(tmp_path: Path) -> None:
    """Both ways, its certificate verified; a stranger's is not accepted, nor a websocket without TLS."""
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    own = authority.issue("hub")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(own.certificate, own.key)
    trusting = ssl.create_default_context(cafile=str(authority.certificate))
    with CastHub(tls=tls) as hub:
        with CastClient(hub.url, timeout_seconds=5, tls=trusting) as client, following(client) as followed:
            hub.until(lambda: hub.listening(TOPIC), "the subscription")
            told = opening(hub)
            assert followed.next().id == told
        for other in (None, ssl.create_default_context(cafile=str(stranger.certificate))):
            with CastClient(hub.url, timeout_seconds=5, tls=other) as client, pytest.raises(Unreachable):
                client.subscribe(TOPIC)
        hub.endpoint = "ws://127.0.0.1:1/x"
        with CastClient(hub.url, timeout_seconds=5, tls=trusting) as client, pytest.raises(Malformed):
            client.subscribe(TOPIC)


def test_a_draft_is_read_as_it_stands_on_the_server(fhir_url: str) -> None:  # noqa: F811 - the fixture
    """On the sandbox and on HAPI: report and Device; a version that is not the known one is not shared."""
    draft, systems = a_draft(), IdentifierSystems()
    with FhirClient(fhir_url) as server:
        written = publish(server, draft)
        content = draft_content(server, draft, written, systems)
        assert content is not None
        shared = [entry["resource"]["resourceType"] for entry in content["entry"]]
        assert shared == ["DiagnosticReport", "Device"]
        assert content["entry"][0]["fullUrl"] == f"{server.base_url}/{written.reference}"
        older = dataclasses.replace(written, version="0")
        assert draft_content(server, draft, older, systems) is None
        gone = dataclasses.replace(written, reference=f"DiagnosticReport/absent-{draft.case_id}")
        assert draft_content(server, draft, gone, systems) is None
        assert draft_content(server, redone(draft), written, systems) is None


# --- content ----------------------------------------------------------------------------------------


def offer(client: CastClient, version: str = "", reference: str = "DiagnosticReport/1") -> bool:
    return client.offer(TOPIC, reference, version, sharing(REPORT, OBSERVATION))


def test_a_draft_is_shared_in_the_open_report(hub: CastHub, client: CastClient) -> None:
    """Once: offered again, it is seen to be there."""
    opening(hub)
    assert offer(client) is True
    assert offer(client) is False
    assert len(hub.updates) == 1
    assert hub.content(TOPIC) == {"DiagnosticReport/7": REPORT, "Observation/8": OBSERVATION}


def test_a_stale_version_is_looked_up_and_shared_again(hub: CastHub, client: CastClient) -> None:
    """As long as the others leave one moment; then it is a conflict, and nothing is shared."""
    opening(hub)
    hub.moves = OFFERS - 1
    assert offer(client) is True
    assert hub.stale == OFFERS - 1
    opening(hub, "2")
    hub.moves = OFFERS
    with pytest.raises(Conflict):
        offer(client, reference="DiagnosticReport/2")
    assert "DiagnosticReport/7" not in hub.content(TOPIC)


def test_what_a_person_made_of_it_is_never_gone_over(hub: CastHub, client: CastClient) -> None:
    """Our report that was changed in the session stays as it was changed."""
    opening(hub)
    changed = {**REPORT, "conclusion": "A person's words."}
    hub.share(TOPIC, changed)
    assert offer(client) is False
    assert hub.updates == []
    assert hub.content(TOPIC) == {"DiagnosticReport/7": changed}


def test_nothing_is_offered_to_another_report_or_none(hub: CastHub, client: CastClient) -> None:
    """The person has gone on meanwhile."""
    opening(hub, "2")
    assert offer(client) is False
    hub.close(TOPIC)
    assert offer(client, reference="DiagnosticReport/2") is False
    assert hub.updates == []


def test_a_hub_that_tells_no_context_judges_the_version_itself(hub: CastHub, client: CastClient) -> None:
    """The event's version is offered once; a stale one is refused, and not offered again."""
    hub.tells_context = False
    opening(hub)
    with pytest.raises(Absent):
        client.context(TOPIC)
    with pytest.raises(Conflict):
        offer(client, "stale")
    assert hub.stale == 1
    assert hub.updates == []


@pytest.mark.parametrize(
    ("status", "error"), [(400, Rejected), (403, Rejected), (409, Conflict), (503, Unreachable)]
)
def test_a_refusal_for_another_reason_is_raised(
    hub: CastHub, client: CastClient, status: int, error: type[Exception]
) -> None:
    """The version stands, so that it was not the reason: asked once, not again and again."""
    opening(hub)
    hub.refuses_updates = status
    with pytest.raises(error):
        offer(client)
    assert hub.count(UPDATE) == 1


def test_two_who_offer_at_once_share_once(hub: CastHub, client: CastClient) -> None:
    """The second finds it there."""
    opening(hub)
    results: list[Any] = []
    both = [threading.Thread(target=lambda: results.append(offer(client))) for _ in range(4)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert sorted(results) == [False, False, False, True]
    assert len(hub.updates) == 1
