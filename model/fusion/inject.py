"""Stages of the encoder into layers of the decoder, deep to early (U-VLM, arXiv 2603.00479).

The deepest features stand before the text, as a prefix; each earlier stage is added to the states of the
prefix's places where they enter the next layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.fusion.fused import Fused
from model.fusion.places import FusionModule, Places


class InjectFusion(FusionModule):
    """A prefix, and a projection with a gate for each earlier stage."""

    def __init__(self, places: Places, stage_widths: Sequence[int], language_width: int, layers: int) -> None:
        """stage_widths are those of Seen.stages, early to deep; layers is the number of decoder layers.

        Of more stages than there are layers after the first, the deepest are taken.
        """
        super().__init__(places)
        taken = list(stage_widths)[::-1][: layers - 1]
        self.stages = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, language_width)) for width in taken
        )
        # Closed at first: the decoder starts as with a plain prefix.
        self.gates = nn.Parameter(torch.zeros(len(taken)))

    def project(self, kept: Sequence[Tensor]) -> Fused:
        """The prefix, and one addition for each layer after the first that has a stage."""
        deep_to_early = list(kept[2:])[::-1]
        injected = tuple(
            gate * project(stage)
            for gate, project, stage in zip(self.gates, self.stages, deep_to_early, strict=False)
        )
        return Fused(self.places(*self._two(kept)), injected)
