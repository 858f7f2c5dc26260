"""Facts read back from the text of a report, to judge it by what it says and not by its words."""

from __future__ import annotations

from collections.abc import Iterable

from model.facts import CATALOGUE, MEASURED
from model.sections import sentences_of
from model.statements import Statement, statements_of
from training.facts import Fact, FactRecord


def read_statements(bodies: Iterable[str], language: str = "en") -> list[Statement]:
    """All statements of some sections."""
    return [
        statement
        for body in bodies
        for text in sentences_of(body, language)
        for statement in statements_of(text, language)
    ]


def read_record(bodies: Iterable[str], language: str = "en") -> FactRecord:
    """The record that a report states: sides join; of sizes, zones and diameters the first counts."""
    facts: dict[str, Fact] = {}
    for said in read_statements(bodies, language):
        if not said.present:
            continue
        before = facts.get(said.finding, Fact(said.finding))
        sides = tuple(side for side in ("right", "left") if side in before.sides or side in said.sides)
        length = said.millimetres if said.finding in MEASURED else None
        facts[said.finding] = Fact(
            said.finding,
            sides,
            before.size or said.size,
            before.zone or said.zone,
            before.millimetres or (None if length is None else round(length)),
        )
    return FactRecord(tuple(facts[f.name] for f in CATALOGUE if f.name in facts))


def contradictions(bodies: Iterable[str], language: str = "en") -> set[str]:
    """Findings that a report both states and denies."""
    said = read_statements(bodies, language)
    return {s.finding for s in said if s.present} & {s.finding for s in said if not s.present}
