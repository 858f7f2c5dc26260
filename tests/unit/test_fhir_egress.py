"""Nothing final leaves: at the door, in any nesting, whatever built it."""

from __future__ import annotations

import dataclasses
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import Rejected
from connectors.exchange import ReportStatus
from connectors.fhir.client import FhirClient
from connectors.fhir.egress import CLOSING_STATUSES, ForbiddenStatus, check_egress
from connectors.fhir.report import draft_bundle
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


def test_refusal_is_a_rejection_that_names_no_value() -> None:
    """The message carries nothing of the document."""
    with pytest.raises(ForbiddenStatus) as refused:
        check_egress({"resourceType": "DiagnosticReport", "status": "Zebedee"})
    assert "Zebedee" not in str(refused.value)
