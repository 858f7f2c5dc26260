"""Phantoms as tensors: what the vision half sees and what it should find."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from model.preprocess import ImageSettings, pixel_mm, plane_mm, planes_image, slab_ranges
from model.vision.heads import MEASURES
from model.vision.tower import STRIDE
from training.facts import draw, with_small_nodule
from training.phantoms import Mask, Phantom, phantom

_COVERED = 0.10
"""A place is positive when a finding covers this share of it in any slice of the slab."""


@dataclass(frozen=True, slots=True)
class Examples:
    """A batch of phantoms as the vision half is trained on them."""

    images: Tensor
    """(cases, planes, channels, side, side) between 0 and 1, in 256 steps."""
    maps: Tensor
    """(cases, heads, planes, side / 8, side / 8) of 0 and 1: where each finding is."""
    measures: Tensor
    """(cases, heads, 4) as Seen.measures has them; only those of findings that are there mean anything."""

    @property
    def present(self) -> Tensor:
        """(cases, heads) of 0 and 1."""
        return self.maps.flatten(2).amax(dim=2)


class Phantoms(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Phantoms of consecutive seeds, each made when it is asked for."""

    def __init__(
        self,
        first: int,
        count: int,
        settings: ImageSettings,
        heads: Sequence[str],
        small_nodules: bool = False,
    ) -> None:
        """Seeds are first, first + 1, ... With small_nodules, every second chest has one."""
        self.first, self.count, self.settings, self.heads = first, count, settings, tuple(heads)
        self.small_nodules = small_nodules

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        seed = self.first + index
        record = None
        if self.small_nodules and index % 2:
            rng = np.random.default_rng(seed)
            record = with_small_nodule(draw(rng), rng)
        made = phantom(seed, record)
        maps = lesion_maps(made.masks, self.settings, self.heads)
        measures = true_measures(made, self.settings, self.heads)
        return image_of(made, self.settings), torch.from_numpy(maps), torch.from_numpy(measures)

    def batches(
        self, batch: int, steps: int, first: int = 0, workers: int = 1
    ) -> Iterator[tuple[int, Examples]]:
        """(step, batch) of each step from the first. Which phantoms a step sees depends on the step alone."""
        order = [[(step * batch + i) % self.count for i in range(batch)] for step in range(first, steps)]
        loader: DataLoader[tuple[Tensor, ...]] = DataLoader(
            self,
            batch_sampler=order,
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            multiprocessing_context="fork" if workers else None,
            worker_init_fn=_one_thread,
        )
        for step, (images, maps, measures) in zip(range(first, steps), loader, strict=True):
            yield step, Examples(images.float() / 255, maps.float(), measures)


def image_of(made: Phantom, settings: ImageSettings) -> Tensor:
    """(planes, channels, side, side), uint8: the planes of a phantom times 255."""
    image = planes_image(made.volume.voxels, made.volume.spacing_mm, settings)
    return torch.from_numpy(np.rint(image * 255).astype(np.uint8))


def lesion_maps(
    masks: Mapping[str, Mask], settings: ImageSettings, heads: Sequence[str]
) -> NDArray[np.bool_]:
    """(heads, planes, side / 8, side / 8): where each finding is shown. Masks are (slices, side, side)."""
    cells = settings.side // STRIDE
    maps = np.zeros((len(heads), settings.planes, cells, cells), dtype=np.bool_)
    for head, mask in masks.items():
        cover = mask.reshape(mask.shape[0], cells, STRIDE, cells, STRIDE).mean(axis=(2, 4))
        slabs = slab_ranges(mask.shape[0], settings.planes)
        planes = np.stack([cover[a:b].max(axis=0) for a, b in slabs])
        maps[heads.index(head)] = planes >= min(_COVERED, float(planes.max()))
    return maps


def true_measures(made: Phantom, settings: ImageSettings, heads: Sequence[str]) -> NDArray[np.float32]:
    """(heads, 4) as Seen.measures has them, zeros for what is not there."""
    shape, spacing = made.volume.voxels.shape, made.volume.spacing_mm
    plane, pixel = plane_mm(shape, spacing, settings), pixel_mm(shape, spacing, settings)
    measures = np.zeros((len(heads), MEASURES), dtype=np.float32)
    depths = made.millimetres
    for head, box in made.boxes.items():
        extents = [(box[axis + 3] - box[axis]) * spacing[axis] for axis in range(3)]
        in_places = (extents[0] / plane, extents[1] / pixel, extents[2] / pixel, depths[head] / pixel)
        measures[heads.index(head)] = np.log(in_places)
    return measures


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


def _one_thread(_worker: int) -> None:
    torch.set_num_threads(1)
