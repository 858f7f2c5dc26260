"""One message is for one patient's few orders: what holds thousands is refused before it takes an hour."""

from __future__ import annotations

import pytest

from connectors.hl7 import documents, orders, patients, results
from connectors.hl7.message import Message, NotHl7, parse
from connectors.hl7.parts import MOST_PARTS

PID = "PID|1||4711^^^HOSP"


def obr(number: int) -> str:
    return f"OBR|{number}|||24627-2^CT^LN||||||||||||||A{number}|||||||F"


def message(kind: str, count: int) -> Message:
    """A message of so many orders, results or merges."""
    numbers = range(1, count + 1)
    segments = {
        "ORM^O01": [PID, "ORC|NW", *map(obr, numbers)],
        "OMI^O23": [PID, "ORC|NW", obr(0), *(f"IPC|A{number}" for number in numbers)],
        "ORU^R01": [PID, *map(obr, numbers)],
        "MDM^T02": [PID, *map(obr, numbers), "TXA|1||||||||||||||||AU", "OBX|1|TX|R||Clear"],
        "ADT^A40": ["PID|1||4711^^^HOSP", "MRG|" + "~".join(f"R{number}^^^HOSP" for number in numbers)],
    }[kind]
    header = f"MSH|^~\\&|RIS|HOSP|||20260101120000||{kind}|1|P|2.5.1"
    return parse("\r".join([header, *segments]).encode())


READ = {
    "ORM^O01": orders.orders,
    "OMI^O23": orders.orders,
    "ORU^R01": results.signed_reports,
    "MDM^T02": documents.document_reports,
    "ADT^A40": patients.patient_merges,
}


@pytest.mark.parametrize("kind", READ)
def test_a_message_holds_at_most_100_orders_reports_or_merges(kind: str) -> None:
    """A hundred are read, one more is refused as too long, with the place."""
    assert len(READ[kind](message(kind, MOST_PARTS))) == MOST_PARTS
    with pytest.raises(NotHl7, match="at most 100") as caught:
        READ[kind](message(kind, MOST_PARTS + 1))
    assert caught.value.code == 104
    assert caught.value.location
