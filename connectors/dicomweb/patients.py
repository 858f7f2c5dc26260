"""Patients as DICOM attributes name them: the patient module (PS3.3 C.7.1.1) to the clinical word."""

from __future__ import annotations

from datetime import date, datetime

from connectors.exchange import Patient

_SEXES = {"M": "male", "F": "female", "O": "other"}


def date_of(text: str) -> date | None:
    """Read a DA value (PS3.5 section 6.2: YYYYMMDD); None when there is none or it is no date."""
    digits = text.strip().replace(".", "")  # the ACR-NEMA form 1999.12.31 is still to be accepted
    if len(digits) != 8 or not digits.isascii() or not digits.isdigit():
        return None
    try:
        return datetime.strptime(digits, "%Y%m%d").date()  # noqa: DTZ007 - a date has no zone
    except ValueError:
        return None


def names_of(person_name: str) -> tuple[str, str]:
    """Split a PN value (PS3.5 section 6.2.1) into family and given name.

    The alphabetic group is taken when it holds a name, else the ideographic, else the phonetic one.
    """
    for group in person_name.split("="):
        family, given, *_ = [part.strip() for part in (*group.split("^"), "", "")]
        if family or given:
            return family, given
    return "", ""


def patient_of(
    *, identifier: str, issuer: str = "", person_name: str = "", birth_date: str = "", sex: str = ""
) -> Patient:
    """Build a Patient from the values of (0010,0020), (0010,0021), (0010,0010), (0010,0030), (0010,0040)."""
    family, given = names_of(person_name)
    return Patient(
        identifier=identifier.strip(),
        assigning_authority=issuer.strip(),
        family_name=family,
        given_name=given,
        birth_date=date_of(birth_date),
        sex=_SEXES.get(sex.strip().upper(), "unknown"),
    )
