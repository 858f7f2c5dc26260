"""All places of a study as a few tokens."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class PlanePosition(nn.Module):
    """An embedding of how far from the feet a plane lies, whatever the number of planes."""

    _FREQUENCIES = 8

    def __init__(self, width: int) -> None:
        """width is that of the features it is added to."""
        super().__init__()
        self.project = nn.Linear(2 * self._FREQUENCIES, width)

    def forward(self, planes: int, like: Tensor) -> Tensor:
        """(planes, width), of the type and on the device of another tensor."""
        places = (torch.arange(planes, device=like.device, dtype=torch.float32) + 0.5) / planes
        angles = places[:, None] * math.pi * 2.0 ** torch.arange(self._FREQUENCIES, device=like.device)
        waves = torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)
        embedded: Tensor = self.project(waves.to(self.project.weight.dtype))
        return embedded.to(like.dtype)


class Resampler(nn.Module):
    """Learned queries that attend to every place of every plane."""

    def __init__(self, width: int, queries: int) -> None:
        """width must be a multiple of 16."""
        super().__init__()
        self.queries = nn.Parameter(torch.randn(queries, width) * 0.02)
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, width // 16, batch_first=True)
        self.forward_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """places is (batch, places, width); returns tokens (batch, queries, width) and where each looked,
        (batch, queries, places), which sums to one."""
        keys = self.norm(places)
        queries = self.queries.to(keys.dtype).expand(places.shape[0], -1, -1)
        drawn, weights = self.attention(queries, keys, keys, need_weights=True)
        tokens = queries + drawn
        return tokens + self.feed_forward(self.forward_norm(tokens)), weights
