"""The messages that the benchmarks send: an order, a report of many lines, a report with a large document."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from random import Random
from uuid import uuid4

from connectors.exchange import Coding, Patient, Practitioner, ReportStatus
from connectors.hl7.message import build
from connectors.sandbox.ris import report_message

RESULT_LINES = 40


def imaging_order(control_id: str) -> bytes:
    """An OMI^O23 of about 1.5 kB, with identifiers of its own so that no listener sees a duplicate."""
    note = "Known pulmonary nodule, follow-up after six months; no contrast allergy reported by the patient. "
    kind, doctor, exam = ("OMI", "O23", "OMI_O23"), ("77", "House", "Greg"), ("24627-2", "CT Chest", "LN")
    placer, filler = f"O{control_id}", f"F{control_id}"
    return build(
        [
            ("MSH", {3: "BENCH", 4: "HOSP", 7: "20260101120000+0000", 9: kind, 10: control_id, 12: "2.5.1"}),
            ("PID", {3: (f"P{control_id}", "", "", "HOSP", "MR"), 5: ("Doe", "Jane"), 7: "19700203", 8: "F"}),
            ("PV1", {1: "1", 2: "I", 3: ("WARD", "1", "2"), 8: doctor}),
            ("ORC", {1: "NW", 2: placer, 3: filler, 5: "SC", 12: doctor}),
            ("TQ1", {9: "R"}),
            ("OBR", {2: placer, 3: filler, 4: exam, 31: ("", note)}),
            *[("NTE", {1: str(number), 3: note}) for number in range(1, 10)],
            ("IPC", {1: f"A{control_id}", 2: f"R{control_id}", 3: f"2.25.{uuid4().int}", 5: "CT"}),
        ]
    )


def result(control_id: str, lines: int = RESULT_LINES) -> bytes:
    """An ORU^R01 with its report one OBX a line: about 4 kB with 40 lines."""
    said = "No focal consolidation in the right upper lobe, image {}."
    return report_message(
        accession=f"A{control_id}",
        patient=Patient(f"P{control_id}", "HOSP", "Doe", "Jane", sex="female"),
        procedure=Coding("24627-2", "CT Chest", "LN"),
        text="\n".join(said.format(number) for number in range(1, lines + 1)),
        status=ReportStatus.FINAL,
        signer=Practitioner("R-12", "Castellanos", "Ines", "Dr."),
        control_id=control_id,
        at=datetime(2026, 1, 1, 12, tzinfo=UTC),
        filler_order_number=f"F{control_id}",
    )


def result_with_document(control_id: str, size_bytes: int) -> bytes:
    """An ORU^R01 of this size, nearly all of it one OBX with a PDF in base64.

    size_bytes: of the whole message, at least 2,000; met to within the four characters of a base64 group.
    """
    head = result(control_id, lines=1) + b"OBX|2|ED|PDF^Report^L||^application^pdf^Base64^"
    tail = b"||||||F\r"
    document = b"%PDF-1.7\n" + Random(control_id).randbytes((size_bytes - len(head) - len(tail)) * 3 // 4)
    return head + base64.b64encode(document)[: (size_bytes - len(head) - len(tail)) // 4 * 4] + tail
