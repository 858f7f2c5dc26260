"""Imaging orders from ORM^O01, OMG^O19 and OMI^O23 (v2.5.1 sections 4.4.1, 4.4.4 and 4.4.12). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo

from connectors.exchange import Order, OrderAction, Patient
from connectors.hl7.datatypes import coding, moment, practitioner, words
from connectors.hl7.identifiers import (
    DEFAULT_PLACES,
    Places,
    accession,
    agreed_study_uid,
    patient,
    stated_study_uids,
)
from connectors.hl7.message import Message, NotHl7, Segment

MESSAGE_TYPES = ("ORM^O01", "OMG^O19", "OMI^O23")

# HL7 table 0119. Holds (HD, OH, HR) and refusals ask for nothing: no report, and no withdrawal either.
_ACTIONS = {
    **dict.fromkeys(("NW", "PA", "CH", "SN", "OE", "RO"), OrderAction.PLACE),
    **dict.fromkeys(("XO", "XR", "XX"), OrderAction.CHANGE),
    **dict.fromkeys(("CA", "RP"), OrderAction.REQUEST_CANCEL),
    **dict.fromkeys(("OC", "CR", "DC", "OD", "DR", "RU", "RQ"), OrderAction.CANCEL),
    **dict.fromkeys(
        ("SC", "SR", "NA", "OK", "RE", "HD", "OH", "HR", "UA", "UC", "UD", "UX"), OrderAction.STATUS
    ),
}
_ENDED = frozenset({"CA", "DC"})
"""ORC-5 (HL7 table 0038) of an order that is cancelled or discontinued."""
_OTHER_DETAILS = {
    "RXO": "a pharmacy order",
    "RXE": "a pharmacy order",
    "RQD": "a requisition for supplies",
    "ODS": "a diet order",
    "ODT": "a diet tray order",
}
# HL7 table 0074, without the codes that are DICOM modalities too (AU, PT, SR, EC, OT).
_OTHER_SECTIONS = frozenset(
    {"LAB", "CH", "HM", "MB", "MCB", "MYC", "BLB", "BG", "IMM", "PHR", "SP", "TX", "VR"}
)
_MODALITIES = {
    **{code: code for code in ("CR", "CT", "DX", "ES", "IO", "MG", "MR", "NM", "PT", "PX", "RF", "US", "XA")},
    **dict.fromkeys(("NMR", "MRI"), "MR"),
    **dict.fromkeys(("RUS", "VUS", "CUS", "OUS"), "US"),
    "NMS": "NM",
    "PET": "PT",
}


@dataclass(slots=True)
class OrderGroup:
    """One ORC with the segments that belong to it."""

    pid: Segment
    orc: Segment
    obr: Segment
    segments: list[Segment] = field(default_factory=list)
    """All of them in order, ORC and OBR among them."""

    def all(self, name: str) -> list[Segment]:
        """Every segment of this name."""
        return [segment for segment in self.segments if segment.name == name]


def orders(
    message: Message, places: Places = DEFAULT_PLACES, zone: tzinfo | None = None
) -> tuple[Order, ...]:
    """Every imaging order of a message, in its order: one for each accession of each ORC group.

    Prior results inside an OMG (a second PID, or ORC-1 PR) and groups that order something else beside
    imaging are left out. zone: of times without an offset; None is the zone of this machine.

    Raises NotHl7 (a Malformed) when the message is no imaging order, or one of its orders lacks an
    accession, a patient or a known ORC-1, or contradicts itself on the study.
    """
    if message.type not in MESSAGE_TYPES:
        raise NotHl7(
            f"expected an order, one of {', '.join(MESSAGE_TYPES)}, in MSH-9", location="MSH-9", code=200
        )
    groups = [group for group in _groups(message) if group.orc.value(1).upper() != "PR"]
    imaging = [group for group in groups if group.obr or group.all("IPC")]
    if not imaging:
        details = sorted({_OTHER_DETAILS.get(s.name, "") for g in groups for s in g.segments} - {""})
        came = f"; it is {' and '.join(details)}" if details else ""
        raise NotHl7(f"not an imaging order: no OBR and no IPC segment{came}", location="OBR", code=100)
    return tuple(order for group in imaging for order in _orders(message, group, places, zone))


def _groups(message: Message) -> Iterator[OrderGroup]:
    """Cut the message at each ORC, and at an OBR that follows another under the same ORC."""
    pid = message.first("PID")
    if not pid:
        raise NotHl7("expected a PID segment, found none", location="PID", code=100)
    group: OrderGroup | None = None
    patients = 0
    for segment in message.segments:
        if segment.name == "PID":
            patients += 1
            if patients > 1:
                if message.type == "OMG^O19" and group is not None:
                    break  # PRIOR_RESULT: results of earlier orders follow, no orders.
                raise NotHl7(
                    "expected one PID, found several: one order message is for one patient", location="PID"
                )
        elif segment.name == "ORC":
            if group is not None:
                yield group
            group = OrderGroup(pid, segment, Segment("OBR", (), message.encoding), [segment])
        elif group is not None:
            if segment.name == "OBR":
                if group.obr:
                    yield group
                    group = OrderGroup(pid, group.orc, segment, [group.orc])
                group.obr = segment
            group.segments.append(segment)
        elif segment.name in {"OBR", "IPC"}:
            raise NotHl7(f"expected an ORC before the first {segment.name}", location="ORC", code=100)
    if group is not None:
        yield group


def _orders(message: Message, group: OrderGroup, places: Places, zone: tzinfo | None) -> Iterator[Order]:
    """The orders of one group: several IPC with different accessions are several orders."""
    section = group.obr.value(24).upper()
    if section in _OTHER_SECTIONS:
        raise NotHl7("OBR-24 names a department that is not imaging", location="OBR-24", code=103)
    who = patient(group.pid, places)
    procedures = group.all("IPC")
    if not procedures:
        yield _order(message, group, group.segments, who, places, zone)
        return
    rest = [segment for segment in group.segments if segment.name != "IPC"]
    by_accession: dict[str, list[Segment]] = {}
    for procedure in procedures:
        by_accession.setdefault(accession([*rest, procedure], places), []).append(procedure)
    for steps in by_accession.values():
        yield _order(message, group, [*rest, *steps], who, places, zone)


def _order(
    message: Message,
    group: OrderGroup,
    segments: Sequence[Segment],
    who: Patient,
    places: Places,
    zone: tzinfo | None,
) -> Order:
    orc, obr = group.orc, group.obr
    ipc = next(
        (segment for segment in segments if segment.name == "IPC"), Segment("IPC", (), message.encoding)
    )
    question, history = _clinical_words(group)
    procedure = next((f for f in (obr.field(4), obr.field(44), ipc.field(6)) if f), obr.field(4))
    return Order(
        action=_action(orc),
        accession=accession(segments, places),
        patient=who,
        procedure=coding(procedure),
        placer_order_number=orc.value(2) or obr.value(2),
        filler_order_number=orc.value(3) or obr.value(3),
        requested_procedure_id=ipc.value(2) or obr.value(19),
        study_instance_uid=agreed_study_uid(stated_study_uids(segments)),
        modality=ipc.value(5).upper() or _MODALITIES.get(obr.value(24).upper(), ""),
        clinical_question=question,
        history=history,
        priority=_priority(group),
        ordering_provider=practitioner(orc.field(12)) or practitioner(obr.field(16)),
        ordered_at=moment(orc.value(9), message, zone) or moment(message.timestamp, message, zone),
    )


def _action(orc: Segment) -> OrderAction:
    """What ORC-1 asks for; a status report (SC) of an order that ended is a cancellation (ORC-5)."""
    action = _ACTIONS.get(orc.value(1).upper())
    if action is None:
        raise NotHl7(
            f"ORC-1: expected an order control code of HL7 table 0119, one of {', '.join(sorted(_ACTIONS))}",
            location="ORC-1",
            code=103,
        )
    if action is OrderAction.STATUS and orc.value(5).upper() in _ENDED:
        return OrderAction.CANCEL
    return action


def _clinical_words(group: OrderGroup) -> tuple[str, str]:
    """(clinical question, history): OBR-31 asks; OBR-13, notes and diagnoses tell what is known.

    Where OBR-31 is empty the first of OBR-13, notes and diagnoses that is valued is the question.
    """
    notes = "\n".join(
        repetition.text.strip()
        for note in group.all("NTE")
        for repetition in note.field(3).repetitions
        if repetition
    )
    diagnoses = "; ".join(
        dict.fromkeys(
            found for dg1 in group.all("DG1") if (found := words(dg1.field(3)) or dg1.field(4).text.strip())
        )
    )
    told = [words(group.obr.field(31)), group.obr.field(13).text.strip(), notes, diagnoses]
    valued = list(dict.fromkeys(text for text in told if text))
    return (valued[0], "\n".join(valued[1:])) if valued else ("", "")


def _priority(group: OrderGroup) -> str:
    """TQ1-9, else the quantity/timing of ORC-7.6 or OBR-27.6, else OBR-5 of older senders."""
    timings = group.all("TQ1")
    found = timings[0].value(9) if timings else ""
    return found or group.orc.value(7, 6) or group.obr.value(27, 6) or group.obr.value(5)
