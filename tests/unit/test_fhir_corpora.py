"""Public sample resources are read as they are."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from connectors.errors import Malformed
from connectors.exchange import Coding, Patient, Practitioner, ReportStatus
from connectors.fhir.identifiers import IdentifierSystems
from connectors.fhir.readers.dossier import Dossier
from connectors.fhir.readers.orders import read_order
from connectors.fhir.readers.signoff import read_report
from connectors.fhir.readers.validation import check

BASE = "http://fhir.test/r4"
SYSTEMS = IdentifierSystems(patient="http://example.org/patient/identifiers")
AMY = Patient("1032702", "", "Baxter", "Amy V.", date(1987, 2, 20), "unknown")


@pytest.fixture(scope="module")
def samples(corpora: Path) -> dict[str, dict[str, Any]]:
    """Each sample by where it stands."""
    found = [json.loads(path.read_bytes()) for path in sorted((corpora / "fhir").glob("*.json"))]
    return {f"{one['resourceType']}/{one['id']}": one for one in found}


def dossier(samples: dict[str, dict[str, Any]], reference: str, **changes: Any) -> Dossier:
    others = {name: one for name, one in samples.items() if name != reference}
    return Dossier(BASE, {**samples[reference], **changes}, others)


def test_every_sample_is_valid(samples: dict[str, dict[str, Any]]) -> None:
    """What others publish as valid is so for us."""
    assert len(samples) >= 4
    for resource in samples.values():
        check(resource)


def test_report_of_the_samples_is_a_signed_one(samples: dict[str, dict[str, Any]]) -> None:
    """Its words out of XHTML, its radiologist, its patient."""
    report = read_report(dossier(samples, "DiagnosticReport/chest-xray-report"), systems=SYSTEMS)
    assert report is not None
    assert report.status is ReportStatus.FINAL
    assert report.patient == AMY
    assert report.signer == Practitioner("9941339100", "Bone", "Ronald", "Dr", "resultsInterpreter")
    assert report.signed_at == datetime(2019, 2, 4, 19, 43, 30, tzinfo=UTC)
    assert "No pleural effusion." in report.text
    assert "<" not in report.text


def test_order_of_the_samples_lacks_only_its_accession(samples: dict[str, dict[str, Any]]) -> None:
    """US Core asks for none; with one it is a whole order."""
    with pytest.raises(Malformed, match="accession"):
        read_order(dossier(samples, "ServiceRequest/chest-xray"), systems=SYSTEMS)
    identifier = [{"system": SYSTEMS.accession, "value": "A1"}]
    order = read_order(dossier(samples, "ServiceRequest/chest-xray", identifier=identifier), systems=SYSTEMS)
    assert order.patient == AMY
    assert order.procedure == Coding("30746-2", "Portable XR Chest Views", "LN")
    assert order.clinical_question == "Bicycle accident"
    assert order.ordering_provider is not None
    assert order.ordering_provider.printed_name == "Dr Ronald Bone"
    assert order.ordered_at == datetime(2024, 10, 13, 10, 59, 38, tzinfo=timezone(timedelta(hours=-8)))
