"""The vision half: encoders of timm side by side over the planes of a volume, and the finding heads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from model.vision.encoder import Encoder
from model.vision.heads import FindingHeads
from model.vision.resampler import PlanePosition, Resampler
from model.vision.seen import Seen
from model.vision.settings import VisionSettings

STRIDE = 8
"""A place of a lesion map covers so many pixels of a plane in each direction."""


class VisionTower(nn.Module):
    """Encoders, slice positions, heads and, where it is asked for, a resampler.

    Small findings cover one or two of a transformer's patches: the heads read the stem's features as well.
    """

    def __init__(self, settings: VisionSettings, image_shape: tuple[int, int, int, int]) -> None:
        """image_shape is (planes, channels, height, width). Raises WeightsError when it does not fit."""
        super().__init__()
        encoders = [Encoder(one, image_shape) for one in settings.encoders]
        self.encoders = nn.ModuleList(encoders)
        self.width = settings.width
        self.deep = nn.ModuleList(nn.Conv2d(one.widths[-1], self.width, kernel_size=1) for one in encoders)
        self.near = nn.ModuleList(
            nn.Conv2d(one.near_width, self.width, kernel_size=1) if one.near_width else nn.Identity()
            for one in encoders
        )
        self.stage_widths = _stage_widths([one.widths for one in encoders])
        """Widths of Seen.stages, early to deep."""
        self.position = PlanePosition(self.width)
        self.heads = FindingHeads(self.width, len(settings.heads))
        self.resampler = Resampler(self.width, settings.queries) if settings.queries else None
        self.tokens = settings.queries or image_shape[0]
        """Number of tokens that a study becomes, beside one for each head."""
        self.planes = image_shape[0]

    def forward(self, image: Tensor) -> Seen:
        """image is (batch, planes, channels, height, width) between 0 and 1."""
        batch, planes = image.shape[:2]
        grid = (image.shape[3] // STRIDE, image.shape[4] // STRIDE)
        encoded = [encoder(image) for encoder in self.encoders]
        parts = []
        for (stages, near), deep, beside in zip(encoded, self.deep, self.near, strict=True):
            parts.append(_resized(deep(stages[-1].flatten(0, 1)), grid))
            if near is not None:
                parts.append(_resized(beside(near.flatten(0, 1)), grid))
        features = torch.stack(parts).sum(dim=0).reshape(batch, planes, self.width, *grid)
        features = features + self.position(planes, features)[None, :, :, None, None]

        maps, logits, attention, measures = self.heads(features)
        places = features.permute(0, 1, 3, 4, 2).flatten(1, 3)
        if self.resampler is None:
            tokens = features.mean(dim=(3, 4))
            looked = _plane_means(planes, grid[0] * grid[1], tokens)
        else:
            tokens, looked = self.resampler(places)
        pooled = attention.to(places.dtype) @ places
        where = torch.cat([attention.to(places.dtype), looked.to(places.dtype).expand(batch, -1, -1)], dim=1)
        return Seen(
            maps=maps,
            logits=logits,
            pooled=pooled.float(),
            tokens=tokens.float(),
            area=torch.log1p(100 * torch.sigmoid(maps.flatten(2)).mean(dim=2)),
            heights=attention.reshape(batch, -1, planes, grid[0] * grid[1]).sum(dim=3),
            measures=measures,
            stages=self._stages([stages[:-1] for stages, _ in encoded], grid, where),
        )

    def _stages(
        self, earlier: list[list[Tensor]], grid: tuple[int, int], where: Tensor
    ) -> tuple[Tensor, ...]:
        """Features of the earlier stages at the places of heads and tokens, early to deep."""
        gathered = []
        for back in range(1, max(map(len, earlier)) + 1):
            grids = [
                _resized(stages[-back].flatten(0, 1), grid).reshape(*stages[-back].shape[:3], *grid)
                for stages in earlier
                if len(stages) >= back
            ]
            places = torch.cat(grids, dim=2).permute(0, 1, 3, 4, 2).flatten(1, 3)
            gathered.append((where @ places).float())
        return tuple(gathered[::-1])


def _stage_widths(widths: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """All but the last stage of each encoder, joined where they lie equally deep."""
    earlier = [one[:-1][::-1] for one in widths]
    depth = max(map(len, earlier))
    return tuple(sum(one[back] for one in earlier if back < len(one)) for back in range(depth))[::-1]


def _resized(features: Tensor, grid: tuple[int, int]) -> Tensor:
    """(images, width, rows, columns) on another grid: repeated where it grows, averaged where it shrinks."""
    if features.shape[-2:] == grid:
        return features
    if features.shape[-2] > grid[0]:
        return F.adaptive_avg_pool2d(features, grid)
    return F.interpolate(features, grid, mode="nearest")


def _plane_means(planes: int, places: int, like: Tensor) -> Tensor:
    """(1, planes, planes * places): each row averages the places of one plane."""
    own = torch.eye(planes, device=like.device, dtype=like.dtype) / places
    return own.repeat_interleave(places, dim=1)[None]
