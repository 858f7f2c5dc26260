"""Imaging orders from ORM^O01, OMG^O19 and OMI^O23 (v2.5.1 sections 4.4.1, 4.4.4 and 4.4.12). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo

from connectors.exchange import Order, OrderAction, Patient, PriorReport
from connectors.hl7.datatypes import coding, day, moment, practitioner, words
from connectors.hl7.identifiers import (
    DEFAULT_PLACES,
    Places,
    accession,
    agreed_study_uid,
    patient,
    stated_study_uids,
)
from connectors.hl7.joining import joined
from connectors.hl7.laterality import laterality
from connectors.hl7.message import Message, NotHl7, Segment
from connectors.hl7.observations import text_lines, text_of
from connectors.hl7.parts import check_parts
from connectors.languages import language_code

MESSAGE_TYPES = ("ORM^O01", "OMG^O19", "OMI^O23")
WITH_PRIOR_RESULTS = frozenset({"OMG^O19", "OMI^O23"})
"""Whose structure holds results of earlier orders, each with a PID of its own."""

ACTIONS = {
    **dict.fromkeys(("NW", "PA", "CH", "SN", "RO", "RL", "OR", "OE"), OrderAction.PLACE),
    **dict.fromkeys(("XO", "XR", "XX"), OrderAction.CHANGE),
    **dict.fromkeys(("CA", "RP"), OrderAction.REQUEST_CANCEL),
    **dict.fromkeys(("OC", "CR", "DC", "OD", "DR", "RU", "RQ"), OrderAction.CANCEL),
    **dict.fromkeys(("SC", "SR", "SS", "NA", "OK", "RE", "CN", "RR", "DE", "LI", "UN"), OrderAction.STATUS),
    **dict.fromkeys(("HD", "OH", "HR"), OrderAction.STATUS),
    **dict.fromkeys(("UA", "UC", "UD", "UH", "UM", "UR", "UX"), OrderAction.STATUS),
}
"""ORC-1, HL7 table 0119 (v2.5.1 section 4.5.1.1). A replacement comes in two parts: RP asks that the old
order be replaced, RQ and RU tell that it was, RO is the order in its stead. Holds and refusals (U...) ask
for nothing: no report, and no withdrawal either; an order released from its hold (RL, OR, OE) is wanted."""
OTHER_CONTROLS = {
    **dict.fromkeys(("AF", "DF", "FU", "OF", "RF", "UF", "OP", "PY"), "refills and dispensing of drugs"),
    "MC": "a charge without an order",
    "CP": "a step between a laboratory system and an analyser",
}
"""Codes of table 0119 that are never about an imaging order."""
PREVIOUS_RESULT = "PR"
ENDED = frozenset({"CA", "DC", "RP"})
"""ORC-5 (HL7 table 0038) of an order that is cancelled, discontinued or replaced."""
_REFUSALS = frozenset({"UA", "UC", "UD", "UH", "UM", "UR", "UX"})
"""What could not be done leaves an order as it was, whatever ORC-5 says."""
OTHER_DETAILS = {
    "RXO": "a pharmacy order",
    "RXE": "a pharmacy order",
    "RQD": "a requisition for supplies",
    "ODS": "a diet order",
    "ODT": "a diet tray order",
}
# HL7 table 0074, without the codes that are DICOM modalities too (AU, PT, SR, EC, OT).
OTHER_SECTIONS = frozenset(
    {"LAB", "CH", "HM", "MB", "MCB", "MYC", "BLB", "BG", "IMM", "PHR", "SP", "TX", "VR"}
)
MODALITIES = {
    **{code: code for code in ("CR", "CT", "DX", "ES", "IO", "MG", "MR", "NM", "PT", "PX", "RF", "US", "XA")},
    **dict.fromkeys(("NMR", "MRI"), "MR"),
    **dict.fromkeys(("RUS", "VUS", "CUS", "OUS"), "US"),
    "NMS": "NM",
    "PET": "PT",
}

FIELDS = {
    "PV1-19": "visit number, in the PV1 of the patient whose orders follow",
    "ORC-1": "what is asked (order control)",
    "ORC-2": "placer order number; OBR-2 where it is empty",
    "ORC-3": "filler order number; OBR-3 where it is empty",
    "ORC-5": "state of the order, where ORC-1 reports a state",
    "ORC-7": "priority in component 6, where TQ1-9 is empty",
    "ORC-9": "when it was ordered; MSH-7 where it is empty",
    "ORC-12": "ordering provider; OBR-16 where it is empty",
    "TQ1-9": "priority",
    "OBR-2": "placer order number",
    "OBR-3": "filler order number",
    "OBR-4": "procedure; OBR-44 or IPC-6 where it is empty",
    "OBR-5": "priority of older senders",
    "OBR-7": "when a prior examination was made",
    "OBR-13": "clinical information",
    "OBR-15": "side, in component 5",
    "OBR-16": "ordering provider",
    "OBR-18": "accession number",
    "OBR-19": "requested procedure, where IPC-2 is empty",
    "OBR-24": "department; modality, where IPC-5 is empty",
    "OBR-27": "priority in component 6, where TQ1-9 and ORC-7 are empty",
    "OBR-31": "clinical question",
    "OBR-44": "procedure",
    "OBR-45": "side, among the modifiers of the procedure",
    "OBR-46": "side, among the supplemental service information",
    "IPC-1": "accession number",
    "IPC-2": "requested procedure",
    "IPC-3": "study instance UID",
    "IPC-5": "modality",
    "IPC-6": "procedure",
    "ZDS-1": "study instance UID",
    "DG1-3": "diagnosis, told with the clinical information",
    "DG1-4": "diagnosis in words",
    "NTE-3": "note, told with the clinical information",
    "OBX-2": "type of a line of a prior report",
    "OBX-3": "study instance UID (DCM 110180), side (272741003), section of a prior report",
    "OBX-5": "the value of these",
    "OBX-11": "lines of a prior report that were taken back (D, W)",
}
"""What is read of an order, and what it means here."""


@dataclass(slots=True)
class OrderGroup:
    """One ORC with the segments that belong to it."""

    pid: Segment
    orc: Segment
    obr: Segment
    segments: list[Segment] = field(default_factory=list)
    """All of them in order, ORC and OBR among them."""
    priors: list[PriorReport] = field(default_factory=list)

    def all(self, name: str) -> list[Segment]:
        """Every segment of this name."""
        return [segment for segment in self.segments if segment.name == name]


def orders(
    message: Message, places: Places = DEFAULT_PLACES, zone: tzinfo | None = None
) -> tuple[Order, ...]:
    """Every imaging order of a message, in its order: one for each accession of each ORC group.

    Groups that ask the same for one accession are one order with all their procedures (`joining`).

    Prior results (ORC-1 PR, or what follows a second PID in an OMG or OMI) are no orders: they stand in
    `prior_reports` of the order before them. Groups that order something else beside imaging are left
    out. zone: of times without an offset; None is the zone of this machine.

    Raises NotHl7 (a Malformed) when the message is no imaging order, or one of its orders lacks an
    accession, a patient or a known ORC-1, or contradicts itself on the study.
    """
    if message.type not in MESSAGE_TYPES:
        raise NotHl7(
            f"expected an order, one of {', '.join(MESSAGE_TYPES)}, in MSH-9", location="MSH-9", code=200
        )
    groups = list(_groups(message, places))
    imaging = [group for group in groups if group.obr or group.all("IPC")]
    if not imaging:
        details = sorted({OTHER_DETAILS.get(s.name, "") for g in groups for s in g.segments} - {""})
        came = f"; it is {' and '.join(details)}" if details else ""
        raise NotHl7(
            f"not an imaging order: no OBR and no IPC segment{came}; send only imaging orders here",
            location="OBR",
            code=100,
        )
    check_parts(max(len(imaging), len(message.all("IPC"))), "orders", "ORC")
    return joined(order for group in imaging for order in _orders(message, group, places, zone))


def _groups(message: Message, places: Places) -> Iterator[OrderGroup]:
    """The groups that order something, each with the prior results that follow it (PRIOR_RESULT)."""
    current: OrderGroup | None = None
    early: list[PriorReport] = []
    for group, prior in _cut(message, places):
        if prior and group.obr and group.pid:
            text = text_of(text_lines(group.all("OBX")))
            report = PriorReport(day(group.obr.value(7)), coding(group.obr.field(4)), text)
            (current.priors if current is not None else early).append(report)
        elif not prior and current is not None:
            yield current
            current = group
        elif not prior:
            current, group.priors = group, early
    if current is not None:
        yield current


def _cut(message: Message, places: Places) -> Iterator[tuple[OrderGroup, bool]]:
    """Cut the message at each ORC, and at an OBR that follows another; and whether it is a prior result.

    Prior results follow a second PID in an OMG or OMI, or ORC-1 PR, until an ORC asks for something
    again. Those of another patient have no PID: they must not be taken for this one's.
    """
    pid = message.first("PID")
    if not pid:
        raise NotHl7("expected a PID segment, found none", location="PID", code=100)
    absent = Segment("PID", (), message.encoding)
    group: OrderGroup | None = None
    whose, prior, patients = pid, False, 0
    for segment in message.segments:
        code = segment.value(1).upper() if segment.name == "ORC" else ""
        if segment.name == "PID":
            patients += 1
            if patients == 1:
                continue
            if message.type not in WITH_PRIOR_RESULTS or (group is None and not prior):
                raise _two_patients()
            if group is not None:
                yield group, prior
            group, whose, prior = None, pid if _same_patient(pid, segment, places) else absent, True
        elif segment.name == "ORC":
            if group is not None:
                yield group, prior
            if ACTIONS.get(code, OrderAction.STATUS) is not OrderAction.STATUS:
                if not whose:
                    raise _two_patients()
                prior = False
            elif code == PREVIOUS_RESULT or patients == 1:
                prior = code == PREVIOUS_RESULT
            group = OrderGroup(whose, segment, Segment("OBR", (), message.encoding), [segment])
        elif segment.name == "OBR" and (prior or group is not None):
            if group is None or group.obr:
                if group is not None:
                    yield group, prior
                orc = group.orc if group is not None else Segment("ORC", (), message.encoding)
                group = OrderGroup(whose, orc, segment, [orc] if orc else [])
            group.obr = segment
            group.segments.append(segment)
        elif group is not None:
            group.segments.append(segment)
        elif segment.name in {"OBR", "IPC"} and not prior:
            raise NotHl7(f"expected an ORC before the first {segment.name}", location="ORC", code=100)
    if group is not None:
        yield group, prior


def _same_patient(one: Segment, other: Segment, places: Places) -> bool:
    """Whether two PID name one patient; a PID that names nobody is nobody's."""
    first = patient(one, places)
    try:
        second = patient(other, places)
    except NotHl7:
        return False
    authorities = {first.assigning_authority, second.assigning_authority} - {""}
    return first.identifier == second.identifier and len(authorities) < 2


def _two_patients() -> NotHl7:
    return NotHl7("expected one PID, found several: one order message is for one patient", location="PID")


def _orders(message: Message, group: OrderGroup, places: Places, zone: tzinfo | None) -> Iterator[Order]:
    """The orders of one group: several IPC with different accessions are several orders."""
    section = group.obr.value(24).upper()
    if section in OTHER_SECTIONS:
        raise NotHl7(
            "OBR-24 names a department that is not imaging; send only imaging orders here",
            location="OBR-24",
            code=103,
        )
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
    procedures = [f for f in (obr.field(4), obr.field(44), ipc.field(6)) if f]
    return Order(
        action=_action(orc),
        accession=accession(segments, places),
        patient=who,
        procedure=coding(procedures[0] if procedures else obr.field(4)),
        placer_order_number=orc.value(2) or obr.value(2),
        filler_order_number=orc.value(3) or obr.value(3),
        requested_procedure_id=ipc.value(2) or obr.value(19),
        study_instance_uid=agreed_study_uid(stated_study_uids(segments)),
        modality=ipc.value(5).upper() or MODALITIES.get(obr.value(24).upper(), ""),
        clinical_question=question,
        history=history,
        priority=_priority(group),
        ordering_provider=practitioner(orc.field(12)) or practitioner(obr.field(16)),
        ordered_at=moment(orc.value(9), message, zone) or moment(message.timestamp, message, zone),
        laterality=laterality(obr, segments, procedures),
        prior_reports=tuple(group.priors),
        visit_number=_visit_number(message),
        language=language_code(message.first("MSH").value(19)),
    )


def _visit_number(message: Message) -> str:
    """PV1-19 before the first ORC: a PV1 behind it is that of a prior examination."""
    first = next((segment for segment in message.segments if segment.name in {"PV1", "ORC"}), None)
    return first.value(19) if first is not None and first.name == "PV1" else ""


def _action(orc: Segment) -> OrderAction:
    """What ORC-1 asks for; a status report (SC) of an order that ended is a cancellation (ORC-5)."""
    code = orc.value(1).upper()
    action = ACTIONS.get(code)
    if action is None:
        known = ", ".join(sorted(ACTIONS))
        about = f"; {code} is about {OTHER_CONTROLS[code]}" if code in OTHER_CONTROLS else ""
        raise NotHl7(
            f"ORC-1: expected an order control code of HL7 table 0119, one of {known}{about}",
            location="ORC-1",
            code=103,
        )
    if action is OrderAction.STATUS and orc.value(5).upper() in ENDED and code not in _REFUSALS:
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
