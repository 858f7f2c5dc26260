"""From a volume to the image that the vision transformer sees. Shared by serving and training.

A CT is cut into slabs from feet to head. Of each slab the mean and the maximum intensity projection are
windowed and become the channels of one tile; the tiles stand side by side in one image, so that
attention spans the slices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.study import Unfit, Volume, WeightsError

FloatArray = NDArray[np.float32]

_PROJECTIONS = ("mean", "max")
MINIMUM_PIXELS = 64
"""Rows and columns below which an image is a thumbnail: of a chest, each pixel covers half a centimetre."""
MAXIMUM_SPACING_MM = (30.0, 10.0, 10.0)
"""Between slices, rows and columns: more is no scan but a wrong header."""
MAXIMUM_EXTENT_MM = 2500.0
"""No scan is longer than a body."""
AIR_AT_MOST_HU = -300.0
"""The lowest value of a CT is at most this: air is -1000, and noise and partial volume raise it by less."""


@dataclass(frozen=True, slots=True)
class Window:
    """One channel: a projection of the slab, shown through a window."""

    projection: str
    """mean or max."""
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
    tile: int
    """Height and width of one tile, in pixels."""
    tile_rows: int
    tile_columns: int

    @property
    def slabs(self) -> int:
        """Number of slabs that the volume is cut into."""
        return self.tile_rows * self.tile_columns

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the tiled image."""
        return len(self.windows), self.tile * self.tile_rows, self.tile * self.tile_columns

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
                tile=int(part["tile"]),
                tile_rows=int(part["tile_rows"]),
                tile_columns=int(part["tile_columns"]),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise WeightsError(
                f"expected image settings in drafter.json: {error!r} is missing or wrong"
            ) from error
        if not windows or any(w.projection not in _PROJECTIONS or w.width_hu <= 0 for w in windows):
            raise WeightsError(
                "expected image.windows as [mean or max, centre, width above 0] in drafter.json"
            )
        if min(settings.tile, settings.tile_rows, settings.tile_columns) < 1:
            raise WeightsError(
                "expected image.tile, tile_rows and tile_columns of at least 1 in drafter.json"
            )
        if settings.minimum_slices < settings.slabs:
            raise WeightsError(f"expected image.minimum_slices of at least one a slab ({settings.slabs})")
        return settings

    def to_json(self) -> dict[str, Any]:
        """The `image` object of drafter.json."""
        return {
            "modalities": list(self.modalities),
            "minimum_slices": self.minimum_slices,
            "minimum_extent_mm": list(self.minimum_extent_mm),
            "minimum_deviation": self.minimum_deviation,
            "windows": [[w.projection, w.centre_hu, w.width_hu] for w in self.windows],
            "tile": self.tile,
            "tile_rows": self.tile_rows,
            "tile_columns": self.tile_columns,
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
        _check_hounsfield(float(volume.voxels.min()), float(volume.voxels.max()))


def _check_hounsfield(lowest: float, highest: float) -> None:
    """Raise Unfit when these cannot be the extremes of a CT in Hounsfield units."""
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


def tiled_image(voxels: FloatArray, settings: ImageSettings) -> FloatArray:
    """Make the image that the vision transformer sees.

    voxels is (slices, height, width) in Hounsfield units; returns (channels, tile_rows * tile,
    tile_columns * tile) between 0 and 1, the slab next to the feet at the upper left.
    """
    count, height, width = voxels.shape
    down, across = _area_weights(height, settings.tile), _area_weights(width, settings.tile)
    image = np.empty(settings.shape, dtype=np.float32)
    for slab, (start, stop) in enumerate(slab_ranges(count, settings.slabs)):
        part = voxels[start:stop]
        projections = {"mean": part.mean(axis=0), "max": part.max(axis=0)}
        shrunk = {name: down @ plane @ across.T for name, plane in projections.items()}
        row, column = divmod(slab, settings.tile_columns)
        rows = slice(row * settings.tile, (row + 1) * settings.tile)
        columns = slice(column * settings.tile, (column + 1) * settings.tile)
        for channel, window in enumerate(settings.windows):
            low = window.centre_hu - window.width_hu / 2
            shown = (shrunk[window.projection] - low) / window.width_hu
            image[channel, rows, columns] = np.clip(shown, 0, 1)
    return image


def slab_ranges(count: int, slabs: int) -> tuple[tuple[int, int], ...]:
    """(first, one past the last) slice of each slab; none is empty when there are as many slices as slabs."""
    edges = [count * slab // slabs for slab in range(slabs + 1)]
    return tuple(pairwise(edges))


def _area_weights(length: int, tile: int) -> FloatArray:
    """(tile, length) weights that average neighbouring pixels by how much of the new pixel they cover."""
    edges = np.arange(tile + 1) * (length / tile)
    old = np.arange(length)
    cover = np.minimum(old[None, :] + 1, edges[1:, None]) - np.maximum(old[None, :], edges[:-1, None])
    weights = np.clip(cover, 0, None)
    shares: FloatArray = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def _word(modality: str) -> str:
    """A modality as it may stand in a message: a short code, never free text."""
    return (
        modality if modality.isalnum() and modality.isupper() and len(modality) <= 16 else "of another kind"
    )
