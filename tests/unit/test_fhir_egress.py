"""Nothing final leaves: at the door, in any nesting, whatever built it."""

from __future__ import annotations

import dataclasses
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import Rejected
from connectors.exchange import ReportStatus, WithdrawalStatus
from connectors.fhir.client import FhirClient
from connectors.fhir.drafts.report import draft_bundle
from connectors.fhir.egress import AIAST, CLOSING_STATUSES, ForbiddenStatus, check_egress
from tests.fhir_samples import a_draft

FORBIDDEN = [status.value for status in ReportStatus if status.value not in {"preliminary", "partial"}]

statuses = st.one_of(
    st.sampled_from([*FORBIDDEN, "Preliminary", " preliminary", "FINAL", "modified", ""]),
    st.text(max_size=12).filter(lambda text: text not in {"preliminary", "partial"}),
    st.none(),
    st.booleans(),
    st.just(["preliminary"]),
)


def wrapped(resource: dict[str, Any], way: str) -> dict[str, Any]:
    """The resource inside another document."""
    match way:
        case "transaction":
            entry = {"resource": resource, "request": {"method": "POST", "url": "DiagnosticReport"}}
            return {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
        case "contained":
            return {"resourceType": "Provenance", "contained": [resource]}
        case "parameters":
            return {"resourceType": "Parameters", "parameter": [{"name": "x", "resource": resource}]}
        case _:
            return {"resourceType": "Bundle", "type": "batch", "entry": [{"resource": resource}]}


nestings = st.lists(st.sampled_from(["transaction", "contained", "parameters", "batch"]), max_size=6)


def withdrawing(
    status: object = "cancelled", *, report: dict[str, Any] | None = None, **request: Any
) -> dict[str, Any]:
    """A transaction that withdraws a report of ours; None as a value leaves an element out."""
    resource = {
        "resourceType": "DiagnosticReport",
        "id": "7",
        "meta": {"security": [AIAST]},
        "identifier": [{"system": "urn:prelim:case", "value": "case-1"}],
        "status": status,
        **(report or {}),
    }
    asked = {"method": "PUT", "url": "DiagnosticReport/7", "ifMatch": 'W/"3"', **request}
    entry = {
        "resource": {name: value for name, value in resource.items() if value is not None},
        "request": {name: value for name, value in asked.items() if value is not None},
    }
    return {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}


def refusing(_: httpx.Request) -> httpx.Response:
    raise AssertionError("the request reached the network")


@given(status=statuses, nesting=nestings, padded=st.booleans())
def test_report_with_any_other_status_never_leaves(status: object, nesting: list[str], padded: bool) -> None:
    """Neither preliminary nor partial: refused before the network, however deep it lies."""
    document: dict[str, Any] = {"resourceType": " diagnosticREPORT" if padded else "DiagnosticReport"}
    if status is not None:
        document["status"] = status
    for way in nesting:
        document = wrapped(document, way)
    with FhirClient("http://fhir.test/r4", transport=httpx.MockTransport(refusing)) as client:
        with pytest.raises(Rejected):
            client.create(document)
        if document["resourceType"] == "Bundle" and document["type"] == "transaction":
            with pytest.raises(ForbiddenStatus):
                client.transaction(document)
        with pytest.raises(ForbiddenStatus):
            client._send("PUT", "DiagnosticReport/1", body=document, action="update")


@given(status=st.sampled_from(["preliminary", "partial"]), nesting=nestings)
def test_drafts_may_leave_in_any_nesting(status: str, nesting: list[str]) -> None:
    """The two statuses of a draft pass."""
    document: dict[str, Any] = {"resourceType": "DiagnosticReport", "status": status}
    for way in nesting:
        document = wrapped(document, way)
    check_egress(document)


@given(
    kind=st.sampled_from(["Observation", "Composition", "ImagingStudy", "Anything"]),
    status=st.sampled_from([*sorted(CLOSING_STATUSES), "Final", " final", "AMENDED "]),
    nesting=nestings,
)
def test_no_resource_of_any_type_leaves_as_final(kind: str, status: str, nesting: list[str]) -> None:
    """final, amended, corrected and appended are refused for every type."""
    document: dict[str, Any] = {"resourceType": kind, "status": status}
    for way in nesting:
        document = wrapped(document, way)
    with pytest.raises(ForbiddenStatus):
        check_egress(document)


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "put", "", None])
def test_bundle_entry_may_not_patch_or_delete(method: object) -> None:
    """A PATCH could set a status unseen, a DELETE withdraws."""
    entry = {"request": {"method": method, "url": "DiagnosticReport/1"}}
    with pytest.raises(ForbiddenStatus):
        check_egress({"resourceType": "Bundle", "type": "transaction", "entry": [entry]})


@pytest.mark.parametrize(
    "url", ["DiagnosticReport/1", "/DiagnosticReport/1", "http://x/DiagnosticReport/1", "X"]
)
def test_bundle_entry_may_not_replace_a_report_without_its_version(url: str) -> None:
    """PUT of a report needs ifMatch; with it, it passes."""
    resource = {"resourceType": "DiagnosticReport", "status": "partial"}
    request = {"method": "PUT", "url": url}
    with pytest.raises(ForbiddenStatus):
        check_egress({"entry": [{"resource": resource, "request": request}]})
    check_egress({"entry": [{"resource": resource, "request": {**request, "ifMatch": 'W/"1"'}}]})


@pytest.mark.parametrize("status", [*FORBIDDEN, "Preliminary", "", "P"])
def test_draft_with_any_other_status_is_not_built(status: str) -> None:
    """A status that slipped past the types stops where the report is built."""
    draft = dataclasses.replace(a_draft(), status=status)
    with pytest.raises(ForbiddenStatus):
        draft_bundle(draft)


@pytest.mark.parametrize("status", list(WithdrawalStatus))
def test_withdrawal_of_a_named_version_of_ours_may_leave(status: WithdrawalStatus) -> None:
    """cancelled and entered-in-error pass as PUT with ifMatch, labelled, under our identifier."""
    check_egress(withdrawing(status.value))


@given(
    status=st.one_of(
        st.sampled_from([*sorted(CLOSING_STATUSES), "Cancelled", " cancelled", "registered", "unknown"]),
        st.text(max_size=20),
        st.none(),
        st.lists(st.just("cancelled"), max_size=2),
    ).filter(lambda status: status not in ["cancelled", "entered-in-error", "preliminary", "partial"])
)
def test_no_other_status_leaves_by_the_door_of_withdrawals(status: object) -> None:
    """All that makes a withdrawal permitted helps no other status."""
    with pytest.raises(ForbiddenStatus):
        check_egress(withdrawing(status))


@pytest.mark.parametrize("status", list(WithdrawalStatus))
@pytest.mark.parametrize(
    "document",
    [
        {"ifMatch": None},
        {"ifMatch": ""},
        {"ifMatch": "*"},
        {"ifMatch": 'W/""'},
        {"ifMatch": f'W/"{"1" * 65}"'},
        {"ifMatch": ['W/"3"']},
        {"method": "POST"},
        {"method": "POST", "url": "DiagnosticReport", "ifNoneExist": "identifier=x"},
        {"method": None},
        {"url": "DiagnosticReport/8"},
        {"url": "DiagnosticReport?identifier=urn:prelim:case|case-1"},
        {"url": "http://other.test/DiagnosticReport/7"},
        {"report": {"id": None}},
        {"report": {"id": ""}, "url": "DiagnosticReport/"},
        {"report": {"id": 7}},
        {"report": {"meta": None}},
        {"report": {"meta": {"security": [{**AIAST, "code": "HUMAN"}]}}},
        {"report": {"identifier": None}},
        {"report": {"identifier": [{"system": "urn:ris:report", "value": "case-1"}]}},
        {"report": {"identifier": [{"system": "urn:prelim:case", "value": ""}]}},
        {"report": {"resourceType": "diagnosticreport"}},
    ],
    ids=str,
)
def test_withdrawal_that_lacks_anything_never_leaves(
    status: WithdrawalStatus, document: dict[str, Any]
) -> None:
    """Without its version, place, label or our identifier a withdrawal is refused."""
    with pytest.raises(ForbiddenStatus):
        check_egress(withdrawing(status.value, **document))


@given(
    status=st.sampled_from([status.value for status in WithdrawalStatus]),
    nesting=st.lists(st.sampled_from(["transaction", "contained", "parameters", "batch"]), min_size=1),
)
def test_withdrawal_inside_another_document_never_leaves(status: str, nesting: list[str]) -> None:
    """Only the entry of the very transaction that is sent may withdraw, not what lies deeper."""
    document = withdrawing(status)
    for way in nesting:
        document = wrapped(document, way)
    with pytest.raises(ForbiddenStatus):
        check_egress(document)


@given(status=st.sampled_from(FORBIDDEN), nesting=nestings)
def test_permitted_withdrawal_carries_nothing_else_out(status: str, nesting: list[str]) -> None:
    """What a withdrawal holds, and what stands beside it, is checked as ever."""
    inner: dict[str, Any] = {"resourceType": "DiagnosticReport", "status": status}
    for way in nesting:
        inner = wrapped(inner, way)
    with pytest.raises(ForbiddenStatus):
        check_egress(withdrawing(report={"contained": [inner]}))
    beside = withdrawing()
    beside["entry"].append({"resource": inner, "request": {"method": "POST", "url": "DiagnosticReport"}})
    with pytest.raises(ForbiddenStatus):
        check_egress(beside)


@pytest.mark.parametrize("kind", ["batch", "collection", "history", None])
def test_withdrawal_leaves_in_a_transaction_only(kind: str | None) -> None:
    """All or nothing with its Provenance: no other Bundle withdraws."""
    with pytest.raises(ForbiddenStatus):
        check_egress({**withdrawing(), "type": kind})


@pytest.mark.parametrize(
    "report", [{"meta": {}}, {"identifier": []}, {"status": "final"}, {"status": "unknown"}, {"status": None}]
)
def test_update_by_itself_withdraws_only_what_a_transaction_may(report: dict[str, Any]) -> None:
    """On a server without transactions the same holds: labelled, ours, a withdrawal's status."""
    resource = withdrawing(report=report)["entry"][0]["resource"]
    with (
        FhirClient("http://fhir.test/r4", transport=httpx.MockTransport(refusing)) as client,
        pytest.raises(ForbiddenStatus),
    ):
        client.update(resource, if_match="3")


def test_update_by_itself_withdraws_the_version_that_it_names() -> None:
    """A withdrawal of ours leaves as one PUT, and names the version that it replaces."""
    seen: list[httpx.Request] = []

    def kept(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    resource = withdrawing()["entry"][0]["resource"]
    with FhirClient("http://fhir.test/r4", transport=httpx.MockTransport(kept)) as client:
        client.update(resource, if_match="3")
        with pytest.raises(ForbiddenStatus):
            client.create(resource)
    assert [(one.method, one.headers["If-Match"]) for one in seen] == [("PUT", 'W/"3"')]


def test_site_with_a_system_of_its_own_withdraws_under_that_one() -> None:
    """Whose report it is depends on the system that the client was given."""
    named = withdrawing(report={"identifier": [{"system": "urn:site:draft", "value": "case-1"}]})
    check_egress(named, report_system="urn:site:draft")
    with pytest.raises(ForbiddenStatus):
        check_egress(withdrawing(), report_system="urn:site:draft")


@pytest.mark.parametrize("status", ["preliminary", "cancelled", "entered-in-error"])
def test_findings_leave_as_preliminary_or_retired(status: str) -> None:
    """The three statuses that a finding of ours can have pass."""
    check_egress({"resourceType": "Observation", "status": status})


@given(
    status=st.one_of(
        st.sampled_from(["registered", "partial", "final", "unknown", "Preliminary", ""]),
        st.text(max_size=20),
        st.none(),
        st.lists(st.just("preliminary"), max_size=1),
    ).filter(lambda status: status not in ["preliminary", "cancelled", "entered-in-error"]),
    nesting=nestings,
)
def test_findings_leave_with_no_other_status(status: object, nesting: list[str]) -> None:
    """Every other status of an Observation, or none, is refused, however deep it lies."""
    document: dict[str, Any] = {"resourceType": "Observation", "status": status}
    for way in nesting:
        document = wrapped(document, way)
    with pytest.raises(ForbiddenStatus):
        check_egress(document)


@pytest.mark.parametrize("url", ["Observation/1", "Observation?identifier=x", "/observation/1"])
def test_finding_is_not_replaced_without_its_version(url: str) -> None:
    """PUT of an Observation needs ifMatch, so that it never goes over what a person made of it."""
    resource = {"resourceType": "Observation", "status": "cancelled"}
    request = {"method": "PUT", "url": url}
    with pytest.raises(ForbiddenStatus):
        check_egress({"entry": [{"resource": resource, "request": request}]})
    check_egress({"entry": [{"resource": resource, "request": {**request, "ifMatch": 'W/"1"'}}]})


def test_refusal_is_a_rejection_that_names_no_value() -> None:
    """The message carries nothing of the document."""
    with pytest.raises(ForbiddenStatus) as refused:
        check_egress({"resourceType": "DiagnosticReport", "status": "Zebedee"})
    assert "Zebedee" not in str(refused.value)
