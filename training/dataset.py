"""Phantoms as tensors: what the vision half sees and what it should find."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.preprocess import ImageSettings, slab_ranges, tiled_image
from training.facts import FactRecord
from training.phantoms import Mask, phantom

STRIDE = 8
"""A place of a lesion map covers this many pixels of a tile in each direction."""
_COVERED = 0.10
"""A place is positive when a finding covers this share of it in any slice of the slab."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Phantoms as the vision half is trained on them."""

    images: Tensor
    """(cases, channels, height, width), uint8: the tiled image times 255."""
    maps: Tensor
    """(cases, heads, height / 8, width / 8), bool: where each finding is."""
    records: tuple[FactRecord, ...]

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Images between 0 and 1 and maps, as float32."""
        return self.images[index].float() / 255, self.maps[index].float()


def make_examples(
    seeds: Sequence[int], settings: ImageSettings, heads: Sequence[str], maps: bool = True
) -> Examples:
    """Make the phantoms of the seeds. Without maps, the maps are empty."""
    channels, height, width = settings.shape
    images = torch.empty((len(seeds), channels, height, width), dtype=torch.uint8)
    truth = torch.zeros(
        (len(seeds), len(heads), height // STRIDE, width // STRIDE) if maps else (0,), dtype=torch.bool
    )
    records = []
    for row, seed in enumerate(seeds):
        made = phantom(seed)
        images[row] = torch.from_numpy(as_bytes(tiled_image(made.volume.voxels, settings)))
        if maps:
            truth[row] = torch.from_numpy(lesion_maps(made.masks, settings, heads))
        records.append(made.record)
    return Examples(images, truth, tuple(records))


def as_bytes(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """An image between 0 and 1 in 256 steps."""
    rounded: NDArray[np.uint8] = np.rint(image * 255).astype(np.uint8)
    return rounded


def lesion_maps(
    masks: Mapping[str, Mask], settings: ImageSettings, heads: Sequence[str]
) -> NDArray[np.bool_]:
    """(heads, height / 8, width / 8): where each finding is shown. Masks are (slices, tile, tile)."""
    _, height, width = settings.shape
    maps = np.zeros((len(heads), height // STRIDE, width // STRIDE), dtype=np.bool_)
    cells = settings.tile // STRIDE
    for head, mask in masks.items():
        cover = mask.reshape(mask.shape[0], cells, STRIDE, cells, STRIDE).mean(axis=(2, 4))
        tiles = np.stack([cover[a:b].max(axis=0) for a, b in slab_ranges(mask.shape[0], settings.slabs)])
        positive = tiles >= min(_COVERED, float(tiles.max()))
        rows = positive.reshape(settings.tile_rows, settings.tile_columns, cells, cells)
        maps[heads.index(head)] = rows.transpose(0, 2, 1, 3).reshape(maps.shape[1:])
    return maps


def epochs(count: int, batch: int, steps: int, seed: int, first: int = 0) -> Iterator[tuple[int, Tensor]]:
    """(step, case numbers) of each step from the first: every case once before any comes again.

    The order depends on nothing but the seed, so that a resumed run sees the cases that were left.
    """
    batch = min(batch, count)
    per_epoch = count // batch
    order, epoch_of_order = torch.empty(0), -1
    for step in range(first, steps):
        epoch, place = divmod(step, per_epoch)
        if epoch != epoch_of_order:
            generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
            order, epoch_of_order = torch.randperm(count, generator=generator), epoch
        yield step, order[place * batch : (place + 1) * batch]
