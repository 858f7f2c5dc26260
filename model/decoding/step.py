"""The forward pass of a Llama over kept keys and values: all places of one case, or one of each of many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # as torch names it

from model.decoding.cache import KeyValues, whole
from model.decoding.layers import Layer
from model.fusion.fused import Fused


@dataclass(frozen=True, slots=True)
class Weights:
    """One adapter's decoder, from token ids to logits."""

    embed: Callable[[Tensor], Tensor]
    layers: Sequence[Layer]
    blocks: Sequence[Layer]
    """Layers of a fusion, after the decoder's own and before its norm."""
    norm: Callable[[Tensor], Tensor]
    head: Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Batch:
    """One new token of each of some slots; each tensor is (rows)."""

    rows: Tensor
    """Slots."""
    first: bool
    """Whether the rows are the first slots, in order."""
    tokens: Tensor
    places: Tensor
    """Where the token stands, counted from 0."""
    leads: Tensor
    """Encodings that stand before place 0 in the blocks."""
    longest: int
    """Places of the longest case with its new token, encodings included."""


class Turns:
    """The rotary tables of a model, for places from 0."""

    def __init__(self, rotary: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
        """rotary is a LlamaRotaryEmbedding of type default or llama3, whose angles hang on no length."""
        self._rotary = rotary
        self._like = torch.empty(0, dtype=dtype, device=device)
        self.cos = self.sin = self._like

    def reach(self, places: int) -> None:
        """Have tables for so many places."""
        if places <= len(self.cos):
            return
        at = torch.arange(whole(places), device=self._like.device).unsqueeze(0)
        cos, sin = self._rotary(self._like, at)
        half = sin.shape[-1] // 2
        # The sign of the half turn lies in the table: turning is then one roll and two products.
        self.cos = cos[0].unsqueeze(1)
        self.sin = torch.cat([-sin[0, :, :half], sin[0, :, half:]], dim=-1).unsqueeze(1)

    def turn(self, states: Tensor, places: Tensor | slice) -> Tensor:
        """(places, heads, size) turned by where each stands."""
        rolled = states.roll(states.shape[-1] // 2, -1)
        return states * self.cos[places] + rolled * self.sin[places]


def prefill(
    weights: Weights, turns: Turns, kept: Sequence[KeyValues], slot: int, ids: Tensor, fused: Fused | None
) -> Tensor:
    """Logits (1, vocabulary) of the place after a case's start token, image and prompt; fills its slot.

    ids (tokens) hold the start token and the prompt.
    """
    states = weights.embed(ids)
    injected: Sequence[Tensor] = ()
    images = 0
    if fused is not None:
        images = fused.prefix.shape[1]
        states = torch.cat([states[:1], fused.prefix[0].to(states), states[1:]])
        injected = fused.injected
    depth = len(weights.layers)
    everything = bool(weights.blocks)
    for index, (layer, room) in enumerate(zip(weights.layers, kept[:depth], strict=True)):
        if 0 < index <= len(injected):
            states[1 : 1 + images] += injected[index - 1][0].to(states)
        states = _whole_case(layer, turns, room, slot, states, everything or index < depth - 1)
    if weights.blocks and fused is not None and fused.encodings is not None:
        states = torch.cat([fused.encodings[0].to(states), states])
    for index, (layer, room) in enumerate(zip(weights.blocks, kept[depth:], strict=True)):
        states = _whole_case(layer, turns, room, slot, states, index < len(weights.blocks) - 1)
    return weights.head(weights.norm(states[-1:]))


def decode(weights: Weights, turns: Turns, kept: Sequence[KeyValues], batch: Batch) -> Tensor:
    """Logits (rows, vocabulary) of the place after each row's new token."""
    states = weights.embed(batch.tokens)
    depth = len(weights.layers)
    read = whole(batch.longest)
    at = torch.arange(read, device=states.device)
    for layers, rooms, places in (
        (weights.layers, kept[:depth], batch.places),
        (weights.blocks, kept[depth:], batch.places + batch.leads),
    ):
        if not layers:
            continue
        hidden = at > places.unsqueeze(1)
        mask = torch.zeros_like(hidden, dtype=states.dtype).masked_fill_(hidden, -torch.inf)
        mask = mask[:, None, None]
        for layer, room in zip(layers, rooms, strict=True):
            states = _one_each(layer, turns, room, batch, places, mask, states)
    return weights.head(weights.norm(states))


def _whole_case(
    layer: Layer, turns: Turns, room: KeyValues, slot: int, states: Tensor, everything: bool
) -> Tensor:
    """States after a layer: all, or the last alone where no later layer reads the others."""
    count = states.shape[0]
    projected = layer.project(states)
    both = layer.heads + layer.shared
    turned = turns.turn(projected[:, :both], slice(0, count))
    keys, values = turned[:, layer.heads :], projected[:, both:]
    room.fill(slot, keys, values)
    queries = turned[:, : layer.heads]
    if not everything:
        states, queries = states[-1:], queries[-1:]
    attended = F.scaled_dot_product_attention(
        queries.transpose(0, 1).unsqueeze(0),
        keys.transpose(0, 1).unsqueeze(0),
        values.transpose(0, 1).unsqueeze(0),
        is_causal=everything and count > 1,
        enable_gqa=layer.heads != layer.shared,
    )
    return layer.finish(states, attended[0].transpose(0, 1).reshape(len(states), -1))


def _one_each(
    layer: Layer, turns: Turns, room: KeyValues, batch: Batch, places: Tensor, mask: Tensor, states: Tensor
) -> Tensor:
    count = states.shape[0]
    projected = layer.project(states)
    both = layer.heads + layer.shared
    turned = turns.turn(projected[:, :both], places)
    room.add(batch.rows, places, turned[:, layer.heads :], projected[:, both:])
    keys, values = room.read(batch.rows, batch.first, mask.shape[-1])
    # The queries that share a head of keys stand in the place of a sequence: no key is copied for them.
    group = layer.heads // layer.shared
    queries = turned[:, : layer.heads].reshape(count, layer.shared, group, layer.size)
    attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask.expand(-1, 1, group, -1))
    return layer.finish(states, attended.reshape(count, -1))


def check_rotary(rotary: nn.Module) -> None:
    """Raise ValueError unless the angles of a place are the same whatever the length of its case."""
    source: Any = rotary
    if source.rope_type not in ("default", "llama3"):
        raise ValueError(f"expected rotary embeddings of type default or llama3, found {source.rope_type}")
