"""What the finding heads computed becomes a place, a length and words, whatever the series' matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.confidence import Calibration
from model.facts import HEADS
from model.observing import Observer, SizeSettings
from model.readings import SEEN, HeadReading
from model.study import Volume, WeightsError
from model.vision.seen import Seen
from training.plan import IMAGE

HOT, COLD = 12.0, -25.0
NODULE, EFFUSION, CONSOLIDATION = "pulmonary nodule, left", "pleural effusion, right", "consolidation, left"
SIZES = SizeSettings({"pleural effusion": (30.0, 60.0), "pneumothorax": (20.0, 40.0)}, 0.5)
CHEST = ((40, 112, 112), (8.0, 3.1, 3.1))
CELLS = IMAGE.side // 8


@dataclass(frozen=True)
class Hand:
    """A study with one finding at one place of the map."""

    plane: int = 6
    row: int = 3
    column: int = 10
    logit: float = 4.0
    extents: tuple[float, float, float] = (2.0, 16.0, 8.0)
    """Planes, and pixels of a plane along rows and columns."""
    diameter: float = 5.0
    """In pixels of a plane."""
    height: int = 6
    """The plane in which the head's attention lies."""


def seen(head: str, hand: Hand) -> Seen:
    count, index = len(HEADS), HEADS.index(head)
    maps = torch.full((1, count, IMAGE.planes, CELLS, CELLS), COLD)
    maps[0, index, hand.plane, hand.row, hand.column] = HOT
    logits = torch.full((1, count), COLD)
    logits[0, index] = hand.logit
    measures = torch.zeros(1, count, 4)
    measures[0, index] = torch.tensor([log(v) for v in (*hand.extents, hand.diameter)])
    heights = torch.full((1, count, IMAGE.planes), 1 / IMAGE.planes)
    heights[0, index] = torch.nn.functional.one_hot(torch.tensor(hand.height), IMAGE.planes).float()
    rest = torch.zeros(1, count, 1)
    return Seen(maps, logits, rest, rest, rest[..., 0], heights, measures)


def volume(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Volume:
    return Volume(np.zeros(shape, dtype=np.float32), spacing, "CT", "2.25.1", "2.25.2")


def observer(sizes: SizeSettings = SIZES, heads: Mapping[str, tuple[float, float]] | None = None) -> Observer:
    return Observer(IMAGE, HEADS, Calibration(heads or dict.fromkeys(HEADS, (1.0, 0.0)), 0.0), sizes)


def read(
    head: str,
    hand: Hand = Hand(),
    shape: tuple[int, int, int] = CHEST[0],
    spacing: tuple[float, float, float] = CHEST[1],
    sizes: SizeSettings = SIZES,
) -> HeadReading:
    return observer(sizes).readings(seen(head, hand), 0, volume(shape, spacing))[head]


def test_a_finding_is_read_where_its_map_is_high() -> None:
    """Plane 6, row 3 and column 10 of places of 8 pixels: the box lies around their middle."""
    reading = read(NODULE)
    assert reading.probability == pytest.approx(0.982, abs=1e-3)
    assert reading.box == (22, 20, 80, 30, 36, 88)
    assert reading.slice_index == 26
    assert reading.millimetres == 15.5
    assert reading.drop is None


@pytest.mark.parametrize(
    ("shape", "spacing", "box"),
    [
        # Twice the slices and twice the matrix over the same chest.
        ((80, 224, 224), (4.0, 1.55, 1.55), (44, 40, 160, 60, 72, 176)),
        # Half the slices.
        ((20, 112, 112), (16.0, 3.1, 3.1), (11, 20, 80, 15, 36, 88)),
        # Columns twice as far apart as rows, over the same square.
        ((40, 112, 56), (8.0, 3.1, 6.2), (22, 20, 40, 30, 36, 44)),
    ],
)
def test_another_matrix_over_the_same_chest_gives_the_same_place(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], box: tuple[int, ...]
) -> None:
    """In millimetres nothing changes: the box covers the same part, the diameter is the same."""
    reading = read(NODULE, shape=shape, spacing=spacing)
    assert reading.box == box
    assert reading.millimetres == 15.5
    first, stop = box[0], box[3]
    assert reading.slice_index == (first + stop) // 2


def test_a_field_that_is_not_square_stands_in_the_middle() -> None:
    """Half as many rows are shown from pixel 28 on: what lies at pixel 60 lies in row 32."""
    reading = read(NODULE, Hand(row=7), shape=(40, 56, 112))
    assert reading.box == (22, 24, 80, 30, 40, 88)


def test_a_field_twice_as_wide_doubles_the_millimetres() -> None:
    """Lengths are measured in pixels of a plane, which are wider then."""
    assert read(NODULE, spacing=(8.0, 6.2, 6.2)).millimetres == 31.0


@given(
    st.integers(0, 9),
    st.integers(0, CELLS - 1),
    st.integers(0, CELLS - 1),
    st.tuples(st.floats(0.01, 40), st.floats(0.01, 400), st.floats(0.01, 400)),
    st.tuples(st.integers(10, 90), st.integers(64, 200), st.integers(64, 200)),
    st.tuples(st.floats(0.5, 20), st.floats(0.4, 6), st.floats(0.4, 6)),
)
@settings(max_examples=80, deadline=None)
def test_a_box_is_never_empty_and_never_outside(
    plane: int,
    row: int,
    column: int,
    extents: tuple[float, float, float],
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
) -> None:
    """Whatever the heads measure of any series; the slice lies in the plane where the map is highest."""
    hand = Hand(plane, row, column, extents=extents)
    reading = read(CONSOLIDATION, hand, shape, spacing)
    box = reading.box
    assert box is not None
    for axis in range(3):
        assert 0 <= box[axis] < box[axis + 3] <= shape[axis]
    first, stop = observer().ranges(volume(shape, spacing))[plane]
    assert first <= reading.slice_index < stop


@pytest.mark.parametrize("logit", [-3.0, -0.01, -0.0001, 0.0, 0.01, 3.0])
def test_what_counts_as_seen_has_a_box_and_nothing_else_has(logit: float) -> None:
    """Just under and just over one half, as the probability is told."""
    reading = read(EFFUSION, Hand(logit=logit))
    there = reading.probability >= SEEN
    assert (reading.box is not None) is there
    assert (reading.size != "") is there
    assert (reading.millimetres is not None) is there
    # Where it would be looked for is told in any case: the middle of the plane.
    assert reading.slice_index == 26


@pytest.mark.parametrize(
    ("millimetres", "word"),
    [(29.9, "small"), (30.1, "moderate"), (59.9, "moderate"), (60.1, "large"), (1.0, "small")],
)
def test_a_depth_becomes_a_word(millimetres: float, word: str) -> None:
    """Just under and just over each limit of the finding."""
    assert read(EFFUSION, Hand(diameter=millimetres / 3.1)).size == word
    assert SIZES.word("pleural effusion", 30.0) == "moderate"
    assert SIZES.word("pleural effusion", 60.0) == "large"


def test_each_finding_is_told_with_what_a_report_says_of_it() -> None:
    """Fluid and air with a size, what lies in the lung with a zone; these two and nodules with a length."""
    told = {head: read(head) for head in HEADS}
    for head, reading in told.items():
        finding = head.split(", ", maxsplit=1)[0]
        assert (reading.size != "") is (finding in ("pleural effusion", "pneumothorax")), head
        assert (reading.zone != "") is (finding in ("consolidation", "atelectasis", "pulmonary nodule")), head
        measured = finding in ("pleural effusion", "pneumothorax", "pulmonary nodule")
        assert (reading.millimetres is not None) is measured, head


@pytest.mark.parametrize(("boundary", "zone"), [(0.4499, "upper"), (0.45, "upper"), (0.4501, "lower")])
def test_a_zone_is_where_the_attention_lies(boundary: float, zone: str) -> None:
    """The middle of the fifth plane of ten is at 0.45 of the height: from the boundary on it is above."""
    assert read(CONSOLIDATION, Hand(height=4), sizes=SizeSettings({}, boundary)).zone == zone


def test_heads_do_not_mix() -> None:
    """Only the head whose map is high sees anything, and a batch is read row by row."""
    readings = observer().readings(seen(NODULE, Hand()), 0, volume(*CHEST))
    assert tuple(readings) == HEADS
    assert [head for head, one in readings.items() if one.probability >= SEEN] == [NODULE]
    one, other = seen(NODULE, Hand()), seen(EFFUSION, Hand(plane=1))
    both = Seen(*(torch.cat([getattr(one, n), getattr(other, n)]) for n in Seen.__slots__ if n != "stages"))
    assert observer().readings(both, 0, volume(*CHEST)) == readings
    second = observer().readings(both, 1, volume(*CHEST))
    assert second == observer().readings(other, 0, volume(*CHEST))
    assert second != readings


def test_the_probability_is_the_calibrated_one() -> None:
    """Scaled and shifted before it is read: a sure logit can stand for a coin's toss."""
    calibrated = observer(heads={**dict.fromkeys(HEADS, (1.0, 0.0)), NODULE: (0.5, -2.0)})
    reading = calibrated.readings(seen(NODULE, Hand(logit=4.0)), 0, volume(*CHEST))[NODULE]
    assert reading.probability == 0.5


def test_sizes_survive_their_json() -> None:
    """What drafter.json holds gives the settings again."""
    assert SizeSettings.from_json(SIZES.to_json()) == SIZES


@pytest.mark.parametrize(
    "change",
    [
        {"depths_mm": {"pulmonary nodule": [1, 2]}},
        {"depths_mm": {"pneumothorax": [0, 2]}},
        {"depths_mm": {"pneumothorax": [3, 2]}},
        {"depths_mm": {"pneumothorax": [3]}},
        {"depths_mm": None},
        {"zone_boundary": 0},
        {"zone_boundary": 1},
        {"zone_boundary": "half"},
    ],
)
def test_sizes_that_make_no_sense_are_refused(change: dict[str, object]) -> None:
    """They are refused when the weights load, not when a study waits."""
    with pytest.raises(WeightsError, match="size"):
        SizeSettings.from_json({**SIZES.to_json(), **change})
