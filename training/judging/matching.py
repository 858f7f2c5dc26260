"""What was said held against what is there, as sums of ones and zeros.

A record becomes a row of marks: a finding is there, a head is true, a size is said. Where truth and draft
have the same mark, they agree. Every figure is made of three sums over cases: marks in both, marks of the
truth, marks of what was said. Of shuffled cases, which hold each draft against the truth of another, the
sums have an expectation that needs no shuffling: each other truth is met equally often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.facts import BY_NAME, HEADS, MEASURED, SIZED, ZONED
from training.facts import Fact, FactRecord
from training.judging.intervals import Array, Figure, figure, mean, mean_of_known, median, ratio

Mark = tuple[str, str, str]
"""Kind (finding, head, sided, sides, sized, size, zoned, zone, all), finding, value."""

_ALWAYS: tuple[Mark, ...] = (
    *(("finding", name, "") for name in BY_NAME),
    *(("head", head, "") for head in HEADS),
)


@dataclass(frozen=True, slots=True)
class Marks:
    """Ones and zeros of some cases."""

    columns: tuple[Mark, ...]
    truth: Array
    """(cases, columns)."""
    said: Array
    """(cases, columns)."""

    def real(self, weighted: Array) -> Sums:
        """Each draft against the truth of its own case."""
        return Sums(
            self.columns, weighted @ (self.truth * self.said), weighted @ self.truth, weighted @ self.said
        )

    def shuffled(self, weighted: Array) -> Sums:
        """Each draft against the truth of another case: the expectation over all ways in which no case
        keeps its own (derangements). Counts need not be whole numbers."""
        truth, said = weighted @ self.truth, weighted @ self.said
        cases = weighted.sum(axis=1, keepdims=True)
        itself = np.square(weighted)
        pairs = np.square(cases) - itself.sum(axis=1, keepdims=True)
        both = (truth * said - itself @ (self.truth * self.said)) * ratio(cases, pairs)
        return Sums(self.columns, both, truth, said)


@dataclass(frozen=True, slots=True)
class Sums:
    """Counts of marks, one row for each resample."""

    columns: tuple[Mark, ...]
    both: Array
    """(1 + resamples, columns)."""
    truth: Array
    said: Array

    def of(self, kind: str, finding: str = "") -> tuple[Array, Array, Array]:
        """(both, truth, said), each (1 + resamples, columns of this kind), of one finding where given."""
        at = [i for i, c in enumerate(self.columns) if c[0] == kind and (not finding or c[1] == finding)]
        return self.both[:, at], self.truth[:, at], self.said[:, at]


def marks_of(truth: Sequence[FactRecord], said: Sequence[FactRecord]) -> Marks:
    """The marks of cases. Raises ValueError when there are not as many of one as of the other."""
    rows = [(_marks(t), _marks(s)) for t, s in zip(truth, said, strict=True)]
    seen = {mark for true, _ in rows for mark in true} - set(_ALWAYS)
    columns = (*_ALWAYS, *sorted(seen))
    place = {mark: i for i, mark in enumerate(columns)}
    arrays = np.zeros((2, len(rows), len(columns)))
    for row, pair in enumerate(rows):
        for which, marks in enumerate(pair):
            arrays[which, row, [place[mark] for mark in marks if mark in place]] = 1
    return Marks(columns, arrays[0], arrays[1])


def statement_figures(sums: Sums, cases: int) -> dict[str, Figure]:
    """Figures of what is stated, over all findings; shares of the rightly stated where named so."""
    finding, head = sums.of("finding"), sums.of("head")
    per_finding = ratio(2 * finding[0], finding[1] + finding[2])
    everything = sums.of("all")[0].sum(axis=1)
    return {
        "finding_f1_micro": figure(_f1(finding), finding[1][0].sum()),
        "finding_f1_macro": figure(mean_of_known(per_finding), finding[1][0].sum()),
        "finding_precision": figure(ratio(finding[0].sum(1), finding[2].sum(1)), finding[2][0].sum()),
        "finding_recall": figure(ratio(finding[0].sum(1), finding[1].sum(1)), finding[1][0].sum()),
        "head_f1_micro": figure(_f1(head), head[1][0].sum()),
        "head_f1_macro": figure(mean_of_known(ratio(2 * head[0], head[1] + head[2])), head[1][0].sum()),
        "side_accuracy": _share(sums, "sides", "sided"),
        "size_accuracy": _share(sums, "size", "sized"),
        "zone_accuracy": _share(sums, "zone", "zoned"),
        "exact": figure(ratio(everything, sums.of("all")[1].sum(axis=1)), cases),
    }


def figures_of_each(sums: Sums) -> dict[str, dict[str, Figure]]:
    """Precision, recall and F1 of every finding, whatever its side, and its side accuracy."""
    found: dict[str, dict[str, Figure]] = {}
    for name in BY_NAME:
        both, truth, said = (part[:, 0] for part in sums.of("finding", name))
        found[name] = {
            "precision": figure(ratio(both, said), said[0]),
            "recall": figure(ratio(both, truth), truth[0]),
            "f1": figure(ratio(2 * both, truth + said), truth[0]),
        }
        if BY_NAME[name].lateral:
            found[name]["side_accuracy"] = _share(sums, "sides", "sided", name)
    return found


def measured_pairs(
    truth: Sequence[FactRecord], said: Sequence[FactRecord]
) -> tuple[NDArray[np.int64], Array, Array]:
    """(case, true, said) in millimetres of the rightly stated measured findings that were given a measure."""
    found = [
        (row, t.millimetres, s.millimetres)
        for row, pair in enumerate(zip(truth, said, strict=True))
        for t, s in _both(*pair)
        if t.millimetres is not None and s.millimetres is not None
    ]
    columns = np.array(found, dtype=np.float64).reshape(-1, 3)
    return columns[:, 0].astype(np.int64), columns[:, 1], columns[:, 2]


def measure_figures(
    weighted: Array, truth: Sequence[FactRecord], said: Sequence[FactRecord]
) -> dict[str, Figure]:
    """Errors of the stated diameters in millimetres, and how many of those due were stated."""
    case, true, stated = measured_pairs(truth, said)
    errors = np.abs(stated - true)
    due = [
        row
        for row, pair in enumerate(zip(truth, said, strict=True))
        for t, _ in _both(*pair)
        if t.millimetres
    ]
    rows = np.array(due, dtype=np.int64)
    top = weighted[:, case].sum(axis=1)
    return {
        "mean_absolute_error_mm": figure(mean(weighted, errors, case), len(errors)),
        "median_absolute_error_mm": figure(median(weighted, errors, case), len(errors)),
        "mean_error_mm": figure(mean(weighted, stated - true, case), len(errors)),
        "stated": figure(ratio(top, weighted[:, rows].sum(axis=1)), len(due)),
    }


def _both(truth: FactRecord, said: FactRecord) -> list[tuple[Fact, Fact]]:
    stated = {fact.finding: fact for fact in said.facts}
    return [
        (fact, stated[fact.finding])
        for fact in truth.facts
        if fact.finding in stated and fact.finding in MEASURED
    ]


def _marks(record: FactRecord) -> set[Mark]:
    marks: set[Mark] = {("head", head, "") for head in record.heads}
    marks.add(("all", "", "; ".join(sorted(record.heads))))
    for fact in record.facts:
        name = fact.finding
        marks.add(("finding", name, ""))
        # A draft that says no size counts among those asked for one: the marks sized, sided and zoned say
        # that the finding should have it, and whether it does is in the mark of its value.
        if BY_NAME[name].lateral:
            marks |= {("sided", name, ""), ("sides", name, " and ".join(fact.sides))}
        if name in SIZED:
            marks |= {("sized", name, ""), ("size", name, fact.size)}
        if name in ZONED:
            marks |= {("zoned", name, ""), ("zone", name, fact.zone)}
    return marks


def _f1(counts: tuple[Array, Array, Array]) -> Array:
    both, truth, said = (part.sum(axis=1) for part in counts)
    return ratio(2 * both, truth + said)


def _share(sums: Sums, value: str, due: str, finding: str = "") -> Figure:
    stated = sums.of(due, finding)[0].sum(axis=1)
    return figure(ratio(sums.of(value, finding)[0].sum(axis=1), stated), stated[0])
