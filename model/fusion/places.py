"""What was seen, as places of the language half's width: one for each finding head and each token."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.fusion.fused import Fused
from model.vision.heads import MEASURES
from model.vision.seen import Seen

_NUMBERS = 3 + MEASURES
_EMPHASIS = 4.0
"""A few numbers stand beside many features: without this, size and height are read last."""


class Places(nn.Module):
    """A head's place joins the features of where it looks with its logit, probability, area, measures and how
    its attention is spread over the planes; a token's place carries the token.
    """

    def __init__(self, heads: int, tokens: int, planes: int, vision_width: int, language_width: int) -> None:
        """Widths are those of the features on each side."""
        super().__init__()
        self.from_heads = nn.Linear(vision_width + _NUMBERS + planes, language_width)
        self.from_tokens = nn.Linear(vision_width, language_width)
        self.names = nn.Parameter(torch.randn(heads + tokens, language_width) * 0.02)
        self.norm = nn.LayerNorm(language_width)

    def forward(self, heads: Tensor, tokens: Tensor) -> Tensor:
        """From the first two of `features`: (batch, heads + tokens, language width)."""
        places = torch.cat([self.from_heads(heads), self.from_tokens(tokens)], dim=1)
        projected: Tensor = self.norm(places + self.names)
        return projected


def features(seen: Seen) -> tuple[Tensor, ...]:
    """What training keeps of what was seen.

    (batch, heads, vision width + 7 + planes), (batch, tokens, vision width), then each of Seen.stages.
    """
    numbers = torch.stack([seen.logits / 10, seen.probabilities, seen.area], dim=2)
    numbers = torch.cat([numbers, seen.measures / 4], dim=2)
    heads = torch.cat([seen.pooled, _EMPHASIS * numbers, _EMPHASIS * seen.heights], dim=2)
    return heads, seen.tokens, *seen.stages


class FusionModule(nn.Module, ABC):
    """What the fusions share: from what was seen, or from its kept features, to what the decoder reads."""

    blocks: nn.ModuleList

    def __init__(self, places: Places) -> None:
        """places are this fusion's own."""
        super().__init__()
        self.places = places
        self.blocks = nn.ModuleList()

    def forward(self, seen: Seen) -> Fused:
        """What the decoder reads of what was seen."""
        return self.project(features(seen))

    def features(self, seen: Seen) -> tuple[Tensor, ...]:
        """What training keeps of what was seen, for any fusion."""
        return features(seen)

    @abstractmethod
    def project(self, kept: Sequence[Tensor]) -> Fused:
        """The same from kept features."""

    @staticmethod
    def _two(kept: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        return kept[0], kept[1]
