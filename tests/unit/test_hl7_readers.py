"""Whatever comes, every reader gives clinical words or a refusal with a place, and never another error."""

from __future__ import annotations

from datetime import UTC

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.hl7.cda import cda_text
from connectors.hl7.documents import MESSAGE_TYPES as DOCUMENTS
from connectors.hl7.documents import document_reports
from connectors.hl7.encoding import NotHl7
from connectors.hl7.examples import KINDS, example
from connectors.hl7.identifiers import Places
from connectors.hl7.message import Message, parse
from connectors.hl7.orders import MESSAGE_TYPES as ORDERS
from connectors.hl7.orders import orders
from connectors.hl7.patients import MERGES, UPDATES, patient_merges, patient_update
from connectors.hl7.results import MESSAGE_TYPE, signed_reports
from tests.case_samples import AT

PLACES = Places(
    accession=("IPC-1", "OBR-18", "OBR-3", "TXA-15", "PID-3"),
    signer=("OBR-32", "OBX-16", "ORC-11", "TXA-22", "TXA-9"),
)
NAMES = ("PID", "ORC", "OBR", "OBX", "TXA", "IPC", "ZDS", "MRG", "NTE", "DG1", "TQ1", "SPM", "EVN", "ZZZ")
VALUES = (
    "", '""', "1", "NW", "PR", "SC", "CA", "F", "AU", "UN", "TX", "ED", "RP", "LT", "20260101", "20269999",
    "^AP^PDF^Base64^JVBERi0=", "^TEXT^XML^A^<ClinicalDocument/>", "^TEXT^XML^A^<a", "^TEXT^HTML^Hex^3c",
    "110180^^DCM", "113014^^DCM", "272741003^^SCT", "1&IMP", "1.2.3", "1^Roe^Rita", "a~b&c^d\\.br\\",
    "\\X00\\",
)  # fmt: skip
FIELD = st.sampled_from(VALUES) | st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=6)
SEGMENT = st.builds(
    lambda name, fields: "|".join([name, *fields]), st.sampled_from(NAMES), st.lists(FIELD, max_size=34)
)
READERS = [
    *((kind, lambda message: orders(message, PLACES, UTC)) for kind in ORDERS),
    (MESSAGE_TYPE, lambda message: signed_reports(message, PLACES, UTC)),
    *((kind, lambda message: document_reports(message, PLACES, UTC)) for kind in DOCUMENTS),
    *((kind, lambda message: patient_merges(message, PLACES)) for kind in MERGES),
    *((kind, lambda message: patient_update(message, PLACES, UTC)) for kind in UPDATES),
]


def read_or_refused(message: Message, kind: str) -> None:
    """Read the message; a refusal must name a place."""
    refused = None
    try:
        dict(READERS)[kind](message)
    except NotHl7 as error:
        refused = error
    assert refused is None or (refused.location and 100 <= refused.code <= 207)


@settings(max_examples=400)
@given(st.sampled_from([kind for kind, _ in READERS]), st.lists(SEGMENT, max_size=9))
def test_any_segments_are_read_or_refused(kind: str, segments: list[str]) -> None:
    """Segments of any kind in any order with any values."""
    raw = "\r".join([f"MSH|^~\\&|R|H|||20260101||{kind}|1|P|2.5.1", "PID|1||4711", *segments])
    try:
        message = parse(raw.encode())
    except NotHl7:
        return
    read_or_refused(message, kind)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_a_damaged_example_is_read_or_refused(kind: str, data: st.DataObject) -> None:
    """A message that lost, gained or changed some bytes on its way."""
    raw = example(kind, AT, "1")
    start = data.draw(st.integers(0, len(raw)))
    end = data.draw(st.integers(start, min(len(raw), start + 12)))
    damaged = raw[:start] + data.draw(st.binary(max_size=6)) + raw[end:]
    try:
        message = parse(damaged)
    except NotHl7:
        return
    if message.type in dict(READERS):
        read_or_refused(message, message.type)


@given(st.binary(max_size=60), st.sampled_from([None, "utf-8"]))
def test_any_bytes_are_a_cda_or_refused(content: bytes, charset: str | None) -> None:
    """XML of strangers ends as text or as a refusal."""
    for raw in (
        content,
        b"<ClinicalDocument>" + content,
        b"<?xml version='1.0' encoding='" + content + b"'?><a/>",
    ):
        found: str | NotHl7
        try:
            found = cda_text(raw, charset)
        except NotHl7 as error:
            found = error
        assert isinstance(found, str) or found.location == "OBX-5"
