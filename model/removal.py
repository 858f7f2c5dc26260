"""Takes regions out of the image and looks again: what a probability falls by is what it rested on.

Maps of attention often show what a network did not use; taking a place out and measuring is the test of it
(arXiv 2605.20158). A region is (planes, rows, columns) of true places; a place (i, j) of a map of rows x
columns covers height / rows times width / columns pixels of a plane.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from model.vision.seen import Seen

SHARE_OF_PEAK = 0.5
"""A place belongs to a finding from this share of the probability at the peak of its map."""
AT_ONCE = 24
"""Images that are looked at in one batch."""


def regions_of(maps: Tensor, share: float = SHARE_OF_PEAK) -> Tensor:
    """(maps, planes, rows, columns) logits -> the same shape of bool: where each finding lies.

    The places with at least this share of the peak's probability that touch one another up to the peak,
    corners included. Never empty.
    """
    flat = maps.flatten(1).float()
    high = torch.sigmoid(flat) >= share * torch.sigmoid(flat.amax(dim=1, keepdim=True))
    inside = high.view_as(maps)
    peak = F.one_hot(flat.argmax(dim=1), flat.shape[1]).bool().view_as(maps)
    region = peak
    while True:
        grown = _neighbours(region, planes=True) & inside | peak
        if torch.equal(grown, region):
            return region
        region = grown


def widened(region: Tensor) -> Tensor:
    """(..., planes, rows, columns) with the eight places around each, in its own plane, where the edge of a
    finding lies. The planes above and below are slabs of their own: what is there is seen there.
    """
    return _neighbours(region.reshape(-1, *region.shape[-3:]), planes=False).reshape(region.shape)


def without(images: Tensor, regions: Tensor) -> Tensor:
    """Images in which each region is filled with the mean of the ring around it, by plane and channel.

    images is (batch, planes, channels, height, width), regions (batch, planes, rows, columns). The ring is
    one place wide. A plane that a region covers as a whole is filled with its own mean.
    """
    size = images.shape[-2:]
    if size[0] % regions.shape[-2] or size[1] % regions.shape[-1]:
        raise ValueError(
            f"expected places that divide {tuple(size)} pixels, found {tuple(regions.shape[-2:])}"
        )
    ring = widened(regions) & ~regions
    bare = ring.sum(dim=(2, 3), keepdim=True) == 0
    weight = _pixels(ring | bare, size).unsqueeze(2).to(images.dtype)
    fill = (images * weight).sum(dim=(3, 4), keepdim=True) / weight.sum(dim=(3, 4), keepdim=True)
    return torch.where(_pixels(regions, size).unsqueeze(2), fill, images)


@torch.inference_mode()
def removal_drops(
    tower: Callable[[Tensor], Seen],
    images: Tensor,
    seen: Seen,
    tried: Sequence[tuple[int, int, Tensor]],
    probabilities: Callable[[Tensor], Tensor] = torch.sigmoid,
) -> list[float]:
    """By how much the probability of each head falls when a region is taken out of its image.

    images is (batch, planes, channels, height, width) between 0 and 1 and seen what the tower made of
    them; tried is (row of the batch, index of the head, region) for each trial; probabilities makes
    calibrated ones of logits (rows, heads). All trials are looked at in batches of AT_ONCE. A drop below
    zero means that the finding is the more probable without what was taken out.
    """
    drops: list[float] = []
    before = probabilities(seen.logits)
    for start in range(0, len(tried), AT_ONCE):
        part = tried[start : start + AT_ONCE]
        rows = [row for row, _, _ in part]
        heads = [head for _, head, _ in part]
        regions = torch.stack([region for _, _, region in part]).to(images.device)
        after = probabilities(tower(without(images[rows], regions)).logits)
        drops += (before[rows, heads] - after[range(len(part)), heads]).tolist()
    return drops


def centre_of(lesion_map: Tensor, region: Tensor) -> tuple[float, float, float]:
    """(plane, row, column) of a region's middle, weighted by its probability; the middle of the first place
    of a direction is 0.5. lesion_map and region are (planes, rows, columns).
    """
    weight = torch.sigmoid(lesion_map.double()) * region
    total = weight.sum()
    middles = [
        float((weight.sum(dim=rest) * (torch.arange(length, device=weight.device) + 0.5)).sum() / total)
        for rest, length in zip(((1, 2), (0, 2), (0, 1)), weight.shape, strict=True)
    ]
    return middles[0], middles[1], middles[2]


def moved_regions(region: Tensor, within: Tensor, count: int, generator: torch.Generator) -> list[Tensor]:
    """Up to count regions of the same shape elsewhere, to compare the drop of the region itself with.

    region and within are (planes, rows, columns); each moved region lies wholly within, and shares no place
    with the region. Positions are drawn without repeating; there may be fewer than asked for, or none.
    """
    places = region.nonzero()
    low, high = places.amin(dim=0), places.amax(dim=0)
    shape = region[tuple(slice(int(a), int(b) + 1) for a, b in zip(low, high, strict=True))]
    # How many of the shape's places lie where they may, at every position at once.
    allowed = (within & ~region).float()[None, None]
    fits = F.conv3d(allowed, shape.float()[None, None])[0, 0] > float(shape.sum()) - 0.5
    corners = fits.nonzero()
    chosen = torch.randperm(len(corners), generator=generator)[:count]
    moved = []
    for corner in corners[chosen]:
        one = torch.zeros_like(region)
        one[tuple(slice(int(c), int(c) + n) for c, n in zip(corner, shape.shape, strict=True))] = shape
        moved.append(one)
    return moved


def lung_places(volume: Tensor, ranges: Sequence[tuple[int, int]], grid: tuple[int, int]) -> Tensor:
    """(planes, rows, columns): places of which at least half is aerated lung.

    volume is (slices, height, width) in Hounsfield units; ranges are the slices of each plane. Lung is what
    is darker than -400 and is not joined, in its slice, to the air outside the body.
    """
    dark = volume < -400
    edge = torch.zeros_like(dark)
    edge[:, [0, -1], :] = True
    edge[:, :, [0, -1]] = True
    outside = dark & edge
    while True:
        # By edges only: air that touches at a corner is divided by the wall.
        padded = F.pad(outside, (1, 1, 1, 1))
        beside = padded[:, :-2, 1:-1] | padded[:, 2:, 1:-1] | padded[:, 1:-1, :-2] | padded[:, 1:-1, 2:]
        grown = (outside | beside) & dark
        if torch.equal(grown, outside):
            break
        outside = grown
    lung = (dark & ~outside).float()
    planes = torch.stack([lung[first:last].mean(dim=0) for first, last in ranges])
    return F.adaptive_avg_pool2d(planes[:, None], grid)[:, 0] >= 0.5


def _neighbours(region: Tensor, planes: bool) -> Tensor:
    """(batch, planes, rows, columns): every true place and those around it."""
    depth = 1 if planes else 0
    grown = F.max_pool3d(
        region[:, None].float(), kernel_size=(2 * depth + 1, 3, 3), stride=1, padding=(depth, 1, 1)
    )
    return grown[:, 0] > 0.5


def _pixels(region: Tensor, size: torch.Size) -> Tensor:
    """(batch, planes, rows, columns) of places as (batch, planes, height, width) of pixels."""
    down, across = size[0] // region.shape[-2], size[1] // region.shape[-1]
    return region.repeat_interleave(down, dim=-2).repeat_interleave(across, dim=-1)
