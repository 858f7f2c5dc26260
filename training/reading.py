"""Facts read back from the text of a report, to judge it by what it says and not by its words."""

from __future__ import annotations

from collections.abc import Iterable

from model.facts import CATALOGUE
from model.sections import sentences_of
from model.statements import Statement, statements_of
from training.facts import Fact, FactRecord


def read_statements(bodies: Iterable[str]) -> list[Statement]:
    """All statements of some sections."""
    return [statement for body in bodies for text in sentences_of(body) for statement in statements_of(text)]


def read_record(bodies: Iterable[str]) -> FactRecord:
    """The record that a report states: sides join, of sizes and zones the first counts."""
    facts: dict[str, Fact] = {}
    for said in read_statements(bodies):
        if not said.present:
            continue
        before = facts.get(said.finding, Fact(said.finding))
        sides = tuple(side for side in ("right", "left") if side in before.sides or side in said.sides)
        facts[said.finding] = Fact(said.finding, sides, before.size or said.size, before.zone or said.zone)
    return FactRecord(tuple(facts[f.name] for f in CATALOGUE if f.name in facts))


def contradictions(bodies: Iterable[str]) -> set[str]:
    """Findings that a report both states and denies."""
    said = read_statements(bodies)
    return {s.finding for s in said if s.present} & {s.finding for s in said if not s.present}
