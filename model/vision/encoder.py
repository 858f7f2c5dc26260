"""An encoder of timm over the planes of a volume."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from model.operators import import_timm
from model.study import WeightsError
from model.vision.settings import EncoderSettings

_PLANES_AT_ONCE = 32
"""Planes that stand apart are encoded so many at a time when nothing is learned: any number of them fits."""
_STEM_STRIDE = 8


class Encoder(nn.Module):
    """Feature grids of the last stages for every plane, early to deep."""

    widths: tuple[int, ...]
    """Width of each stage that is given, early to deep."""

    def __init__(self, settings: EncoderSettings, image_shape: tuple[int, int, int, int]) -> None:
        """image_shape is (planes, channels, height, width).

        Raises WeightsError when timm does not know the name, or the shape does not fit.
        """
        super().__init__()
        planes, channels, height, width = image_shape
        self.tiled = settings.layout == "tiled"
        self.planes, self.columns = planes, settings.tile_columns
        self.pixels = settings.pixels
        if self.tiled:
            if planes % self.columns:
                raise WeightsError(f"expected planes that {self.columns} tiles a row divide, found {planes}")
            height, width = height * (planes // self.columns), width * self.columns
        elif self.pixels:
            height = width = self.pixels
        options: dict[str, Any] = {"pretrained": False, "num_classes": 0, "in_chans": channels}
        if settings.depth:
            options["depth"] = settings.depth
        self.stem: nn.Module | None = None
        if settings.stem_width:
            if height % (2 * _STEM_STRIDE) or width % (2 * _STEM_STRIDE):
                raise WeightsError(f"expected an image whose sides 16 divides, found {height} x {width}")
            self.stem = _stem(channels, settings.stem_width)
            height, width = height // _STEM_STRIDE, width // _STEM_STRIDE
            options |= {"in_chans": settings.stem_width, "patch_size": 2}
        self.network = _network(settings.timm_name, (height, width), options)
        with torch.no_grad():
            probe = torch.zeros(1, options["in_chans"], height, width)
            found = [grid.shape[1] for grid in self._stages(probe, settings.stages)]
        self.stages = settings.stages
        self.near_width = settings.stem_width
        """Channels of the stem's features; 0 without a stem."""
        self.widths = tuple(found)

    def forward(self, planes: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """planes is (batch, planes, channels, height, width) between 0 and 1.

        Returns the grids (batch, planes, width, rows, columns) of each stage, and the stem's (None without).
        """
        batch = planes.shape[0]
        images = self._tile(planes) if self.tiled else planes.flatten(0, 1)
        if self.pixels and not self.tiled:
            images = F.interpolate(images, (self.pixels, self.pixels), mode="bilinear", antialias=True)
        if self.tiled or torch.is_grad_enabled():
            grids, near = self._encode(images)
        else:
            parts = [self._encode(part) for part in torch.split(images, _PLANES_AT_ONCE)]
            grids = [torch.cat(stage) for stage in zip(*(grids for grids, _ in parts), strict=True)]
            nears = [near for _, near in parts if near is not None]
            near = torch.cat(nears) if nears else None
        grids = [self._by_plane(grid, batch) for grid in grids]
        return grids, None if near is None else self._by_plane(near, batch)

    def _encode(self, images: Tensor) -> tuple[list[Tensor], Tensor | None]:
        images = images * 2 - 1
        near = None if self.stem is None else self.stem(images)
        return self._stages(images if near is None else near, self.stages), near

    def _stages(self, images: Tensor, stages: int) -> list[Tensor]:
        network: Any = self.network
        grids: list[Tensor] = network.forward_intermediates(
            images, indices=stages, norm=True, output_fmt="NCHW", intermediates_only=True
        )
        return grids

    def _tile(self, planes: Tensor) -> Tensor:
        batch, count, channels, height, width = planes.shape
        rows = count // self.columns
        grid = planes.reshape(batch, rows, self.columns, channels, height, width)
        return grid.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels, rows * height, self.columns * width)

    def _by_plane(self, grid: Tensor, batch: int) -> Tensor:
        if not self.tiled:
            return grid.reshape(batch, -1, *grid.shape[1:])
        _, width, height, across = grid.shape
        rows = self.planes // self.columns
        tiles = grid.reshape(batch, width, rows, height // rows, self.columns, across // self.columns)
        return tiles.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)


def _network(name: str, size: tuple[int, int], options: dict[str, Any]) -> nn.Module:
    """The network of a name, told the size of its images where it asks for one."""
    timm: Any = import_timm()
    attempts: tuple[dict[str, Any], ...] = ({"img_size": size}, {})
    problem: Exception | None = None
    for extra in attempts:
        try:
            network: nn.Module = timm.create_model(name, **options, **extra)
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:
            # Networks without attention take images of any size and no word about it.
            problem = error
            continue
        if not hasattr(network, "forward_intermediates"):
            raise WeightsError(f"expected a timm network that gives its stages; {name} does not")
        return network
    raise WeightsError(f"expected a network of timm that fits the settings, {name!r} does not: {problem}")


def _stem(channels: int, width: int) -> nn.Module:
    """Convolutions down to an eighth: small findings are seen before the image is cut into patches."""
    half, quarter = width // 2, width // 4
    return nn.Sequential(
        nn.Conv2d(channels, quarter, kernel_size=3, stride=2, padding=1),
        nn.GroupNorm(math.gcd(8, quarter), quarter),
        nn.GELU(),
        nn.Conv2d(quarter, half, kernel_size=3, stride=2, padding=1),
        nn.GroupNorm(math.gcd(8, half), half),
        nn.GELU(),
        nn.Conv2d(half, half, kernel_size=3, padding=1),
        nn.GroupNorm(math.gcd(8, half), half),
        nn.GELU(),
        nn.Conv2d(half, width, kernel_size=3, stride=2, padding=1),
        nn.GroupNorm(math.gcd(8, width), width),
        nn.GELU(),
        nn.Conv2d(width, width, kernel_size=3, padding=1),
        nn.GroupNorm(math.gcd(8, width), width),
        nn.GELU(),
    )
