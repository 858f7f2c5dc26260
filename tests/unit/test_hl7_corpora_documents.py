"""Documents, patient updates and merges that nobody here wrote: what becomes of each."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from connectors.errors import Malformed
from connectors.hl7.documents import MESSAGE_TYPES, document_reports
from connectors.hl7.identifiers import Places
from connectors.hl7.message import NotHl7, parse
from connectors.hl7.patients import MERGES, UPDATES, patient_merges, patient_update
from connectors.hl7.results import signed_reports

DEFAULT = Places()
BY_FILLER = Places(accession=("OBR-18", "TXA-15", "OBR-3"))
"""For senders that write the accession as filler order number."""

DOCUMENTS: dict[str, tuple[Places, list[tuple[str, str, str]]]] = {
    "fhir-converter/MDM-T02-01.hl7": (BY_FILLER, [("1-1", "final", "Ivan Doctorovich")]),
    "fhir-converter/MDM-T02-02.hl7": (BY_FILLER, [("1-1", "final", "Ivan Doctorovich")]),
    "fhir-converter/MDM-T02-03.hl7": (DEFAULT, [("Placer 1", "partial", "")]),  # in progress, nobody signed
}
UPDATED = {
    "dcm4che/ADT_A31-UpdatePersonInfo-Veterinary.hl7": ("PID_1", "ADT1", "Smith"),
    "dcm4che/ADT_A31-UpdatePersonInfo.hl7": ("PID_1", "ADT1", "Smith"),
    "edge/edge-cases/embedded-delimiters.hl7": ("MRN77777", "HOSP", "Smith|Jones"),
    "fhir-converter/ADT-A08-01.hl7": ("PATID1234", "test1", "EVERYMAN"),
    "fhir-converter/ADT-A08-02.hl7": ("PATID1234", "test1", "EVERYMAN"),
}
MERGED = {
    "dcm4che/ADT_A40-PatientMerge.hl7": [("NEW_PID_1", "OLD_PID_1", "ADT1")],
    "dcm4che/ADT_A47-ChangePatientID.hl7": [("NEW_PID_1", "OLD_PID_1", "ADT1")],
    "fhir-converter/ADT-A40-01.hl7": [("12345", "56789", "BCBS")],
    "fhir-converter/ADT-A40-02.hl7": [("12345", "56789", "BCBS"), ("145", "569", "BCBS")],
}


def raw(corpora: Path, name: str) -> bytes:
    return (corpora / "hl7" / name).read_bytes()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_real_document_is_read_with_these_accession_places(corpora: Path, name: str) -> None:
    """Each MDM gives its accession, its status and the person who authenticated it, if anybody did."""
    places, expected = DOCUMENTS[name]
    found = document_reports(parse(raw(corpora, name)), places)
    signers = [(one.signer.printed_name if one.signer else "") for one in found]
    assert [(r.accession, r.status.value, who) for r, who in zip(found, signers, strict=True)] == expected


@pytest.mark.parametrize("name", [name for name, (places, _) in DOCUMENTS.items() if places is BY_FILLER])
def test_a_filler_number_of_a_document_is_no_accession_unless_the_site_says_so(
    corpora: Path, name: str
) -> None:
    """The same documents are refused under the default places, with the setting that changes it."""
    with pytest.raises(NotHl7, match="accession places") as caught:
        document_reports(parse(raw(corpora, name)))
    assert caught.value.location == "OBR-18"


def test_the_study_that_a_real_document_lists_is_read(corpora: Path) -> None:
    """OBX 113014 names the study, whatever type the sender gives it."""
    (report,) = document_reports(parse(raw(corpora, "fhir-converter/MDM-T02-01.hl7")), BY_FILLER)
    assert report.study_instance_uid == "1.2.840.317.5947431.51"


def test_a_message_in_a_file_that_is_called_mdm_but_is_none_is_refused(corpora: Path) -> None:
    """MSH-9 counts, not the name of a file or the segments that follow."""
    with pytest.raises(NotHl7, match="MDM") as caught:
        document_reports(parse(raw(corpora, "fhir-converter/MDM_01.hl7")))
    assert caught.value.code == 200


@pytest.mark.parametrize("name", UPDATED)
def test_a_real_update_is_read(corpora: Path, name: str) -> None:
    """Each A08 and A31 names its patient, delimiters in names included."""
    patient = patient_update(parse(raw(corpora, name))).patient
    assert (patient.identifier, patient.assigning_authority, patient.family_name) == UPDATED[name]


@pytest.mark.parametrize("name", MERGED)
def test_a_real_merge_is_read(corpora: Path, name: str) -> None:
    """Each A40 and A47 gives every pair, in order."""
    found = patient_merges(parse(raw(corpora, name)))
    assert [
        (one.surviving.identifier, one.retired_identifier, one.retired_assigning_authority) for one in found
    ] == MERGED[name]


@pytest.mark.parametrize(
    ("name", "media_type", "size"),
    [("dcm4che/ORU_R01-CDA.hl7", "text/xml", 15921), ("dcm4che/ORU_R01-PDF.hl7", "application/pdf", 3028)],
)
def test_the_document_of_a_real_result_is_recorded(
    corpora: Path, name: str, media_type: str, size: int
) -> None:
    """A result that is a CDA or a PDF leaves the type, the size and the hash of it."""
    (report,) = signed_reports(parse(raw(corpora, name)))
    assert [(one.media_type, one.size_bytes) for one in report.documents] == [(media_type, size)]
    assert len(report.documents[0].sha256) == len(hashlib.sha256().hexdigest())


def test_the_words_of_a_real_cda_are_read_and_those_of_a_pdf_are_not(corpora: Path) -> None:
    """Titles and narrative of the CDA are the report's text; a PDF is none."""
    (report,) = signed_reports(parse(raw(corpora, "dcm4che/ORU_R01-CDA.hl7")))
    lines = report.text.split("\n")
    assert "Suspected lung tumor" in lines
    assert lines.index("Findings") < lines.index("Impressions")
    assert not [line for line in lines if "<" in line]
    (report,) = signed_reports(parse(raw(corpora, "dcm4che/ORU_R01-PDF.hl7")))
    assert report.text == ""


def test_every_document_update_and_merge_of_the_corpora_is_accounted_for(corpora: Path) -> None:
    """Every message of these types stands in a table above."""
    forgotten = []
    for path in sorted((corpora / "hl7").rglob("*.hl7")):
        name = path.relative_to(corpora / "hl7").as_posix()
        try:
            kind = parse(path.read_bytes()).type
        except Malformed:
            continue
        if kind in {*MESSAGE_TYPES, *UPDATES, *MERGES} and name not in {*DOCUMENTS, *UPDATED, *MERGED}:
            forgotten.append(name)
    assert forgotten == []
