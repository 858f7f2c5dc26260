"""Whether order, images and report speak of the same patient, accession and study. Pure."""

from __future__ import annotations

from connectors.exchange import Patient


def _differ(one: str, other: str) -> bool:
    return bool(one) and bool(other) and one.strip() != other.strip()


def disagreements(
    one: str,
    other: str,
    *,
    patients: tuple[Patient, Patient],
    accessions: tuple[str, str] = ("", ""),
    studies: tuple[str, str] = ("", ""),
) -> tuple[str, ...]:
    """What two sources disagree on, as sentences for a person; nothing when they agree.

    `one` and `other` name the sources ("the order", "the images"). An identifier that one side leaves out
    is no disagreement, except the patient's: a study without a patient identifier belongs to nobody. The
    sentences name what differs and never repeat the identifiers.
    """
    found = []
    first, second = patients
    if not first.identifier or not second.identifier:
        silent = one if not first.identifier else other
        found.append(f"No patient identifier comes with {silent}.")
    elif first.identifier.strip() != second.identifier.strip():
        found.append(f"The patient identifier of {one} is not that of {other}.")
    elif _differ(first.assigning_authority, second.assigning_authority):
        found.append(f"The patient identifiers of {one} and {other} come from different authorities.")
    if _differ(*accessions):
        found.append(f"The accession number of {one} is not that of {other}.")
    if _differ(*studies):
        found.append(f"The study instance UID of {one} is not that of {other}.")
    return tuple(found)
