"""What each sentence of a draft rests on: the finding heads that speak of the same things. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from model.facts import head_name, split_head_name
from model.readings import Box, HeadReading, Readings
from model.statements import Statement, statements_of
from model.study import Evidence

MINIMUM_DROP = 0.1
"""A region whose removal takes less than this from a probability is no evidence of the finding."""


def evidence_of(sentence: str, readings: Readings, language: str = "en") -> tuple[Evidence, ...]:
    """The evidence of one sentence: an entry for each finding and side that it states or denies.

    The probability is what the head gave, whether or not it agrees with the sentence: a draft that says
    what the heads do not see is for the guard to catch, and evidence that hid it would blind the guard.
    A sentence that speaks of no finding rests on the template.
    """
    found = [
        head_evidence(head, readings[head])
        for statement in statements_of(sentence, language)
        for head in heads_of(statement, readings)
    ]
    return tuple(dict.fromkeys(found)) or (Evidence(kind="template"),)


def head_evidence(head: str, reading: HeadReading) -> Evidence:
    """What one head saw, as evidence."""
    finding, side = split_head_name(head)
    return Evidence(
        "image",
        finding,
        side,
        reading.probability,
        reading.slice_index,
        reading.box,
        reading.drop,
        reading.millimetres,
    )


def heads_of(statement: Statement, readings: Readings) -> list[str]:
    """The heads that a statement is about; without a side, the one of its sides that is surest."""
    if statement.finding in readings:
        return [statement.finding]
    if statement.sides:
        named = [head_name(statement.finding, side) for side in statement.sides]
        return [head for head in named if head in readings]
    sides = [head for head in readings if split_head_name(head)[0] == statement.finding]
    return [max(sides, key=lambda head: readings[head].probability)] if sides else []


def after_removal(reading: HeadReading, box: Box, drop: float) -> HeadReading:
    """A reading with the place that was tried: its box, and how far the probability fell without it.

    A place that the probability does not hang on is not shown: the box is None, and the drop says why.
    """
    drop = round(drop, 4)
    return replace(reading, box=box if drop >= MINIMUM_DROP else None, drop=drop)


def box_of(region: NDArray[np.bool_], ranges: Sequence[tuple[int, int]], shape: tuple[int, int, int]) -> Box:
    """The box in the volume around the places of a region.

    region is (planes, rows, columns) with at least one place; ranges are the first and one past the last
    slice of each plane; shape is (slices, height, width) of the volume, which a plane covers as a whole.
    Raises ValueError on an empty region, or on other planes than there are ranges.
    """
    if region.ndim != 3 or len(ranges) != region.shape[0] or not region.any():
        raise ValueError(
            f"expected a region with places in {len(ranges)} planes, found {int(region.sum())} places in "
            f"shape {region.shape}"
        )
    planes, rows, columns = (np.flatnonzero(region.any(axis=rest)) for rest in ((1, 2), (0, 2), (0, 1)))
    top, bottom = _pixels(rows, region.shape[1], shape[1])
    right, left = _pixels(columns, region.shape[2], shape[2])
    return ranges[planes[0]][0], top, right, ranges[planes[-1]][1], bottom, left


def measured_box(
    centre: tuple[float, float, float],
    extent_mm: tuple[float, float, float],
    spacing_mm: tuple[float, float, float],
    shape: tuple[int, int, int],
) -> Box:
    """The box of a measured extent around a centre, cut to the volume and at least one voxel in each
    direction. The centre is in voxels (slice, row, column), where a voxel's own centre lies at a half.
    """
    low, high = [], []
    for middle, extent, spacing, length in zip(centre, extent_mm, spacing_mm, shape, strict=True):
        half = max(extent / spacing / 2, 0.0)
        first = min(max(round(middle - half), 0), length - 1)
        low.append(first)
        high.append(min(max(round(middle + half), first + 1), length))
    return low[0], low[1], low[2], high[0], high[1], high[2]


def _pixels(places: NDArray[np.intp], count: int, length: int) -> tuple[int, int]:
    """First and one past the last voxel that the outermost of some places touch."""
    first, last = int(places[0]), int(places[-1])
    return first * length // count, -(-(last + 1) * length // count)
