"""What we ask to be told, in each dialect, and what we make of servers that cannot or will not."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fhir.resources.R4B.subscription import Subscription as SubscriptionR4B
from fhir.resources.subscription import Subscription as SubscriptionR5

from connectors.errors import Conflict, Malformed, Rejected, Unreachable
from connectors.fhir.client import FhirClient
from connectors.fhir.egress import check_egress
from connectors.fhir.notices.notifications import MAX_EVENTS
from connectors.fhir.notices.subscriptions import ensure, missed, remove, standing
from connectors.fhir.notices.wanted import BACKPORT, BACKPORT_PROFILE, REPORTS, differs, is_ours, subscription

BASE = "http://fhir.test/r4"
ASKED: dict[str, Any] = {"endpoint": "https://prelim.example/notify/fhir", "secret": "s3cret"}
SHAPES = [("rest-hook", "R4"), ("topic", "R4"), ("topic", "R5")]
Answer = Callable[[httpx.Request], httpx.Response]


def asked(mechanism: str = "rest-hook", release: str = "R4", **changes: Any) -> dict[str, Any]:
    return subscription(REPORTS, **{**ASKED, "mechanism": mechanism, "release": release, **changes})


@pytest.mark.parametrize(("mechanism", "release"), SHAPES)
def test_every_shape_is_a_valid_resource_that_may_leave(mechanism: str, release: str) -> None:
    """R4 by its own model, R5 by its own, and nothing that the last door keeps back."""
    resource = asked(mechanism, release)
    (SubscriptionR5 if release == "R5" else SubscriptionR4B).model_validate(resource)
    check_egress(resource)
    check_egress({**resource, "status": "off"})


def test_plain_hook_asks_for_no_payload() -> None:
    """R4 knows no id-only: a payload would carry the whole report."""
    resource = asked()
    assert "payload" not in resource["channel"]
    assert resource["criteria"] == REPORTS.criteria
    assert resource["channel"]["endpoint"] == "https://prelim.example/notify/fhir/reports"
    assert resource["channel"]["header"] == ["Authorization: Bearer s3cret"]


def test_topic_of_r4_asks_for_ids_alone() -> None:
    """backport-subscription: the topic as criteria, our filter, content id-only, a heartbeat."""
    resource = asked("topic")
    content = [{"url": f"{BACKPORT}/backport-payload-content", "valueCode": "id-only"}]
    assert resource["criteria"] == REPORTS.topic
    assert resource["_criteria"]["extension"][0]["valueString"] == REPORTS.criteria
    assert resource["channel"]["_payload"]["extension"] == content
    assert resource["meta"]["profile"] == [BACKPORT_PROFILE]


def test_topic_of_r5_asks_for_ids_alone() -> None:
    """R5 has the same as elements; it knows no plain hook, so topics are asked for in any case."""
    resource = asked("rest-hook", "R5")
    assert (resource["topic"], resource["content"]) == (REPORTS.topic, "id-only")
    assert resource["parameter"] == [{"name": "Authorization", "value": "Bearer s3cret"}]
    assert resource["filterBy"] == [{"filterParameter": "category", "value": "RAD,LP29684-5"}]


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoint": "ftp://prelim.example"},
        {"endpoint": "https://user@prelim.example"},
        {"endpoint": "https://prelim.example/?x"},
        {"endpoint": "https:///notify"},
        {"secret": "two words"},
        {"secret": "line\r\nX-Other: 1"},
        {"secret": "s" * 501},
    ],
)
def test_endpoint_or_secret_that_cannot_be_sent_is_refused(changes: dict[str, str]) -> None:
    """No header of another's making, and the secret is in no message."""
    with pytest.raises(Rejected) as refused:
        asked(**changes)
    assert changes.get("secret", "line") not in str(refused.value)


def test_secret_of_greatest_length_is_sent() -> None:
    """500 characters; none is no header."""
    assert "s" * 500 in asked(secret="s" * 500)["channel"]["header"][0]
    assert "header" not in asked(secret="")["channel"]


@pytest.mark.parametrize(("mechanism", "release"), SHAPES)
def test_what_decides_is_compared(mechanism: str, release: str) -> None:
    """Endpoint, secret and dialect make another subscription; what the server adds or drops does not."""
    stands = {**asked(mechanism, release), "id": "1", "status": "active", "text": {"status": "generated"}}
    assert not differs({**stands, "meta": {"versionId": "3"}}, asked(mechanism, release))
    for changes in ({"endpoint": "https://other.example"}, {"secret": "other"}, {"secret": ""}):
        assert differs(stands, asked(mechanism, release, **changes))
    assert differs(stands, asked("rest-hook" if mechanism == "topic" else "topic"))


def test_whole_resources_where_none_were_asked_for_are_a_difference() -> None:
    """Somebody set a payload: patient data would travel with each notification."""
    stands = asked()
    stands["channel"]["payload"] = "application/fhir+json"
    assert differs(stands, asked())
    topical = asked("topic")
    topical["channel"]["_payload"]["extension"][0]["valueCode"] = "full-resource"
    assert differs(topical, asked("topic"))


@pytest.mark.parametrize("shown", [[], ["Authorization: Bearer ****"], ["Authorization: ***"]])
def test_hidden_secret_is_compared_by_its_fingerprint(shown: list[str]) -> None:
    """A server that hides the header does not make us renew for ever, and a change is still seen."""
    stands = asked()
    stands["channel"]["header"] = shown
    assert not differs(stands, asked())
    assert differs(stands, asked(secret="other"))
    stands["reason"] = "a reason of the server's own"
    assert not differs(stands, asked(secret="other"))


def test_fingerprint_is_not_the_secret() -> None:
    """The reason can be read by whoever reads the subscription."""
    assert "s3cret" not in asked()["reason"]
    assert asked()["reason"] != asked(endpoint="https://other.example")["reason"]


def test_tag_decides_whose_a_subscription_is() -> None:
    """By the tag where there is one of ours, by the endpoint only where there is none."""
    stands, place = asked(), "https://prelim.example/notify/fhir/reports"
    assert is_ours(stands, REPORTS)
    untagged = {**stands, "meta": {}}
    assert not is_ours(untagged, REPORTS)
    assert is_ours(untagged, REPORTS, place=place)
    other = {**stands, "meta": {"tag": [{"system": "urn:prelim:subscription", "code": "site.reports"}]}}
    assert not is_ours(other, REPORTS, place=place)


class Server:
    """A made-up FHIR server that holds some subscriptions."""

    def __init__(self, *held: dict[str, Any], **knows: Any) -> None:
        self.held = {one["id"]: one for one in held}
        self.knows = {"Subscription": {}, **knows}
        self.written: list[tuple[str, str]] = []
        self.conditions: list[str | None] = []
        self.refuse: dict[str, list[int]] = {}
        """Statuses that the next requests of a method to a path's last step are answered with."""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        step = request.url.path.rpartition("/")[2]
        refusals = self.refuse.get(f"{request.method} {step}", [])
        if refusals:
            return httpx.Response(refusals.pop(0))
        if step == "metadata":
            rest = [{"resource": [{"type": kind, **told} for kind, told in self.knows.items()]}]
            return httpx.Response(200, json={"resourceType": "CapabilityStatement", "rest": rest})
        if step == "_search":
            entries = [{"resource": one} for one in self.held.values()]
            return httpx.Response(200, json={"resourceType": "Bundle", "type": "searchset", "entry": entries})
        if request.method in {"POST", "PUT"}:
            resource = json.loads(request.content)
            identity = resource.setdefault("id", str(len(self.held) + 1))
            version = int(self.held.get(identity, {}).get("meta", {}).get("versionId", 0)) + 1
            resource["meta"] = {**resource["meta"], "versionId": str(version)}
            self.held[identity] = resource
            self.written.append((request.method, identity))
            self.conditions.append(request.headers.get("If-None-Exist") or request.headers.get("If-Match"))
            location = f"{BASE}/Subscription/{identity}/_history/{version}"
            return httpx.Response(201, headers={"Location": location})
        return httpx.Response(200, json=self.held[step])

    @property
    def client(self) -> FhirClient:
        return FhirClient(BASE, transport=httpx.MockTransport(self))


def held(identity: str = "1", status: str = "active", **changes: Any) -> dict[str, Any]:
    resource = {**asked(), "id": identity, "status": status, **changes}
    resource["meta"] = {**resource["meta"], "versionId": "1"}
    return resource


def test_server_without_subscriptions_is_polled() -> None:
    """The CapabilityStatement names no Subscription: nothing is written, and it is said."""
    server = Server()
    server.knows.pop("Subscription")
    for told in (ensure(server.client, REPORTS, **ASKED), standing(server.client, REPORTS)):
        assert (told.active, server.written) == (False, [])
        assert "no subscriptions" in str(told)


@pytest.mark.parametrize(
    ("knows", "asks"),
    [
        ({}, False),
        ({"Subscription": {"supportedProfile": [f"{BACKPORT_PROFILE}|1.1.0"]}}, True),
        ({"SubscriptionTopic": {}}, True),
        ({"topic": REPORTS.topic}, True),
        ({"topic": "urn:another", "SubscriptionTopic": {}}, False),
    ],
    ids=["none", "profile", "r5", "listed", "not-listed"],
)
@pytest.mark.parametrize("release", ["R4", "R5"])
def test_topic_is_asked_for_where_the_server_announces_it(
    knows: dict[str, Any], asks: bool, release: str
) -> None:
    """By the profile, the resource SubscriptionTopic, or a list of topics that must then hold ours."""
    server = Server(**{name: told for name, told in knows.items() if name != "topic"})
    if "topic" in knows:
        url = f"{BACKPORT}/capabilitystatement-subscriptiontopic-canonical"
        server.knows["Subscription"] = {"extension": [{"url": url, "valueCanonical": knows["topic"]}]}
    told = ensure(server.client, REPORTS, **ASKED, mechanism="topic", release=release)
    assert bool(server.written) is asks
    assert ("polling alone" in told.why) is not asks


@pytest.mark.parametrize("status", ["error", "off", "entered-in-error", ""])
def test_subscription_that_does_not_stand_is_renewed(status: str) -> None:
    """Whatever is neither requested nor active is asked for again."""
    server = Server(held(status=status))
    assert ensure(server.client, REPORTS, **ASKED).status == "requested"
    assert server.written == [("PUT", "1")]


@pytest.mark.parametrize(
    ("minutes", "renewed"), [(59, True), (61, False), (-60, True)], ids=["soon", "later", "past"]
)
def test_subscription_about_to_end_is_renewed(minutes: int, renewed: bool) -> None:
    """An hour before its end at the latest."""
    end = (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()
    server = Server(held(end=end))
    ensure(server.client, REPORTS, **ASKED)
    assert bool(server.written) is renewed


def test_first_of_several_stays() -> None:
    """Ten comes after two: every worker keeps the same one, and switches the others off once."""
    server = Server(held("10"), held("2"), held("3", status="off"))
    assert ensure(server.client, REPORTS, **ASKED).reference == "Subscription/2"
    assert server.written == [("PUT", "10")]
    assert server.held["10"]["status"] == "off"


def test_every_write_has_its_condition() -> None:
    """Created only while there is none, replaced only in the version that was looked at."""
    server = Server()
    ensure(server.client, REPORTS, **ASKED)
    ensure(server.client, REPORTS, **{**ASKED, "secret": "other"})
    remove(server.client, REPORTS)
    assert server.conditions == ["_tag=urn%3Aprelim%3Asubscription%7Creports", 'W/"1"', 'W/"2"']


def test_subscriptions_of_others_are_left_alone() -> None:
    """A lenient server that ignores the search shows everybody's."""
    others = held("7")
    others["meta"] = {"versionId": "1"}
    others["channel"]["endpoint"] = "https://other.example"
    server = Server(others)
    assert ensure(server.client, REPORTS, **ASKED).reference == "Subscription/2"
    assert server.written == [("POST", "2")]


def test_server_that_cannot_search_by_tag_is_searched_by_endpoint() -> None:
    """The backport demands a search by url alone."""
    untagged = held()
    untagged["meta"] = {"versionId": "1"}
    server = Server(untagged)
    server.refuse["POST _search"] = [400]
    assert ensure(server.client, REPORTS, **ASKED).reference == "Subscription/1"
    assert server.written == []


@pytest.mark.parametrize("conflicts", [2, 3])
def test_subscription_that_changes_meanwhile_is_looked_at_anew(conflicts: int) -> None:
    """The server activates it while we renew it: twice is borne with, three times is a Conflict."""
    server = Server(held(status="off"))
    server.refuse["PUT 1"] = [412] * conflicts
    if conflicts == 3:
        with pytest.raises(Conflict):
            ensure(server.client, REPORTS, **ASKED)
    else:
        assert ensure(server.client, REPORTS, **ASKED).status == "requested"


@pytest.mark.parametrize("status", [400, 401, 403, 422])
def test_refusal_is_said_and_not_raised(status: int) -> None:
    """A server that wants no endpoint of ours leaves us to poll."""
    server = Server()
    server.refuse["POST Subscription"] = [status]
    told = ensure(server.client, REPORTS, **ASKED)
    assert (told.active, told.reference) == (False, "")
    assert "refuses" in str(told)
    assert "s3cret" not in str(told)


def test_server_that_does_not_answer_is_asked_again_later() -> None:
    """503 is no word about subscriptions."""
    server = Server()
    server.refuse["POST Subscription"] = [503] * 20
    with pytest.raises(Unreachable):
        ensure(server.client, REPORTS, **ASKED)


@pytest.mark.parametrize(
    ("status", "active"), [("active", True), ("requested", False), ("error", False), ("off", False)]
)
def test_standing_says_how_it_is(status: str, active: bool) -> None:
    """Active or why not, with the server's own words cut short and printable."""
    told = standing(Server(held(status=status, error="no\x1b[2J route" + "." * 300)).client, REPORTS)
    assert (told.active, bool(told.why)) == (active, not active)
    assert told.error == ("no[2J route" + "." * 300)[:200]
    assert standing(Server().client, REPORTS).why == "there is none"


def test_removed_subscription_is_switched_off_and_kept() -> None:
    """No DELETE leaves; removing twice writes once."""
    server = Server(held())
    assert remove(server.client, REPORTS)
    assert not remove(server.client, REPORTS)
    assert (server.written, server.held["1"]["status"]) == ([("PUT", "1")], "off")


def events(*numbers: int) -> dict[str, Any]:
    told = [{"eventNumber": str(number)} for number in numbers]
    first = {"resourceType": "SubscriptionStatus", "type": "query-event", "notificationEvent": told}
    return {"resourceType": "Bundle", "type": "history", "entry": [{"resource": first}]}


@pytest.mark.parametrize(("release", "kind"), [("R4", "valueString"), ("R5", "valueInteger64")])
def test_events_are_asked_for_by_both_bounds(release: str, kind: str) -> None:
    """$events, inclusive on both sides, in the type that the release knows."""
    sent: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/r4/Subscription/1/$events"
        sent.append(json.loads(request.content))
        return httpx.Response(200, json=events(3, 4, 5))

    client = FhirClient(BASE, transport=httpx.MockTransport(answer))
    told = missed(client, "Subscription/1", 3, 5, release=release)
    assert told is not None
    assert [event.number for event in told.events] == [3, 4, 5]
    bounds = {one["name"]: one.get(kind) for one in sent[0]["parameter"]}
    assert (bounds["eventsSinceNumber"], bounds["eventsUntilNumber"]) == ("3", "5")


@pytest.mark.parametrize("status", [400, 403, 404, 405, 410, 422, 501])
def test_server_without_events_leaves_us_to_poll(status: int) -> None:
    """Any refusal of $events means poll."""
    client = FhirClient(BASE, transport=httpx.MockTransport(lambda _: httpx.Response(status)))
    assert missed(client, "Subscription/1", 1, 1) is None


@pytest.mark.parametrize(("more", "asks"), [(0, True), (1, False)])
def test_more_events_than_fit_are_not_asked_for(more: int, asks: bool) -> None:
    """As many as one notification may hold."""
    calls: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        return httpx.Response(200, json=events(*range(1, MAX_EVENTS + 1)))

    client = FhirClient(BASE, transport=httpx.MockTransport(answer))
    told = missed(client, "Subscription/1", 1, MAX_EVENTS + more)
    assert (told is not None, bool(calls)) == (asks, asks)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(httpx.Response(503), Unreachable), (httpx.Response(200, json={"resourceType": "Patient"}), Malformed)],
)
def test_answer_that_is_none_is_no_refusal(answer: httpx.Response, expected: type[Exception]) -> None:
    """A server that fails, or answers with something else, is an error and not a reason to forget."""
    client = FhirClient(BASE, transport=httpx.MockTransport(lambda _: answer))
    with pytest.raises(expected):
        missed(client, "Subscription/1", 1, 1)


@pytest.mark.parametrize("reference", ["Subscription/..", "https://evil.example/Subscription/1"])
def test_subscription_elsewhere_is_not_asked(reference: str) -> None:
    """Only what lies on our own server is asked; nothing is sent for any other."""

    def answer(request: httpx.Request) -> httpx.Response:
        raise AssertionError(request.url)

    client = FhirClient(BASE, transport=httpx.MockTransport(answer))
    assert missed(client, reference, 1, 1) is None


@pytest.mark.parametrize("name", ["events", "$", "$Events", "$events/../x", "$events?x", "$" + "e" * 65])
def test_operation_is_named_as_fhir_names_it(name: str) -> None:
    """Anything else could lead to another place: nothing is sent."""

    def answer(request: httpx.Request) -> httpx.Response:
        raise AssertionError(request.url)

    client = FhirClient(BASE, transport=httpx.MockTransport(answer))
    with pytest.raises(Rejected):
        client.operation("Subscription/1", name, {"resourceType": "Parameters"})


def test_operation_without_an_answer_is_malformed() -> None:
    """Every operation of ours is a question."""
    client = FhirClient(BASE, transport=httpx.MockTransport(lambda _: httpx.Response(204)))
    with pytest.raises(Malformed):
        client.operation("Subscription/1", "$events", {"resourceType": "Parameters"})
