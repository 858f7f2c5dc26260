"""The small tokenizer of the shipped weights: byte-level BPE over what the language half reads and writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from training.facts import draw
from training.turns import mixed_turns

START, END = "<|begin_of_text|>", "<|end_of_text|>"
START_ID, END_ID = 0, 1


def train_tokenizer(vocabulary: int, seed: int, path: Path, texts: int = 12_000) -> None:
    """Train on turns that the seed makes; write tokenizer.json. Bytes are tokens: any text can be encoded."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(seed, texts), trainer)
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path))


def _texts(seed: int, count: int) -> Iterator[str]:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        heard = _Recorder()
        mixed_turns([draw(rng)], heard, END_ID, rng)
        yield from heard.texts


class _Recorder:
    """Stands where the tokenizer will stand, and keeps the texts that it is given."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode(self, text: str) -> list[int]:
        self.texts.append(text)
        return []
