"""Where the slices of a series lie in the patient (PS3.3 C.7.6.2), and how to turn them the usual way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from connectors.errors import Malformed

CLEAREST = 0.8
"""Smallest cosine (37 degrees) between an image axis and a patient axis that still names its direction."""
_COSINE_TOLERANCE = 5e-3
_SPACING_TOLERANCE = 1e-3
_GAP_TOLERANCE = 0.1
"""Share of the usual distance by which two neighbouring slices may be nearer or farther."""
_SAME_PLACE_MM = 0.01
_FARTHEST_MM = 100_000.0


@dataclass(frozen=True, slots=True)
class Plane:
    """One slice. Patient axes: x to the patient's left, y to the back, z to the head (C.7.6.2.1.1)."""

    shape: tuple[int, int]
    """Rows and columns."""
    position: tuple[float, float, float]
    """Image Position (Patient): centre of the first pixel, in mm."""
    along_row: tuple[float, float, float]
    """First triplet of Image Orientation (Patient): where the column index grows."""
    along_column: tuple[float, float, float]
    """Second triplet: where the row index grows."""
    spacing: tuple[float, float]
    """Pixel Spacing: between rows, between columns, in mm."""
    thickness: float | None = None
    """Used only where there is one slice and so no distance."""

    @property
    def normal(self) -> NDArray[np.float64]:
        """Direction across the slice, right-handed from rows and columns."""
        return np.cross(np.asarray(self.along_row), np.asarray(self.along_column))

    @property
    def is_axial(self) -> bool:
        """Whether the slice lies across the body."""
        return bool(abs(self.normal[2]) >= CLEAREST)


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How to make a volume of a stack of slices."""

    order: tuple[int, ...]
    """Indices of the planes, along their normal."""
    axes: tuple[int, int, int]
    """Which stack axis (slice, row, column) becomes the volume's first, second and third."""
    flips: tuple[bool, bool, bool]
    """Which of the volume's axes then run the wrong way."""
    spacing_mm: tuple[float, float, float]
    """Along the volume's axes."""

    def turned(self, stack: NDArray[np.float32]) -> NDArray[np.float32]:
        """View a (slices, rows, columns) stack in `order` as (feet to head, front to back, right to left)."""
        steps = tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)
        return stack.transpose(self.axes)[steps]


def arrange(planes: Sequence[Plane]) -> Arrangement:
    """Order the slices of one series and find the way to the usual axial display.

    Raises Malformed when the slices do not form one evenly spaced, clearly oriented stack.
    """
    first = planes[0]
    along_row, along_column = np.asarray(first.along_row), np.asarray(first.along_column)
    _check_axes(along_row, along_column)
    for plane in planes:
        _check_alike(first, plane)
    positions = np.asarray([plane.position for plane in planes], dtype=np.float64)
    if not np.isfinite(positions).all() or np.abs(positions).max() > _FARTHEST_MM:
        raise Malformed("an Image Position (Patient) (0020,0032) is not a place in the room")
    normal = first.normal
    depths = positions @ normal
    order = np.argsort(depths, kind="stable")
    distance = _distance(positions[order], depths[order], normal, first.thickness)
    directions = np.stack([normal, along_column, along_row])
    axes, flips = _turn(directions)
    own = (distance, *first.spacing)
    return Arrangement(
        order=tuple(int(index) for index in order),
        axes=axes,
        flips=flips,
        spacing_mm=(own[axes[0]], own[axes[1]], own[axes[2]]),
    )


def _check_axes(along_row: NDArray[np.float64], along_column: NDArray[np.float64]) -> None:
    lengths = np.linalg.norm([along_row, along_column], axis=1)
    if not np.all(np.abs(lengths - 1) <= 1e-2) or abs(float(along_row @ along_column)) > 1e-2:
        raise Malformed("Image Orientation (Patient) (0020,0037) is not two unit vectors at a right angle")


def _check_alike(first: Plane, plane: Plane) -> None:
    if plane.shape != first.shape:
        raise Malformed("slices of one series differ in rows or columns")
    ours, theirs = (np.asarray((*p.along_row, *p.along_column)) for p in (first, plane))
    if not np.allclose(ours, theirs, rtol=0, atol=_COSINE_TOLERANCE):
        raise Malformed("slices of one series differ in orientation (0020,0037)")
    if not all(0 < spacing <= _FARTHEST_MM for spacing in plane.spacing):
        raise Malformed("Pixel Spacing (0028,0030) is not two lengths above zero")
    if not np.allclose(first.spacing, plane.spacing, rtol=_SPACING_TOLERANCE, atol=0):
        raise Malformed("slices of one series differ in Pixel Spacing (0028,0030)")


def _distance(
    positions: NDArray[np.float64],
    depths: NDArray[np.float64],
    normal: NDArray[np.float64],
    thickness: float | None,
) -> float:
    """Return the distance between neighbouring slices in mm, after checking that it is one distance."""
    if len(depths) == 1:
        if thickness is None or not 0 < thickness <= _FARTHEST_MM:
            raise Malformed("a single slice without Slice Thickness (0018,0050) has no depth")
        return thickness
    gaps = np.diff(depths)
    usual = float(np.median(gaps))
    if gaps.min() < _SAME_PLACE_MM:
        raise Malformed("two slices of one series lie at the same place: several phases, or a repeat")
    if np.abs(gaps - usual).max() > _GAP_TOLERANCE * usual:
        raise Malformed(
            f"slices are missing or unevenly spaced: {gaps.min():.2f} to {gaps.max():.2f} mm apart, "
            f"usually {usual:.2f}"
        )
    steps = np.diff(positions, axis=0)
    sideways = steps - np.outer(gaps, normal)
    if np.abs(sideways - sideways.mean(axis=0)).max() > max(_GAP_TOLERANCE * usual, _SAME_PLACE_MM):
        raise Malformed(
            "the slices do not lie on one line: Image Position (Patient) (0020,0032) jumps sideways"
        )
    if float((gaps / np.linalg.norm(steps, axis=1)).min()) < CLEAREST:
        raise Malformed("the stack of slices leans too far from its normal to be read as a volume")
    return float((depths[-1] - depths[0]) / (len(depths) - 1))


def _turn(
    directions: NDArray[np.float64],
) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Match stack axes (slice, row, column: one direction each) to head, back and left; say which to flip."""
    nearest = np.abs(directions).argmax(axis=1)
    if len(set(nearest.tolist())) != 3 or np.abs(directions).max(axis=1).min() < CLEAREST:
        raise Malformed("the slices are too oblique to tell the patient's left from right safely")
    z, y, x = (int(np.flatnonzero(nearest == axis)[0]) for axis in (2, 1, 0))
    flips = (bool(directions[z, 2] < 0), bool(directions[y, 1] < 0), bool(directions[x, 0] < 0))
    return (z, y, x), flips
