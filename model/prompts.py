"""The words of an order or of dictated findings as a prompt: typed fields, escaped, with an end.

Shared by serving and training.

The words are untrusted. They cannot become special tokens, start a line or a section, or be endless.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Protocol

from model.sections import FINDINGS, IMPRESSION
from model.study import ClinicalContext, Unfit

PROMPT_VERSION = "1"
"""Changes whenever the same context gives another prompt; drafter.json must name the same."""
FIELD_CHARACTERS = 240
"""Longer words of an order are cut."""
FIELD_TOKENS = 64
"""And so are words that a tokenizer breaks into very many tokens."""
FINDINGS_CHARACTERS = 8000
"""Longer dictated findings are refused: a conclusion of a part of them could leave out what matters."""
FINDINGS_TOKENS = 2048
"""And so are findings of more tokens."""

_BRACKETS = str.maketrans({"<": "‹", ">": "›", "|": "¦", "[": "(", "]": ")", "{": "(", "}": ")"})
_LONGEST_COMPOSITION = 3
"""Into so many characters NFC can break one (Unicode Standard Annex 15)."""
_SEXES = ("female", "male", "other")


class Encoder(Protocol):
    """What a prompt needs of a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text, in which nothing becomes a special token."""
        ...


def clean(text: str, limit: int = FIELD_CHARACTERS) -> str:
    """Words on one line: control, format and unassigned characters become spaces, and the rest is capped."""
    normal = unicodedata.normalize("NFC", text[: limit * 8])
    shown = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in normal)
    shown = " ".join(shown.split())
    return shown if len(shown) <= limit else shown[: limit - 1].rstrip() + "…"


def escape(text: str, limit: int = FIELD_CHARACTERS) -> str:
    """Clean words without the brackets that special tokens are written with."""
    return clean(text, limit).translate(_BRACKETS)


def fields(context: ClinicalContext) -> tuple[tuple[str, str], ...]:
    """(name, escaped words) of every field, always in this order, empty ones included."""
    age = context.age_years
    patient = [
        context.sex if context.sex in _SEXES else "",
        f"{age} years" if age is not None and 0 <= age <= 130 else "",
    ]
    return (
        ("Procedure", escape(context.procedure)),
        ("Question", escape(context.clinical_question)),
        ("History", escape(context.history)),
        ("Patient", ", ".join(part for part in patient if part)),
    )


def prompt_ids(context: ClinicalContext, task: str, encoder: Encoder) -> list[int]:
    """Token ids of the fields, one on each line, and of the title that the answer starts with."""
    return _field_ids(context, encoder) + encoder.encode(f"{task}:\n")


def conclusion_ids(findings: str, context: ClinicalContext, encoder: Encoder) -> list[int]:
    """Token ids of the fields, of the dictated findings on one line, and of the Impression's title.

    The findings are escaped as the words of an order are, and never cut: raises Unfit when they are
    empty or too long.
    """
    if len(findings) > FINDINGS_CHARACTERS:
        raise Unfit(
            f"Expected dictated findings of at most {FINDINGS_CHARACTERS} characters, came more; they are "
            "not cut, for a conclusion of a part of them could leave out what matters."
        )
    words = escape(findings, FINDINGS_CHARACTERS * _LONGEST_COMPOSITION)
    if not words:
        raise Unfit("Expected dictated findings to draw a conclusion from, came none.")
    ids = encoder.encode(f" {words}")
    if len(ids) > FINDINGS_TOKENS:
        raise Unfit(
            f"Expected dictated findings of at most {FINDINGS_TOKENS} tokens, came more; they are not cut, "
            "for a conclusion of a part of them could leave out what matters."
        )
    line = [*encoder.encode(f"{FINDINGS}:"), *ids, *encoder.encode("\n")]
    return [*_field_ids(context, encoder), *line, *encoder.encode(f"{IMPRESSION}:\n")]


def clinical_information(context: ClinicalContext) -> tuple[str, ...]:
    """What the order says, as sentences for the reader: clean, but with its brackets."""
    parts = (
        ("", clean(context.procedure)),
        ("Question: ", clean(context.clinical_question)),
        ("History: ", clean(context.history)),
    )
    return tuple(
        f"{label}{words}{'' if words[-1] in '.?!…' else '.'}" for label, words in parts if words.strip(". ")
    )


def _field_ids(context: ClinicalContext, encoder: Encoder) -> list[int]:
    ids: list[int] = []
    for name, words in fields(context):
        ids += [*encoder.encode(f"{name}:"), *_capped(encoder.encode(f" {words}")), *encoder.encode("\n")]
    return ids


def _capped(ids: Sequence[int]) -> list[int]:
    return list(ids[:FIELD_TOKENS])
