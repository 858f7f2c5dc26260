"""Orders, studies and sign-offs fetched from the sandbox and from HAPI, and read from what was kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from connectors.exchange import DraftReport, OrderAction, PublishedReport, ReportStatus
from connectors.fhir.client import FhirClient
from connectors.fhir.drafts.publish import publish
from connectors.fhir.drafts.report import patient_of
from connectors.fhir.identifiers import IdentifierSystems, study_identifier
from connectors.fhir.readers.dossier import Dossier, gather
from connectors.fhir.readers.orders import read_order
from connectors.fhir.readers.signoff import read_report
from connectors.fhir.readers.studies import read_study
from connectors.fhir.readers.validation import check
from connectors.sandbox.fhir_radiologist import sign
from tests.fhir_samples import ROSA, SIGNER, a_draft, fhir_url, raw_put  # noqa: F401 - a fixture

SYSTEMS = IdentifierSystems()


@pytest.fixture
def client(fhir_url: str) -> Iterator[FhirClient]:  # noqa: F811 - the fixture
    with FhirClient(fhir_url, timeout_seconds=60) as client:
        yield client


def create(client: FhirClient, resource: dict[str, Any]) -> str:
    """Where another program created a resource."""
    answer = httpx.post(
        f"{client.base_url}/{resource['resourceType']}",
        json=resource,
        headers={"Content-Type": "application/fhir+json"},
        trust_env=False,
        timeout=60,
    ).raise_for_status()
    return f"{resource['resourceType']}/{answer.json()['id']}"


def placed(client: FhirClient, draft: DraftReport) -> tuple[str, str]:
    """(order, study) of a draft, as an EHR and an archive put them on the server."""
    patient = create(client, patient_of(draft, SYSTEMS))
    doctor = create(
        client,
        {
            "resourceType": "Practitioner",
            "identifier": [{"system": "urn:x", "value": "D-77"}],
            "name": [{"family": "Rosa", "given": ["Elena"], "prefix": ["Dr"]}],
        },
    )
    role = create(
        client,
        {
            "resourceType": "PractitionerRole",
            "practitioner": {"reference": doctor},
            "code": [{"text": "Internist"}],
        },
    )
    encounter = create(
        client,
        {
            "resourceType": "Encounter",
            "status": "in-progress",
            "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
            "identifier": [{"system": "urn:visits", "value": "V7"}],
        },
    )
    order = create(
        client,
        {
            "resourceType": "ServiceRequest",
            "status": "active",
            "intent": "order",
            "identifier": [{"system": SYSTEMS.accession, "value": draft.accession}],
            "code": {"text": "CT left knee"},
            "subject": {"reference": patient},
            "requester": {"reference": role},
            "encounter": {"reference": encounter},
            "reasonCode": [{"text": "Fracture?"}],
        },
    )
    study = create(
        client,
        {
            "resourceType": "ImagingStudy",
            "status": "available",
            "identifier": [study_identifier(draft.study_instance_uid)],
            "subject": {"reference": patient},
            "basedOn": [{"reference": order}],
            "modality": [{"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "CT"}],
            "numberOfInstances": 3,
        },
    )
    return order, study


def kept(client: FhirClient, reference: str, before: PublishedReport | None = None) -> Dossier:
    """The dossier as it is read from what was kept of it."""
    dossier = gather(client, reference, before=before)
    check(dossier.focus)
    assert dossier.name.startswith(f"{reference}/_history/")
    return Dossier.from_body(dossier.body())


def test_order_and_study_of_a_server_meet(client: FhirClient) -> None:
    """Both name the same accession, patient and study, through the resources that they refer to."""
    draft = a_draft()
    placed_order, placed_study = placed(client, draft)
    order = read_order(kept(client, placed_order), systems=SYSTEMS)
    assert (order.action, order.accession) == (OrderAction.PLACE, draft.accession)
    assert order.patient == draft.patient
    assert (order.laterality, order.clinical_question, order.visit_number) == ("left", "Fracture?", "V7")
    assert order.ordering_provider == dataclasses.replace(ROSA, role="requester, Internist")
    assert order.service_request == placed_order
    study = read_study(kept(client, placed_study), systems=SYSTEMS)
    assert study is not None
    assert (study.accession, study.patient) == (draft.accession, draft.patient)
    assert (study.study_instance_uid, study.modalities) == (draft.study_instance_uid, ("CT",))


def test_draft_is_nobodys_report_until_a_person_signs_it(client: FhirClient) -> None:
    """Read from the dossier alone, with our own version before it."""
    draft = a_draft()
    known = publish(client, draft)
    assert read_report(kept(client, known.reference), systems=SYSTEMS) is None
    sign(client.base_url, known.reference, ROSA, "Signed words.")
    dossier = kept(client, known.reference, known)
    assert f"{known.reference}/_history/{known.version}" in dossier.others
    report = read_report(dossier, systems=SYSTEMS)
    assert report is not None
    assert (report.status, report.text, report.signer) == (ReportStatus.FINAL, "Signed words.", SIGNER)
    assert (report.case_id, report.accession) == (draft.case_id, draft.accession)
    assert (report.patient, report.study_instance_uid) == (draft.patient, draft.study_instance_uid)


def test_conclusion_edited_in_place_is_the_persons_text(client: FhirClient) -> None:
    """The form that stayed ours says nothing new; without our version before nobody could tell."""
    draft = a_draft()
    known = publish(client, draft)
    raw_put(client, {**client.read(known.reference), "status": "final", "conclusion": "Their words."})
    report = read_report(kept(client, known.reference, known), systems=SYSTEMS)
    assert report is not None
    assert report.text == "Their words."


def test_report_that_names_only_its_order_is_tied_to_it(client: FhirClient) -> None:
    """A RIS files a report of its own on the order: the accession is the order's."""
    draft = a_draft()
    order, study = placed(client, draft)
    patient = client.read(order)["subject"]
    theirs = create(
        client,
        {
            "resourceType": "DiagnosticReport",
            "status": "final",
            "code": {"text": "CT"},
            "subject": patient,
            "basedOn": [{"reference": order}],
            "imagingStudy": [{"reference": study}],
            "conclusion": "No fracture.",
            "resultsInterpreter": [client.read(order)["requester"]],
        },
    )
    report = read_report(kept(client, theirs), systems=SYSTEMS)
    assert report is not None
    assert (report.accession, report.patient) == (draft.accession, draft.patient)
    assert (report.study_instance_uid, report.case_id) == (draft.study_instance_uid, "")
    assert report.signer == dataclasses.replace(ROSA, role="resultsInterpreter, Internist")
