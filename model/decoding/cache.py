"""Keys and values of the cases that are being written."""

from __future__ import annotations

import torch
from torch import Tensor

STRIDE = 64
"""Lengths are multiples of this: a sum over places then falls into the same parts, however many follow."""


class KeyValues:
    """Keys and values of one layer for a fixed number of slots, and one spare slot that no case has."""

    def __init__(self, slots: int, heads: int, size: int, dtype: torch.dtype, device: torch.device) -> None:
        """Heads are those of keys and values, size is the width of a head."""
        shape = (slots + 1, 0, heads, size)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)

    @property
    def length(self) -> int:
        """Places of each slot."""
        return self.keys.shape[1]

    def reach(self, places: int) -> None:
        """Have room for so many places; grows by doubling, keeps what is held and never shrinks."""
        if places <= self.length:
            return
        length = whole(max(places, 2 * self.length))
        self.keys = _longer(self.keys, length)
        self.values = _longer(self.values, length)

    def clear(self, slot: int) -> None:
        """Forget a slot. What a mask hides is still multiplied by nought, and nought times NaN is NaN."""
        self.keys[slot].zero_()
        self.values[slot].zero_()

    def fill(self, slot: int, keys: Tensor, values: Tensor) -> None:
        """Set the first places of a slot; both are (places, heads, size)."""
        self.keys[slot, : keys.shape[0]] = keys
        self.values[slot, : values.shape[0]] = values

    def add(self, rows: Tensor, places: Tensor, keys: Tensor, values: Tensor) -> None:
        """Set one place of each of some slots; keys and values are (rows, heads, size)."""
        self.keys[rows, places] = keys
        self.values[rows, places] = values

    def read(self, rows: Tensor, first: bool, places: int) -> tuple[Tensor, Tensor]:
        """(rows, heads, places, size) of keys and of values; a view where rows are the first slots."""
        if first:
            keys, values = self.keys[: len(rows), :places], self.values[: len(rows), :places]
        else:
            keys, values = self.keys[rows, :places], self.values[rows, :places]
        return keys.transpose(1, 2), values.transpose(1, 2)


def whole(places: int) -> int:
    """The next multiple of STRIDE."""
    return -(-places // STRIDE) * STRIDE


def _longer(held: Tensor, length: int) -> Tensor:
    grown = held.new_zeros((held.shape[0], length, *held.shape[2:]))
    grown[:, : held.shape[1]] = held
    return grown
