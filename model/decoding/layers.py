"""Decoder layers of a Llama as the engine runs them: with dense weights of its own, or by their modules."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from bitsandbytes.nn import Linear4bit
from peft.tuners.lora import LoraLayer
from peft.utils import ModulesToSaveWrapper
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # as torch names it

_PACKED_ROWS = 16
"""The number of rows that a layout is chosen for; others go as well."""


class Layer(Protocol):
    """What one decoder layer computes around its attention. States are (places, width)."""

    heads: int
    shared: int
    """Heads of keys and values."""
    size: int
    """Width of a head."""

    def project(self, states: Tensor) -> Tensor:
        """(places, heads + 2 * shared, size): queries, keys and values of the normed states."""
        ...

    def finish(self, states: Tensor, attended: Tensor) -> Tensor:
        """States after the layer; attended is (places, heads * size)."""
        ...


class ModuleLayer:
    """A layer by its modules as they are: quantised, adapted, on any device."""

    def __init__(self, layer: nn.Module) -> None:
        """layer is a LlamaDecoderLayer of transformers."""
        self._layer: Any = layer
        self.heads, self.shared, self.size = _shape(layer)

    def project(self, states: Tensor) -> Tensor:
        """(places, heads + 2 * shared, size)."""
        attention = self._layer.self_attn
        normed = self._layer.input_layernorm(states)
        parts = [attention.q_proj(normed), attention.k_proj(normed), attention.v_proj(normed)]
        return torch.cat(parts, dim=-1).view(states.shape[0], -1, self.size)

    def finish(self, states: Tensor, attended: Tensor) -> Tensor:
        """States after the layer."""
        states = states + self._layer.self_attn.o_proj(attended)
        finished: Tensor = states + self._layer.mlp(self._layer.post_attention_layernorm(states))
        return finished


class DenseLayer:
    """A layer by copies of its weights, dense, one adapter in them, and with as few products as can be."""

    def __init__(self, layer: nn.Module, adapter: str, dtype: torch.dtype) -> None:
        """layer is a LlamaDecoderLayer of transformers; an empty adapter is the base alone."""
        source: Any = layer
        attention, mlp = source.self_attn, source.mlp
        self.heads, self.shared, self.size = _shape(layer)
        self._first = Norm(source.input_layernorm)
        self._second = Norm(source.post_attention_layernorm)
        self._qkv = _joined([attention.q_proj, attention.k_proj, attention.v_proj], adapter, dtype)
        self._out = _joined([attention.o_proj], adapter, dtype)
        self._gate_up = _joined([mlp.gate_proj, mlp.up_proj], adapter, dtype)
        self._down = _joined([mlp.down_proj], adapter, dtype)
        self._act = mlp.act_fn

    def project(self, states: Tensor) -> Tensor:
        """(places, heads + 2 * shared, size)."""
        return self._qkv(self._first(states)).view(states.shape[0], -1, self.size)

    def finish(self, states: Tensor, attended: Tensor) -> Tensor:
        """States after the layer."""
        states = states + self._out(attended)
        gate, up = self._gate_up(self._second(states)).chunk(2, dim=-1)
        finished: Tensor = states + self._down(self._act(gate) * up)
        return finished


class Norm:
    """The root mean square norm of Llama by a copy of its weight."""

    def __init__(self, norm: nn.Module) -> None:
        """norm is a LlamaRMSNorm of transformers."""
        source: Any = norm
        self._weight = source.weight.detach().clone()
        self._epsilon = float(source.variance_epsilon)

    def __call__(self, states: Tensor) -> Tensor:
        """States of the same shape."""
        if states.dtype == torch.float32:
            return F.rms_norm(states, self._weight.shape, self._weight, self._epsilon)
        # Llama scales in the narrow type, after the norm in float32.
        normed = F.rms_norm(states.float(), self._weight.shape, None, self._epsilon)
        scaled: Tensor = self._weight * normed.to(states.dtype)
        return scaled


class Product:
    """A dense linear layer, its weight laid out as this machine multiplies fastest."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """weight is (out, in)."""
        self._bias = bias
        # The product that compiled networks of torch use. On a CPU it takes half the time of F.linear for a
        # few rows, and adds up a row in the same order whatever the number of rows, from two on.
        self._packed = _packs(weight.dtype, weight.device)
        if self._packed:
            weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _PACKED_ROWS)
        self._weight = weight

    def __call__(self, states: Tensor) -> Tensor:
        """(rows, out) of (rows, in)."""
        if not self._packed:
            return F.linear(states, self._weight, self._bias)
        made: Tensor = torch.ops.mkldnn._linear_pointwise(states, self._weight, self._bias, "none", [], "")
        return made


def fewest_rows(dtype: torch.dtype, device: torch.device) -> int:
    """In multiples of so many rows a product adds up each row in one order.

    Fewer may be multiplied as vectors, in another order: F.linear does so below four rows, the packed product
    on some machines for one.
    """
    return 2 if _packs(dtype, device) else 4


def dense_weight(module: nn.Module, adapter: str, dtype: torch.dtype) -> Tensor:
    """(out, in) of a linear module as it multiplies in this type, with its adapter added.

    Raises ValueError for an adapter that is more than a product of two matrices.
    """
    source: Any = module
    if isinstance(module, ModulesToSaveWrapper):
        inner = source.modules_to_save[adapter] if adapter else source.original_module
        return dense_weight(inner, "", dtype)
    if not isinstance(module, LoraLayer):
        return _base_weight(module, dtype)
    weight = _base_weight(source.get_base_layer(), dtype)
    if not adapter or adapter not in source.lora_A:
        return weight
    if adapter in getattr(source, "lora_variant", {}) or source.lora_bias.get(adapter):
        raise ValueError("expected a plain LoRA adapter without bias, magnitude or other variant")
    merged: Tensor = weight + source.get_delta_weight(adapter).to(dtype)
    return merged


def weights_of(network: nn.Module) -> int:
    """Number of weights; a byte of a 4-bit matrix holds two."""
    quantised = [m for m in network.modules() if isinstance(m, Linear4bit)]
    packed = {id(m.weight) for m in quantised}
    plain = sum(p.numel() for p in network.parameters() if id(p) not in packed)
    return int(plain + sum(m.in_features * m.out_features for m in quantised))


def _base_weight(module: nn.Module, dtype: torch.dtype) -> Tensor:
    source: Any = module
    if not isinstance(module, Linear4bit):
        plain: Tensor = source.weight.detach().to(dtype).clone()
        return plain
    # The module itself says what it multiplies by, however its bytes are laid out on this machine.
    unit = torch.eye(source.in_features, dtype=dtype, device=source.weight.device)
    bias = 0 if source.bias is None else source.bias
    multiplied: Tensor = (module(unit) - bias).t().contiguous()
    return multiplied


def _packs(dtype: torch.dtype, device: torch.device) -> bool:
    return device.type == "cpu" and dtype == torch.float32 and torch._C._has_mkldnn


def _joined(modules: list[nn.Module], adapter: str, dtype: torch.dtype) -> Product:
    weight = torch.cat([dense_weight(module, adapter, dtype) for module in modules])
    biases: list[Any] = [m.get_base_layer().bias if isinstance(m, LoraLayer) else m.bias for m in modules]
    if any(bias is None for bias in biases):
        return Product(weight)
    return Product(weight, torch.cat([bias.detach().to(dtype) for bias in biases]))


def _shape(layer: nn.Module) -> tuple[int, int, int]:
    source: Any = layer
    config = source.self_attn.config
    return int(config.num_attention_heads), int(config.num_key_value_heads), int(source.self_attn.head_dim)
