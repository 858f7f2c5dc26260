"""How vision meets text: what the vision half sees becomes a prefix of the language half's input."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.vision.seen import Seen

_NUMBERS = 3
_EMPHASIS = 4.0
"""A few numbers stand beside many features: without this, size and height are read last."""


class PrefixFusion(nn.Module):
    """One token for each finding head and one for each slab.

    A head's token joins the features of the place it looks at with its logit, probability and area and
    with how its attention is spread over the slabs; a slab's token carries the slab's mean features.
    """

    def __init__(self, heads: int, slabs: int, vision_width: int, language_width: int) -> None:
        """Widths are those of the features on each side."""
        super().__init__()
        self.from_heads = nn.Linear(vision_width + _NUMBERS + slabs, language_width)
        self.from_slabs = nn.Linear(vision_width, language_width)
        self.names = nn.Parameter(torch.randn(heads + slabs, language_width) * 0.02)
        self.norm = nn.LayerNorm(language_width)

    @property
    def length(self) -> int:
        """Number of tokens of the prefix."""
        return self.names.shape[0]

    def forward(self, seen: Seen) -> Tensor:
        """(batch, heads + slabs, language width)."""
        return self.project(*features(seen))

    def project(self, heads: Tensor, slabs: Tensor) -> Tensor:
        """The prefix from features as `features` gives them, which training keeps instead of images."""
        tokens = torch.cat([self.from_heads(heads), self.from_slabs(slabs)], dim=1)
        projected: Tensor = self.norm(tokens + self.names)
        return projected


def features(seen: Seen) -> tuple[Tensor, Tensor]:
    """(batch, heads, vision width + 3 + slabs) and (batch, slabs, vision width)."""
    numbers = torch.stack([seen.logits / 10, seen.probabilities, seen.area], dim=2)
    return torch.cat([seen.pooled, _EMPHASIS * numbers, _EMPHASIS * seen.heights], dim=2), seen.slabs
