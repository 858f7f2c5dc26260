"""Words and codes of resources that another program wrote, cleaned. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from connectors.fhir.attachment import clean
from connectors.fhir.elements import record, records, text

Resource = dict[str, Any]

SNOMED = "http://snomed.info/sct"
DICOM = "http://dicom.nema.org/resources/ontology/DCM"

_EXACT = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]*")


def line(node: object, name: str) -> str:
    """The string of an element as one line, without control characters."""
    return " ".join(clean(text(node, name)).split())


def paragraph(node: object, name: str) -> str:
    """The string of an element with its line breaks, without other control characters."""
    return clean(text(node, name)).strip()


def exact(node: object, name: str) -> str:
    """The string of an identifier or code, without spaces around it.

    Empty when it holds control characters: a cleaned identifier would be another one.
    """
    value = text(node, name).strip()
    return value if _EXACT.fullmatch(value) else ""


def codings(concept: Resource) -> Iterator[Resource]:
    """The codings of a CodeableConcept, of R5's CodeableReference, or a Coding by itself."""
    concept = record(concept, "concept") or concept
    yield from records(concept, "coding") or ([concept] if text(concept, "code") else [])


def concept_words(concept: Resource) -> str:
    """What a person reads in a CodeableConcept or CodeableReference: its text, a display, else its code."""
    whole = record(concept, "concept") or concept
    told = [line(whole, "text"), *(line(coding, "display") for coding in codings(concept))]
    told += [exact(coding, "code") for coding in codings(concept)]
    return next(filter(None, told), "")


def concepts(node: object, name: str) -> list[Resource]:
    """The concepts of an element that is one or several."""
    single = record(node, name)
    return [single] if single else records(node, name)


def moment(value: object) -> datetime | None:
    """A FHIR instant, or a dateTime with a zone; None for anything less."""
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found if found.tzinfo else None
