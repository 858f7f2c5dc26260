"""Pairs for filling templates: for each field of a template, the value that a fact record makes right."""

from __future__ import annotations

from dataclasses import dataclass

from model.facts import SIDES
from model.prompt_words import prompt_words
from model.prompts import Encoder, prompt_ids
from model.structured.filling import choice_text
from model.structured.support import Claim, claim_of, read, supported
from model.structured.template import CHOICE, NUMBER, Field, Template
from model.study import ClinicalContext
from model.tasks import STRUCTURE
from training.facts import Fact, FactRecord


@dataclass(frozen=True, slots=True)
class Pair:
    """One field, the prompt that asks for it and the answer that is right."""

    field: Field
    prompt: tuple[int, ...]
    answer: str


def right_values(template: Template, record: FactRecord, report: str, language: str) -> dict[str, str]:
    """Identifier of each CHOICE and NUMBER field -> its right value; empty where the report says nothing.

    What is there comes from the record, from which the report was made. What is not there counts only where
    the report denies it, for a report need not speak of everything; numbers must stand in it.
    """
    known = read(report, language)
    facts = {fact.finding: fact for fact in record.facts}
    values: dict[str, str] = {}
    for field in template.fields:
        said = supported(field, template.language, known)
        if field.kind == NUMBER:
            values[field.identifier] = next(iter(said)) if len(said) == 1 else ""
        elif field.kind == CHOICE:
            claims = {option: claim_of(field.label, option, template.language) for option in field.options}
            right = [
                option
                for option, claim in claims.items()
                if claim is not None
                and (_true(claim, facts.get(claim.finding)) if claim.present else option in said)
            ]
            values[field.identifier] = right[0] if len(right) == 1 else ""
    return values


def pairs(
    template: Template, record: FactRecord, report: str, language: str, encoder: Encoder
) -> tuple[Pair, ...]:
    """A prompt and its answer for each field of `right_values`, in the order of the template."""
    values = right_values(template, record, report, language)
    return tuple(
        Pair(
            field,
            tuple(prompt_ids(STRUCTURE, ClinicalContext(), language, encoder, report, field)),
            answer_of(field, value, language),
        )
        for field in template.fields
        if (value := values.get(field.identifier)) is not None
    )


def answer_of(field: Field, value: str, language: str) -> str:
    """What is answered for a field of this value; an empty one is what the report does not state."""
    return choice_text(field, value) if value else prompt_words(language).not_stated


def _true(claim: Claim, fact: Fact | None) -> bool:
    """Whether what a claim says is there is what the record says: its sides are all of them, not some."""
    return (
        fact is not None
        and claim.sides in ((), tuple(side for side in SIDES if side in fact.sides))
        and claim.size in ("", fact.size)
        and claim.zone in ("", fact.zone)
    )
