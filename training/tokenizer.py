"""The small tokenizer of the shipped weights: byte-level BPE over the templates."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from model.prompts import fields
from model.sections import FINDINGS
from training.facts import draw
from training.templates import PLAIN_TASK, clinical_context, house_report, plain_list

START, END = "<|begin_of_text|>", "<|end_of_text|>"
START_ID, END_ID = 0, 1


def train_tokenizer(vocabulary: int, seed: int, path: Path, texts: int = 3000) -> None:
    """Train on texts that the seed makes; write tokenizer.json. Bytes are tokens: any text can be encoded."""
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
        record = draw(rng)
        yield "".join(f"{name}: {words}\n" for name, words in fields(clinical_context(rng)))
        yield house_report(record, rng)
        yield f"{PLAIN_TASK}:\n{plain_list(record)}\n{FINDINGS}:\n"
