"""Updates and merges of patients from ADT (v2.5.1 sections 3.3.8, 3.3.31, 3.3.40, 3.3.47). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo

from connectors.exchange import PatientMerge, PatientUpdate
from connectors.hl7.datatypes import moment
from connectors.hl7.identifiers import DEFAULT_PLACES, Places, chosen, no_identifier, patient
from connectors.hl7.message import Message, NotHl7, Segment
from connectors.hl7.parts import check_parts

UPDATES = {"ADT^A08": "update patient information", "ADT^A31": "update person information"}
MERGES = {
    "ADT^A18": "merge patient information (older senders)",
    "ADT^A34": "merge patient information, patient ID only",
    "ADT^A36": "merge patient information, patient ID and account number",
    "ADT^A40": "merge patient, patient identifier list",
    "ADT^A47": "change patient identifier list",
}
"""Events in which MRG-1 names the identifier that is given up for PID-3. A40 holds several such pairs."""
MESSAGE_TYPES = (*UPDATES, *MERGES)

FIELDS = {
    "EVN-2": "when an update was recorded, where EVN-6 is empty",
    "EVN-6": "when an update happened",
    "MRG-1": "identifiers that are given up in a merge",
    "MRG-4": "the same of older senders, where MRG-1 is empty",
}
"""What is read of an ADT beside the patient, and what it means here."""


def patient_update(
    message: Message, places: Places = DEFAULT_PLACES, zone: tzinfo | None = None
) -> PatientUpdate:
    """The patient of an ADT^A08 or A31 as the sender knows them now.

    updated_at: EVN-6 (when it happened), else EVN-2 (when it was recorded), else MSH-7.
    Raises NotHl7 (a Malformed) for another message, or one without PID or patient identifier.
    """
    _expect(message, tuple(UPDATES))
    pids = message.all("PID")
    if len(pids) != 1:
        found = "none" if not pids else "several"
        raise NotHl7(f"expected one PID segment, found {found}", location="PID", code=100)
    event = message.first("EVN")
    times = (event.value(6), event.value(2), message.timestamp)
    at = next((at for text in times if (at := moment(text, message, zone))), None)
    return PatientUpdate(patient(pids[0], places), at)


def patient_merges(message: Message, places: Places = DEFAULT_PLACES) -> tuple[PatientMerge, ...]:
    """Every merge of an ADT^A40, A34, A36, A18 or A47, in order: PID-3 survives, MRG-1 is retired.

    Where the settings choose no identifier, the first of PID-3 counts, and of MRG-1 those of the same
    assigning authority, else the first.
    Raises NotHl7 (a Malformed) for another message, a missing PID, MRG or identifier, a merge of an
    identifier with itself, and two merges that contradict each other.
    """
    _expect(message, tuple(MERGES))
    check_parts(len(message.all("MRG")), "merges", "MRG")
    merges = tuple(
        dict.fromkeys(merge for pid, mrg in _pairs(message) for merge in _merges(pid, mrg, places))
    )
    directions = {
        (
            (merge.surviving.identifier, merge.surviving.assigning_authority),
            (merge.retired_identifier, merge.retired_assigning_authority),
        )
        for merge in merges
    }
    if len({retired for _, retired in directions}) != len(directions):
        raise NotHl7("two merges retire one identifier into different patients", location="MRG-1")
    if any((retired, surviving) in directions for surviving, retired in directions):
        raise NotHl7(
            "two merges contradict each other: each retires the identifier that the other keeps",
            location="MRG-1",
        )
    return merges


def _expect(message: Message, types: tuple[str, ...]) -> None:
    if message.type not in types:
        raise NotHl7(f"expected one of {', '.join(types)} in MSH-9", location="MSH-9", code=200)


def _pairs(message: Message) -> Iterator[tuple[Segment, Segment]]:
    """Each PID with the MRG that follows it."""
    waiting: Segment | None = None
    found = False
    for segment in message.segments:
        if segment.name == "PID":
            if waiting is not None:
                raise _without_mrg()
            waiting = segment
        elif segment.name == "MRG":
            if waiting is None:
                raise NotHl7("expected a PID segment before each MRG, found none", location="PID", code=100)
            yield waiting, segment
            waiting, found = None, True
    if waiting is not None:
        raise _without_mrg()
    if not found:
        raise NotHl7("expected a PID and an MRG segment, found neither", location="PID", code=100)


def _without_mrg() -> NotHl7:
    return NotHl7("expected an MRG segment after each PID, found none", location="MRG", code=100)


def _merges(pid: Segment, mrg: Segment, places: Places) -> Iterator[PatientMerge]:
    surviving = patient(pid, places)
    # MRG-4 is the prior patient ID of older senders, as PID-2 is the patient ID.
    candidates = chosen(mrg.field(1), places) or chosen(mrg.field(4), places)
    if not candidates:
        raise no_identifier(places, "MRG-1", "MRG-4")
    check_parts(len(candidates), "retired identifiers", "MRG-1")
    retired = [found for found in candidates if found[1] == surviving.assigning_authority] or candidates[:1]
    for identifier, authority in retired:
        # An authority that is not said may be the same one.
        alike = authority == surviving.assigning_authority or not (
            authority and surviving.assigning_authority
        )
        if identifier == surviving.identifier and alike:
            raise NotHl7(
                "MRG-1 names the identifier that PID-3 keeps; a patient cannot be merged with itself",
                location="MRG-1",
            )
        yield PatientMerge(surviving, identifier, authority)
