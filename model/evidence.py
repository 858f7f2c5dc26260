"""What each sentence of a draft rests on: the finding heads that speak of the same things. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model.facts import head_name, split_head_name
from model.statements import Statement, statements_of
from model.study import Evidence


@dataclass(frozen=True, slots=True)
class HeadReading:
    """What one finding head saw."""

    probability: float
    """Between 0 and 1."""
    slice_index: int
    """The slice that shows it best, as an index into Volume.voxels."""


def evidence_of(sentence: str, readings: Mapping[str, HeadReading]) -> tuple[Evidence, ...]:
    """The evidence of one sentence: an entry for each finding and side that it states or denies.

    The probability is what the head gave, whether or not it agrees with the sentence: a draft that says
    what the heads do not see is for the guard to catch, and evidence that hid it would blind the guard.
    A sentence that speaks of no finding rests on the template.
    """
    found = [
        Evidence("image", *split_head_name(head), readings[head].probability, readings[head].slice_index)
        for statement in statements_of(sentence)
        for head in _heads(statement, readings)
    ]
    return tuple(dict.fromkeys(found)) or (Evidence(kind="template"),)


def _heads(statement: Statement, readings: Mapping[str, HeadReading]) -> list[str]:
    """The heads that a statement is about; without a side, the one of its sides that is surest."""
    if statement.finding in readings:
        return [statement.finding]
    if statement.present and statement.sides:
        named = [head_name(statement.finding, side) for side in statement.sides]
        return [head for head in named if head in readings]
    sides = [head for head in readings if split_head_name(head)[0] == statement.finding]
    return [max(sides, key=lambda head: readings[head].probability)] if sides else []
