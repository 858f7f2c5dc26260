"""The cases that went most wrong, with what is wrong in each in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from training.facts import Fact, FactRecord
from training.judging.judged import Judged

WORST = 20


def worst_cases(judged: Sequence[Judged], count: int = WORST) -> list[dict[str, Any]]:
    """The worst first: wrong findings and sides weigh most, then sizes and zones, then millimetres; of equal
    ones the surest draft comes first. Cases in which nothing is wrong are left out."""
    rated = [(severity(one), one) for one in judged]
    wrong = sorted(
        (pair for pair in rated if any(pair[0])),
        key=lambda pair: (*(-part for part in pair[0]), -(pair[1].confidence or 0.0), pair[1].seed),
    )
    return [
        {
            "seed": one.seed,
            "truth": in_words(one.truth),
            "said": in_words(one.said),
            "faults": faults(one),
            "confidence": one.confidence,
            "abstained": one.abstained,
            "text": one.text,
        }
        for _, one in wrong[:count]
    ]


def severity(one: Judged) -> tuple[int, int, int]:
    """How many findings and sides are wrong, how many sizes and zones, and by how many millimetres in all."""
    pairs = _pairs(one)
    words = sum((t.size != s.size) + (t.zone != s.zone) for t, s in pairs)
    return len(one.truth.heads ^ one.said.heads), words, sum(_millimetres_off(t, s) for t, s in pairs)


def faults(one: Judged) -> list[str]:
    """What is wrong, one fault a line."""
    found = [f"missed: {head}" for head in sorted(one.truth.heads - one.said.heads)]
    found += [f"added: {head}" for head in sorted(one.said.heads - one.truth.heads)]
    for true, said in _pairs(one):
        if true.size != said.size:
            found.append(f"{true.finding}: said {said.size or 'no size'}, is {true.size}")
        if true.zone != said.zone:
            found.append(f"{true.finding}: said {said.zone or 'no'} zone, is {true.zone}")
        if _millimetres_off(true, said):
            stated = "no diameter" if said.millimetres is None else f"{said.millimetres:g} mm"
            found.append(f"{true.finding}: said {stated}, is {true.millimetres} mm")
    return found


def in_words(record: FactRecord) -> str:
    """A record on one line."""
    return "; ".join(_fact_in_words(fact) for fact in record.facts) or "nothing abnormal"


def _fact_in_words(fact: Fact) -> str:
    measure = "" if fact.millimetres is None else f"{fact.millimetres:g} mm"
    zone = fact.zone and f"{fact.zone} zone"
    return " ".join(
        part for part in (fact.size, " and ".join(fact.sides), zone, fact.finding, measure) if part
    )


def _pairs(one: Judged) -> list[tuple[Fact, Fact]]:
    said = {fact.finding: fact for fact in one.said.facts}
    return [(fact, said[fact.finding]) for fact in one.truth.facts if fact.finding in said]


def _millimetres_off(true: Fact, said: Fact) -> int:
    """A diameter that was not said is off by the whole of it."""
    if true.millimetres is None:
        return 0
    return round(abs(true.millimetres - (said.millimetres or 0)))
