"""Messages that nobody here wrote: what becomes of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from connectors.hl7 import documents, patients
from connectors.hl7.batches import is_batch, split
from connectors.hl7.identifiers import Places
from connectors.hl7.message import NotHl7, parse
from connectors.hl7.orders import MESSAGE_TYPES, orders
from connectors.hl7.results import MESSAGE_TYPE, signed_reports

DEFAULT = Places()
BY_FILLER = Places(accession=("IPC-1", "OBR-18", "OBR-3", "ORC-3", "TXA-15"))
"""For senders that write the accession as filler order number."""


@dataclass(frozen=True)
class Case:
    """An order, a result or a document: accession, and action or status."""

    accession: str
    what: str


@dataclass(frozen=True)
class Update:
    """What is known of a patient."""

    patient: str


@dataclass(frozen=True)
class Merge:
    """Two identifiers of one patient."""

    surviving: str
    retired: str


@dataclass(frozen=True)
class Other:
    """A message of a type that is not taken, as far as its header and its patient identifier (PID-3)."""

    type: str
    patient: str


@dataclass(frozen=True)
class Refused:
    """Where, and in which words among others."""

    location: str
    words: str


Outcome = Case | Update | Merge | Other | Refused

BROKEN_HEADER = Refused("MSH-2", "expected 4 or 5 encoding characters")
LABORATORY = Refused("OBR-18", "no accession number")

# What becomes of every message of every file, with the places that its sender needs. A file of several
# messages has several outcomes, one for each message that is counted or cut.
OUTCOMES: dict[str, tuple[Places, list[Outcome]]] = {
    "dcm4che/ADT_A31-UpdatePersonInfo-Veterinary.hl7": (DEFAULT, [Update("PID_1")]),
    "dcm4che/ADT_A31-UpdatePersonInfo.hl7": (DEFAULT, [Update("PID_1")]),
    "dcm4che/ADT_A40-PatientMerge.hl7": (DEFAULT, [Merge("NEW_PID_1", "OLD_PID_1")]),
    "dcm4che/ADT_A47-ChangePatientID.hl7": (DEFAULT, [Merge("NEW_PID_1", "OLD_PID_1")]),
    "dcm4che/OMG_O19-GeneralClinicalOrder-Eyecare.hl7": (DEFAULT, [Case("AccessionNumber", "place")]),
    "dcm4che/OMI_O23-ImagingOrder.hl7": (DEFAULT, [Case("AccessionNumber", "place")]),
    "dcm4che/ORM_O01-GeneralOrder.hl7": (DEFAULT, [Case("AccessionNumber", "place")]),
    "dcm4che/ORU_R01-CDA.hl7": (DEFAULT, [Case("AccessionNumber", "final")]),
    "dcm4che/ORU_R01-PDF.hl7": (DEFAULT, [Case("AccessionNumber", "final")]),
    "dcm4che/ORU_R01-SR.hl7": (DEFAULT, [Case("AccessionNumber", "final")]),
    "dcm4che/SIU_S12-NewAppointmentBooking.hl7": (DEFAULT, [Other("SIU^S12", "PID_1")]),
    "edge/batch/bare-message.hl7": (DEFAULT, [Other("ADT^A01", "FAKEMSGE0001")]),
    "edge/batch/count-mismatch.hl7": (DEFAULT, [Refused("BTS-1", "expected 3 messages, found 2")]),
    "edge/batch/malformed-mid-batch.hl7": (
        DEFAULT,
        [Other("ADT^A01", "FAKEMSGD0001"), BROKEN_HEADER, Other("ADT^A01", "FAKEMSGD0003")],
    ),
    "edge/batch/multi-batch-file.hl7": (
        DEFAULT,
        [
            Other("ADT^A01", "FAKEMSGB0001"),
            Other("ADT^A01", "FAKEMSGB0002"),
            Other("ADT^A01", "FAKEMSGB0003"),
        ],
    ),
    "edge/batch/single-batch.hl7": (
        DEFAULT,
        [Other("ADT^A01", "FAKEMSGA0001"), Other("ADT^A01", "FAKEMSGA0002")],
    ),
    "edge/charset/utf8-name.hl7": (DEFAULT, [Other("ADT^A01", "123")]),
    "edge/datetime/no-timezone-midnight.hl7": (DEFAULT, [Other("ADT^A01", "MRNDT002")]),
    "edge/datetime/precision-year.hl7": (DEFAULT, [Other("ADT^A01", "MRNDT001")]),
    "edge/datetime/tz-offset.hl7": (BY_FILLER, [Case("FILLDT003", "final")]),
    "edge/edge-cases/consecutive-delimiters.hl7": (DEFAULT, [Other("ADT^A01", "MRN-CD-001")]),
    "edge/edge-cases/crlf-line-endings.hl7": (DEFAULT, [Other("ADT^A01", "MRN-CRLF-001")]),
    "edge/edge-cases/custom-msh-delimiters.hl7": (DEFAULT, [Other("ADT^A01", "MRN-CMD-001")]),
    "edge/edge-cases/decoded-br.hl7": (BY_FILLER, [Refused("PID-3", "no patient identifier")]),
    "edge/edge-cases/embedded-delimiters.hl7": (DEFAULT, [Update("MRN77777")]),
    "edge/edge-cases/empty-fields.hl7": (DEFAULT, [Other("ADT^A04", "")]),
    "edge/edge-cases/escape-formatting.hl7": (BY_FILLER, [Case("FLR-FM-001", "final")]),
    "edge/edge-cases/escape-highlight.hl7": (BY_FILLER, [Case("FLR-HI-001", "final")]),
    "edge/edge-cases/lf-line-endings.hl7": (DEFAULT, [Other("ADT^A01", "MRN-LF-001")]),
    "edge/edge-cases/missing-optional-segments.hl7": (DEFAULT, [Other("ADT^A01", "MRN-MOS-001")]),
    "edge/edge-cases/mixed-line-endings.hl7": (DEFAULT, [Other("ADT^A01", "MRN-MIX-001")]),
    "edge/edge-cases/no-trailing-newline.hl7": (DEFAULT, [Other("ADT^A01", "MRN-NTN-001")]),
    "edge/edge-cases/null-fields.hl7": (DEFAULT, [Other("ADT^A04", "MRN99999")]),
    "edge/edge-cases/trailing-newline.hl7": (DEFAULT, [Other("ADT^A01", "MRN-TN-001")]),
    "edge/edge-cases/truncation-char-msh2.hl7": (BY_FILLER, [Case("FLR-V27-001", "final")]),
    "edge/edge-cases/unicode-names.hl7": (DEFAULT, [Other("ADT^A01", "MRN-UN-001")]),
    "edge/edge-cases/unknown-escapes.hl7": (BY_FILLER, [Case("FLR-UE-001", "final")]),
    "edge/malformed/empty-input.hl7": (DEFAULT, [Refused("MSH", "begins with MSH")]),
    "edge/malformed/invalid-encoding-characters.hl7": (DEFAULT, [BROKEN_HEADER]),
    "edge/malformed/msh-too-short.hl7": (DEFAULT, [BROKEN_HEADER]),
    "edge/malformed/no-msh-segment.hl7": (DEFAULT, [Refused("MSH", "begins with MSH")]),
    "edge/stream/large-batch.ndhl7": (
        DEFAULT,
        [
            Other("ADT^A01", "FAKEBATCH0001"),
            Other("ADT^A03", "FAKEBATCH0002"),
            Other("ADT^A01", "FAKEBATCH0003"),
            Other("ADT^A03", "FAKEBATCH0004"),
            Other("ADT^A01", "FAKEBATCH0005"),
            Other("ADT^A03", "FAKEBATCH0006"),
            Other("ADT^A01", "FAKEBATCH0007"),
            Other("ADT^A03", "FAKEBATCH0008"),
            Other("ADT^A01", "FAKEBATCH0009"),
            Other("ADT^A03", "FAKEBATCH0010"),
            Other("ADT^A01", "FAKEBATCH0011"),
            Other("ADT^A03", "FAKEBATCH0012"),
        ],
    ),
    "edge/stream/malformed-mid-stream.hl7": (
        DEFAULT,
        [Other("ADT^A01", "FAKESTREAM0010"), BROKEN_HEADER, Update("FAKESTREAM0011")],
    ),
    "edge/stream/mixed-terminators.hl7": (
        DEFAULT,
        [Other("ADT^A01", "FAKE0020"), Other("ADT^A03", "FAKE0021")],
    ),
    "edge/stream/split-across-chunks.hl7": (
        DEFAULT,
        [Other("ADT^A01", "FAKESTREAM0001"), Other("ADT^A03", "FAKESTREAM0002")],
    ),
    "edge/text/formatting-note.hl7": (BY_FILLER, [Case("FLR-TXT-001", "final")]),
    "edge/text/hex-and-delimiters.hl7": (BY_FILLER, [Case("FLR-TXT-003", "final")]),
    "edge/text/highlight.hl7": (BY_FILLER, [Case("FLR-TXT-002", "final")]),
    "edge/text/inject-on-encode.hl7": (BY_FILLER, [Refused("OBR", "found none")]),
    "edge/vendor-quirks/duplicate-required-segment.hl7": (
        DEFAULT,
        [Other("ADT^A01", ""), Other("ADT^A01", "MRN-VQ-008")],
    ),
    "edge/vendor-quirks/encoding-mismatch.hl7": (DEFAULT, [Other("ADT^A01", "MRN-VQ-009")]),
    "edge/vendor-quirks/extra-fields.hl7": (DEFAULT, [Other("ADT^A01", "MRN-VQ-006")]),
    "edge/vendor-quirks/field-whitespace-trimmed.hl7": (DEFAULT, [Other("ADT^A01", "MRN-VQ-002")]),
    "edge/vendor-quirks/missing-required-field.hl7": (DEFAULT, [Other("", "MRN-VQ-010")]),
    "edge/vendor-quirks/mllp-framing-stripped.hl7": (DEFAULT, [Other("ADT^A01", "MRN-VQ-001")]),
    "edge/vendor-quirks/out-of-order-segment.hl7": (DEFAULT, [Other("ADT^A01", "MRN-VQ-011")]),
    "edge/vendor-quirks/segment-case.hl7": (DEFAULT, [Other("ADT^A01", "MRN-VQ-005")]),
    "edge/vendor-quirks/timestamp-fallback-format.hl7": (DEFAULT, [Other("ADT^A01", "MRN-VQ-004")]),
    "edge/vendor-quirks/unknown-charset.hl7": (DEFAULT, [Other("ADT^A01", "MRN-VQ-013")]),
    "edge/vendor-quirks/unknown-escape-sequence.hl7": (BY_FILLER, [Case("FLR-VQ-003", "final")]),
    "edge/vendor-quirks/unknown-segment.hl7": (DEFAULT, [Other("ADT^A01", "MRN-VQ-007")]),
    "edge/vendor-quirks/version-mismatch.hl7": (DEFAULT, [Other("ADT^A01", "MRN-VQ-012")]),
    "fhir-converter/ADT-A08-01.hl7": (DEFAULT, [Update("PATID1234")]),
    "fhir-converter/ADT-A08-02.hl7": (DEFAULT, [Update("PATID1234")]),
    "fhir-converter/ADT-A40-01.hl7": (DEFAULT, [Merge("12345", "56789")]),
    "fhir-converter/ADT-A40-02.hl7": (DEFAULT, [Merge("12345", "56789"), Merge("145", "569")]),
    "fhir-converter/MDM-T02-01.hl7": (BY_FILLER, [Case("1-1", "final")]),
    "fhir-converter/MDM-T02-02.hl7": (BY_FILLER, [Case("1-1", "final")]),
    "fhir-converter/MDM-T02-03.hl7": (DEFAULT, [Case("Placer 1", "partial")]),
    "fhir-converter/MDM_01.hl7": (DEFAULT, [Other("ADT^A01", "PATID1234")]),
    "fhir-converter/OMG-O19-01.hl7": (BY_FILLER, [LABORATORY]),
    "fhir-converter/OMG-O19-02.hl7": (BY_FILLER, [LABORATORY]),
    "fhir-converter/ORM-O01-01.hl7": (BY_FILLER, [Case("1201", "place")]),
    "fhir-converter/ORM-O01-02.hl7": (BY_FILLER, [Case("1201", "place")]),
    "fhir-converter/ORM-O01-03.hl7": (BY_FILLER, [Case("1201", "place"), Case("2301", "place")]),
    "fhir-converter/ORM-O01-04.hl7": (BY_FILLER, [Refused("OBR", "diet order")]),
    "fhir-converter/ORM-O01-05.hl7": (BY_FILLER, [Refused("OBR", "requisition for supplies")]),
    "fhir-converter/ORM-O01-06.hl7": (BY_FILLER, [Refused("OBR", "pharmacy order")]),
    "fhir-converter/ORU-R01-01.hl7": (DEFAULT, [Case("Placer 1", "preliminary")]),
    "fhir-converter/ORU-R01-RMGEAD.hl7": (BY_FILLER, [Case("1045813", "final")]),
}


def outcomes(raw: bytes, places: Places) -> list[Outcome]:
    """What becomes of every message of a file."""
    try:
        messages = split(raw).messages if is_batch(raw) else (raw,)
    except NotHl7 as error:
        return [Refused(error.location, str(error))]
    found: list[Outcome] = []
    for message in messages:
        try:
            found += read(message, places)
        except NotHl7 as error:
            found.append(Refused(error.location, str(error)))
    return found


def read(raw: bytes, places: Places) -> list[Outcome]:
    """What one message says."""
    message = parse(raw)
    if message.type == MESSAGE_TYPE:
        return [Case(report.accession, report.status.value) for report in signed_reports(message, places)]
    if message.type in MESSAGE_TYPES:
        return [Case(order.accession, order.action.value) for order in orders(message, places)]
    if message.type in documents.MESSAGE_TYPES:
        return [
            Case(report.accession, report.status.value)
            for report in documents.document_reports(message, places)
        ]
    if message.type in patients.UPDATES:
        return [Update(patients.patient_update(message, places).patient.identifier)]
    if message.type in patients.MERGES:
        return [
            Merge(merge.surviving.identifier, merge.retired_identifier)
            for merge in patients.patient_merges(message, places)
        ]
    return [Other(message.type, message.first("PID").value(3))]


def agrees(found: Outcome, expected: Outcome) -> bool:
    """Equal; of a refusal the words are part of the reason."""
    if isinstance(found, Refused) and isinstance(expected, Refused):
        return found.location == expected.location and expected.words in found.words
    return found == expected


@pytest.mark.parametrize("name", OUTCOMES)
def test_every_real_message_is_read_or_refused_as_expected(corpora: Path, name: str) -> None:
    """Orders and reports with accession and state, updates and merges with their patients, or why not."""
    places, expected = OUTCOMES[name]
    found = outcomes((corpora / "hl7" / name).read_bytes(), places)
    assert len(found) == len(expected)
    assert [pair for pair in zip(found, expected, strict=True) if not agrees(*pair)] == []


def test_every_file_of_the_corpora_is_accounted_for(corpora: Path) -> None:
    """No file is left out of the table."""
    files = [path for kind in ("*.hl7", "*.ndhl7") for path in (corpora / "hl7").rglob(kind)]
    assert {path.relative_to(corpora / "hl7").as_posix() for path in files} == set(OUTCOMES)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, (places, expected) in OUTCOMES.items()
        if places is BY_FILLER and any(isinstance(outcome, Case) for outcome in expected)
    ],
)
def test_a_filler_number_is_no_accession_unless_the_site_says_so(corpora: Path, name: str) -> None:
    """The same messages are refused under the default places."""
    (found,) = outcomes((corpora / "hl7" / name).read_bytes(), DEFAULT)
    assert agrees(found, Refused("OBR-18", "no accession number in IPC-1, OBR-18"))


@pytest.mark.parametrize(
    "name", [name for name in OUTCOMES if not name.startswith(("edge/batch", "edge/str"))]
)
def test_a_real_message_joined_to_another_is_cut_where_it_was(corpora: Path, name: str) -> None:
    """Each message before and after a small one is given back in its own bytes."""
    raw = (corpora / "hl7" / name).read_bytes()
    if not isinstance(OUTCOMES[name][1][0], Refused) and not is_batch(raw):
        own = raw.lstrip(b"\xef\xbb\xbf\x0b").rstrip(b"\r\n\x1c") + b"\r"
        other = b"MSH|^~\\&|A||||||ADT^A08|1|P|2.5\rPID|1\r"
        assert split(other + own + other).messages == (other, own, other)


def test_utf_8_under_a_declared_8859_1_is_read_as_utf_8(corpora: Path) -> None:
    """A dash that is UTF-8 in a message of MSH-18 8859/1 is a dash in the clinical question."""
    (order,) = orders(parse((corpora / "hl7/dcm4che/OMI_O23-ImagingOrder.hl7").read_bytes()))
    assert "12 –35" in order.clinical_question


def test_the_text_of_a_structured_report_is_its_text_observations(corpora: Path) -> None:
    """Coded observations and UIDs are left out; the rest stands in order."""
    (report,) = signed_reports(parse((corpora / "hl7/dcm4che/ORU_R01-SR.hl7").read_bytes()))
    lines = report.text.split("\n")
    assert len(lines) == 9
    assert lines[0].startswith("The right kidney")
    assert report.signer is not None
    assert report.signer.family_name == "VerifyingObserverFN"
