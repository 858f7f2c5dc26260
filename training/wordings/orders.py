"""Words of an order that say nothing of what this image shows: the draft must not follow them."""

from __future__ import annotations

import re

import numpy as np

from model.study import ClinicalContext
from training.wordings.composing import wordings_of
from training.wordings.languages import WORDINGS

_SLIPPABLE = re.compile(r"\b[a-zäöüßăâîșț]{7,}\b")
"""Long words in small letters: a slip in a side, a number or a denial would change what is said."""


def order_words(rng: np.random.Generator, language: str, held_out: bool = False) -> ClinicalContext:
    """An order in a language, with the wordings that training sees or those that it does not."""
    words = WORDINGS[language]

    def pick(patterns: tuple[str, ...]) -> str:
        options = wordings_of(patterns, held_out)
        return options[int(rng.integers(len(options)))]

    return ClinicalContext(
        procedure=pick(words.procedures),
        clinical_question=pick(words.questions),
        history=pick(words.histories),
        modality="CT",
        sex=("female", "male", "unknown", "other")[int(rng.integers(4))],
        age_years=int(rng.integers(18, 95)) if rng.random() < 0.8 else None,
        language=language,
    )


def typing_noise(text: str, rng: np.random.Generator) -> str:
    """One slip of the keyboard in a long word: two letters swapped, one doubled or one left out."""
    words = list(_SLIPPABLE.finditer(text))
    if not words:
        return text
    word = words[int(rng.integers(len(words)))]
    place = word.start() + 1 + int(rng.integers(len(word[0]) - 3))
    kind = int(rng.integers(3))
    if kind == 0:
        return f"{text[:place]}{text[place + 1]}{text[place]}{text[place + 2 :]}"
    return f"{text[:place]}{text[place] * 2 if kind == 1 else ''}{text[place + 1 :]}"
