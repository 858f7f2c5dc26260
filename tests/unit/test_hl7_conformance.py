"""The conformance statement: written from the code, and no field in it that the code does not read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connectors.hl7 import conformance, documents, drafts, orders, patients, results
from connectors.hl7.conformance import statement
from connectors.hl7.identifiers import PATIENT_FIELDS, Places
from connectors.hl7.message import Field, Message, NotHl7, Segment, parse
from connectors.hl7.refusals import REFUSED, refusal
from tests.fhir_samples import a_draft

ROOT = Path(__file__).resolve().parents[2]
HEAD = "MSH|^~\\&|RIS|HOSP|||20260101120000||"
PID = "PID|1|2|4711||Doe^Jane||19700203|F"
AT = datetime(2026, 1, 1, tzinfo=UTC)
EVERYWHERE = Places(signer=("OBR-32", "OBX-16", "ORC-11", "TXA-22", "TXA-9"))


def test_the_statement_in_the_docs_is_the_one_that_the_code_writes() -> None:
    """Change the code, then write docs/hl7-conformance.md anew: python -m connectors.hl7.conformance."""
    assert (ROOT / "docs/hl7-conformance.md").read_text(encoding="utf-8") == statement()


def test_the_statement_is_printed_by_its_module() -> None:
    """`python -m connectors.hl7.conformance` prints it and nothing else."""
    command = [sys.executable, "-m", "connectors.hl7.conformance"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=True)
    assert printed.stdout == statement()
    assert printed.stderr == ""


def read_by(reader: Callable[[Message], object], *messages: tuple[str, ...]) -> set[str]:
    """The fields after MSH that a reader looks at in these messages; refusals are looked at too."""
    looked: set[str] = set()
    field, value = Segment.field, Segment.value

    def watched(segment: Segment, number: int) -> Field:
        looked.add(f"{segment.name}-{number}")
        return field(segment, number)

    def watched_value(segment: Segment, number: int, *parts: int) -> str:
        looked.add(f"{segment.name}-{number}")
        return value(segment, number, *parts)

    parsed = [
        parse("\r".join([HEAD + kind + "|1|P|2.5.1", *rest]).replace(PID, pid).encode())
        for kind, *rest in messages
        for pid in (PID, "PID|1|2")
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Segment, "field", watched)
        patch.setattr(Segment, "value", watched_value)
        for message in parsed:
            try:
                reader(message)
            except NotHl7:
                continue
    return {place for place in looked if not place.startswith("MSH")}


OBX = "OBX|1|TX|59776-5^^LN||words||||||F"
STUDY = "OBX|1|ST|113014^^DCM||1.2.3.4.5.6.7||||||F"


def test_what_the_statement_says_of_orders_is_what_is_read_of_them() -> None:
    """Every field in the table is read, and no other is."""
    bare = (
        PID,
        "PV1|1",
        "ORC|NW",
        "OBR|1",
        "IPC|A|RP",
        OBX,
        STUDY,
        "NTE|1||n",
        "DG1|1",
        "ZDS|1.2.3",
        "TQ1|1",
    )
    full = (PID, "ORC|NW|P|F", f"OBR|1{'|' * 17}A", OBX)
    prior = (*full, "ORC|PR", "OBR|1|||x|||2025", OBX)
    found = read_by(
        orders.orders,
        ("OMI^O23", *bare),
        ("ORM^O01", *full),
        ("OMG^O19", *prior),
        ("ORM^O01", PID, "ORC|SC", f"OBR|1{'|' * 17}A"),
    )
    assert found == {*orders.FIELDS, *PATIENT_FIELDS}


def test_what_the_statement_says_of_results_is_what_is_read_of_them() -> None:
    """Every field in the table is read, and no other is."""
    obr = f"OBR|1{'|' * 17}A"
    found = read_by(
        lambda message: results.signed_reports(message, EVERYWHERE),
        (
            "ORU^R01",
            PID,
            "ORC|RE",
            obr,
            OBX,
            STUDY,
            "IPC||1|1.2.3",
            "ZDS|1.2.3",
            "OBX|1|ED|||^AP^PDF^Base64^",
        ),
        ("ORU^R01", PID, "ORC|RE", "OBR|1", "IPC|A"),
    )
    assert found == {*results.FIELDS, *PATIENT_FIELDS}


def test_what_the_statement_says_of_documents_is_what_is_read_of_them() -> None:
    """Every field in the table is read, and no other is."""
    found = read_by(
        lambda message: documents.document_reports(message, EVERYWHERE),
        ("MDM^T02", PID, "ORC|RE", f"OBR|1{'|' * 17}A", "TXA|1", OBX, STUDY, "ZDS|1.2.3"),
    )
    assert found == {*documents.FIELDS, *PATIENT_FIELDS}


def test_what_the_statement_says_of_patients_is_what_is_read_of_them() -> None:
    """Every field in the table is read, and no other is."""
    update = read_by(patients.patient_update, ("ADT^A08", "EVN|1", PID))
    merge = read_by(patients.patient_merges, ("ADT^A40", PID, "MRG|"))
    assert update | merge == {*patients.FIELDS, *PATIENT_FIELDS}


def test_what_the_statement_says_of_drafts_is_what_they_hold() -> None:
    """Every field that is written stands in the table, but for numbers and constants of the header."""
    draft = a_draft(filler_order_number="F1", studied_on=AT.date())
    message = parse(drafts.draft_message(draft, control_id="1", at=AT, pdf=b"%PDF"))
    written = {
        f"{segment.name}-{number}"
        for segment in message.segments
        for number in range(1, len(segment) + 1)
        if segment.field(number)
    }
    unsaid = {"MSH-1", "MSH-2", "MSH-7", "MSH-11", "PID-1", "OBR-1", "OBX-1", "OBR-16"}
    assert written - unsaid == set(conformance.SENT) - unsaid


@pytest.mark.parametrize("reason", REFUSED)
def test_each_refusal_of_the_statement_happens_and_names_its_place(reason: str) -> None:
    """A message of each kind is refused with a place and a code, and its words quote nothing of it."""
    error = refusal(reason)
    assert error.location
    assert 100 <= error.code <= 207
    assert str(error) in statement()


def test_every_reason_has_words_of_its_own() -> None:
    """No two reasons end at the same place with the same words: each message shows what it is meant to."""
    answers = {(error.location, str(error)) for error in map(refusal, REFUSED)}
    assert len(answers) == len(REFUSED)


def test_every_message_type_of_the_readers_stands_in_the_statement() -> None:
    """What is taken is told."""
    taken = (*orders.MESSAGE_TYPES, results.MESSAGE_TYPE, *documents.MESSAGE_TYPES, *patients.MESSAGE_TYPES)
    text = statement()
    assert [kind for kind in taken if f"| {kind} |" not in text] == []
