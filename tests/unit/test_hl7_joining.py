"""One accession is one report: what several groups of a message order under it is one order."""

from __future__ import annotations

from datetime import UTC

import pytest

from connectors.exchange import Coding, Order, OrderAction
from connectors.hl7.message import parse
from connectors.hl7.orders import orders

CHEST = "OBR|1|P1|F1|24627-2^CT Chest^LN||||||||||||||ACC1||||||CT|||||||^Nodule?"
ABDOMEN = "OBR|2|P2|F2|30615-9^CT Abdomen^LN||||||||||||||ACC1||||||CT|||||||^Liver?"


def read(*segments: str, kind: str = "ORM^O01") -> tuple[Order, ...]:
    header = (f"MSH|^~\\&|RIS|HOSP|||20260101120000||{kind}|1|P|2.5.1", "PID|1||4711^^^HOSP")
    return orders(parse("\r".join([*header, *segments]).encode()), zone=UTC)


def test_two_procedures_of_one_accession_are_one_order_with_both() -> None:
    """Procedures and questions are told together; codes and numbers are those of the first."""
    (found,) = read(
        "ORC|NW|P1|F1||||^^^^^R",
        CHEST,
        "NTE|1||smoker",
        "ORC|NW|P2|F2||||^^^^^S",
        ABDOMEN,
        "NTE|1||hepatitis",
    )
    assert found.procedure == Coding("24627-2", "CT Chest + CT Abdomen", "LN")
    assert found.clinical_question == "Nodule?\nLiver?"
    assert found.history == "smoker\nhepatitis"
    assert (found.placer_order_number, found.filler_order_number) == ("P1", "F1")
    assert (found.modality, found.priority) == ("CT", "S")


def test_the_same_procedure_twice_is_told_once() -> None:
    """A repeated OBR adds no words."""
    (found,) = read("ORC|NW", CHEST, CHEST)
    (alone,) = read("ORC|NW", CHEST)
    assert found == alone


def test_other_accessions_between_are_orders_of_their_own() -> None:
    """What is one stands in the place of its first part."""
    found = read("ORC|NW", CHEST, CHEST.replace("ACC1", "ACC2"), ABDOMEN)
    assert [(order.accession, order.procedure.text) for order in found] == [
        ("ACC1", "CT Chest + CT Abdomen"),
        ("ACC2", "CT Chest"),
    ]


def test_what_asks_for_something_else_stays_an_order_of_its_own() -> None:
    """A new order and a request to cancel under one accession are two, in their order."""
    found = read("ORC|NW", CHEST, "ORC|CA", ABDOMEN)
    assert [order.action for order in found] == [OrderAction.PLACE, OrderAction.REQUEST_CANCEL]


@pytest.mark.parametrize(
    ("first", "second", "count"), [("1.2.3", "1.2.4", 2), ("1.2.3", "1.2.3", 1), ("", "1.2.3", 1)]
)
def test_two_studies_under_one_accession_are_not_joined(first: str, second: str, count: int) -> None:
    """Which of two studies an accession is for a person decides: both orders are told."""
    found = read("ORC|NW", CHEST, f"ZDS|{first}", "ORC|NW", ABDOMEN, f"ZDS|{second}")
    assert len(found) == count
    assert found[-1].study_instance_uid == second


@pytest.mark.parametrize(
    ("first", "second", "side"), [("LT", "LT", "left"), ("LT", "RT", ""), ("LT", "", "")]
)
def test_a_side_stands_only_where_all_parts_say_it(first: str, second: str, side: str) -> None:
    """Left of one and right of the other, or of nothing, is no side of the whole."""
    parts = [f"{obr}{'|' * 14}{code}" for obr, code in ((CHEST, first), (ABDOMEN, second))]
    (found,) = read("ORC|NW", *parts)
    assert found.laterality == side
