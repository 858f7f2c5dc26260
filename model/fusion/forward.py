"""The decoder's forward pass over text and image in one go, as training runs it.

Serving decodes step by step (model.decoding); both must give the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from model.fusion.fused import Fused


def fused_logits(
    network: nn.Module, blocks: Sequence[nn.Module], start: int, fused: Fused | None, ids: Tensor
) -> Tensor:
    """Logits of the places from the one before the first id on: (batch, length + 1, vocabulary).

    network is a LlamaForCausalLM, bare, quantised or with an adapter; ids is (batch, length), padded on the
    right: no attention mask is needed, for what comes after cannot be seen. Gradients reach the fusion.
    """
    causal: Any = network.get_base_model() if hasattr(network, "get_base_model") else network
    trunk = causal.model
    table = trunk.embed_tokens
    batch, length = ids.shape
    starts = table(torch.full((batch, 1), start, device=ids.device, dtype=ids.dtype))
    parts = [starts] if fused is None else [starts, fused.prefix.to(starts.dtype)]
    states = torch.cat([*parts, table(ids)], dim=1)
    injected = () if fused is None else fused.injected
    states = _through(trunk.layers, trunk.rotary_emb, states, injected)
    if blocks:
        encodings = fused.encodings if fused is not None else None
        joined = states if encodings is None else torch.cat([encodings.to(states.dtype), states], dim=1)
        states = _through(blocks, trunk.rotary_emb, joined)
    logits: Tensor = causal.lm_head(trunk.norm(states[:, -(length + 1) :]))
    return logits


def _through(
    layers: Sequence[nn.Module], rotary: nn.Module, states: Tensor, injected: Sequence[Tensor] = ()
) -> Tensor:
    """States through decoder layers, causally; what is injected is added to the places after the start."""
    positions = torch.arange(states.shape[1], device=states.device)[None]
    turned = rotary(states, position_ids=positions)
    for number, layer in enumerate(layers):
        if 1 <= number <= len(injected):
            added = injected[number - 1].to(states.dtype)
            stop = 1 + added.shape[1]
            states = torch.cat([states[:, :1], states[:, 1:stop] + added, states[:, stop:]], dim=1)
        states = layer(states, position_embeddings=turned, position_ids=positions, attention_mask=None)
    return states
