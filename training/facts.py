"""A fact record: what is wrong in one synthetic chest, from which volume and report are both made."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

import numpy as np

from model.facts import BY_NAME, CATALOGUE, LEFT, MEASURED, RIGHT, SIZED, SIZES, ZONED, ZONES, head_name

SMALLEST_MM, LARGEST_MM = 10, 30
"""Diameters of nodules that are drawn."""
SMALL_MM = 17
"""A nodule of at most this diameter is small."""
NODULE = "pulmonary nodule"

NORMAL_SHARE = 0.2
_WEIGHTS = {
    "pleural effusion": 0.17,
    "pneumothorax": 0.14,
    "consolidation": 0.15,
    "atelectasis": 0.13,
    # The smallest thing to see: it needs more examples than the others.
    "pulmonary nodule": 0.24,
    "cardiomegaly": 0.11,
    "emphysema": 0.11,
}
_BILATERAL_SHARE = {"pleural effusion": 0.25, "atelectasis": 0.15, "consolidation": 0.15}


@dataclass(frozen=True, slots=True)
class Fact:
    """One finding of a record."""

    finding: str
    sides: tuple[str, ...] = ()
    """("right",), ("left",), both, or empty for a finding without a side."""
    size: str = ""
    """small, moderate or large for the findings in SIZED, else empty."""
    zone: str = ""
    """upper or lower for the findings in ZONED, else empty."""
    millimetres: int | None = None
    """Diameter for the findings in MEASURED, else None."""

    @property
    def heads(self) -> tuple[str, ...]:
        """The finding heads that this fact makes true."""
        return tuple(head_name(self.finding, side) for side in self.sides or ("",))


@dataclass(frozen=True, slots=True)
class FactRecord:
    """All that is wrong in one chest; nothing is a fact too."""

    facts: tuple[Fact, ...] = ()

    @property
    def heads(self) -> frozenset[str]:
        """The finding heads that are true."""
        return frozenset(head for fact in self.facts for head in fact.heads)

    def only(self, heads: Container[str]) -> FactRecord:
        """The record without the findings and sides whose heads are not among these."""
        kept = []
        for fact in self.facts:
            sides = tuple(side for side in fact.sides if head_name(fact.finding, side) in heads)
            if sides or (not fact.sides and fact.finding in heads):
                kept.append(replace(fact, sides=sides))
        return FactRecord(tuple(kept))


def draw(rng: np.random.Generator) -> FactRecord:
    """Draw a record: nothing in a fifth of the cases, else one to three different findings."""
    if rng.random() < NORMAL_SHARE:
        return FactRecord()
    names = list(_WEIGHTS)
    weights = np.array([_WEIGHTS[name] for name in names])
    count = 1 + int(rng.choice(3, p=[0.5, 0.35, 0.15]))
    chosen = rng.choice(len(names), size=count, replace=False, p=weights / weights.sum())
    return FactRecord(tuple(draw_fact(rng, names[i]) for i in sorted(chosen)))


def draw_fact(rng: np.random.Generator, finding: str, sides: Sequence[str] = ()) -> Fact:
    """Draw the particulars of one finding; sides fixes them where they are given."""
    if not BY_NAME[finding].lateral:
        return Fact(finding)
    side, bilateral = (RIGHT, LEFT)[int(rng.integers(2))], rng.random() < _BILATERAL_SHARE.get(finding, 0.0)
    size = SIZES[int(rng.integers(3))] if finding in SIZED else ""
    zone = ZONES[int(rng.integers(2))] if finding in ZONED else ""
    diameter = int(rng.integers(SMALLEST_MM, LARGEST_MM + 1)) if finding in MEASURED else None
    return Fact(finding, tuple(sides) or ((RIGHT, LEFT) if bilateral else (side,)), size, zone, diameter)


def with_small_nodule(record: FactRecord, rng: np.random.Generator) -> FactRecord:
    """The record with a nodule of at most SMALL_MM in place of any that it has."""
    nodule = replace(draw_fact(rng, NODULE), millimetres=int(rng.integers(SMALLEST_MM, SMALL_MM + 1)))
    others = {fact.finding: fact for fact in record.facts}
    return FactRecord(
        tuple((others | {NODULE: nodule})[f.name] for f in CATALOGUE if f.name in {*others, NODULE})
    )
