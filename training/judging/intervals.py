"""Figures with bootstrap intervals: cases are drawn with replacement, all resamples at once.

A figure is computed from sums over cases. Sums under weights (how often each case was drawn) are one matrix
product, so that a thousand resamples cost little more than one. The first row of the weights counts every
case once: what comes out of it is the figure itself, by the very computation that gives its interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure with its 95 % interval."""

    value: float | None
    """None where nothing could be counted."""
    low: float | None
    high: float | None
    of: int
    """How many cases, findings or sentences it was counted over."""

    def to_json(self) -> dict[str, float | int | None]:
        """Rounded to four places."""
        return {
            "value": _rounded(self.value),
            "low": _rounded(self.low),
            "high": _rounded(self.high),
            "of": self.of,
        }


def weights(cases: int, seed: int = 0, resamples: int = RESAMPLES) -> Array:
    """(1 + resamples, cases): how often each case counts; the first row counts each once.

    Takes 8 bytes a case and resample. Raises ValueError without a case.
    """
    if cases < 1:
        raise ValueError("expected at least one case to judge, found none")
    drawn = np.random.default_rng(seed).multinomial(cases, np.full(cases, 1 / cases), size=resamples)
    return np.vstack([np.ones((1, cases)), drawn.astype(np.float64)])


def figure(values: Array, of: float) -> Figure:
    """The figure of values (1 + resamples,), the first from every case once; nan where nothing counted."""
    value, resampled = float(values[0]), values[1:][np.isfinite(values[1:])]
    if not np.isfinite(value):
        return Figure(None, None, None, round(of))
    if not resampled.size:
        return Figure(value, None, None, round(of))
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Figure(value, float(low), float(high), round(of))


def ratio(top: Array, bottom: Array) -> Array:
    """top / bottom, nan where bottom is 0; the two have shapes that fit each other."""
    top, bottom = np.broadcast_arrays(top, bottom)
    out = np.full(top.shape, np.nan)
    np.divide(top, bottom, out=out, where=bottom > 0)
    return out


def mean_of_known(values: Array) -> Array:
    """Mean over the last axis of what is not nan; nan where nothing is known."""
    known = np.isfinite(values)
    return ratio(np.where(known, values, 0.0).sum(axis=-1), known.sum(axis=-1).astype(np.float64))


def mean(weighted: Array, values: Array, case: NDArray[np.int64]) -> Array:
    """(1 + resamples,): mean of values (items,) that belong to cases `case` (items,)."""
    if not len(values):
        return np.full(len(weighted), np.nan)
    counted = weighted[:, case]
    return ratio(counted @ values, counted.sum(axis=1))


def median(weighted: Array, values: Array, case: NDArray[np.int64]) -> Array:
    """(1 + resamples,): median of values (items,) that belong to cases `case` (items,).

    Of an even number of items the mean of the two in the middle.
    """
    if not len(values):
        return np.full(len(weighted), np.nan)
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    reached = np.cumsum(weighted[:, case[order]], axis=1)
    total = reached[:, -1]
    # Item k of n, counted from 1, is the first at which the running count reaches k.
    lower = _first(reached, np.floor((total + 1) / 2))
    upper = _first(reached, np.floor(total / 2) + 1)
    middle: Array = np.where(total > 0, (ranked[lower] + ranked[upper]) / 2, np.nan)
    return middle


def _first(reached: Array, rank: Array) -> NDArray[np.int64]:
    at: NDArray[np.int64] = (reached >= rank[:, None]).argmax(axis=1)
    return at


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
