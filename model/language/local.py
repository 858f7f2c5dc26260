"""A Llama in this process that writes answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from model.decoding.engine import Engine
from model.language.adapters import replace_adapter
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
        self._gate = threading.Condition()
        self._writing = 0
        self._replacing = False

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
        with self._let_in():
            return self.engine.write(asked)

    def replace(self, name: str, folder: Path, files: Mapping[str, str], base_sha256: str) -> None:
        """Put the adapter of a folder in the place of the one of this name; the base is not loaded again.

        files are the SHA-256 that the folder's files must have, by name. Answers that are being written end
        with the old adapter, those asked for meanwhile wait for the new one. Raises WeightsError when no
        adapter has the name, a hash is wrong or missing, or it was trained on another base or does not fit;
        the old one then stays.
        """
        with self._gate:
            self._gate.wait_for(lambda: not self._replacing)
            self._replacing = True
            try:
                self._gate.wait_for(lambda: self._writing == 0)
                replace_adapter(self.network, name, folder, files, base_sha256)
            finally:
                # Also after a failure, for what was tried may have changed which adapter is switched on.
                self.engine.forget(name)
                self._replacing = False
                self._gate.notify_all()

    @contextmanager
    def _let_in(self) -> Iterator[None]:
        """While answers are written no adapter changes: half an answer would be of each."""
        with self._gate:
            self._gate.wait_for(lambda: not self._replacing)
            self._writing += 1
        try:
            yield
        finally:
            with self._gate:
                self._writing -= 1
                self._gate.notify_all()
