"""Training cases for the language half: prefix, prompt and answer as one padded batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from model.language.words import Words
from model.prompts import prompt_ids
from model.sections import FINDINGS
from training.facts import FactRecord
from training.templates import PLAIN_TASK, clinical_context, house_report, plain_list

IGNORED = -100
"""Label of a token that is not learned, as torch's cross-entropy names it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One prompt and the answer that is to be learned."""

    prompt: list[int]
    answer: list[int]
    """With the token that ends it."""
    blind: bool
    """Whether the answer is learned without an image, for its words alone."""


def plain_turn(record: FactRecord, words: Words, end: int, rng: np.random.Generator) -> Turn:
    """The list of what is seen, asked for by its own title."""
    prompt = prompt_ids(clinical_context(rng), PLAIN_TASK, words)
    return Turn(prompt, [*words.encode(plain_list(record)), end], blind=False)


def house_turn(
    record: FactRecord, words: Words, end: int, rng: np.random.Generator, blind: bool = False
) -> Turn:
    """The report of the house: the prompt ends with its first title, the answer goes on below it."""
    prompt = prompt_ids(clinical_context(rng), FINDINGS, words)
    report = house_report(record, rng).removeprefix(f"{FINDINGS}:\n")
    return Turn(prompt, [*words.encode(report), end], blind)


def language_loss(network: nn.Module, start: int, prefix: Tensor, turns: Sequence[Turn]) -> Tensor:
    """Mean cross-entropy of the answers' tokens. prefix is (batch, length, width).

    Padded on the right, so that no attention mask is needed: what comes after cannot be seen.
    """
    table: Any = network.get_input_embeddings()  # type: ignore[operator]
    length = prefix.shape[1]
    longest = max(len(turn.prompt) + len(turn.answer) for turn in turns)
    ids = torch.full((len(turns), longest), start)
    labels = torch.full((len(turns), 1 + length + longest), IGNORED)
    for row, turn in enumerate(turns):
        both = turn.prompt + turn.answer
        ids[row, : len(both)] = torch.tensor(both)
        first = 1 + length + len(turn.prompt)
        labels[row, first : first + len(turn.answer)] = torch.tensor(turn.answer)
    seeing = torch.tensor([[[0.0 if turn.blind else 1.0]] for turn in turns])
    starts = table(torch.full((len(turns), 1), start))
    embedded = torch.cat([starts, prefix * seeing, table(ids)], dim=1)
    states = network(inputs_embeds=embedded, use_cache=False, logits_to_keep=longest + 1).logits
    # The state at one place speaks of the token at the next.
    shifted = labels[:, length + 1 :]
    return torch.nn.functional.cross_entropy(
        states[:, :-1].reshape(-1, states.shape[-1]).float(), shifted.reshape(-1), ignore_index=IGNORED
    )
