"""From a volume to the image that the vision half sees. Shared by serving and training.

A CT is cut into slabs from feet to head. Each slab becomes one plane; its channels are projections of the
slab (the mean, the maximum, or the mean of a part of it) through windows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.study import Unfit, Volume, WeightsError

FloatArray = NDArray[np.float32]

_PART = re.compile(r"part ([1-9]) of ([1-9])")
MINIMUM_PIXELS = 64
"""Rows and columns below which an image is a thumbnail: of a chest, each pixel covers half a centimetre."""
MAXIMUM_SPACING_MM = (30.0, 10.0, 10.0)
"""Between slices, rows and columns: more is no scan but a wrong header."""
MAXIMUM_EXTENT_MM = 2500.0
"""No scan is longer than a body."""
AIR_AT_MOST_HU = -300.0
"""The lowest value of a CT is at most this: air is -1000, and noise and partial volume raise it by less."""
LEAST_TISSUE = 0.05
"""Share of the voxels that a body fills at least: an image of less shows the table, or air alone."""


@dataclass(frozen=True, slots=True)
class Window:
    """One channel: a projection of the slab, shown through a window."""

    projection: str
    """mean, max, or "part 2 of 4": the mean of the second quarter of the slab, from feet to head."""
    centre_hu: float
    width_hu: float


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """How the weights were shown their images; travels in drafter.json."""

    modalities: tuple[str, ...]
    minimum_slices: int
    minimum_extent_mm: tuple[float, float, float]
    """Along slices, rows and columns: less than this is not the body part that was trained on."""
    minimum_deviation: float
    """Standard deviation of the voxels below which an image is blank, in its own units."""
    windows: tuple[Window, ...]
    planes: int
    """Number of slabs that the volume is cut into."""
    side: int
    """Height and width of a plane, in pixels."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(planes, channels, height, width) of the image."""
        return self.planes, len(self.windows), self.side, self.side

    @property
    def projections(self) -> tuple[str, ...]:
        """The projections of the windows, each once."""
        return tuple(dict.fromkeys(window.projection for window in self.windows))

    @classmethod
    def from_json(cls, part: Mapping[str, Any]) -> ImageSettings:
        """Read the `image` object of drafter.json. Raises WeightsError on anything unexpected."""
        try:
            windows = tuple(Window(str(w[0]), float(w[1]), float(w[2])) for w in part["windows"])
            slices, rows, columns = (float(v) for v in part["minimum_extent_mm"])
            settings = cls(
                modalities=tuple(map(str, part["modalities"])),
                minimum_slices=int(part["minimum_slices"]),
                minimum_extent_mm=(slices, rows, columns),
                minimum_deviation=float(part["minimum_deviation"]),
                windows=windows,
                planes=int(part["planes"]),
                side=int(part["side"]),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise WeightsError(
                f"expected image settings in drafter.json: {error!r} is missing or wrong"
            ) from error
        if not windows or any(not _is_projection(w.projection) or w.width_hu <= 0 for w in windows):
            raise WeightsError(
                "expected image.windows as [mean, max or part K of N, centre, width above 0] in drafter.json"
            )
        if min(settings.planes, settings.side) < 1:
            raise WeightsError("expected image.planes and image.side of at least 1 in drafter.json")
        if settings.minimum_slices < settings.planes:
            raise WeightsError(f"expected image.minimum_slices of at least one a plane ({settings.planes})")
        return settings

    def to_json(self) -> dict[str, Any]:
        """The `image` object of drafter.json."""
        return {
            "modalities": list(self.modalities),
            "minimum_slices": self.minimum_slices,
            "minimum_extent_mm": list(self.minimum_extent_mm),
            "minimum_deviation": self.minimum_deviation,
            "windows": [[w.projection, w.centre_hu, w.width_hu] for w in self.windows],
            "planes": self.planes,
            "side": self.side,
        }


def check_fit(volume: Volume, settings: ImageSettings) -> None:
    """Raise Unfit when the volume is not what the weights were trained for.

    1. The modality is one of those trained for.
    2. There are three dimensions, enough slices, and enough pixels in each.
    3. The spacing is one that a scanner gives, and the extent that of the body part.
    4. Every voxel is a finite number.
    5. The image is not blank.
    6. The values of a CT can be Hounsfield units: there is air in and around a body.
    """
    # 1.
    if volume.modality not in settings.modalities:
        raise Unfit(
            f"these weights read {', '.join(settings.modalities)}, "
            f"the series is {_word(volume.modality)}: read without a draft"
        )
    # 2.
    if volume.voxels.ndim != 3 or 0 in volume.voxels.shape:
        raise Unfit("expected a volume of slices, rows and columns, found none: read without a draft")
    count = volume.voxels.shape[0]
    if count < settings.minimum_slices:
        raise Unfit(
            f"expected at least {settings.minimum_slices} slices, found {count}: "
            "wait for the whole series or read without a draft"
        )
    for name, length in zip(("rows", "columns"), volume.voxels.shape[1:], strict=True):
        if length < MINIMUM_PIXELS:
            raise Unfit(
                f"expected at least {MINIMUM_PIXELS} {name}, found {length}: "
                "a thumbnail or a part of an image, not the original series"
            )
    # 3.
    for name, spacing, most in zip(
        ("slices", "rows", "columns"), volume.spacing_mm, MAXIMUM_SPACING_MM, strict=True
    ):
        # Written so that not-a-number fails as well.
        if not 0 < spacing <= most:
            raise Unfit(
                f"expected {name} above 0 and up to {most:g} mm apart, found {spacing:g} mm: "
                "check the spacing in the series' headers"
            )
    for name, length, spacing, least in zip(
        ("slices", "rows", "columns"),
        volume.voxels.shape,
        volume.spacing_mm,
        settings.minimum_extent_mm,
        strict=True,
    ):
        if not length * spacing >= least:
            raise Unfit(
                f"expected the {name} to cover {least:.0f} mm or more, they cover {length * spacing:.0f} mm: "
                "not the body part that these weights read"
            )
        if length * spacing > MAXIMUM_EXTENT_MM:
            raise Unfit(
                f"expected the {name} to cover {MAXIMUM_EXTENT_MM:.0f} mm at most, they cover "
                f"{length * spacing:.0f} mm: check the spacing in the series' headers"
            )
    # 4. and 5. The sum in double precision is finite only if every voxel is.
    with np.errstate(invalid="ignore"):
        deviation = float(volume.voxels.std(dtype=np.float64))
    if not np.isfinite(deviation):
        raise Unfit("expected finite voxels, found infinite or missing ones: check the series for damage")
    if deviation < settings.minimum_deviation:
        raise Unfit(
            f"expected voxels with a standard deviation of at least {settings.minimum_deviation:g}, "
            f"found {deviation:.3g}: the image is blank"
        )
    # 6.
    if volume.modality == "CT":
        _check_hounsfield(volume.voxels)


def _check_hounsfield(voxels: FloatArray) -> None:
    """Raise Unfit when these cannot be Hounsfield units of a CT that shows a body."""
    lowest, highest = float(voxels.min()), float(voxels.max())
    if lowest >= 0 and highest <= 255:
        raise Unfit(
            f"expected Hounsfield units, found values from {lowest:.0f} to {highest:.0f} as in an 8-bit "
            "screenshot or secondary capture: send the original series"
        )
    if lowest > AIR_AT_MOST_HU:
        raise Unfit(
            f"expected Hounsfield units with air below {AIR_AT_MOST_HU:.0f}, the lowest value is "
            f"{lowest:.0f}: check the rescale slope and intercept of the series"
        )
    tissue = float(np.mean(voxels > AIR_AT_MOST_HU))
    if tissue < LEAST_TISSUE:
        raise Unfit(
            f"expected a body in at least {LEAST_TISSUE:.0%} of the image, found {tissue:.1%} that is no "
            "air: the image shows no body"
        )


def planes_image(
    voxels: FloatArray, spacing_mm: tuple[float, float, float], settings: ImageSettings
) -> FloatArray:
    """Make the image that the vision half sees.

    voxels is (slices, height, width) in Hounsfield units; returns (planes, channels, side, side) between
    0 and 1, the plane next to the feet first. A field of view that is not square is shown with its true
    proportions, in the middle of a black square. One slab is in work at a time: what is needed beside the
    voxels does not grow with their number of slices.
    """
    count = voxels.shape[0]
    (top, rows), (left, columns) = shown_area(voxels.shape, spacing_mm, settings.side)
    down = _area_weights(voxels.shape[1], rows)
    across = _area_weights(voxels.shape[2], columns)
    image = np.zeros(settings.shape, dtype=np.float32)
    for plane, (start, stop) in enumerate(slab_ranges(count, settings.planes)):
        shrunk = {
            name: down @ _projected(voxels[start:stop], name) @ across.T for name in settings.projections
        }
        for channel, window in enumerate(settings.windows):
            low = window.centre_hu - window.width_hu / 2
            shown = (shrunk[window.projection] - low) / window.width_hu
            image[plane, channel, top : top + rows, left : left + columns] = np.clip(shown, 0, 1)
    return image


def shown_area(
    shape: Sequence[int], spacing_mm: tuple[float, float, float], side: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """(first, count) of the rows and of the columns of a plane that the volume covers."""
    height, width = shape[1] * spacing_mm[1], shape[2] * spacing_mm[2]
    longest = max(height, width)
    rows, columns = max(1, round(side * height / longest)), max(1, round(side * width / longest))
    return ((side - rows) // 2, rows), ((side - columns) // 2, columns)


def pixel_mm(shape: Sequence[int], spacing_mm: tuple[float, float, float], settings: ImageSettings) -> float:
    """Side of one pixel of a plane in millimetres."""
    return max(shape[1] * spacing_mm[1], shape[2] * spacing_mm[2]) / settings.side


def plane_mm(shape: Sequence[int], spacing_mm: tuple[float, float, float], settings: ImageSettings) -> float:
    """Thickness of one plane in millimetres."""
    return shape[0] * spacing_mm[0] / settings.planes


def slab_ranges(count: int, slabs: int) -> tuple[tuple[int, int], ...]:
    """(first, one past the last) slice of each slab; none is empty when there are as many slices as slabs."""
    edges = [count * slab // slabs for slab in range(slabs + 1)]
    return tuple(pairwise(edges))


def _projected(slab: FloatArray, projection: str) -> FloatArray:
    """(height, width) of a slab (slices, height, width)."""
    if projection == "max":
        highest: FloatArray = slab.max(axis=0)
        return highest
    if part := _PART.fullmatch(projection):
        number, of = int(part[1]), int(part[2])
        start = slab.shape[0] * (number - 1) // of
        stop = max(start + 1, slab.shape[0] * number // of)
        slab = slab[start:stop]
    mean: FloatArray = slab.mean(axis=0)
    return mean


def _area_weights(length: int, pixels: int) -> FloatArray:
    """(pixels, length) weights that average neighbouring pixels by how much of the new pixel they cover."""
    edges = np.arange(pixels + 1) * (length / pixels)
    old = np.arange(length)
    cover = np.minimum(old[None, :] + 1, edges[1:, None]) - np.maximum(old[None, :], edges[:-1, None])
    weights = np.clip(cover, 0, None)
    shares: FloatArray = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def _is_projection(name: str) -> bool:
    part = _PART.fullmatch(name)
    return name in ("mean", "max") or (part is not None and int(part[1]) <= int(part[2]))


def _word(modality: str) -> str:
    """A modality as it may stand in a message: a short code, never free text."""
    return (
        modality if modality.isalnum() and modality.isupper() and len(modality) <= 16 else "of another kind"
    )
