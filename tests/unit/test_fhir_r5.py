"""What we write as R5: valid there, said the same, and safe to convert twice."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from fhir.resources.bundle import Bundle

from connectors.exchange import WithdrawalStatus
from connectors.fhir.ours import draft_numbers, withdrawn_numbers
from connectors.fhir.r5 import as_r4, as_r5
from tests.fhir_findings import BUNDLES, SYSTEMS, first, standing, withdrawn

Resource = dict[str, Any]


def resource(bundle: Resource, kind: str) -> Resource:
    found: Resource = next(e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind)
    return found


@pytest.mark.parametrize("kind", sorted(BUNDLES))
def test_every_bundle_is_valid_r5_and_stays_it(kind: str) -> None:
    """Converted once or twice it is the same R5, and what it was made from is as it was."""
    bundle = BUNDLES[kind]()
    before = copy.deepcopy(bundle)
    converted = as_r5(bundle)
    Bundle.model_validate(converted)
    assert as_r5(converted) == converted
    assert bundle == before


def test_what_r5_calls_otherwise_is_called_otherwise() -> None:
    """imagingStudy is study, reason is authorization, a device's names and types are R5's."""
    bundle = as_r5(first())
    report, provenance, device = (resource(bundle, k) for k in ("DiagnosticReport", "Provenance", "Device"))
    assert report["study"][0]["type"] == "ImagingStudy"
    assert "imagingStudy" not in report
    assert report["presentedForm"][0]["size"].isdecimal()
    assert provenance["authorization"][0]["concept"]["coding"][0]["code"] == "AIAST"
    assert "reason" not in provenance
    assert device["name"][0] == {"value": "prelim-small", "type": "user-friendly-name", "display": True}
    assert isinstance(device["type"], list)


@pytest.mark.parametrize(("role", "told"), [("derivation", "source"), ("revision", "revision")])
def test_roles_that_r5_lacks_become_those_it_has(role: str, told: str) -> None:
    """R5's provenance-entity-role has no derivation."""
    provenance = {"resourceType": "Provenance", "entity": [{"role": role}]}
    assert as_r5(provenance)["entity"] == [{"role": told}]


def test_resources_inside_of_others_are_converted() -> None:
    """However deep they lie."""
    report = {"resourceType": "DiagnosticReport", "imagingStudy": []}
    held = {"resourceType": "Parameters", "parameter": [{"resource": {"contained": [report]}}]}
    assert "study" in as_r5(held)["parameter"][0]["resource"]["contained"][0]


def test_a_version_of_ours_is_ours_in_either_release() -> None:
    """The hash covers words that both releases hold alike; back in R4 the report is as it was."""
    report, _ = standing(first())
    assert draft_numbers(as_r5(report), SYSTEMS) == [1]
    assert as_r4(as_r5(report)) == report


@pytest.mark.parametrize("status", list(WithdrawalStatus))
def test_a_report_that_was_read_as_r5_is_withdrawn_as_r5(status: WithdrawalStatus) -> None:
    """Its withdrawal is valid, ours, and retires its findings."""
    bundle = as_r5(withdrawn(status, as_r5))
    Bundle.model_validate(bundle)
    report = resource(bundle, "DiagnosticReport")
    assert withdrawn_numbers(report, SYSTEMS) == [1]
    assert "study" in report
    assert resource(bundle, "Observation")["status"] == status.value
