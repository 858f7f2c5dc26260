"""Whether what a draft believes of itself is true: calibration, risk and coverage, support of its claims."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.judging.intervals import Array, Figure, figure, mean, ratio
from training.judging.judged import Judged

BINS = 15
COVERAGES = (0.8, 1.0)

Flat = tuple[Array, Array, NDArray[np.int64]]
"""Probabilities (items,), whether they came true (items,), and the case of each item."""


def heads_flat(judged: Sequence[Judged]) -> Flat:
    """Every finding head of every case, as an item."""
    items = [
        (p, float(head in one.truth.heads), row)
        for row, one in enumerate(judged)
        for head, p in (one.probabilities or {}).items()
    ]
    return _flat(items)


def sentences_flat(judged: Sequence[Judged]) -> Flat:
    """Every sentence that has a confidence, as an item."""
    return _flat([(s.confidence, float(s.right), row) for row, one in enumerate(judged) for s in one.spoken])


def calibration_figures(weighted: Array, flat: Flat) -> dict[str, Figure]:
    """Expected calibration error over bins of equal width, and Brier score."""
    p, true, case = flat
    if not len(p):
        nothing = figure(np.full(len(weighted), np.nan), 0)
        return {"expected_calibration_error": nothing, "brier": nothing}
    counted, believed, came = (weighted @ part for part in _binned(p, true, case, weighted.shape[1]))
    gap = np.abs(believed - came).sum(axis=1)
    return {
        "expected_calibration_error": figure(ratio(gap, counted.sum(axis=1)), len(p)),
        "brier": figure(mean(weighted, np.square(p - true), case), len(p)),
    }


def reliability(flat: Flat) -> list[dict[str, float]]:
    """Of each bin that holds something: how much, mean probability, and share that came true."""
    p, true, _ = flat
    counted, believed, came = (part[0] for part in _binned(p, true, np.zeros(len(p), dtype=np.int64), 1))
    return [
        {
            "count": int(count),
            "believed": round(float(sum_p / count), 4),
            "true": round(float(sum_true / count), 4),
        }
        for count, sum_p, sum_true in zip(counted, believed, came, strict=True)
        if count
    ]


def risk_figures(weighted: Array, judged: Sequence[Judged]) -> dict[str, Any]:
    """How often drafts are wholly right when only the surest are kept.

    `area`: of the risk (share of drafts that are not wholly right) over coverage, less is better. `curve`:
    (coverage, risk) of the drafts from the surest on, at most 200 points. Drafts of equal confidence keep
    the order of their cases. Figures of drafts without a confidence are nothing.
    """
    known = [row for row, one in enumerate(judged) if one.confidence is not None]
    if not known:
        nothing = figure(np.full(len(weighted), np.nan), 0)
        return {"area": nothing, "curve": []} | {_accuracy_name(c): nothing for c in COVERAGES}
    confidence = np.array([judged[row].confidence for row in known], dtype=np.float64)
    order = np.argsort(-confidence, kind="stable")
    wrong = np.array([not judged[row].exact for row in known], dtype=np.float64)[order]
    counted = weighted[:, np.array(known)[order]]
    kept, errors = np.cumsum(counted, axis=1), np.cumsum(counted * wrong, axis=1)
    total, risk = kept[:, -1:], ratio(errors, kept)
    area = ratio((counted * np.where(kept > 0, risk, 0.0)).sum(axis=1), total[:, 0])
    found: dict[str, Any] = {"area": figure(area, len(known))}
    for coverage in COVERAGES:
        # The first draft at which this share of all is kept; half a draft's room for sums of floats.
        at = (kept >= coverage * total - 1e-9).argmax(axis=1)[:, None]
        found[_accuracy_name(coverage)] = figure(
            1 - np.take_along_axis(risk, at, axis=1)[:, 0], round(coverage * len(known))
        )
    step = max(1, len(known) // 200)
    at_points = sorted({*range(0, len(known), step), len(known) - 1})
    found["curve"] = [(round((i + 1) / len(known), 4), round(float(risk[0, i]), 4)) for i in at_points]
    return found


def support_figures(weighted: Array, judged: Sequence[Judged]) -> dict[str, Figure]:
    """Unsupported claims a report, and the share of reports with any; before and after the guard."""
    found = {}
    for name in ("before", "after"):
        counts = [
            (row, count)
            for row, one in enumerate(judged)
            if (count := getattr(one, f"unsupported_{name}")) is not None
        ]
        case = np.array([row for row, _ in counts], dtype=np.int64)
        claims = np.array([count for _, count in counts], dtype=np.float64)
        found[f"per_report_{name}"] = figure(mean(weighted, claims, case), len(counts))
        any_at_all = (claims > 0).astype(np.float64)
        found[f"reports_with_any_{name}"] = figure(mean(weighted, any_at_all, case), len(counts))
    return found


def _accuracy_name(coverage: float) -> str:
    return f"accuracy_at_{round(100 * coverage)}"


def _flat(items: Sequence[tuple[float, float, int]]) -> Flat:
    columns = np.array(items, dtype=np.float64).reshape(-1, 3)
    return columns[:, 0], columns[:, 1], columns[:, 2].astype(np.int64)


def _binned(p: Array, true: Array, case: NDArray[np.int64], cases: int) -> tuple[Array, Array, Array]:
    """Each (cases, bins): how many, sum of their probabilities, how many came true."""
    # A probability of 1 belongs to the last bin.
    bins = np.minimum((p * BINS).astype(np.int64), BINS - 1)
    parts = []
    for values in (np.ones_like(p), p, true):
        part = np.zeros((cases, BINS))
        np.add.at(part, (case, bins), values)
        parts.append(part)
    return parts[0], parts[1], parts[2]
