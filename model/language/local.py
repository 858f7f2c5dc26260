"""A Llama in this process that writes answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from model.decoding.engine import Engine
from model.language.asking import Answer, Asked
from model.language.words import Words


class LocalWriter:
    """A Llama, its tokenizer and the engine that runs it. Safe to call from many threads.

    Answers are greedy: the same question gives the same answer, alone or among others.
    """

    def __init__(
        self,
        network: nn.Module,
        words: Words,
        blocks: Sequence[nn.Module] = (),
        slots: int = 16,
    ) -> None:
        """network is a LlamaForCausalLM of transformers, bare or in peft; blocks are a fusion's.

        Raises ValueError for a network or blocks that the engine cannot run.
        """
        self.network = network
        self.words = words
        self.engine = Engine(network, words, blocks, slots)

    @property
    def width(self) -> int:
        """Width of its embeddings, and so of what a fusion gives it."""
        return self.engine.width

    @property
    def device(self) -> torch.device:
        """Where the embeddings live."""
        return self.engine.device

    @property
    def start(self) -> int:
        """The token that every text starts with."""
        return self.engine.start

    @property
    def ends(self) -> tuple[int, ...]:
        """The tokens that end an answer."""
        return self.engine.ends

    def write(self, asked: Sequence[Asked]) -> list[Answer]:
        """Answer all, in their order; each answer is what it would be alone.

        Raises ValueError when one does not fit, its grammar cannot be read or its adapter is not loaded.
        """
        return self.engine.write(asked)
