"""The example messages: valid HL7 that our own readers take under the default places."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message, parse_segment

from connectors.exchange import OrderAction, Practitioner, ReportStatus
from connectors.hl7.documents import document_reports
from connectors.hl7.examples import ACCESSION, KINDS, PATIENT, RETIRED_IDENTIFIER, STUDY, example
from connectors.hl7.message import Message, parse
from connectors.hl7.orders import orders
from connectors.hl7.patients import patient_merges, patient_update
from connectors.hl7.results import signed_reports
from plugin.signoff import Verdict, judge

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def read(kind: str) -> Message:
    return parse(example(kind, AT, "EX1"))


def lines(kind: str) -> list[str]:
    """The segments that the standard knows: ZDS is IHE's own."""
    text = example(kind, AT, "EX1").decode()
    return [line for line in text.split("\r") if line and not line.startswith("ZDS")]


# hl7apy wants every kind of order detail at once in an ORM^O01: its choice of segments is no choice.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {"orm", "cancel"}])
def test_every_example_is_valid_against_its_version(kind: str) -> None:
    """hl7apy, which knows the structures of the standard, finds nothing to object to."""
    text = "\r".join(lines(kind))
    assert parse_message(text, validation_level=VALIDATION_LEVEL.STRICT, find_groups=True).validate()


@pytest.mark.parametrize("kind", KINDS)
def test_every_segment_of_an_example_is_valid_against_its_version(kind: str) -> None:
    """Each segment by itself holds what the standard requires of it."""
    version = KINDS[kind][1]
    for line in lines(kind)[1:]:
        assert parse_segment(line, version=version, validation_level=VALIDATION_LEVEL.STRICT).validate()


@pytest.mark.parametrize("kind", KINDS)
def test_every_example_carries_the_time_and_the_control_id_it_was_asked_for(kind: str) -> None:
    """MSH-7 and MSH-10 are the caller's; the same call gives the same bytes."""
    message = read(kind)
    assert (message.control_id, message.timestamp) == ("EX1", "20260304050607+0000")
    assert example(kind, AT, "EX1") == example(kind, AT, "EX1")


@pytest.mark.parametrize(
    ("kind", "action", "study"),
    [
        ("orm", OrderAction.PLACE, STUDY),
        ("omg", OrderAction.PLACE, ""),
        ("omi", OrderAction.PLACE, STUDY),
        ("cancel", OrderAction.CANCEL, ""),
    ],
)
def test_the_orders_are_taken(kind: str, action: OrderAction, study: str) -> None:
    """Each order example is one order of the example patient; the OMG tells of a prior."""
    (order,) = orders(read(kind))
    assert (order.action, order.accession, order.patient, order.modality) == (
        action,
        ACCESSION,
        PATIENT,
        "CT",
    )
    assert order.study_instance_uid == study
    assert len(order.prior_reports) == (1 if kind == "omg" else 0)


def test_the_reports_are_signatures() -> None:
    """ORU and MDM are final, signed by a named person, and say the same."""
    (result,), (document,) = signed_reports(read("oru")), document_reports(read("mdm"))
    for report, place in ((result, "OBR-32"), (document, "TXA-22")):
        assert (report.accession, report.patient, report.status) == (ACCESSION, PATIENT, ReportStatus.FINAL)
        assert report.signer == Practitioner("EX-2", "Specimen", "Maria", "Dr", place)
        assert report.signed_at == AT
        assert judge(report) is Verdict.SIGNED
    assert result.text == document.text
    assert result.text.startswith("Findings:")


def test_the_patients_are_taken() -> None:
    """The update and the merge are about the example patient."""
    assert patient_update(read("adt-a08")).patient == PATIENT
    (merge,) = patient_merges(read("adt-a40"))
    assert (merge.surviving, merge.retired_identifier) == (PATIENT, RETIRED_IDENTIFIER)


def test_an_unknown_kind_is_refused_with_those_that_are_known() -> None:
    """A misspelt kind says what there is."""
    with pytest.raises(ValueError, match="adt-a40"):
        example("orx", AT, "EX1")
