"""However a scanner stored its slices, left stays left: a wrong side in a report harms someone."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.dicomweb.geometry import Plane, arrange
from connectors.dicomweb.reader import read_folder
from connectors.errors import Malformed
from tests.dicom import SPACING_MM, X, Y, Z, ct_series, enhanced_ct, phantom, write

VOXELS = 1 << 20
DIRECTIONS = [(axis, sign) for axis in (X, Y, Z) for sign in (1, -1)]
ORIENTATIONS = [pair for pair in itertools.product(DIRECTIONS, DIRECTIONS) if pair[0][0] != pair[1][0]]


@pytest.mark.parametrize(("along_row", "along_column"), ORIENTATIONS, ids=str)
def test_every_orientation_reads_as_the_same_volume(
    tmp_path: Path, along_row: tuple[int, int], along_column: tuple[int, int]
) -> None:
    """All 24 ways to store a stack give the same voxels: feet to head, front to back, right to left."""
    volume = phantom()
    write(tmp_path, ct_series(volume, along_row=along_row, along_column=along_column))
    header, voxels = read_folder(tmp_path, VOXELS)
    assert np.array_equal(voxels, volume)
    assert tuple(header["spacing_mm"]) == pytest.approx(SPACING_MM)


def test_a_mark_on_the_patients_left_is_in_the_last_columns(tmp_path: Path) -> None:
    """Stated without the phantom writer: where x grows to the left, the left is the last column."""
    volume = np.full((3, 4, 5), -1000, dtype=np.float32)
    images = ct_series(volume)
    for image in images:
        # Head first prone with the row direction to the patient's right: the first column is the left side.
        image.ImageOrientationPatient = [-1, 0, 0, 0, -1, 0]
        pixels = np.full((4, 5), 24, dtype="<i2")
        pixels[:, 0] = 2024
        image.PixelData = pixels.tobytes()
    _, voxels = read_folder(write(tmp_path, images), VOXELS)
    assert (voxels[:, :, -1] == 1000).all()
    assert (voxels[:, :, :-1] == -1000).all()


@pytest.mark.parametrize("backwards", [False, True])
def test_frames_of_an_enhanced_image_are_ordered_by_their_positions(tmp_path: Path, backwards: bool) -> None:
    """Multi-frame CT is sorted by Plane Position, not by the order of its frames."""
    volume = phantom()
    _, voxels = read_folder(write(tmp_path, [enhanced_ct(volume, backwards=backwards)]), VOXELS)
    assert np.array_equal(voxels, volume)


def planes(count: int = 4, gap: float = 5.0, **changes: Any) -> list[Plane]:
    """Axial planes, one above the other."""
    values: dict[str, Any] = {
        "shape": (4, 4),
        "along_row": (1.0, 0.0, 0.0),
        "along_column": (0.0, 1.0, 0.0),
        "spacing": (1.0, 1.0),
        **changes,
    }
    return [Plane(position=(0.0, 0.0, index * gap), **values) for index in range(count)]


def moved(plane: Plane, **changes: Any) -> Plane:
    """The plane with some values changed."""
    names = ("shape", "position", "along_row", "along_column", "spacing", "thickness")
    return Plane(**{**{name: getattr(plane, name) for name in names}, **changes})


@given(st.permutations(range(6)), st.floats(0.5, 10))
def test_slices_are_ordered_by_position_whatever_order_they_come_in(order: list[int], gap: float) -> None:
    """Sorting uses Image Position along the normal only."""
    stack = planes(6, gap)
    arrangement = arrange([stack[index] for index in order])
    assert [order[slot] for slot in arrangement.order] == list(range(6))
    assert arrangement.spacing_mm == pytest.approx((gap, 1, 1))


@pytest.mark.parametrize(("shift", "fits"), [(0.49, True), (0.51, False)])
def test_uneven_gaps_are_refused_above_a_tenth(shift: float, fits: bool) -> None:
    """A slice a tenth of the distance out of place is the most; more may hide a missing slice."""
    stack = planes(5)
    stack[4] = moved(stack[4], position=(0.0, 0.0, 20.0 + shift))
    if fits:
        arrange(stack)
    else:
        with pytest.raises(Malformed, match="unevenly spaced"):
            arrange(stack)


@pytest.mark.parametrize(("degrees", "fits"), [(36, True), (38, False)])
def test_oblique_slices_are_refused_above_37_degrees(degrees: float, fits: bool) -> None:
    """Where the axes no longer name a side clearly, no volume is made."""
    cos, sin = float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees)))
    stack = [
        moved(plane, along_row=(cos, 0.0, sin), position=tuple(5.0 * n * v for v in (-sin, 0, cos)))
        for n, plane in enumerate(planes())
    ]
    if fits:
        assert arrange(stack).axes == (0, 1, 2)
    else:
        with pytest.raises(Malformed, match="too oblique"):
            arrange(stack)


REFUSED = {
    "same place": ({"position": (0.0, 0.0, 5.0)}, "same place"),
    "sideways": ({"position": (3.0, 0.0, 10.0)}, "jumps sideways"),
    "other size": ({"shape": (4, 5)}, "rows or columns"),
    "other orientation": ({"along_row": (0.99, 0.141, 0.0)}, "differ in orientation"),
    "mirrored": ({"along_row": (-1.0, 0.0, 0.0)}, "differ in orientation"),
    "other spacing": ({"spacing": (1.0, 1.1)}, "Pixel Spacing"),
    "no place": ({"position": (0.0, 0.0, float("nan"))}, "not a place"),
    "beyond": ({"position": (0.0, 0.0, 1e6)}, "not a place"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_slice_that_does_not_fit_its_series_is_refused(name: str) -> None:
    """One inconsistent slice refuses the series, with the rule that it breaks."""
    changes, reason = REFUSED[name]
    stack = planes()
    stack[2] = moved(stack[2], **changes)
    with pytest.raises(Malformed, match=reason):
        arrange(stack)


def test_axes_that_are_no_right_angle_are_refused() -> None:
    """Image Orientation (Patient) must be two unit vectors at a right angle (PS3.3 C.7.6.2.1.1)."""
    for cosines in ((0.0, 0.0, 0.0), (2.0, 0.0, 0.0), (0.0, 1.0, 0.0)):
        with pytest.raises(Malformed, match="right angle"):
            arrange(planes(along_row=cosines))


def test_a_leaning_stack_keeps_its_sides_until_it_leans_too_far() -> None:
    """Gantry tilt shears a volume without changing a side; beyond 37 degrees it is refused."""
    for degrees, fits in ((35, True), (39, False)):
        lean = 5.0 * float(np.tan(np.radians(degrees)))
        stack = [moved(p, position=(0.0, n * lean, n * 5.0)) for n, p in enumerate(planes())]
        if fits:
            assert arrange(stack).flips == (False, False, False)
        else:
            with pytest.raises(Malformed, match="leans"):
                arrange(stack)


def test_a_single_slice_takes_its_depth_from_its_thickness() -> None:
    """One slice has no neighbour; without Slice Thickness it is refused."""
    assert arrange(planes(1, thickness=2.5)).spacing_mm == (2.5, 1.0, 1.0)
    with pytest.raises(Malformed, match="Slice Thickness"):
        arrange(planes(1))
