"""What the language half learns: prompts and answers, with and without an image, as padded batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from model.fusion.forward import fused_logits
from model.fusion.fused import Fused, Fusion
from model.headings import title_in
from model.prompts import Encoder, prompt_ids
from model.sections import FINDINGS
from model.structured.parse import SHIPPED_TEMPLATES, read_templates
from model.structured.template import Template
from model.study import ClinicalContext
from model.tasks import CONCLUSION, DETAIL, FACTS, REPORT, STRUCTURE
from model.wording import LANGUAGES
from training.facts import FactRecord
from training.structuring import answer_of, right_values
from training.wordings import findings_text, impression_text, order_words, plain_list, report, typing_noise

IGNORED = -100
"""Label of a token that is not learned, as torch's cross-entropy names it."""
_ENGLISH_SHARE = 0.4
_NOISY_SHARE = 0.15
"""Of what a person wrote, this share has slips of the keyboard."""
_TASK_SHARES = {FACTS: 0.15, REPORT: 0.55, CONCLUSION: 0.1, DETAIL: 0.1, STRUCTURE: 0.1}


@dataclass(frozen=True, slots=True)
class Turn:
    """One prompt and the answer that is to be learned."""

    prompt: list[int]
    answer: list[int]
    """With the token that ends it."""
    image: bool
    """Whether the answer is written of an image."""


def turn(
    task: str, language: str, record: FactRecord, words: Encoder, end: int, rng: np.random.Generator
) -> Turn:
    """A prompt and its answer, for one task in one language, of one record."""
    context = order_words(rng, language)
    if task == FACTS:
        prompt, answer = prompt_ids(FACTS, context, language, words), plain_list(record)
    elif task == REPORT:
        prompt, answer = prompt_ids(REPORT, context, language, words), report(record, rng, language)
    elif task == CONCLUSION:
        text = _typed(findings_text(record, rng, language), rng)
        prompt = prompt_ids(CONCLUSION, context, language, words, text)
        answer = impression_text(record, rng, language)
    elif task == DETAIL:
        text = _typed(impression_text(record, rng, language), rng)
        prompt = prompt_ids(DETAIL, context, language, words, text)
        answer = findings_text(record, rng, language)
    else:
        template = _template(language)
        text = f"{title_in(FINDINGS, language)}:\n{report(record, rng, language)}"
        values = right_values(template, record, text, language)
        chosen = _pick(rng, tuple(values))
        field = next(one for one in template.fields if one.identifier == chosen)
        prompt = prompt_ids(STRUCTURE, ClinicalContext(), language, words, text, field)
        answer = answer_of(field, values[field.identifier], language)
    return Turn(prompt, [*words.encode(answer), end], task in (FACTS, REPORT))


def mixed_turns(
    records: Sequence[FactRecord], words: Encoder, end: int, rng: np.random.Generator
) -> list[Turn]:
    """One turn of each record, of all tasks and languages as the base learns them."""
    names = list(_TASK_SHARES)
    shares = np.array([_TASK_SHARES[name] for name in names])
    turns = []
    for record in records:
        task = names[int(rng.choice(len(names), p=shares / shares.sum()))]
        turns.append(turn(task, draw_language(rng), record, words, end, rng))
    return turns


def draw_language(rng: np.random.Generator) -> str:
    """English in two of five cases, the others alike."""
    if rng.random() < _ENGLISH_SHARE:
        return LANGUAGES[0]
    return LANGUAGES[1 + int(rng.integers(len(LANGUAGES) - 1))]


def language_loss(
    network: nn.Module,
    fusion: Fusion,
    start: int,
    fuse: Callable[[Sequence[int]], Fused],
    turns: Sequence[Turn],
) -> Tensor:
    """Mean cross-entropy of the answers' tokens.

    fuse gives what was seen of some rows of the batch. Rows with and without an image go through the decoder
    apart: a task without images has no places for them. Padded on the right, so that no attention mask is
    needed: what comes after cannot be seen.
    """
    total, count = [], 0
    for image in (True, False):
        rows = [row for row, one in enumerate(turns) if one.image is image]
        if rows:
            chosen = [turns[row] for row in rows]
            total.append(_summed_loss(network, fusion, start, fuse(rows) if image else None, chosen))
            count += sum(len(one.answer) for one in chosen)
    return torch.stack(total).sum() / count


def _summed_loss(
    network: nn.Module, fusion: Fusion, start: int, fused: Fused | None, turns: Sequence[Turn]
) -> Tensor:
    longest = max(len(one.prompt) + len(one.answer) for one in turns)
    ids = torch.full((len(turns), longest), start)
    labels = torch.full((len(turns), longest + 1), IGNORED)
    for row, one in enumerate(turns):
        both = one.prompt + one.answer
        ids[row, : len(both)] = torch.tensor(both)
        labels[row, len(one.prompt) : len(both)] = torch.tensor(one.answer)
    logits = fused_logits(network, list(fusion.blocks), start, fused, ids)
    # The state at one place speaks of the token at the next.
    return torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]).float(),
        labels.reshape(-1),
        ignore_index=IGNORED,
        reduction="sum",
    )


@cache
def _template(language: str) -> Template:
    """The shipped template in a language; the English one where there is none."""
    by_language = {one.language[:2]: one for one in read_templates(SHIPPED_TEMPLATES).values()}
    return by_language.get(language, by_language["en"])


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _typed(text: str, rng: np.random.Generator) -> str:
    return typing_noise(text, rng) if rng.random() < _NOISY_SHARE else text
