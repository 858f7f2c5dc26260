"""Several orders of one message under one accession: one report, and so one order. Pure.

A scanner room that examines chest and abdomen in one sitting gets one accession and an ORC/OBR group for each
procedure. Taken one after the other, the last would stand alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from connectors.exchange import Coding, Order

URGENT = ("S", "A")
"""OBR-27.6 and TQ1-9 (HL7 table 0485), most urgent first: stat, as soon as possible."""


def joined(orders: Iterable[Order]) -> tuple[Order, ...]:
    """The orders, with those made one that ask the same for one accession, in the place of the first.

    Procedures, questions and what is known are told together; numbers, codes and provider are the first's; a
    side or modality stands only where all agree; the most urgent priority counts. Two that name different
    studies or patients stay two: whoever takes them finds the contradiction and a person decides.
    """
    found: list[list[Order]] = []
    by_accession: dict[str, list[Order]] = {}
    for order in orders:
        group = by_accession.get(order.accession)
        if group is not None and _agree(group[-1], order):
            group.append(order)
            continue
        by_accession[order.accession] = group = [order]
        found.append(group)
    return tuple(group[0] if len(group) == 1 else _one(group) for group in found)


def _agree(one: Order, other: Order) -> bool:
    studies = {one.study_instance_uid, other.study_instance_uid} - {""}
    return one.action is other.action and one.patient == other.patient and len(studies) < 2


def _one(group: Sequence[Order]) -> Order:
    first = group[0]
    sides = {order.laterality for order in group}
    modalities = {order.modality for order in group} - {""}
    return replace(
        first,
        procedure=_procedure([order.procedure for order in group]),
        study_instance_uid=next((o.study_instance_uid for o in group if o.study_instance_uid), ""),
        modality=modalities.pop() if len(modalities) == 1 else "",
        clinical_question=_told(order.clinical_question for order in group),
        history=_told(order.history for order in group),
        priority=_priority([order.priority for order in group if order.priority]),
        laterality=sides.pop() if len(sides) == 1 else "",
        prior_reports=tuple(dict.fromkeys(prior for order in group for prior in order.prior_reports)),
    )


def _procedure(procedures: Sequence[Coding]) -> Coding:
    names = dict.fromkeys(procedure.text or procedure.code for procedure in dict.fromkeys(procedures))
    return replace(procedures[0], text=" + ".join(name for name in names if name))


def _told(texts: Iterable[str]) -> str:
    return "\n".join(dict.fromkeys(text for text in texts if text))


def _priority(said: Sequence[str]) -> str:
    urgent = [code for code in URGENT if code in said]
    return next(iter([*urgent, *said]), "")
