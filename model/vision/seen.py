"""What the vision half makes of a batch of studies."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Seen:
    """What the vision half makes of a batch of images."""

    maps: Tensor
    """(batch, heads, planes, rows, columns): logits of each finding at each place of each plane."""
    logits: Tensor
    """(batch, heads): logit of each finding in the study."""
    pooled: Tensor
    """(batch, heads, width): features where the map of that head is high."""
    tokens: Tensor
    """(batch, tokens, width): the study as few tokens, whatever the findings."""
    area: Tensor
    """(batch, heads): logarithm of one plus the share of places that the map covers, times 100."""
    heights: Tensor
    """(batch, heads, planes): share of each head's attention that lies in each plane; sums to one."""
    measures: Tensor
    """(batch, heads, 4), natural logarithms: extent of the box along slices, in planes; along rows and along
    columns, in pixels of a plane; and the diameter or depth of the finding, in pixels of a plane."""
    stages: tuple[Tensor, ...] = ()
    """Each (batch, heads + tokens, width): features of the encoder's earlier stages at the places of pooled
    and tokens, early to deep."""

    @property
    def probabilities(self) -> Tensor:
        """(batch, heads) between 0 and 1."""
        return torch.sigmoid(self.logits)
