"""Heads on the encoders' features: where a finding is, whether it is there, and how large it is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MEASURES = 4
"""Extent along slices, rows and columns, and the diameter or depth."""


class FindingHeads(nn.Module):
    """Segmentation, classification and detection of every finding on the same features.

    The lesion map is a segmentation at the places' size. The probability is read from the map alone, so that
    there is none without a place that shows it. Extents and diameter are read where the map is high.
    """

    def __init__(self, width: int, heads: int) -> None:
        """width is that of the features."""
        super().__init__()
        self.heads = heads
        self.shared = nn.Sequential(
            nn.GroupNorm(8, width),
            nn.GELU(),
            nn.Conv2d(width, width // 2, kernel_size=3, padding=1),
            nn.GELU(),
        )
        self.segment = nn.Conv2d(width // 2, heads, kernel_size=1)
        self.measure = nn.Conv2d(width // 2, heads * MEASURES, kernel_size=1)
        self.scale = nn.Parameter(torch.ones(heads))
        self.shift = nn.Parameter(torch.zeros(heads))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """features is (batch, planes, width, rows, columns).

        Returns maps (batch, heads, planes, rows, columns), logits (batch, heads), attention (batch, heads,
        planes * rows * columns) that sums to one, and measures (batch, heads, 4); see Seen.
        """
        batch, planes, _, rows, columns = features.shape
        shared = self.shared(features.flatten(0, 1))
        maps = self.segment(shared).float()
        maps = maps.unflatten(0, (batch, planes)).transpose(1, 2)
        flat = maps.flatten(2)
        # A smooth maximum: one small nodule must count as much as a lung full of fluid.
        peak = torch.logsumexp(flat * 2, dim=2) / 2
        attention = torch.softmax(flat, dim=2)
        sizes = self.measure(shared).float().reshape(batch, planes, self.heads, MEASURES, rows * columns)
        sizes = sizes.permute(0, 2, 3, 1, 4).flatten(3)
        measures = torch.einsum("bhn,bhmn->bhm", torch.softmax(flat * 2, dim=2), sizes)
        return maps, self.scale * peak + self.shift, attention, measures
