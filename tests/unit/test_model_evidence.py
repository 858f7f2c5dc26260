"""A sentence shows what it rests on, and a place that a probability does not hang on is not shown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.evidence import MINIMUM_DROP, after_removal, box_of, evidence_of, measured_box
from model.facts import HEADS
from model.readings import HeadReading
from model.study import Evidence

BOX = (4, 10, 12, 9, 30, 34)
READINGS = {head: HeadReading(round(0.01 * i, 2), i) for i, head in enumerate(HEADS)} | {
    "pulmonary nodule, left": HeadReading(0.93, 6, BOX, 0.71, 14.2, "", "upper")
}
RANGES = ((0, 3), (3, 7), (7, 10))
SHAPE = (10, 50, 60)


def test_evidence_holds_all_that_the_head_saw() -> None:
    """Probability, slice, box, drop and millimetres reach the reader."""
    (evidence,) = evidence_of("A nodule is seen in the left upper zone.", READINGS)
    assert evidence == Evidence("image", "pulmonary nodule", "left", 0.93, 6, BOX, 0.71, 14.2)


def test_evidence_of_a_head_without_a_place_has_none() -> None:
    """No box is invented."""
    (evidence,) = evidence_of("There is cardiomegaly.", READINGS)
    assert (evidence.box, evidence.drop, evidence.millimetres) == (None, None, None)


def test_a_place_is_evidence_from_a_drop_of_a_tenth() -> None:
    """At the limit the box is shown, just under it there is none and the drop says why."""
    reading = HeadReading(0.9, 5)
    assert after_removal(reading, BOX, MINIMUM_DROP) == HeadReading(0.9, 5, BOX, 0.1)
    assert after_removal(reading, BOX, MINIMUM_DROP - 0.001) == HeadReading(0.9, 5, None, 0.099)
    assert after_removal(reading, BOX, -0.2) == HeadReading(0.9, 5, None, -0.2)


def test_the_box_is_around_all_places() -> None:
    """Slices by the planes' ranges; voxels that a place only touches are in it."""
    region = np.zeros((3, 4, 8), dtype=np.bool_)
    region[1, 1, 2] = region[2, 2, 6] = True
    # A place covers 12.5 rows and 7.5 columns: 12.5..37.5 and 15..52.5.
    assert box_of(region, RANGES, SHAPE) == (3, 12, 15, 10, 38, 53)


@given(st.data())
def test_every_box_holds_its_places_and_lies_in_the_volume(data: st.DataObject) -> None:
    """Whatever the grid."""
    rows, columns = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    region = np.zeros((3, rows, columns), dtype=np.bool_)
    plane, i, j = (data.draw(st.integers(0, n - 1)) for n in region.shape)
    region[plane, i, j] = True
    box = box_of(region, RANGES, SHAPE)
    assert all(0 <= low < high <= length for low, high, length in zip(box[:3], box[3:], SHAPE, strict=True))
    assert box[1] <= i * 50 / rows
    assert (i + 1) * 50 / rows <= box[4]
    assert box[2] <= j * 60 / columns
    assert (j + 1) * 60 / columns <= box[5]


def test_a_region_without_places_has_no_box() -> None:
    """Nor has one of other planes than the volume was cut into."""
    with pytest.raises(ValueError, match="3 planes, found 0 places"):
        box_of(np.zeros((3, 4, 4), dtype=np.bool_), RANGES, SHAPE)
    with pytest.raises(ValueError, match="3 planes"):
        box_of(np.ones((2, 4, 4), dtype=np.bool_), RANGES, SHAPE)


def test_a_measured_box_is_centred() -> None:
    """Twenty millimetres at two a voxel are ten voxels."""
    assert measured_box((5, 20, 30), (20, 20, 40), (10, 2, 2), SHAPE) == (4, 15, 20, 6, 25, 40)


def test_a_measured_box_is_cut_to_the_volume_and_never_empty() -> None:
    """At a corner, with an extent of nothing, and with one larger than everything."""
    assert measured_box((0, 0, 60), (0, 0, 0), (1, 1, 1), SHAPE) == (0, 0, 59, 1, 1, 60)
    assert measured_box((5, 25, 30), (1e6, 1e6, 1e6), (1, 1, 1), SHAPE) == (0, 0, 0, *SHAPE)
