"""Shared content: one labelled draft of ours and nothing else ever reaches a hub."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import Rejected
from connectors.fhir.cast.client import CastClient
from connectors.fhir.egress import AIAST, ForbiddenStatus, check_content

Bundle = dict[str, Any]

REPORT = {
    "resourceType": "DiagnosticReport",
    "id": "7",
    "meta": {"security": [AIAST]},
    "identifier": [{"system": "urn:prelim:case", "value": "case-1"}],
    "status": "preliminary",
}
OBSERVATION = {
    "resourceType": "Observation",
    "id": "8",
    "meta": {"security": [AIAST]},
    "status": "preliminary",
}
DEVICE = {
    "resourceType": "Device",
    "id": "9",
    "identifier": [{"system": "urn:prelim:device", "value": "m/1"}],
}


def sharing(*resources: dict[str, Any]) -> Bundle:
    """The Bundle that shares these resources."""
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "fullUrl": f"https://fhir.test/{one.get('resourceType')}/{one.get('id')}",
                "resource": copy.deepcopy(one),
                "request": {"method": "PUT", "url": f"{one.get('resourceType')}/{one.get('id')}"},
            }
            for one in resources
        ],
    }


def refusing(_: httpx.Request) -> httpx.Response:
    raise AssertionError("the request reached the network")


@pytest.mark.parametrize("status", ["preliminary", "partial"])
def test_a_labelled_draft_of_ours_may_be_shared(status: str) -> None:
    """With its Observations and its Device, or alone."""
    check_content(sharing({**REPORT, "status": status}, OBSERVATION, DEVICE))
    check_content(sharing({**REPORT, "status": status}))


def changed(place: str, **changes: Any) -> Callable[[Bundle], Bundle]:
    """Changes one element of one entry; None leaves it out."""

    def change(bundle: Bundle) -> Bundle:
        where, _, part = place.partition(".")
        entry = next(one for one in bundle["entry"] if one["resource"]["resourceType"] == where)
        node = entry[part] if part else entry
        for name, value in changes.items():
            node.pop(name, None)
            if value is not None:
                node[name] = value
        return bundle

    return change


FINAL = {"resourceType": "Observation", "status": "final"}
FORBIDDEN: list[Callable[[Bundle], Any]] = [
    *(
        changed("DiagnosticReport.resource", status=status)
        for status in (
            "final",
            "amended",
            "corrected",
            "appended",
            "cancelled",
            "entered-in-error",
            "unknown",
        )
    ),
    *(
        changed("DiagnosticReport.resource", status=status)
        for status in (None, "Preliminary", ["preliminary"])
    ),
    *(changed("Observation.resource", status=status) for status in ("final", "registered", None, "amended")),
    changed("DiagnosticReport.resource", meta=None),
    changed("Observation.resource", meta=None),
    changed("DiagnosticReport.resource", identifier=None),
    changed("DiagnosticReport.resource", identifier=[{"system": "urn:ris", "value": "1"}]),
    changed("DiagnosticReport.resource", identifier=[{"system": "urn:prelim:case", "value": ""}]),
    changed("DiagnosticReport.resource", resultsInterpreter=[{"display": "Dr. Rosa"}]),
    changed("DiagnosticReport.resource", performer=[{"display": "Dr. Rosa"}]),
    changed("Observation.resource", performer=[{"display": "Dr. Rosa"}]),
    changed("DiagnosticReport.resource", contained=[]),
    changed("DiagnosticReport.resource", extension=[{"valueReference": FINAL}]),
    changed("Device.resource", identifier=[{"system": "urn:ris:device", "value": "m/1"}]),
    changed("DiagnosticReport.request", method="DELETE"),
    changed("DiagnosticReport.request", method="POST"),
    changed("DiagnosticReport.request", url="DiagnosticReport/8"),
    changed("DiagnosticReport.request", ifMatch='W/"1"'),
    changed("DiagnosticReport.request", ifNoneExist="identifier=x"),
    changed("DiagnosticReport", request=None),
    changed("DiagnosticReport", response={"status": "200"}),
    changed("DiagnosticReport.resource", id=None),
    lambda bundle: {**bundle, "type": "batch"},
    lambda bundle: {**bundle, "type": None},
    lambda bundle: {**bundle, "link": []},
    lambda bundle: {**bundle, "entry": []},
    lambda bundle: {**bundle, "entry": 7},
    lambda bundle: {**bundle, "entry": [*bundle["entry"], 7]},
    lambda bundle: {**bundle, "entry": bundle["entry"] * 2},
    lambda bundle: {**bundle, "entry": bundle["entry"][1:]},
    lambda bundle: {**bundle, "entry": [*bundle["entry"], *sharing({**REPORT, "id": "77"})["entry"]]},
    lambda bundle: sharing(REPORT, {"resourceType": "Patient", "id": "1"}),
    lambda bundle: sharing(REPORT, {"resourceType": "diagnosticreport", "id": "1", "status": "final"}),
    lambda bundle: [bundle],
    lambda bundle: None,
]


@pytest.mark.parametrize("change", FORBIDDEN, ids=range(len(FORBIDDEN)))
def test_anything_else_is_never_shared(change: Callable[[Bundle], Any]) -> None:
    """One change to a Bundle that may leave, and it may not."""
    bundle = sharing(REPORT, OBSERVATION, DEVICE)
    check_content(bundle)
    with pytest.raises(ForbiddenStatus):
        check_content(change(copy.deepcopy(bundle)))
    with (
        CastClient("https://hub.test", transport=httpx.MockTransport(refusing)) as client,
        pytest.raises(ForbiddenStatus),
    ):
        client.share("T", "DiagnosticReport/1", "v1", change(copy.deepcopy(bundle)))


@given(
    status=st.text(max_size=14) | st.none() | st.booleans() | st.lists(st.just("final"), max_size=1),
    kind=st.sampled_from(["DiagnosticReport", "Observation"]),
)
def test_no_other_status_is_shared(status: object, kind: str) -> None:
    """Whatever it is."""
    own = {**(REPORT if kind == "DiagnosticReport" else OBSERVATION), "status": status}
    resources = [own] if kind == "DiagnosticReport" else [REPORT, own]
    if status == "preliminary" or (kind == "DiagnosticReport" and status == "partial"):
        check_content(sharing(*resources))
        return
    with pytest.raises(ForbiddenStatus):
        check_content(sharing(*resources))


def test_a_site_with_systems_of_its_own_shares_under_those() -> None:
    """And under no other."""
    report = {**REPORT, "identifier": [{"system": "urn:site:draft", "value": "1"}]}
    device = {**DEVICE, "identifier": [{"system": "urn:site:device", "value": "1"}]}
    named = {"report_system": "urn:site:draft", "device_system": "urn:site:device"}
    check_content(sharing(report, device), **named)
    with pytest.raises(ForbiddenStatus):
        check_content(sharing(REPORT, DEVICE), **named)


def test_only_an_update_of_an_open_report_leaves() -> None:
    """No other event, and no other context, passes the client."""
    sent: list[dict[str, Any]] = []

    def taking(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.read()))
        return httpx.Response(202)

    with CastClient("https://hub.test", transport=httpx.MockTransport(taking)) as client:
        client.share("T", "DiagnosticReport/1", "v1", sharing(REPORT))
        (request,) = sent
        for event in ("DiagnosticReport-open", "DiagnosticReport-close", "SyncError", ""):
            with pytest.raises(ForbiddenStatus):
                client._check({**request, "event": {**request["event"], "hub.event": event}})
        context = request["event"]["context"]
        valued = {"key": "report", "reference": {}, "resource": {**REPORT, "status": "final"}}
        for wrong in ([], context[:1], context[1:], [valued, context[1]], [*context, valued]):
            with pytest.raises(ForbiddenStatus):
                client._check({**request, "event": {**request["event"], "context": wrong}})
        client._check(request)


@pytest.mark.parametrize(
    "url",
    [
        "http://hub.test",
        "ftp://hub.test",
        "https://",
        "https://user@hub.test",
        "https://hub.test/?a=1",
        "https://hub.test/#a",
        "http://127.0.0.1.evil.example",
        "hub.test",
    ],
)
def test_a_hub_without_tls_is_not_spoken_to(url: str) -> None:
    """The token would travel in the clear; only loopback may do without."""
    with pytest.raises(Rejected):
        CastClient(url)
    for good in ("https://hub.test/x", "http://127.0.0.1:8/hub", "http://localhost:8", "http://[::1]:8"):
        CastClient(good).close()
