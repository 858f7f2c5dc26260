"""Judged cases made up from a seed, as of a drafter that is right for the most part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from model.facts import HEADS
from model.sections import COMPARISON, FINDINGS, IMPRESSION
from training.facts import Fact, FactRecord, draw
from training.judging.judged import Judged, Pointed, Spoken
from training.judging.worst import in_words


def judged_case(seed: int, skill: float = 0.9) -> Judged:
    """One case; each fact is stated with probability `skill`, and its particulars with the same."""
    rng = np.random.default_rng(seed)
    truth = draw(rng)
    said = FactRecord(tuple(_said(fact, rng, skill) for fact in truth.facts if rng.random() < skill))
    probabilities = {
        head: float(np.clip(rng.normal(0.92 if head in truth.heads else 0.06, 0.08), 0.001, 0.999))
        for head in HEADS
    }
    right = truth.heads & said.heads
    text = f"Seen: {in_words(said)}."
    return Judged(
        seed=seed,
        truth=truth,
        said=said,
        concluded=said,
        written=said,
        findings_text=text,
        text=f"{COMPARISON}\nNo prior available.\n\n{FINDINGS}\n{text}\n\n{IMPRESSION}\n{text}",
        probabilities=probabilities,
        confidence=float(np.prod([max(p, 1 - p) for p in probabilities.values()])),
        abstained=bool(rng.random() < 0.04),
        unsupported_before=int(rng.random() < 0.3),
        unsupported_after=int(rng.random() < 0.05),
        spoken=tuple(Spoken(float(rng.uniform(0.6, 1)), bool(rng.random() < 0.85)) for _ in range(4)),
        pointed=tuple(
            Pointed(
                head,
                True,
                hit=bool(rng.random() < skill),
                chance=bool(rng.random() < 0.3),
                overlap=float(rng.uniform(0.3, 0.9)),
                held=float(rng.uniform(0.6, 1)),
                drop=float(rng.beta(6, 2)),
                random_drop=float(abs(rng.normal(0, 0.04))),
            )
            for head in sorted(right)
        ),
        tokens=int(rng.integers(60, 110)),
    )


def judged_cases(count: int, skill: float = 0.9) -> list[Judged]:
    """Cases of consecutive seeds."""
    return [judged_case(seed, skill) for seed in range(count)]


def _said(fact: Fact, rng: np.random.Generator, skill: float) -> Fact:
    if fact.sides and rng.random() > skill:
        fact = replace(fact, sides=("left",) if fact.sides == ("right",) else ("right",))
    if fact.size and rng.random() > skill:
        fact = replace(fact, size="small")
    if fact.millimetres is not None:
        fact = replace(fact, millimetres=max(1, fact.millimetres + round(rng.normal(0, 1.5))))
    return fact
