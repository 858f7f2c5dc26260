"""Messages that the readers refuse, one for each reason, and what they answer. Pure."""

from __future__ import annotations

from connectors.hl7 import documents, orders, patients, results
from connectors.hl7.message import NotHl7, parse

_PID, _ORC, _OBR = "PID|1||1", "ORC|NW", f"OBR|1{'|' * 17}A"
_DOCTYPE = "<?xml version='1.0'?><!DOCTYPE a><a/>"

REFUSED: dict[str, tuple[str, tuple[str, ...]]] = {
    "a document without its content": ("MDM^T01", (_PID, "TXA|1")),
    "no patient identifier": ("ORM^O01", ("PID|1", _ORC, _OBR)),
    "no accession number": ("ORM^O01", (_PID, _ORC, "OBR|1")),
    "an order control that is not known": ("ORM^O01", (_PID, "ORC|QQ", _OBR)),
    "an order control of another department": ("ORM^O01", (_PID, "ORC|RF", _OBR)),
    "an order for another department": ("ORM^O01", (_PID, _ORC, f"{_OBR}||||||LAB")),
    "no imaging order at all": ("ORM^O01", (_PID, _ORC, "RXO|1")),
    "two patients in one order": ("ORM^O01", (_PID, _ORC, _OBR, "PID|1||2")),
    "two studies in one order": ("ORM^O01", (_PID, _ORC, _OBR, "ZDS|1.2.3", "ZDS|1.2.4")),
    "a study instance UID that is none": ("ORM^O01", (_PID, _ORC, _OBR, "ZDS|x")),
    "a result without OBR": ("ORU^R01", (_PID,)),
    "a document that cannot be decoded": ("ORU^R01", (_PID, _OBR, "OBX|1|ED|||^AP^PDF^Base64^?")),
    "a CDA with a document type": ("ORU^R01", (_PID, _OBR, f"OBX|1|ED|||^TEXT^XML^A^{_DOCTYPE}")),
    "a merge with itself": ("ADT^A40", (_PID, "MRG|1")),
    "a merge without the retired identifier": ("ADT^A40", (_PID, "MRG|")),
}
"""Reason -> MSH-9, and the segments after MSH."""


def refusal(reason: str) -> NotHl7:
    """The error that the reader of such a message raises."""
    kind, segments = REFUSED[reason]
    message = parse("\r".join([f"MSH|^~\\&|||||||{kind}|1|P|2.5.1", *segments]).encode())
    try:
        if kind.startswith("ADT"):
            patients.patient_merges(message)
        elif kind.startswith("MDM"):
            documents.document_reports(message)
        elif kind.startswith("ORU"):
            results.signed_reports(message)
        else:
            orders.orders(message)
    except NotHl7 as error:
        return error
    raise ValueError(f"expected a refusal for {reason}, but the message is read")
