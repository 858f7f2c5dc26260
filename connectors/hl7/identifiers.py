"""Where sites write accession, patient identifier, study UID and signer, and how they are found. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from connectors.exchange import Patient
from connectors.hl7.datatypes import demographics
from connectors.hl7.message import Field, NotHl7, Segment

_PLACE = re.compile(r"([A-Z][A-Z0-9]{2})-([1-9][0-9]?)(?:\.([1-9][0-9]?))?")
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
SIGNER_PLACES = frozenset({"OBR-32", "OBX-16", "ORC-11", "TXA-22", "TXA-9"})
"""Fields of interpreters, verifiers and authenticators: nobody who ordered or typed can be a signer."""

STUDY_INSTANCE_UID = ("110180", "DCM")
"""The concept of an OBX that carries a study instance UID (PS3.16, CID 7469 and TID 1500)."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where this site writes what identifies a case; a place reads SEG-field or SEG-field.component."""

    accession: tuple[str, ...] = ("IPC-1", "OBR-18")
    """Tried in order, the first that is valued wins. Sites add OBR-3, ORC-3, OBR-2 or ORC-2."""
    patient_identifier_type: str = ""
    """PID-3.5 of the identifier to use, for example MR; empty takes any."""
    patient_assigning_authority: str = ""
    """PID-3.4.1 of the identifier to use; empty takes any."""
    signer: tuple[str, ...] = ("OBR-32",)
    """Where a result names its signer, in order: OBR-32, and only where the site says so OBX-16 or ORC-11.
    A document (MDM) names its authenticator in TXA-22, always read, and its originator in TXA-9, read only
    where the site says so."""

    def __post_init__(self) -> None:
        """Raise ValueError for a place that cannot be read."""
        for place in self.accession:
            if not _PLACE.fullmatch(place):
                raise ValueError(f"{place!r} is no place; write for example OBR-18 or OBR-3.1")
        if not self.accession or not SIGNER_PLACES.issuperset(self.signer):
            raise ValueError(f"name a place for the accession; signers stand in {sorted(SIGNER_PLACES)} only")


DEFAULT_PLACES = Places()
PATIENT_FIELDS = {
    "PID-2": "patient identifier of older senders, where PID-3 is empty",
    "PID-3": "patient identifier; the first, or the one of the type and authority that the settings ask for",
    "PID-5": "name, components 1 and 2",
    "PID-7": "birth date, where it is precise to the day",
    "PID-8": "sex",
}
"""What is read of a patient in every message, and what it means here."""


def accession(segments: Sequence[Segment], places: Places) -> str:
    """The accession number of one group of segments.

    Raises NotHl7 when no place is valued, saying where it was looked for.
    """
    for place in places.accession:
        match = _PLACE.fullmatch(place)
        assert match is not None, "Places checks every place"
        for segment in segments:
            if segment.name == match[1] and (found := segment.value(int(match[2]), int(match[3] or 1))):
                return found
    looked = ", ".join(places.accession)
    present = {segment.name for segment in segments if segment}
    nearest = next((place for place in places.accession if place[:3] in present), places.accession[0])
    raise NotHl7(
        f"no accession number in {looked}; have the sender write it there, or name the field where this site "
        "writes it in the setting for accession places",
        location=nearest.split(".")[0],
        code=101,
    )


def patient(pid: Segment, places: Places) -> Patient:
    """The patient of a PID segment: the chosen repetition of PID-3, or PID-2 where PID-3 is empty.

    Raises NotHl7 when there is no identifier, or none of the type and authority that the settings ask for.
    """
    for place in (3, 2):
        found = chosen(pid.field(place), places)
        if found:
            return demographics(pid, *found[0])
    raise no_identifier(places, "PID-3", "PID-2")


def chosen(field: Field, places: Places) -> list[tuple[str, str]]:
    """(identifier, assigning authority) of each repetition of a CX that the settings choose, in order."""
    found = []
    for candidate in field.repetitions:
        identifier, authority, kind = (candidate.component(number).strip() for number in (1, 4, 5))
        if (
            identifier
            and (not places.patient_identifier_type or kind == places.patient_identifier_type)
            and (not places.patient_assigning_authority or authority == places.patient_assigning_authority)
        ):
            found.append((identifier, authority))
    return found


def no_identifier(places: Places, location: str, older: str) -> NotHl7:
    """The error of a message without the patient identifier that is asked for in these two fields."""
    if places.patient_identifier_type or places.patient_assigning_authority:
        return NotHl7(
            f"no patient identifier in {location} or {older} has the type and assigning authority that the "
            "settings for the patient identifier ask for",
            location=location,
            code=204,
        )
    return NotHl7(
        f"no patient identifier in {location} or {older}; the sender must value {location}",
        location=location,
        code=101,
    )


def study_uid(text: str, place: str) -> str:
    """Check one study instance UID (PS3.5 section 9.1); empty stays empty. Raises NotHl7."""
    if text and (len(text) > 64 or not _UID.fullmatch(text)):
        raise NotHl7(
            f"{place}: expected a DICOM UID of digits and dots, at most 64 characters",
            location=place,
            code=102,
        )
    return text


def agreed_study_uid(found: Iterable[tuple[str, str]]) -> str:
    """The one study instance UID among (place, text); empty when none is valued.

    Raises NotHl7 when two differ: images of one study must not meet the order of another.
    """
    valued = {study_uid(text, place): place for place, text in found if text}
    if len(valued) > 1:
        places = sorted(set(valued.values()))
        raise NotHl7(
            f"different study instance UIDs in {' and '.join(places)}; one order is for one study",
            location=places[0],
        )
    return next(iter(valued), "")


def stated_study_uids(segments: Sequence[Segment]) -> list[tuple[str, str]]:
    """Every (place, text) of a study instance UID: IPC-3, ZDS-1.1 and OBX-5 under DCM 110180."""
    found: list[tuple[str, str]] = []
    for segment in segments:
        if segment.name == "IPC":
            found.append(("IPC-3", segment.value(3)))
        elif segment.name == "ZDS":
            found.append(("ZDS-1", segment.value(1)))
        elif segment.name == "OBX" and concept(segment.field(3)) == STUDY_INSTANCE_UID:
            found.append(("OBX-5", segment.value(5)))
    return found


def concept(field: Field) -> tuple[str, str]:
    """(code, system) of a coded field."""
    return field.component(1).strip(), field.component(3).strip()
