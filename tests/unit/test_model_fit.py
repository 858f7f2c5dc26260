"""A series that cannot be what it says is refused with the number that gave it away, never drafted."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from model.preprocess import AIR_AT_MOST_HU, MAXIMUM_SPACING_MM, MINIMUM_PIXELS, check_fit
from model.study import Unfit, Volume
from training.plan import IMAGE

SPACING = (10.0, 3.6, 3.6)


def series(
    shape: tuple[int, int, int] = (32, 96, 96),
    spacing: tuple[float, float, float] = SPACING,
    voxels: NDArray[np.float32] | None = None,
) -> Volume:
    if voxels is None:
        voxels = np.linspace(-1000, 400, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    return Volume(voxels, spacing, "CT", "2.25.1", "2.25.2")


def between(low: float, high: float) -> Volume:
    return series(voxels=np.linspace(low, high, 32 * 96 * 96).astype(np.float32).reshape(32, 96, 96))


@pytest.mark.parametrize(("axis", "name"), [(1, "rows"), (2, "columns")])
def test_a_thumbnail_is_unfit(axis: int, name: str) -> None:
    """At the least number of rows or columns it passes, one below it does not."""
    shape = [32, 96, 96]
    shape[axis] = MINIMUM_PIXELS
    check_fit(series((shape[0], shape[1], shape[2])), IMAGE)
    shape[axis] -= 1
    with pytest.raises(Unfit, match=f"at least {MINIMUM_PIXELS} {name}, found {MINIMUM_PIXELS - 1}"):
        check_fit(series((shape[0], shape[1], shape[2])), IMAGE)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("bad", [0.0, -3.6, float("nan"), float("inf"), float("-inf"), 1000.0])
def test_a_spacing_that_no_scanner_gives_is_unfit(axis: int, bad: float) -> None:
    """Zero, negative, endless, missing: the message names the axis."""
    spacing = list(SPACING)
    spacing[axis] = bad
    with pytest.raises(Unfit, match=f"expected {('slices', 'rows', 'columns')[axis]} above 0"):
        check_fit(series(spacing=(spacing[0], spacing[1], spacing[2])), IMAGE)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_widest_spacing_passes_and_a_wider_one_does_not(axis: int) -> None:
    """The limit itself is still a scan."""
    spacing = list(SPACING)
    spacing[axis] = MAXIMUM_SPACING_MM[axis]
    check_fit(series(spacing=(spacing[0], spacing[1], spacing[2])), IMAGE)
    spacing[axis] *= 1.001
    with pytest.raises(Unfit, match="check the spacing"):
        check_fit(series(spacing=(spacing[0], spacing[1], spacing[2])), IMAGE)


def test_a_series_longer_than_a_body_is_unfit() -> None:
    """2.5 m pass, a slice more does not."""
    check_fit(series((100, 64, 64), (25.0, 4.0, 4.0)), IMAGE)
    with pytest.raises(Unfit, match="2500 mm at most, they cover 2525 mm"):
        check_fit(series((101, 64, 64), (25.0, 4.0, 4.0)), IMAGE)


def test_one_slice_is_unfit() -> None:
    """A single image is no series."""
    with pytest.raises(Unfit, match="slices, found 1"):
        check_fit(series((1, 512, 512), (400.0, 0.7, 0.7)), IMAGE)


@pytest.mark.parametrize(("low", "high"), [(0, 255), (16, 235)])
def test_an_8_bit_screenshot_is_unfit(low: int, high: int) -> None:
    """Values within a byte are grey levels, and the message says what to send."""
    with pytest.raises(Unfit, match=f"from {low} to {high} as in an 8-bit screenshot"):
        check_fit(between(low, high), IMAGE)


@pytest.mark.parametrize(("low", "high"), [(0.0, 256.0), (-1.0, 255.0), (0.0, 4095.0), (-299.9, 3071.0)])
def test_a_ct_without_air_is_unfit(low: float, high: float) -> None:
    """Stored values that were never rescaled hold no air, though they are more than a byte."""
    with pytest.raises(Unfit, match="check the rescale slope"):
        check_fit(between(low, high), IMAGE)


def test_air_at_the_limit_is_air() -> None:
    """The highest value that can still be air passes."""
    check_fit(between(AIR_AT_MOST_HU, 3071.0), IMAGE)


def test_a_single_padding_value_does_not_hide_a_study() -> None:
    """Values below air, as scanners pad with, are no reason to refuse."""
    check_fit(between(-2048.0, 3071.0), IMAGE)


@pytest.mark.parametrize(("share", "fits"), [(0.051, True), (0.049, False)])
def test_air_without_a_body_is_unfit(share: float, fits: bool) -> None:
    """Just enough tissue passes; noise around air shows no body, whatever its deviation."""
    rng = np.random.default_rng(0)
    voxels = rng.normal(-1000, 40, (32, 96, 96)).astype(np.float32)
    flat = voxels.reshape(-1)
    flat[: round(share * flat.size)] = 40.0
    volume = Volume(voxels, (10.0, 3.6, 3.6), "CT", "2.25.1", "2.25.2")
    if fits:
        check_fit(volume, IMAGE)
    else:
        with pytest.raises(Unfit, match="no body"):
            check_fit(volume, IMAGE)
