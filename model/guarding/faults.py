"""What is wrong with a sentence, given which finding heads count as true. No torch here."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from model.facts import BY_NAME, SIDES, head_name
from model.guarding.order import examined_side, names_organ_of_other_sex, sides_in
from model.readings import HeadReading, Readings
from model.statements import Statement, measurements_of, speaks_of_prior, statements_of
from model.study import ClinicalContext

FINDING = "finding"
"""States what is not there."""
SIDE = "side"
"""States it on a side where it is not; it is on another one."""
NO_SIDE = "no side"
"""States a finding that has a side without one. No false claim, but the side is what a reader acts on."""
DENIAL = "denial"
"""Denies what is there."""
SIZE, ZONE = "size", "zone"
"""Says another size or zone than was read, or one that was not read."""
MEASUREMENT = "measurement"
"""Gives millimetres that are not those read, or of something that was not measured."""
PRIOR = "prior"
"""Compares with a prior report that does not exist."""
SEX = "sex"
"""Names an organ that the patient does not have."""
ORDER_SIDE = "order side"
"""Speaks of the other side than the one examined."""
NO_HEAD = "no head"
"""Speaks of a finding that no head looks for."""
NO_SUPPORT = "no support"
"""Says nothing that anything could support."""

UNPROVEN = frozenset({ORDER_SIDE, NO_HEAD, NO_SUPPORT})
"""Faults that the readings cannot put right: such a sentence is marked, not rewritten."""

TOLERANCE_MM = 2.0
TOLERANCE_SHARE = 0.15
"""Millimetres may differ by the larger of these two: readers of a CT differ by about as much."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One claim of a sentence that does not hold."""

    reason: str
    """One of the words above."""
    finding: str = ""
    """Empty where the fault is the whole sentence's."""


def faults_of(
    text: str, readings: Readings, true: Collection[str], context: ClinicalContext, language: str
) -> tuple[Fault, ...]:
    """Every fault of a sentence, each once. `true` are the heads that count as true."""
    said = statements_of(text, language)
    found = [fault for one in said for fault in _statement_faults(one, readings, true)]
    found += _invented_measurements(text, said, readings)
    of_prior = speaks_of_prior(text, language)
    if of_prior and not context.prior.strip():
        found.append(Fault(PRIOR))
    if names_organ_of_other_sex(text, context.sex):
        found.append(Fault(SEX))
    examined = examined_side(context.procedure)
    if examined and sides_in(text) and examined not in sides_in(text):
        found.append(Fault(ORDER_SIDE))
    if not said and not of_prior:
        found.append(Fault(NO_SUPPORT))
    return tuple(dict.fromkeys(found))


def sides_of(finding: str, heads: Collection[str]) -> tuple[str, ...]:
    """The sides on which a finding has a head among these; an empty word where it has no side."""
    return tuple(side for side in (*SIDES, "") if head_name(finding, side) in heads)


def denies_everything(said: Sequence[Statement]) -> bool:
    """Whether a sentence denies everything at once ("No acute abnormality."): nothing in particular."""
    return {s.finding for s in said if not s.present} == set(BY_NAME) and not any(s.present for s in said)


def fits(millimetres: float, reading: HeadReading) -> bool:
    """Whether millimetres in words are those that a head measured."""
    measured = reading.millimetres
    return measured is not None and abs(millimetres - measured) <= max(
        TOLERANCE_MM, TOLERANCE_SHARE * measured
    )


def _statement_faults(one: Statement, readings: Readings, true: Collection[str]) -> list[Fault]:
    known, there = sides_of(one.finding, readings), sides_of(one.finding, true)
    if not known:
        return [Fault(NO_HEAD, one.finding)]
    if not one.present:
        denied = set(one.sides or known)
        return [Fault(DENIAL, one.finding)] if denied & set(there) else []
    if not there:
        return [Fault(FINDING, one.finding)]
    if not one.sides and "" not in known:
        return [Fault(NO_SIDE, one.finding)]
    # A finding without a side may still be told of one ("emphysema of the left lung"): its only head counts.
    sides = there if "" in known else one.sides
    if not set(sides) <= set(there):
        return [Fault(SIDE, one.finding)]
    read = [readings[head_name(one.finding, side)] for side in sides]
    wrong = [
        (SIZE, one.size and any(reading.size != one.size for reading in read)),
        (ZONE, one.zone and any(reading.zone != one.zone for reading in read)),
        (
            MEASUREMENT,
            one.millimetres is not None and not any(fits(one.millimetres, reading) for reading in read),
        ),
    ]
    return [Fault(reason, one.finding) for reason, is_wrong in wrong if is_wrong]


def _invented_measurements(text: str, said: Sequence[Statement], readings: Readings) -> list[Fault]:
    """A fault where any length in the sentence is not one measured of what the sentence speaks of."""
    about = [
        readings[head_name(one.finding, side)]
        for one in said
        if one.present
        for side in sides_of(one.finding, readings)
    ]
    lengths = measurements_of(text)
    return [] if all(any(fits(length, one) for one in about) for length in lengths) else [Fault(MEASUREMENT)]
