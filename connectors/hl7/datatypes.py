"""HL7 v2 data types to clinical words: times, names, codes (v2.5.1 chapter 2A). Pure."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo

from connectors.exchange import Coding, Patient, Practitioner
from connectors.hl7.message import Field, Message, Segment

_MOMENT = re.compile(
    r"(\d{4})-?(\d{2})-?(\d{2})"  # day
    r"(?:[T ]?(\d{2}):?(\d{2})(?::?(\d{2})(?:\.(\d{1,6})\d*)?)?)?"  # hour, minute, second, fraction
    r"\s*(Z|[+-]\d{2}:?\d{2})?",
    re.ASCII,
)
_SEX = {"M": "male", "F": "female", "O": "other", "A": "other", "N": "other"}


def moment(text: str, message: Message | None = None, zone: tzinfo | None = None) -> datetime | None:
    """Read TS or DTM with day precision or better, as an aware datetime; None for anything else.

    A time without an offset takes the offset of the message's MSH-7 (v2.5.1 section 2.A.77), else
    `zone`, else the zone of this machine.
    """
    match = _MOMENT.fullmatch(text.strip())
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, offset = match.groups(default="")
    try:
        found = datetime(
            int(year),
            int(month),
            int(day),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            int(fraction.ljust(6, "0")) if fraction else 0,
            tzinfo=UTC,
        )
        own = _offset(offset)
        if own is None and message is not None and (header := _MOMENT.fullmatch(message.timestamp)):
            own = _offset(header[8] or "")
        if own is None and zone is None:
            return found.replace(tzinfo=None).astimezone()
        return found.replace(tzinfo=own or zone)
    except (ValueError, OverflowError, OSError):
        return None


def _offset(text: str) -> timezone | None:
    if not text:
        return None
    if text == "Z":
        return UTC
    away = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return timezone(-away if text[0] == "-" else away)


def day(text: str) -> date | None:
    """Read a date; None when it is less precise than a day (a year of birth is no birthday)."""
    match = _MOMENT.fullmatch(text.strip())
    try:
        return date(int(match[1]), int(match[2]), int(match[3])) if match else None
    except ValueError:
        return None


def coding(field: Field) -> Coding:
    """Read CE or CWE: identifier, text, coding system."""
    code, text, system = (field.component(number).strip() for number in (1, 2, 3))
    return Coding(code=code, text=text or field.component(9).strip(), system=system)


def words(field: Field) -> str:
    """What a person reads in a CE, CWE, ST or TX: the text of each repetition, else its code."""
    found = []
    for repetition in field.repetitions:
        # Text first, original text (CWE-9) next, then the alternate text, then whatever code there is.
        parts = (repetition.component(number).strip() for number in (2, 9, 5, 1, 4))
        found.append(next((part for part in parts if part), ""))
    return "; ".join(dict.fromkeys(part for part in found if part))


def practitioner(field: Field) -> Practitioner | None:
    """Read the first person of an XCN or CN field, or of an NDL field whose first component is a CNN.

    NDL separates by subcomponents (id&family&given&middle&suffix&prefix), XCN by components; senders
    write either in either place. None when neither an identifier nor a name is given.
    """
    nested = field.has_subcomponents(1)

    def part(number: int) -> str:
        return (field.component(1, number) if nested else field.component(number)).strip()

    # NDL-2 is a start time: a plain identifier with a time after it names nobody.
    names_follow = nested or not _MOMENT.fullmatch(part(2))
    person = Practitioner(
        identifier=part(1),
        family_name=part(2) if names_follow else "",
        given_name=part(3) if names_follow else "",
        prefix=part(6) if names_follow else "",
    )
    return person if person != Practitioner() else None


def demographics(pid: Segment, identifier: str, assigning_authority: str) -> Patient:
    """The patient of a PID segment under an identifier that was chosen from it."""
    name = pid.field(5)
    return Patient(
        identifier=identifier,
        assigning_authority=assigning_authority,
        family_name=name.component(1).strip(),
        given_name=name.component(2).strip(),
        birth_date=day(pid.value(7)),
        sex=_SEX.get(pid.value(8).upper(), "unknown"),
    )
