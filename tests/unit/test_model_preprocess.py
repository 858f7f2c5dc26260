"""What is unfit is refused at its limit, and the image keeps what the volume shows."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.preprocess import (
    ImageSettings,
    Window,
    check_fit,
    pixel_mm,
    plane_mm,
    planes_image,
    shown_area,
    slab_ranges,
)
from model.study import Unfit, Volume, WeightsError
from training.phantoms import SHAPE, SPACING_MM
from training.plan import IMAGE


def _volume(
    shape: tuple[int, int, int] = SHAPE,
    spacing: tuple[float, float, float] = SPACING_MM,
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
    check_fit(_volume((20, *SHAPE[1:])), IMAGE)
    with pytest.raises(Unfit, match="at least 20 slices, found 19"):
        check_fit(_volume((19, *SHAPE[1:])), IMAGE)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_extent_just_below_the_minimum_is_unfit(axis: int) -> None:
    """Along each axis the minimum passes, a little less does not."""
    exact = list(SPACING_MM)
    exact[axis] = IMAGE.minimum_extent_mm[axis] / SHAPE[axis]
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
    volume.voxels[-1, -1, -1] = value
    with pytest.raises(Unfit, match="finite"):
        check_fit(volume, IMAGE)


@pytest.mark.parametrize("value", [0.0, -1000.0])
def test_a_blank_image_is_unfit(value: float) -> None:
    """A constant shows nothing."""
    with pytest.raises(Unfit, match="blank"):
        check_fit(_volume(voxels=np.full(SHAPE, value, dtype=np.float32)), IMAGE)


def test_a_deviation_just_below_the_minimum_is_blank() -> None:
    """Half the voxels up and half down by the minimum pass; by a little less they do not."""
    signs = np.where(np.indices(SHAPE).sum(axis=0) % 2, 1.0, -1.0)
    check_fit(_volume(voxels=(signs * 10.001 - 302).astype(np.float32)), IMAGE)
    with pytest.raises(Unfit, match="blank"):
        check_fit(_volume(voxels=(signs * 9.999 - 302).astype(np.float32)), IMAGE)


@pytest.mark.parametrize("shape", [(0, 112, 112), (40, 0, 112), (112, 112)])
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


FIELDS = [
    ((20, 112, 112), SPACING_MM),
    ((33, 512, 512), (7.0, 0.7, 0.7)),
    ((200, 97, 128), (1.5, 3.0, 3.0)),
    ((24, 64, 150), (10.0, 4.0, 2.5)),
]


@pytest.mark.parametrize(("shape", "spacing"), FIELDS)
def test_a_constant_stays_a_constant(
    shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> None:
    """Resampling weighs every pixel alike, whatever the matrix; what the field does not cover is black."""
    image = planes_image(np.full(shape, -850.0, dtype=np.float32), spacing, IMAGE)
    assert image.shape == IMAGE.shape
    assert image.dtype == np.float32
    (top, rows), (left, columns) = shown_area(shape, spacing, IMAGE.side)
    for channel, window in enumerate(IMAGE.windows):
        shown = np.clip((-850 - window.centre_hu) / window.width_hu + 0.5, 0, 1)
        plane = image[:, channel]
        np.testing.assert_allclose(plane[:, top : top + rows, left : left + columns], shown, atol=1e-5)
        assert not plane[:, :top].any()
        assert not plane[:, top + rows :].any()
        assert not plane[:, :, :left].any()
        assert not plane[:, :, left + columns :].any()


@pytest.mark.parametrize(
    ("shape", "spacing", "area"),
    [
        ((40, 112, 112), (8.0, 3.1, 3.1), ((0, 112), (0, 112))),
        ((40, 56, 112), (8.0, 3.1, 3.1), ((28, 56), (0, 112))),
        ((40, 112, 112), (8.0, 3.1, 6.2), ((28, 56), (0, 112))),
        ((40, 200, 100), (8.0, 2.0, 2.0), ((0, 112), (28, 56))),
    ],
)
def test_proportions_are_true(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], area: tuple[tuple[int, int], ...]
) -> None:
    """The longer side fills the square, the other stands in its middle; one length serves both."""
    assert shown_area(shape, spacing, IMAGE.side) == area
    for axis, (_, count) in enumerate(area, start=1):
        shown = count * pixel_mm(shape, spacing, IMAGE)
        assert shown == pytest.approx(shape[axis] * spacing[axis], rel=0.01)
    assert plane_mm(shape, spacing, IMAGE) == 32.0


def test_left_stays_left_and_feet_come_first() -> None:
    """A bright corner of the last slices is found in the last plane, in the same corner."""
    voxels = np.full((40, 224, 224), -1000.0, dtype=np.float32)
    voxels[36:, :20, 204:] = 3000.0
    bright = np.argwhere(planes_image(voxels, SPACING_MM, IMAGE)[:, 5] > 0.5)
    assert bright.min(axis=0).tolist() == [9, 0, 102]
    assert bright.max(axis=0).tolist() == [9, 9, 111]


def test_parts_of_a_slab_are_channels_of_their_own() -> None:
    """Four slices a slab: each of the first four channels shows one of them, the others their mean."""
    voxels = np.full(SHAPE, -850.0, dtype=np.float32)
    voxels[6] = -100.0
    image = planes_image(voxels, SPACING_MM, IMAGE)
    dark, bright = (-850 + 1350) / 1500, (-100 + 1350) / 1500
    np.testing.assert_allclose(image[1, :4, 50, 50], [dark, dark, bright, dark], atol=1e-5)
    mean = (-850 * 3 - 100) / 4
    assert image[1, 4, 50, 50] == pytest.approx((mean + 1050) / 400, abs=1e-4)
    assert not (image[[0, *range(2, 10)], :4] > dark + 1e-5).any()


def test_the_maximum_keeps_what_the_mean_drowns() -> None:
    """One bright voxel of a slab is whole in the projection and a quarter in the mean."""
    settings = replace(IMAGE, windows=(Window("max", -350.0, 1300.0), Window("mean", -350.0, 1300.0)))
    voxels = np.full(SHAPE, -900.0, dtype=np.float32)
    voxels[1, 40, 40] = 100.0
    image = planes_image(voxels, SPACING_MM, settings)
    assert image[0, 0, 40, 40] == pytest.approx((100 + 1000) / 1300, abs=1e-4)
    assert image[0, 1, 40, 40] == pytest.approx((-650 + 1000) / 1300, abs=1e-4)


def test_a_part_is_never_empty() -> None:
    """Two slices a slab and four parts: every part shows one, the first the one next to the feet."""
    voxels = np.full((20, 112, 112), -850.0, dtype=np.float32)
    voxels[1::2] = -100.0
    shown = planes_image(voxels, (16.0, 3.1, 3.1), IMAGE)[0, :4, 50, 50]
    dark, bright = (-850 + 1350) / 1500, (-100 + 1350) / 1500
    np.testing.assert_allclose(shown, [dark, dark, bright, bright], atol=1e-5)


def test_settings_survive_their_json() -> None:
    """What drafter.json holds gives the settings again."""
    assert ImageSettings.from_json(IMAGE.to_json()) == IMAGE


@pytest.mark.parametrize(
    "change",
    [
        {"windows": []},
        {"windows": [["median", 0, 1]]},
        {"windows": [["mean", 0, 0]]},
        {"windows": [["part 3 of 2", 0, 1]]},
        {"windows": [["part 0 of 2", 0, 1]]},
        {"side": 0},
        {"planes": 0},
        {"minimum_slices": 9},
        {"minimum_extent_mm": [1, 2]},
        {"modalities": None},
        {"planes": "ten"},
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, object]) -> None:
    """They are refused when the weights load, not when a study waits."""
    with pytest.raises(WeightsError, match="image"):
        ImageSettings.from_json({**IMAGE.to_json(), **change})


def test_as_many_slices_as_planes_is_the_least_minimum() -> None:
    """Ten planes need ten slices."""
    assert ImageSettings.from_json({**IMAGE.to_json(), "minimum_slices": 10}) == replace(
        IMAGE, minimum_slices=10
    )


@pytest.mark.parametrize("slices", [200, 2000])
def test_a_long_study_takes_no_more_memory_beside_its_voxels(slices: int) -> None:
    """The image and a few planes of one slab, whatever the number of slices."""
    voxels = np.full((slices, 96, 96), -700, dtype=np.float32)
    tracemalloc.start()
    try:
        planes_image(voxels, (1.0, 3.0, 3.0), IMAGE)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * np.prod(IMAGE.shape) * 4 + 40 * voxels[0].nbytes
    assert peak < voxels.nbytes
