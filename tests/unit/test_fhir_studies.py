"""Studies read from ImagingStudy, R4's and R5's."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import Malformed
from connectors.exchange import StudyRef
from connectors.fhir.identifiers import IdentifierSystems
from connectors.fhir.readers.studies import MAX_INSTANCES, read_study
from tests.fhir_dossiers import PATIENT, STUDY, dossier, misshapen
from tests.unit.test_fhir_orders import JUNK

SYSTEMS = IdentifierSystems()
UID = {"system": "urn:dicom:uid", "value": "urn:oid:1.2.840.1"}
ACSN = {"type": {"coding": [{"code": "ACSN"}]}, "value": "A7"}


def read(**changes: Any) -> StudyRef | None:
    return read_study(dossier(STUDY, **changes), systems=SYSTEMS)


def test_study_is_read_in_clinical_words() -> None:
    """The accession is that of the request that it is based on, where it carries none itself."""
    study = read()
    assert study is not None
    assert (study.study_instance_uid, study.accession) == ("1.2.840.1", "A1")
    assert (study.patient.identifier, study.patient.assigning_authority) == ("P1", "HOSP")
    assert (study.modalities, study.instance_count, study.description) == (("CT", "SR"), 120, "CT chest")


def test_r5_study_is_the_same_study() -> None:
    """In R5 modality is a CodeableConcept."""
    assert read(modality=[{"coding": [{"code": "CT"}]}, {"coding": [{"code": "SR"}]}]) == read()


@pytest.mark.parametrize("status", ["registered", "cancelled", "entered-in-error", "unknown", "inactive"])
def test_study_that_is_not_available_is_none(status: str) -> None:
    """Its images are not there yet, or no more."""
    assert read(status=status) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"resourceType": "ImagingSelection"},
        {"status": "AVAILABLE"},
        {"status": None},
        {"identifier": None},
        {"identifier": [{"system": "urn:x", "value": "urn:oid:1.2.840.1"}]},
        {"identifier": [UID, {**UID, "value": "urn:oid:1.2.840.2"}]},
        {"identifier": [{**UID, "value": "urn:oid:1.02.3"}]},
        {"identifier": [{**UID, "value": "urn:oid:1." + "2" * 63}]},
        {"modifierExtension": [{"url": "x"}]},
    ],
)
def test_study_without_one_uid_is_malformed(changes: dict[str, Any]) -> None:
    """Nor is another resource a study."""
    with pytest.raises(Malformed):
        read(**changes)


@pytest.mark.parametrize(
    ("changes", "accession"),
    [
        ({"identifier": [UID, ACSN]}, "A7"),
        ({"identifier": [UID, {"system": SYSTEMS.accession, "value": "A8"}]}, "A8"),
        ({"basedOn": [{"identifier": ACSN}]}, "A7"),
        ({"basedOn": [{"reference": "ServiceRequest/404"}]}, ""),
        ({"basedOn": None}, ""),
    ],
)
def test_accession_is_the_studys_own_or_that_of_its_request(changes: dict[str, Any], accession: str) -> None:
    """Also of a request that is named by its identifier alone."""
    study = read(**changes)
    assert study is not None
    assert study.accession == accession


def test_study_of_nobody_names_no_patient() -> None:
    """It then agrees with no order, and that is seen on the case."""
    study = read(subject=None)
    assert study is not None
    assert study.patient.identifier == ""


@pytest.mark.parametrize(
    ("count", "read_as"),
    [
        (0, 0),
        (MAX_INSTANCES, MAX_INSTANCES),
        (MAX_INSTANCES + 1, None),
        (-1, None),
        (True, None),
        ("7", None),
    ],
)
def test_number_of_instances_is_a_count_or_unknown(count: object, read_as: int | None) -> None:
    """Anything else is not believed."""
    study = read(numberOfInstances=count)
    assert study is not None
    assert study.instance_count == read_as


def test_modalities_of_the_series_stand_in() -> None:
    """Servers leave the study's own list out; each modality is told once, and only codes are."""
    series = [{"modality": {"code": "CT"}}, {"modality": {"code": "CT"}}, {"modality": {"code": "c t"}}]
    study = read(modality=None, series=series)
    assert study is not None
    assert study.modalities == ("CT",)


@given(
    junk=JUNK,
    place=st.sampled_from(
        [
            *((name,) for name in STUDY),
            ("identifier", "value"),
            ("modality", "code"),
            ("basedOn", "reference"),
        ]
    ),
)
def test_misshapen_study_is_read_or_malformed(junk: object, place: tuple[str, ...]) -> None:
    """Whatever stands in any element of another program's study."""
    with suppress(Malformed):
        read_study(dossier(misshapen(STUDY, junk, place)), systems=SYSTEMS)


def test_identifier_of_another_type_is_no_patient() -> None:
    """A patient of several numbers without a medical record number among them is nobody that we know."""
    numbers = [{"system": "urn:a", "value": "1"}, {"system": "urn:b", "value": "2"}]
    found = dossier(STUDY)
    others = {**found.others, "Patient/1": {**PATIENT, "identifier": numbers}}
    study = read_study(type(found)(found.base_url, found.focus, others), systems=SYSTEMS)
    assert study is not None
    assert study.patient.identifier == ""
