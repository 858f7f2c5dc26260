"""What a structured report template holds. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

CHOICE, SEVERAL, NUMBER, TEXT, OTHER = "choice", "several", "number", "text", "other"


class TemplateError(Exception):
    """A structured report template cannot be used; the message says what of it and why."""


@dataclass(frozen=True, slots=True)
class Code:
    """A term of a coding scheme, as `template_attributes` of a template give it."""

    scheme: str
    """For example RADLEX or LOINC."""
    value: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Field:
    """One field that a report fills."""

    identifier: str
    """The id of its element, or the name of a group of boxes or buttons; unique in its template."""
    kind: str
    """CHOICE (one of the options), SEVERAL (any of them), NUMBER, TEXT, or OTHER: a date, a time or what
    another system merges in, which is left to a person."""
    label: str
    section: str = ""
    """Names of the sections around it, outermost first, joined by " / "; empty where it stands in none."""
    options: tuple[str, ...] = ()
    """What can be chosen, as a person reads it; empty for kinds without a choice."""
    option_identifiers: tuple[str, ...] = ()
    """The id of each option, by which Template.codes name it; empty words where it has none."""
    default: str = ""
    """What the template holds before it is filled. It says nothing of a patient: it is never a value."""
    unit: str = ""
    minimum: float | None = None
    """Inclusive, in the unit."""
    maximum: float | None = None
    """Inclusive, in the unit."""

    @property
    def path(self) -> str:
        """Section and label, as a prompt names the field."""
        return f"{self.section}: {self.label}" if self.section else self.label


@dataclass(frozen=True, slots=True)
class Template:
    """One structured report template."""

    title: str
    identifier: str
    """dcterms.identifier: what an order or a site asks for it by."""
    language: str
    """ISO 639-1 code."""
    fields: tuple[Field, ...]
    """In the order of the document."""
    codes: Mapping[str, tuple[Code, ...]] = field(default_factory=dict)
    """Identifier of a field, an option or a section -> its coded terms."""
