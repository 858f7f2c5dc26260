"""The decoder's forward pass over text and image in one go, as training runs it.

Serving decodes step by step (model.decoding); both must give the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.masking_utils import create_causal_mask

from model.fusion.fused import Fused


def fused_logits(
    network: nn.Module,
    blocks: Sequence[nn.Module] | nn.ModuleList,
    start: int,
    fused: Fused | None,
    ids: Tensor,
    keep: Tensor | None = None,
) -> Tensor:
    """Logits of the places from the one before the first id on: (batch, length + 1, vocabulary).

    network is a LlamaForCausalLM, bare, quantised or with an adapter; ids is (batch, length), padded on the
    right: no attention mask is needed, for what comes after cannot be seen. keep, (batch, length + 1) of
    bool, leaves only these places: (kept places, vocabulary), case by case; with a large vocabulary the
    logits of a long prompt are most of the memory. Gradients reach the fusion.
    """
    causal: Any = getattr(network, "get_base_model", lambda: network)()
    trunk = causal.model
    table = trunk.embed_tokens
    batch, length = ids.shape
    starts = table(torch.full((batch, 1), start, device=ids.device, dtype=ids.dtype))
    parts = [starts] if fused is None else [starts, fused.prefix.to(starts.dtype)]
    states = torch.cat([*parts, table(ids)], dim=1)
    injected = () if fused is None else fused.injected
    states = _through(trunk.layers, trunk.rotary_emb, states, injected)
    if len(blocks):
        # The blocks stay in the precision of the fusion, whatever the decoder computes in.
        exact = next(blocks[0].parameters()).dtype
        encodings = fused.encodings if fused is not None else None
        parts = [states] if encodings is None else [encodings, states]
        joined = torch.cat([part.to(exact) for part in parts], dim=1)
        states = _through(blocks, trunk.rotary_emb, joined).to(states.dtype)
    states = states[:, -(length + 1) :]
    logits: Tensor = causal.lm_head(trunk.norm(states if keep is None else states[keep]))
    return logits


def _through(
    layers: Sequence[nn.Module] | nn.ModuleList,
    rotary: nn.Module,
    states: Tensor,
    injected: Sequence[Tensor] = (),
) -> Tensor:
    """States through decoder layers, causally; what is injected is added to the places after the start."""
    positions = torch.arange(states.shape[1], device=states.device)[None]
    turned = rotary(states, position_ids=positions)
    # None where the layers' attention is causal by itself, the mask itself where it is not.
    config: Any = layers[0].self_attn.config  # type: ignore[union-attr]
    mask = create_causal_mask(config, states, attention_mask=None, cache=None)
    for number, layer in enumerate(layers):
        if 1 <= number <= len(injected):
            added = injected[number - 1].to(states.dtype)
            stop = 1 + added.shape[1]
            states = torch.cat([states[:, :1], states[:, 1:stop] + added, states[:, stop:]], dim=1)
        states = layer(states, position_embeddings=turned, position_ids=positions, attention_mask=mask)
    return states
