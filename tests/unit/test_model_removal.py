"""What is taken out of an image is gone, and only what a finding rests on takes its probability along."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from model.removal import (
    AT_ONCE,
    centre_of,
    lung_places,
    moved_regions,
    regions_of,
    removal_drops,
    widened,
    without,
)
from model.vision.seen import Seen

PLANES, GRID, PLACE = 4, 6, 4
LOW = -6.0


def bright(images: Tensor) -> Seen:
    """Sees what is brighter than its surroundings: head 0 in channel 0, head 1 in channel 1."""
    places = torch.nn.functional.avg_pool2d(images.flatten(0, 2)[:, None], PLACE)
    maps = 20 * places.view(*images.shape[:3], GRID, GRID).transpose(1, 2) - 10
    logits = maps.flatten(2).amax(dim=2)
    empty = torch.zeros(0)
    return Seen(maps, logits, empty, empty, empty, empty, empty)


def image(*blobs: tuple[int, int, int, int]) -> Tensor:
    """(1, planes, 2, pixels, pixels) of 0.2 with places (plane, channel, row, column) of 1."""
    made = torch.full((1, PLANES, 2, GRID * PLACE, GRID * PLACE), 0.2)
    for plane, channel, row, column in blobs:
        rows, columns = (slice(PLACE * i, PLACE * (i + 1)) for i in (row, column))
        made[0, plane, channel, rows, columns] = 1.0
    return made


def region(*places: tuple[int, int, int]) -> Tensor:
    made = torch.zeros(PLANES, GRID, GRID, dtype=torch.bool)
    for place in places:
        made[place] = True
    return made


def a_map(high: dict[tuple[int, int, int], float]) -> Tensor:
    made = torch.full((1, PLANES, GRID, GRID), LOW)
    for place, logit in high.items():
        made[0, place[0], place[1], place[2]] = logit
    return made


def test_a_region_is_what_hangs_together_with_the_peak() -> None:
    """Over corners and planes it does; a second island as bright as the first does not."""
    found = regions_of(a_map({(1, 1, 1): 4, (1, 2, 2): 3, (2, 3, 3): 3, (1, 5, 5): 3.9, (3, 0, 5): 3.9}))
    assert torch.equal(found[0], region((1, 1, 1), (1, 2, 2), (2, 3, 3)))


def test_a_place_belongs_from_half_of_the_peak() -> None:
    """Of a peak of probability 0.8: 0.4 belongs, a little less does not."""
    half, peak = torch.logit(torch.tensor([0.4, 0.8])).tolist()
    assert regions_of(a_map({(0, 2, 2): peak, (0, 2, 3): half + 1e-3}))[0].sum() == 2
    assert regions_of(a_map({(0, 2, 2): peak, (0, 2, 3): half - 1e-3}))[0].sum() == 1


def test_a_flat_map_is_one_region_and_none_is_empty() -> None:
    """Without a peak everything is the finding; each map of a batch is read by itself."""
    maps = torch.cat([torch.full((1, PLANES, GRID, GRID), -9.0), a_map({(0, 0, 0): 5})])
    assert regions_of(maps).sum(dim=(1, 2, 3)).tolist() == [PLANES * GRID * GRID, 1]


def test_a_region_is_widened_in_its_plane() -> None:
    """By the places around it, cut at the border."""
    wide = widened(region((1, 2, 2), (3, 0, 0)))
    assert wide.sum(dim=(1, 2)).tolist() == [0, 9, 0, 4]


def test_a_region_is_filled_with_the_ring_around_it() -> None:
    """By plane and channel; all other pixels stay as they are."""
    images = image((1, 0, 2, 2))
    images[0, 1, 1] = torch.linspace(0, 1, GRID * PLACE)[None, :]
    gone = without(images, region((1, 2, 2))[None])
    rows = columns = slice(2 * PLACE, 3 * PLACE)
    assert torch.allclose(gone[0, 1, 0, rows, columns], torch.tensor(0.2))
    ring = images[0, 1, 1, PLACE : 4 * PLACE, PLACE : 4 * PLACE].clone()
    ring[PLACE : 2 * PLACE, PLACE : 2 * PLACE] = 0
    assert torch.allclose(gone[0, 1, 1, rows, columns], ring.sum() / (8 * PLACE**2))
    changed = (gone != images).any(dim=2)[0]
    assert changed[1, rows, columns].any()
    changed[1, rows, columns] = False
    assert not changed.any()


def test_a_whole_plane_is_filled_with_its_own_mean() -> None:
    """There is no ring around it, and nothing becomes not-a-number."""
    images = image((1, 0, 2, 2))
    whole = torch.zeros(1, PLANES, GRID, GRID, dtype=torch.bool)
    whole[0, 1] = True
    gone = without(images, whole)
    assert torch.allclose(gone[0, 1, 0], images[0, 1, 0].mean())
    assert torch.isfinite(gone).all()


def test_places_that_do_not_divide_the_image_are_refused() -> None:
    """Half a pixel cannot be taken out."""
    with pytest.raises(ValueError, match="divide"):
        without(image(), torch.zeros(1, PLANES, 5, GRID, dtype=torch.bool))


def test_removing_what_is_seen_drops_it_and_removing_anything_else_does_not() -> None:
    """The blob's own region takes the probability away; the same shape elsewhere takes nothing."""
    images = image((1, 0, 2, 2), (2, 1, 4, 4))
    seen = bright(images)
    own = widened(regions_of(seen.maps[0]))
    everywhere = torch.ones(PLANES, GRID, GRID, dtype=torch.bool)
    other = moved_regions(own[0], everywhere, 5, torch.Generator().manual_seed(1))
    assert len(other) == 5
    drops = removal_drops(bright, images, seen, [(0, 0, own[0]), (0, 1, own[1]), *((0, 0, o) for o in other)])
    assert min(drops[:2]) > 0.9
    assert max(map(abs, drops[2:])) < 1e-6


def test_trials_of_several_studies_do_not_touch_one_another() -> None:
    """More trials than one batch holds give what each gives alone."""
    images = torch.cat([image((1, 0, 2, 2)), image((3, 0, 5, 0)), image()])
    seen = bright(images)
    own = [widened(regions_of(seen.maps[row, :1]))[0] for row in range(3)]
    tried = [(i % 3, 0, own[i % 3]) for i in range(AT_ONCE + 5)]
    drops = removal_drops(bright, images, seen, tried)
    alone = [removal_drops(bright, images, seen, [one])[0] for one in tried[:3]]
    assert drops == pytest.approx([alone[i % 3] for i in range(len(tried))], abs=1e-6)
    assert alone[0] > 0.9
    assert alone[1] > 0.9
    assert abs(alone[2]) < 1e-6
    assert removal_drops(bright, images, seen, []) == []


def test_a_drop_is_one_of_calibrated_probabilities() -> None:
    """A head that is calibrated to half its slope falls by less."""
    images = image((1, 0, 2, 2))
    seen = bright(images)
    own = widened(regions_of(seen.maps[0, :1]))[0]
    (drop,) = removal_drops(bright, images, seen, [(0, 0, own)], lambda logits: torch.sigmoid(logits / 10))
    # The place falls from a logit of 10 to one of -6.
    assert drop == pytest.approx(1 / (1 + math.exp(-1.0)) - 1 / (1 + math.exp(0.6)), abs=1e-5)


def test_a_moved_region_keeps_its_shape_and_stays_within() -> None:
    """Every position that fits is found once, none overlaps the region, and where none fits there is none."""
    own = region((1, 0, 0), (1, 0, 1), (1, 1, 1))
    within = torch.zeros_like(own)
    within[2, 2:5, 2:5] = True
    moved = moved_regions(own, within, 99, torch.Generator().manual_seed(2))
    assert len(moved) == 4
    assert len({tuple(one.flatten().tolist()) for one in moved}) == 4
    for one in moved:
        assert one.sum() == 3
        assert not (one & own).any()
        assert not (one & ~within).any()
    assert moved_regions(own, own, 3, torch.Generator().manual_seed(2)) == []


def test_the_centre_is_in_the_middle_of_the_places() -> None:
    """Equal places by their number; a brighter one pulls."""
    places = region((1, 2, 2), (1, 2, 3))
    assert centre_of(torch.zeros(PLANES, GRID, GRID), places) == pytest.approx((1.5, 2.5, 3.0))
    pulled = torch.full((PLANES, GRID, GRID), -2.0)
    pulled[1, 2, 3] = 2.0
    assert centre_of(pulled, places)[2] > 3.3


def test_lung_is_air_within_the_body() -> None:
    """The air around the body is as dark and is none."""
    volume = torch.full((8, 48, 48), -1000.0)
    volume[:, 6:42, 6:42] = 40.0
    volume[4:, 12:36, 12:24] = -850.0
    found = lung_places(volume, [(0, 4), (4, 8)], (8, 8))
    expected = torch.zeros(2, 8, 8, dtype=torch.bool)
    expected[1, 2:6, 2:4] = True
    assert torch.equal(found, expected)
