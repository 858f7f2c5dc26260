"""A radiology information system on loopback: it orders, and its radiologists sign.

It plays the hospital's side of HL7 v2: what it sends is what a human there decided, and never
passes through the code that sends drafts.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import uuid4

from connectors.exchange import Coding, Order, OrderAction, Patient, Practitioner, ReportStatus
from connectors.hl7.ack import Ack
from connectors.hl7.message import Value, build
from connectors.hl7.mllp import MllpClient
from connectors.hl7.written import ce, pid, ts, xcn

APPLICATION = "SANDBOX_RIS"
FACILITY = "SANDBOX_HOSPITAL"

_CONTROL_CODES = {
    OrderAction.PLACE: "NW",
    OrderAction.CHANGE: "XO",
    OrderAction.REQUEST_CANCEL: "CA",
    OrderAction.CANCEL: "OC",
    OrderAction.STATUS: "SC",
}
_RESULT_CODES = {
    ReportStatus.REGISTERED: "I",
    ReportStatus.PARTIAL: "A",
    ReportStatus.PRELIMINARY: "P",
    ReportStatus.FINAL: "F",
    ReportStatus.CORRECTED: "C",
    ReportStatus.CANCELLED: "X",
}

Segments = list[tuple[str, Mapping[int, Value]]]


def order_message(order: Order, control_id: str, at: datetime) -> bytes:
    """An ORM^O01 (v2.3.1, with the ZDS of IHE Radiology) as a RIS sends it when an exam is scheduled."""
    question, provider = order.clinical_question, order.ordering_provider
    segments: Segments = [
        _header(("ORM", "O01"), control_id, at, order.language),
        ("PID", pid(order.patient, "MR")),
        ("PV1", {1: "1", 2: "I"}),
        (
            "ORC",
            {
                1: _CONTROL_CODES[order.action],
                2: order.placer_order_number,
                3: order.filler_order_number,
                5: "CA" if order.action is OrderAction.CANCEL else "SC",
                7: ("", "", "", "", "", order.priority),
                9: ts(order.ordered_at or at),
                12: xcn(provider),
            },
        ),
        (
            "OBR",
            {
                1: "1",
                2: order.placer_order_number,
                3: order.filler_order_number,
                4: ce(order.procedure),
                13: order.history,
                16: xcn(provider),
                18: order.accession,
                19: order.requested_procedure_id,
                24: order.modality,
                31: ("", question) if question else "",
            },
        ),
    ]
    if order.study_instance_uid:
        segments.append(("ZDS", {1: (order.study_instance_uid, "", "Application", "DICOM")}))
    return build(segments)


def report_message(
    *,
    accession: str,
    patient: Patient,
    procedure: Coding,
    text: str,
    status: ReportStatus,
    signer: Practitioner | None,
    control_id: str,
    at: datetime,
    study_instance_uid: str = "",
    filler_order_number: str = "",
) -> bytes:
    """An ORU^R01 (v2.3.1) with the text one OBX a line, its status in OBR-25 and OBX-11.

    signer: OBR-32 as NDL; None leaves it empty. Raises ValueError for a status that HL7 table 0123
    has no code for.
    """
    code = _RESULT_CODES.get(status)
    if code is None:
        raise ValueError(f"no code in HL7 table 0123 for {status}; use one of {sorted(_RESULT_CODES)}")
    # HL7 table 0085 has other letters than table 0123: A in OBX-11 would say "amended".
    line_code = "S" if code == "A" else code
    signed_by: Value = ""
    if signer is not None:
        name = (signer.identifier, signer.family_name, signer.given_name, "", "", signer.prefix)
        signed_by = (name, "", ts(at))
    segments: Segments = [
        _header(("ORU", "R01"), control_id, at),
        ("PID", pid(patient, "MR")),
        (
            "OBR",
            {
                1: "1",
                3: filler_order_number,
                4: ce(procedure),
                18: accession,
                22: ts(at),
                25: code,
                32: signed_by,
            },
        ),
    ]
    if study_instance_uid:
        segments.append(
            (
                "OBX",
                {1: "1", 2: "ST", 3: ("113014", "DICOM Study", "DCM"), 5: study_instance_uid, 11: line_code},
            )
        )
    for line in text.splitlines():
        number = str(sum(name == "OBX" for name, _ in segments) + 1)
        segments.append(("OBX", {1: number, 2: "TX", 3: ce(procedure), 5: line, 11: line_code}))
    return build(segments)


class Ris:
    """Sends orders and signed reports to one MLLP listener, each over a connection of its own."""

    def __init__(self, host: str, port: int, timeout_seconds: float = 30.0) -> None:
        """host, port: where Prelim, or an interface engine, listens."""
        self._host = host
        self._port = port
        self._timeout_seconds = timeout_seconds

    def send_order(self, order: Order, *, at: datetime, control_id: str = "") -> Ack:
        """Send an order as ORM^O01. Raises as `MllpClient.send` does."""
        return self.send(order_message(order, control_id or uuid4().hex[:20], at))

    def sign(
        self,
        order: Order,
        text: str,
        signer: Practitioner | None,
        *,
        at: datetime,
        status: ReportStatus = ReportStatus.FINAL,
        control_id: str = "",
    ) -> Ack:
        """Send the report of an order as ORU^R01, signed by a human. Raises as `MllpClient.send` does."""
        return self.send(
            report_message(
                accession=order.accession,
                patient=order.patient,
                procedure=order.procedure,
                text=text,
                status=status,
                signer=signer,
                control_id=control_id or uuid4().hex[:20],
                at=at,
                study_instance_uid=order.study_instance_uid,
                filler_order_number=order.filler_order_number,
            )
        )

    def send(self, message: bytes) -> Ack:
        """Send any message; return its acknowledgement."""
        with MllpClient(self._host, self._port, timeout_seconds=self._timeout_seconds) as client:
            return client.send(message)


def _header(
    kind: tuple[str, str], control_id: str, at: datetime, language: str = ""
) -> tuple[str, Mapping[int, Value]]:
    said: dict[int, Value] = {3: APPLICATION, 4: FACILITY, 5: "PRELIM", 7: ts(at), 9: kind, 10: control_id}
    return "MSH", {**said, 11: "P", 12: "2.3.1", 19: language}
