"""A case in a few words, as the worklist and the JSON answers give it. Pure."""

from __future__ import annotations

from typing import Any

from plugin.cases import CaseState
from plugin.tables import Case
from plugin.translate import order_from_json
from plugin.web.words import STATES, machine_moment


def patient_name(family: str, given: str) -> str:
    """FAMILY, Given, as worklists print it."""
    return ", ".join(part for part in (family, given) if part)


def summary(case: Case) -> dict[str, Any]:
    """The case's state, and the order's words where an order has come."""
    words = STATES[CaseState(case.state)]
    order = order_from_json(case.order) if case.order else None
    patient = order.patient if order else None
    return {
        "id": case.id,
        "state": case.state,
        "accession": case.accession,
        "patient": {
            "name": patient_name(patient.family_name, patient.given_name),
            "identifier": patient.identifier,
            "assigning_authority": patient.assigning_authority,
            "birth_date": patient.birth_date.isoformat() if patient.birth_date else None,
            "sex": patient.sex,
        }
        if patient
        else None,
        "procedure": (order.procedure.text or order.procedure.code) if order else "",
        "modality": order.modality if order else "",
        "priority": order.priority if order else "",
        "reason": case.reason or words.meaning,
        "created_at": machine_moment(case.created_at),
        "updated_at": machine_moment(case.updated_at),
    }
