"""What is unfit is refused at its limit, and the image keeps what the volume shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.preprocess import ImageSettings, check_fit, slab_ranges, tiled_image
from model.study import Unfit, Volume, WeightsError
from training.plan import IMAGE


def _volume(
    shape: tuple[int, int, int] = (32, 96, 96),
    spacing: tuple[float, float, float] = (10.0, 3.6, 3.6),
    modality: str = "CT",
    voxels: NDArray[np.float32] | None = None,
) -> Volume:
    if voxels is None:
        voxels = np.random.default_rng(0).normal(-500, 300, shape).astype(np.float32)
    return Volume(voxels, spacing, modality, "2.25.1", "2.25.2")


def test_a_chest_is_fit() -> None:
    """The shape that the weights were trained on passes."""
    check_fit(_volume(), IMAGE)


def test_one_slice_too_few_is_unfit() -> None:
    """At the minimum it passes, one below it does not."""
    check_fit(_volume((16, 96, 96)), IMAGE)
    with pytest.raises(Unfit, match="at least 16 slices, found 15"):
        check_fit(_volume((15, 96, 96)), IMAGE)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_extent_just_below_the_minimum_is_unfit(axis: int) -> None:
    """Along each axis the minimum passes, a little less does not."""
    shape = (32, 96, 96)
    exact = [10.0, 3.6, 3.6]
    exact[axis] = IMAGE.minimum_extent_mm[axis] / shape[axis]
    # A hair above, for the division is not exact.
    check_fit(_volume(spacing=tuple(v * (1 + 1e-12) for v in exact)), IMAGE)  # type: ignore[arg-type]
    exact[axis] *= 0.999
    with pytest.raises(Unfit, match=("slices", "rows", "columns")[axis]):
        check_fit(_volume(spacing=tuple(exact)), IMAGE)  # type: ignore[arg-type]


@pytest.mark.parametrize("modality", ["MR", "", "ct", "CT CHEST of a named person"])
def test_another_modality_is_unfit(modality: str) -> None:
    """Only what was trained for is read, and free text does not reach the message."""
    with pytest.raises(Unfit, match="these weights read CT") as raised:
        check_fit(_volume(modality=modality), IMAGE)
    assert "named" not in str(raised.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_voxel_that_is_no_number_is_unfit(value: float) -> None:
    """A single one is enough."""
    volume = _volume()
    volume.voxels[31, 95, 95] = value
    with pytest.raises(Unfit, match="finite"):
        check_fit(volume, IMAGE)


@pytest.mark.parametrize("value", [0.0, -1000.0])
def test_a_blank_image_is_unfit(value: float) -> None:
    """A constant shows nothing."""
    with pytest.raises(Unfit, match="blank"):
        check_fit(_volume(voxels=np.full((32, 96, 96), value, dtype=np.float32)), IMAGE)


def test_a_deviation_just_below_the_minimum_is_blank() -> None:
    """Half the voxels up and half down by the minimum pass; by a little less they do not."""
    signs = np.where(np.indices((32, 96, 96)).sum(axis=0) % 2, 1.0, -1.0)
    check_fit(_volume(voxels=(signs * 10.001 - 500).astype(np.float32)), IMAGE)
    with pytest.raises(Unfit, match="blank"):
        check_fit(_volume(voxels=(signs * 9.999 - 500).astype(np.float32)), IMAGE)


@pytest.mark.parametrize("shape", [(0, 96, 96), (32, 0, 96), (96, 96)])
def test_a_volume_without_three_dimensions_is_unfit(shape: tuple[int, ...]) -> None:
    """An empty or flat array is no volume."""
    with pytest.raises(Unfit, match="expected a volume"):
        check_fit(_volume(voxels=np.zeros(shape, dtype=np.float32)), IMAGE)


@given(st.integers(1, 40), st.integers(0, 400))
def test_every_slice_is_in_exactly_one_slab(slabs: int, more: int) -> None:
    """No slice is lost or seen twice, and no slab is empty."""
    ranges = slab_ranges(slabs + more, slabs)
    assert len(ranges) == slabs
    assert [i for a, b in ranges for i in range(a, b)] == list(range(slabs + more))
    assert all(a < b for a, b in ranges)


@pytest.mark.parametrize("shape", [(16, 96, 96), (33, 512, 512), (200, 97, 128), (24, 64, 50)])
def test_a_constant_stays_a_constant(shape: tuple[int, int, int]) -> None:
    """Resampling weighs every pixel alike, whatever the matrix."""
    image = tiled_image(np.full(shape, -850.0, dtype=np.float32), IMAGE)
    assert image.shape == IMAGE.shape
    np.testing.assert_allclose(image[0], 0.5, atol=1e-5)
    np.testing.assert_allclose(image[2], 0.0, atol=1e-5)


def test_left_stays_left_and_feet_come_first() -> None:
    """A bright corner of the last slices is found in the last tile, in the same corner."""
    voxels = np.full((32, 192, 192), -1000.0, dtype=np.float32)
    voxels[28:, :20, 172:] = 3000.0
    image = tiled_image(voxels, IMAGE)
    bright = np.argwhere(image[1] > 0.5)
    assert bright.min(axis=0).tolist() == [96, 3 * 96 + 86]
    assert bright.max(axis=0).tolist() == [96 + 9, 3 * 96 + 95]


def test_the_maximum_keeps_what_the_mean_drowns() -> None:
    """One bright slice of a slab is whole in the projection and a quarter in the mean."""
    voxels = np.full((32, 96, 96), -900.0, dtype=np.float32)
    voxels[1, 40, 40] = 100.0
    image = tiled_image(voxels, IMAGE)
    assert image[1, 40, 40] == pytest.approx(1.0)
    assert image[3, 40, 40] == pytest.approx((-650 + 1000) / 1300, abs=1e-4)


def test_settings_survive_their_json() -> None:
    """What drafter.json holds gives the settings again."""
    assert ImageSettings.from_json(IMAGE.to_json()) == IMAGE


@pytest.mark.parametrize(
    "change",
    [
        {"windows": []},
        {"windows": [["median", 0, 1]]},
        {"windows": [["mean", 0, 0]]},
        {"tile": 0},
        {"minimum_slices": 7},
        {"minimum_extent_mm": [1, 2]},
        {"modalities": None},
        {"tile_rows": "two"},
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, object]) -> None:
    """They are refused when the weights load, not when a study waits."""
    with pytest.raises(WeightsError, match="image"):
        ImageSettings.from_json({**IMAGE.to_json(), **change})


def test_as_many_slices_as_slabs_is_the_least_minimum() -> None:
    """Eight slabs need eight slices."""
    assert ImageSettings.from_json({**IMAGE.to_json(), "minimum_slices": 8}) == replace(
        IMAGE, minimum_slices=8
    )
