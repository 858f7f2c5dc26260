"""Datatypes as outgoing messages write them (v2.5.1 chapter 2A): TS, CE, XCN, and the fields of PID. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from connectors.exchange import Coding, Patient, Practitioner
from connectors.hl7.message import Value

_SEX = {"male": "M", "female": "F", "other": "O"}


def ts(at: datetime) -> str:
    """A moment to the second, with its offset where it has one."""
    return at.strftime("%Y%m%d%H%M%S%z")


def ce(code: Coding) -> Value:
    """Code, text and code system."""
    return (code.code, code.text, code.system)


def xcn(person: Practitioner | None) -> Value:
    """A person by identifier and name; empty for nobody."""
    if person is None:
        return ""
    return (person.identifier, person.family_name, person.given_name, "", "", person.prefix)


def pid(patient: Patient, identifier_type: str = "") -> Mapping[int, Value]:
    """PID-1, 3, 5, 7 and 8. identifier_type: PID-3.5, for example MR."""
    return {
        1: "1",
        3: (patient.identifier, "", "", patient.assigning_authority, identifier_type),
        5: (patient.family_name, patient.given_name),
        7: patient.birth_date.strftime("%Y%m%d") if patient.birth_date else "",
        8: _SEX.get(patient.sex, "U"),
    }
