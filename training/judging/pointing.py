"""Whether the evidence lies where the finding is, and whether the finding goes when it is taken out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from model.facts import BY_NAME, split_head_name
from training.judging.intervals import Array, Figure, figure, mean
from training.judging.judged import Judged, Pointed


def pointing_figures(weighted: Array, judged: Sequence[Judged]) -> dict[str, Figure]:
    """Over the rightly stated findings and sides of all cases.

    `pointing` counts a finding without a box as missed; `chance` points with the box of another case;
    `drop_beyond_random` is paired: each removal against removals elsewhere in the same image.
    """
    return {
        "boxed": _figure(weighted, judged, lambda one: float(one.boxed)),
        "pointing": _figure(weighted, judged, lambda one: float(one.hit)),
        "chance": _figure(weighted, judged, lambda one: None if one.chance is None else float(one.chance)),
        "overlap": _figure(weighted, judged, lambda one: one.overlap if one.boxed else None),
        "held": _figure(weighted, judged, lambda one: one.held if one.boxed else None),
        "drop": _figure(weighted, judged, lambda one: one.drop),
        "random_drop": _figure(weighted, judged, lambda one: one.random_drop),
        "drop_beyond_random": _figure(weighted, judged, _beyond),
    }


def pointing_of_each(weighted: Array, judged: Sequence[Judged]) -> dict[str, dict[str, Figure]]:
    """Pointing, chance, overlap and drop of every finding."""
    found = {}
    for name in BY_NAME:

        def of(value: Callable[[Pointed], float | None], name: str = name) -> Figure:
            return _figure(
                weighted, judged, lambda one: value(one) if split_head_name(one.head)[0] == name else None
            )

        found[name] = {
            "pointing": of(lambda one: float(one.hit)),
            "chance": of(lambda one: None if one.chance is None else float(one.chance)),
            "overlap": of(lambda one: one.overlap if one.boxed else None),
            "drop": of(lambda one: one.drop),
            "random_drop": of(lambda one: one.random_drop),
        }
    return found


def drop_pairs(judged: Sequence[Judged]) -> list[tuple[float, float]]:
    """(fall without the evidence, fall without as much elsewhere) where both are known."""
    return [
        (round(one.drop, 4), round(one.random_drop, 4))
        for case in judged
        for one in case.pointed
        if one.drop is not None and one.random_drop is not None
    ]


def _beyond(one: Pointed) -> float | None:
    return None if one.drop is None or one.random_drop is None else one.drop - one.random_drop


def _figure(weighted: Array, judged: Sequence[Judged], value: Callable[[Pointed], float | None]) -> Figure:
    items = [
        (row, number)
        for row, case in enumerate(judged)
        for one in case.pointed
        if (number := value(one)) is not None
    ]
    case = np.array([row for row, _ in items], dtype=np.int64)
    values = np.array([number for _, number in items], dtype=np.float64)
    return figure(mean(weighted, values, case), len(items))
