"""The embedded RIS: what it sends is what a hospital would send."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from connectors.exchange import Coding, Order, OrderAction, Patient, Practitioner, ReportStatus
from connectors.hl7.message import parse
from connectors.hl7.orders import orders
from connectors.hl7.results import signed_reports
from connectors.sandbox.ris import order_message, report_message

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
DOE = Patient("4711", "HOSP", "O'Doe|", "Jane & Joe", date(1970, 2, 3), "female")
ROE = Practitioner("9", "Roe", "Rita", "Dr")


def order(action: OrderAction = OrderAction.PLACE) -> Order:
    """An order with every field filled, delimiters among the words."""
    return Order(
        action=action,
        accession="ACC1",
        patient=DOE,
        procedure=Coding("24627-2", "CT Chest", "LN"),
        placer_order_number="P1",
        filler_order_number="F1",
        requested_procedure_id="RP1",
        study_instance_uid="1.2.840.99.1",
        modality="CT",
        clinical_question="Effusion? 5|6 ^ ~\nsecond line",
        history="smoker \\ 40 py",
        priority="S",
        ordering_provider=ROE,
        ordered_at=AT,
    )


@pytest.mark.parametrize("action", list(OrderAction))
def test_an_order_is_read_as_it_was_placed(action: OrderAction) -> None:
    """What the RIS orders is what orders() reads, for every action."""
    message = parse(order_message(order(action), "1", AT))
    assert (message.type, message.control_id) == ("ORM^O01", "1")
    assert orders(message) == (order(action),)


@pytest.mark.parametrize(
    "status",
    [
        ReportStatus.REGISTERED,
        ReportStatus.PARTIAL,
        ReportStatus.PRELIMINARY,
        ReportStatus.FINAL,
        ReportStatus.CORRECTED,
    ],
)
@pytest.mark.parametrize("signer", [ROE, None])
def test_a_report_is_read_as_it_was_signed(status: ReportStatus, signer: Practitioner | None) -> None:
    """What the RIS signs is what signed_reports() reads."""
    raw = report_message(
        accession="ACC1",
        patient=DOE,
        procedure=Coding("24627-2", "CT Chest", "LN"),
        text="FINDINGS\n\nNo effusion | left ~ right.",
        status=status,
        signer=signer,
        control_id="2",
        at=AT,
        study_instance_uid="1.2.840.99.1",
        filler_order_number="F1",
    )
    (report,) = signed_reports(parse(raw))
    assert (report.accession, report.patient, report.study_instance_uid) == ("ACC1", DOE, "1.2.840.99.1")
    assert report.text == "FINDINGS\n\nNo effusion | left ~ right."
    read = replace(signer, role="OBR-32") if signer else None
    assert (report.signer, report.signed_at, report.source) == (read, AT, "SANDBOX_RIS|SANDBOX_HOSPITAL")
    assert report.status is status


def test_a_status_without_a_code_is_not_sent() -> None:
    """HL7 table 0123 has no code for every FHIR status."""
    with pytest.raises(ValueError, match="table 0123"):
        report_message(
            accession="A",
            patient=DOE,
            procedure=Coding(),
            text="",
            status=ReportStatus.ENTERED_IN_ERROR,
            signer=ROE,
            control_id="3",
            at=AT,
        )
