"""Everything that we write is valid FHIR to HAPI's validator: R4 with US Core, and R5."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from connectors.fhir.r5 import as_r5
from tests.fhir_findings import BUNDLES, first

Resource = dict[str, Any]

US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-diagnosticreport-note"


def errors(validator_url: str, release: str, resource: Resource) -> list[str]:
    """What the validator calls an error; warnings are of code systems that it does not have."""
    answer = httpx.post(
        f"{validator_url}/{release}", content=json.dumps(resource), timeout=120, trust_env=False
    ).raise_for_status()
    return [
        issue["diagnostics"] for issue in answer.json()["issue"] if issue["severity"] in {"error", "fatal"}
    ]


def claiming_us_core(bundle: Resource) -> Resource:
    """The Bundle with its report held to US Core's profile, and its subject to that of the Patient."""
    for entry in bundle["entry"]:
        if entry["resource"]["resourceType"] == "DiagnosticReport":
            entry["resource"]["meta"]["profile"] = [US_CORE]
    return bundle


@pytest.mark.parametrize("kind", sorted(BUNDLES))
def test_every_bundle_is_valid_r4_and_us_core(validator_url: str, kind: str) -> None:
    """No error issue, whatever we write."""
    assert errors(validator_url, "R4", claiming_us_core(BUNDLES[kind]())) == []


@pytest.mark.parametrize("kind", sorted(BUNDLES))
def test_every_bundle_is_valid_r5(validator_url: str, kind: str) -> None:
    """The same in R5."""
    assert errors(validator_url, "R5", as_r5(BUNDLES[kind]())) == []


@pytest.mark.parametrize(
    ("element", "told"), [("category", "category"), ("effectiveDateTime", "us-core-10"), ("code", "code")]
)
def test_a_report_that_breaks_us_core_is_refused(validator_url: str, element: str, told: str) -> None:
    """The profile is really applied: without what it asks for a report is not valid."""
    bundle = claiming_us_core(first())
    del bundle["entry"][2]["resource"][element]
    assert any(told in error for error in errors(validator_url, "R4", bundle))


def test_a_report_about_a_patient_that_breaks_us_core_is_refused(validator_url: str) -> None:
    """The subject's profile is applied as well."""
    bundle = claiming_us_core(first())
    del bundle["entry"][0]["resource"]["gender"]
    assert any("us-core-patient" in error for error in errors(validator_url, "R4", bundle))


@pytest.mark.parametrize("kind", ["DiagnosticReport", "Device", "Provenance"])
def test_what_is_r4_only_is_refused_as_r5(validator_url: str, kind: str) -> None:
    """Unconverted, each of these is no R5."""
    resource = next(e["resource"] for e in first()["entry"] if e["resource"]["resourceType"] == kind)
    assert errors(validator_url, "R5", resource)
