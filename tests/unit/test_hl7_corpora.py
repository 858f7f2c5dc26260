"""Messages that nobody here wrote: what becomes of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.errors import Malformed
from connectors.hl7.identifiers import Places
from connectors.hl7.message import NotHl7, parse
from connectors.hl7.orders import MESSAGE_TYPES, orders
from connectors.hl7.results import MESSAGE_TYPE, signed_reports

DEFAULT = Places()
BY_FILLER = Places(accession=("IPC-1", "OBR-18", "OBR-3", "ORC-3"))
"""For senders that write the accession as filler order number."""

READ: dict[str, tuple[Places, list[tuple[str, str]]]] = {
    "dcm4che/OMG_O19-GeneralClinicalOrder-Eyecare.hl7": (DEFAULT, [("AccessionNumber", "place")]),
    "dcm4che/OMI_O23-ImagingOrder.hl7": (DEFAULT, [("AccessionNumber", "place")]),
    "dcm4che/ORM_O01-GeneralOrder.hl7": (DEFAULT, [("AccessionNumber", "place")]),
    "dcm4che/ORU_R01-CDA.hl7": (DEFAULT, [("AccessionNumber", "final")]),
    "dcm4che/ORU_R01-PDF.hl7": (DEFAULT, [("AccessionNumber", "final")]),
    "dcm4che/ORU_R01-SR.hl7": (DEFAULT, [("AccessionNumber", "final")]),
    "edge/datetime/tz-offset.hl7": (BY_FILLER, [("FILLDT003", "final")]),
    "edge/edge-cases/escape-formatting.hl7": (BY_FILLER, [("FLR-FM-001", "final")]),
    "edge/edge-cases/escape-highlight.hl7": (BY_FILLER, [("FLR-HI-001", "final")]),
    "edge/edge-cases/truncation-char-msh2.hl7": (BY_FILLER, [("FLR-V27-001", "final")]),
    "edge/edge-cases/unknown-escapes.hl7": (BY_FILLER, [("FLR-UE-001", "final")]),
    "edge/text/formatting-note.hl7": (BY_FILLER, [("FLR-TXT-001", "final")]),
    "edge/text/hex-and-delimiters.hl7": (BY_FILLER, [("FLR-TXT-003", "final")]),
    "edge/text/highlight.hl7": (BY_FILLER, [("FLR-TXT-002", "final")]),
    "edge/vendor-quirks/unknown-escape-sequence.hl7": (BY_FILLER, [("FLR-VQ-003", "final")]),
    "fhir-converter/ORM-O01-01.hl7": (BY_FILLER, [("1201", "place")]),
    "fhir-converter/ORM-O01-02.hl7": (BY_FILLER, [("1201", "place")]),
    "fhir-converter/ORM-O01-03.hl7": (BY_FILLER, [("1201", "place"), ("2301", "place")]),
    "fhir-converter/ORU-R01-01.hl7": (DEFAULT, [("Placer 1", "preliminary")]),
    "fhir-converter/ORU-R01-RMGEAD.hl7": (BY_FILLER, [("1045813", "final")]),
}
REFUSED: dict[str, tuple[str, str]] = {
    "edge/edge-cases/decoded-br.hl7": ("PID-3", "no patient identifier"),  # it has no PID
    "edge/text/inject-on-encode.hl7": ("OBR", "found none"),
    "fhir-converter/OMG-O19-01.hl7": ("OBR-18", "no accession number"),  # laboratory
    "fhir-converter/OMG-O19-02.hl7": ("OBR-18", "no accession number"),  # laboratory
    "fhir-converter/ORM-O01-04.hl7": ("OBR", "diet order"),
    "fhir-converter/ORM-O01-05.hl7": ("OBR", "requisition for supplies"),
    "fhir-converter/ORM-O01-06.hl7": ("OBR", "pharmacy order"),
}
NOT_ONE_MESSAGE = {
    "edge/batch/count-mismatch.hl7": "batches",
    "edge/batch/malformed-mid-batch.hl7": "batches",
    "edge/batch/multi-batch-file.hl7": "batches",
    "edge/batch/single-batch.hl7": "batches",
    "edge/malformed/empty-input.hl7": "begins with MSH",
    "edge/malformed/invalid-encoding-characters.hl7": "encoding characters",
    "edge/malformed/msh-too-short.hl7": "encoding characters",
    "edge/malformed/no-msh-segment.hl7": "begins with MSH",
    "edge/stream/malformed-mid-stream.hl7": "one MSH",
    "edge/stream/mixed-terminators.hl7": "one MSH",
    "edge/stream/split-across-chunks.hl7": "one MSH",
    "edge/vendor-quirks/duplicate-required-segment.hl7": "one MSH",
}


def outcome(raw: bytes, places: Places) -> list[tuple[str, str]]:
    """(accession, action or status) of each order or report."""
    message = parse(raw)
    if message.type == MESSAGE_TYPE:
        return [(report.accession, report.status.value) for report in signed_reports(message, places)]
    return [(order.accession, order.action.value) for order in orders(message, places)]


@pytest.mark.parametrize("name", READ)
def test_a_real_message_is_read_with_these_accession_places(corpora: Path, name: str) -> None:
    """Each imaging order and report of the corpora is read, with the places its sender needs."""
    places, expected = READ[name]
    assert outcome((corpora / "hl7" / name).read_bytes(), places) == expected


@pytest.mark.parametrize("name", [name for name, (places, _) in READ.items() if places is BY_FILLER])
def test_a_filler_number_is_no_accession_unless_the_site_says_so(corpora: Path, name: str) -> None:
    """The same messages are refused under the default places."""
    with pytest.raises(NotHl7, match="no accession number in IPC-1, OBR-18"):
        outcome((corpora / "hl7" / name).read_bytes(), DEFAULT)


@pytest.mark.parametrize("name", REFUSED)
def test_a_real_message_that_is_no_imaging_is_refused_with_the_reason(corpora: Path, name: str) -> None:
    """Laboratory, pharmacy, diet and supplies are refused where the widest accession places are set."""
    location, words = REFUSED[name]
    with pytest.raises(NotHl7, match=words) as caught:
        outcome((corpora / "hl7" / name).read_bytes(), BY_FILLER)
    assert caught.value.location == location


@pytest.mark.parametrize("name", NOT_ONE_MESSAGE)
def test_a_real_file_that_is_not_one_message_is_refused_with_the_reason(corpora: Path, name: str) -> None:
    """Batches, streams and broken headers are refused by the parser."""
    with pytest.raises(NotHl7, match=NOT_ONE_MESSAGE[name]):
        parse((corpora / "hl7" / name).read_bytes())


def test_every_message_of_the_corpora_is_accounted_for(corpora: Path) -> None:
    """Every order and result stands in a table above, and every refused file among those not one message."""
    forgotten = []
    for path in sorted((corpora / "hl7").rglob("*.hl7")):
        name = path.relative_to(corpora / "hl7").as_posix()
        try:
            kind = parse(path.read_bytes()).type
        except Malformed:
            kind = "refused"
        known = {"refused": NOT_ONE_MESSAGE}.get(kind, {**READ, **REFUSED})
        if (kind == "refused" or kind in {*MESSAGE_TYPES, MESSAGE_TYPE}) and name not in known:
            forgotten.append(name)
    assert forgotten == []


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
