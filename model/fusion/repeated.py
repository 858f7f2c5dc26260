"""Encodings and the language half's states together through n further blocks (the Mannheim system, S1).

The text passes through the language half alone. Its last states then stand after the encodings of the image,
and both pass through n decoder blocks before the final norm, the linear layer and the softmax.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from model.fusion.fused import Fused
from model.fusion.places import FusionModule, Places


class RepeatedFusion(FusionModule):
    """n decoder blocks of the language half's shape, over the encodings and its states."""

    def __init__(self, places: Places, config: LlamaConfig, blocks: int) -> None:
        """config is that of the language half; blocks is n."""
        super().__init__(places)
        # Only a whole network chooses how its layers attend. A layer on its own whose configuration names
        # nothing attends to everything that comes after.
        own = deepcopy(config)
        own._attn_implementation = "sdpa"
        self.blocks = nn.ModuleList(LlamaDecoderLayer(own, layer) for layer in range(blocks))
        for block in self.blocks:
            # At first a block adds nothing: what the language half already writes stays as it is.
            for name, weight in block.named_parameters():
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    nn.init.zeros_(weight)
                elif weight.dim() > 1:
                    nn.init.normal_(weight, std=config.initializer_range)

    def project(self, kept: Sequence[Tensor]) -> Fused:
        """(batch, heads + tokens, language width) as encodings; no prefix."""
        encodings = self.places(*self._two(kept))
        return Fused(torch.zeros_like(encodings[:, :0]), encodings=encodings)
