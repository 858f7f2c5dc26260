"""How well drafts state what is in the image: facts are counted, not words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from model.facts import BY_NAME
from training.facts import FactRecord


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores over some cases; each between 0 and 1."""

    finding_f1: float
    """Micro-averaged over findings, whatever their side."""
    side_accuracy: float
    """Of the findings with a side that are rightly stated: the share with exactly the right sides."""
    head_f1: float
    """Micro-averaged over pairs of finding and side: a wrong side is an error twice."""
    size_accuracy: float
    """Of the rightly stated findings that have a size: the share with the right one."""
    zone_accuracy: float
    """Of the rightly stated findings that have a zone: the share with the right one."""
    exact: float
    """Share of cases in which every finding and every side is right and nothing is added."""

    def to_json(self) -> dict[str, float]:
        """Rounded values by name."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def score(truth: Sequence[FactRecord], said: Sequence[FactRecord]) -> Scores:
    """Scores of what was said about each case."""
    pairs = list(zip(truth, said, strict=True))
    both = [
        (_by_name(t)[name], _by_name(s)[name])
        for t, s in pairs
        for name in _by_name(t).keys() & _by_name(s).keys()
    ]
    lateral = [(t, s) for t, s in both if BY_NAME[t.finding].lateral]
    return Scores(
        finding_f1=_f1([(set(_by_name(t)), set(_by_name(s))) for t, s in pairs]),
        side_accuracy=_share([t.sides == s.sides for t, s in lateral]),
        head_f1=_f1([(set(t.heads), set(s.heads)) for t, s in pairs]),
        size_accuracy=_share([t.size == s.size for t, s in both if t.size]),
        zone_accuracy=_share([t.zone == s.zone for t, s in both if t.zone]),
        exact=_share([t.heads == s.heads for t, s in pairs]),
    )


def finding_f1_of_each(truth: Sequence[FactRecord], said: Sequence[FactRecord]) -> dict[str, float]:
    """F1 of every finding of the catalogue by itself."""
    pairs = [(set(_by_name(t)), set(_by_name(s))) for t, s in zip(truth, said, strict=True)]
    return {name: round(_f1([(t & {name}, s & {name}) for t, s in pairs]), 4) for name in BY_NAME}


def interval(
    truth: Sequence[FactRecord],
    said: Sequence[FactRecord],
    of: Callable[[Scores], float],
    seed: int = 0,
    resamples: int = 500,
) -> tuple[float, float]:
    """95 % bootstrap interval of one score, cases drawn with replacement."""
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        index = rng.integers(len(truth), size=len(truth))
        values.append(of(score([truth[i] for i in index], [said[i] for i in index])))
    low, high = np.percentile(values, [2.5, 97.5])
    return round(float(low), 4), round(float(high), 4)


def _by_name(record: FactRecord) -> dict[str, Any]:
    return {fact.finding: fact for fact in record.facts}


def _f1(pairs: Sequence[tuple[set[str], set[str]]]) -> float:
    right = sum(len(t & s) for t, s in pairs)
    total = sum(len(t) + len(s) for t, s in pairs)
    return 2 * right / total if total else 1.0


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits) if hits else 0.0
