"""The decoders of a network: one for each adapter, dense where the network is small."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # as torch names it

from model.decoding.layers import DenseLayer, Layer, ModuleLayer, Norm, Product, dense_weight, weights_of
from model.decoding.step import Weights, check_rotary

DENSE_BELOW = 200_000_000
"""A network of fewer weights is copied densely on a CPU: its 4-bit products cost more than its memory."""


class Decoders:
    """The decoder of each adapter of a network, made when it is first asked for."""

    def __init__(self, network: nn.Module, blocks: Sequence[nn.Module], dense: bool | None) -> None:
        """network is a LlamaForCausalLM bare or in peft; dense None decides by size and device.

        Raises ValueError when network or blocks are no Llama that the engine can run.
        """
        self._network: Any = network
        self._peft = isinstance(network, PeftModel)
        given: Any = network
        causal = given.get_base_model() if self._peft else given
        self.config: Any = causal.config
        if self.config.model_type != "llama":
            raise ValueError(f"expected a network of the Llama architecture, found {self.config.model_type}")
        self._causal = causal
        self._blocks = list(blocks)
        self.rotary: nn.Module = causal.model.rotary_emb
        check_rotary(self.rotary)
        embeddings = causal.get_input_embeddings()
        self.device: torch.device = embeddings.weight.device
        self.dtype: torch.dtype = embeddings.weight.dtype
        self.vocabulary = int(self.config.vocab_size)
        small = self.device.type == "cpu" and weights_of(network) < DENSE_BELOW
        self.dense = small if dense is None else dense
        self._made: dict[str, Weights] = {}
        self._switched: str | None = None
        self.shapes = self._shapes()

    def check(self, adapter: str) -> None:
        """Raise ValueError unless the network has this adapter."""
        known = sorted(self._network.peft_config) if self._peft else []
        if adapter and adapter not in known:
            raise ValueError(
                f"expected one of the adapters {', '.join(known) or '(none)'}, came another: load it first"
            )

    def of(self, adapter: str) -> Weights:
        """The decoder that writes with an adapter; empty is the base alone. Only one is ready at a time."""
        self.check(adapter)
        if self.dense:
            if adapter not in self._made:
                self._made[adapter] = self._copied(adapter)
            return self._made[adapter]
        if self._peft and self._switched != adapter:
            if adapter:
                self._network.base_model.enable_adapter_layers()
                self._network.base_model.set_adapter(adapter, inference_mode=True)
            else:
                self._network.base_model.disable_adapter_layers()
            self._switched = adapter
        if "" not in self._made:
            self._made[""] = self._as_they_are()
        return self._made[""]

    def forget(self, adapter: str) -> None:
        """Drop the copies of an adapter that was taken off or changed."""
        if self.dense:
            self._made.pop(adapter, None)
        self._switched = None

    def _shapes(self) -> list[tuple[int, int]]:
        layers: list[Any] = [*self._causal.model.layers, *self._blocks]
        shapes = []
        for layer in layers:
            attention = layer.self_attn
            shapes.append((int(attention.config.num_key_value_heads), int(attention.head_dim)))
        if len({size for _, size in shapes}) != 1:
            raise ValueError("expected blocks with heads as wide as the decoder's, for they share its turns")
        if any(int(layer.hidden_size) != int(self.config.hidden_size) for layer in layers):
            raise ValueError(f"expected blocks of width {self.config.hidden_size}, the decoder's")
        return shapes

    def _copied(self, adapter: str) -> Weights:
        model = self._causal.model
        table = dense_weight(model.embed_tokens, adapter, self.dtype)
        tied = self._causal.lm_head.weight is model.embed_tokens.weight
        head = table if tied else dense_weight(self._causal.lm_head, adapter, self.dtype)
        return Weights(
            embed=_embedding(table),
            layers=[DenseLayer(layer, adapter, self.dtype) for layer in model.layers],
            blocks=[DenseLayer(block, "", self.dtype) for block in self._blocks],
            norm=Norm(model.norm),
            head=Product(head),
        )

    def _as_they_are(self) -> Weights:
        model = self._causal.model
        layers: list[Layer] = [ModuleLayer(layer) for layer in model.layers]
        blocks: list[Layer] = [ModuleLayer(block) for block in self._blocks]
        return Weights(model.embed_tokens, layers, blocks, model.norm, self._causal.lm_head)


def _embedding(table: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda ids: F.embedding(ids, table)
