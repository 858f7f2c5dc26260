"""Datasets as the DICOM JSON model writes them (PS3.18 annex F), read leniently and without surprise."""

from __future__ import annotations

from typing import Any

from connectors.dicomweb.patients import patient_of
from connectors.exchange import Patient


def values(entry: dict[str, Any], tag: str) -> list[Any]:
    """Return the Value array of one attribute, empty when there is none."""
    attribute = entry.get(tag)
    found = attribute.get("Value") if isinstance(attribute, dict) else None
    return found if isinstance(found, list) else []


def texts(entry: dict[str, Any], tag: str) -> tuple[str, ...]:
    """Return the values of a text attribute, stripped, without empty ones."""
    found = (str(value).strip() for value in values(entry, tag) if isinstance(value, (str, int, float)))
    return tuple(text for text in found if text)


def first_text(entry: dict[str, Any], tag: str) -> str:
    """Return the first value of a text attribute, or an empty string."""
    return next(iter(texts(entry, tag)), "")


def count_of(entry: dict[str, Any], tag: str) -> int | None:
    """Return a number of instances; archives write it as number or as text. None when there is none."""
    text = first_text(entry, tag)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def people_of(entry: dict[str, Any]) -> Patient:
    """Return the patient of a study-level answer."""
    return patient_of(
        identifier=first_text(entry, "00100020"),
        issuer=first_text(entry, "00100021"),
        person_name=_person_name(entry, "00100010"),
        birth_date=first_text(entry, "00100030"),
        sex=first_text(entry, "00100040"),
    )


def _person_name(entry: dict[str, Any], tag: str) -> str:
    """Return a PN value in its encoded form (groups between =, PS3.18 section F.2.2)."""
    name = next(iter(values(entry, tag)), "")
    if isinstance(name, dict):
        return "=".join(str(name.get(group, "")) for group in ("Alphabetic", "Ideographic", "Phonetic"))
    return str(name)
