"""Where small ends and large begins, from the depths of findings whose size is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.facts import SIZED, SIZES, head_name
from model.observing import SizeSettings
from training.facts import FactRecord

ZONE_BOUNDARY = 0.5
"""Half way between the highest finding that is called lower and the lowest that is called upper."""


def size_settings(
    records: Sequence[FactRecord], depths_mm: NDArray[np.floating], heads: Sequence[str]
) -> SizeSettings:
    """The depth between two neighbouring sizes that parts them with the fewest errors.

    depths_mm is (cases, heads), as measured by the vision half: its own bias is taken along.
    """
    limits: dict[str, tuple[float, float]] = {}
    for finding in sorted(SIZED):
        known: dict[str, list[float]] = {size: [] for size in SIZES}
        for row, record in enumerate(records):
            for fact in record.facts:
                if fact.finding == finding:
                    for side in fact.sides:
                        known[fact.size].append(float(depths_mm[row, heads.index(head_name(finding, side))]))
        small = _between(known["small"], known["moderate"])
        large = _between(known["moderate"], known["large"])
        limits[finding] = (small, max(small, large))
    return SizeSettings(limits, ZONE_BOUNDARY)


def _between(lower: Sequence[float], upper: Sequence[float]) -> float:
    """The value that parts two samples with the fewest errors; the middle of the best ones."""
    if not lower or not upper:
        return 1.0
    low, high = np.sort(lower), np.sort(upper)
    values = np.sort(np.concatenate([low, high]))
    cuts = np.concatenate([values[:1], (values[1:] + values[:-1]) / 2])
    wrong = (len(low) - np.searchsorted(low, cuts)) + np.searchsorted(high, cuts)
    best = cuts[wrong == wrong.min()]
    return float(best[len(best) // 2])
