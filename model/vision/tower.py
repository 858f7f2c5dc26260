"""A vision transformer over the tiled image, with a lesion map and a probability for every finding head."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from model.operators import import_timm
from model.study import WeightsError
from model.vision.seen import Seen
from model.vision.settings import VisionSettings


class VisionTower(nn.Module):
    """Convolutional stem at an eighth of the image's size, timm transformer, finding heads.

    Small findings cover one or two of the transformer's tokens: the lesion maps read the stem as well.
    """

    def __init__(
        self, settings: VisionSettings, image_shape: tuple[int, int, int], tiles: tuple[int, int]
    ) -> None:
        """image_shape is (channels, height, width); tiles is (rows, columns) of the tiling."""
        super().__init__()
        channels, height, width = image_shape
        if height % (16 * tiles[0]) or width % (16 * tiles[1]):
            raise WeightsError(f"expected tiles that 16 divides, found an image of {height} x {width}")
        self.tiles = tiles
        stem, heads = settings.stem_width, len(settings.heads)
        self.stem = nn.Sequential(
            nn.Conv2d(channels, stem // 2, kernel_size=4, stride=4),
            nn.GELU(),
            nn.Conv2d(stem // 2, stem, kernel_size=3, stride=2, padding=1),
            nn.GroupNorm(8, stem),
            nn.GELU(),
            nn.Conv2d(stem, stem, kernel_size=3, padding=1),
            nn.GroupNorm(8, stem),
            nn.GELU(),
        )
        self.transformer = import_timm().create_model(
            settings.timm_name,
            pretrained=False,
            img_size=(height // 8, width // 8),
            patch_size=2,
            in_chans=stem,
            depth=settings.depth,
            num_classes=0,
        )
        self.width = int(self.transformer.embed_dim)
        self.near = nn.Conv2d(stem, self.width, kernel_size=1)
        self.map_head = nn.Sequential(
            nn.GroupNorm(8, self.width),
            nn.GELU(),
            nn.Conv2d(self.width, self.width // 2, kernel_size=3, padding=1),
            nn.GELU(),
            nn.Conv2d(self.width // 2, heads, kernel_size=1),
        )
        self.scale = nn.Parameter(torch.ones(heads))
        self.shift = nn.Parameter(torch.zeros(heads))

    def forward(self, image: Tensor) -> Seen:
        """image is (batch, channels, height, width) between 0 and 1."""
        stem = self.stem(image * 2 - 1)
        batch, _, height, width = stem.shape
        tokens = self.transformer.forward_features(stem)[:, self.transformer.num_prefix_tokens :]
        grid = tokens.transpose(1, 2).reshape(batch, self.width, height // 2, width // 2)
        wide = F.interpolate(grid, scale_factor=2, mode="nearest")
        maps = self.map_head(wide + self.near(stem)).float()

        flat = maps.flatten(2)
        # A smooth maximum: one small nodule must count as much as a lung full of fluid.
        peak = torch.logsumexp(flat * 2, dim=2) / 2
        logits = self.scale * peak + self.shift
        attention = torch.softmax(flat, dim=2).to(wide.dtype)
        pooled = torch.einsum("bhn,bcn->bhc", attention, wide.flatten(2))
        area = torch.log1p(100 * torch.sigmoid(flat).mean(dim=2))

        rows, columns = self.tiles
        places = attention.float().reshape(batch, -1, rows, height // rows, columns, width // columns)
        heights = places.sum(dim=(3, 5)).flatten(2)
        tiled = grid.reshape(batch, self.width, rows, height // 2 // rows, columns, width // 2 // columns)
        slabs = tiled.mean(dim=(3, 5)).flatten(2).transpose(1, 2)
        return Seen(maps, logits, pooled.float(), slabs.float(), area, heights)

    def best_slab(self, maps: Tensor) -> Tensor:
        """(batch, heads): index of the tile in which each head's map is highest."""
        rows, columns = self.tiles
        batch, heads, height, width = maps.shape
        tiled = maps.reshape(batch, heads, rows, height // rows, columns, width // columns)
        return tiled.amax(dim=(3, 5)).flatten(2).argmax(dim=2)
