"""Words of an order that say nothing of what this image shows: the draft must not follow them."""

from __future__ import annotations

import re
from functools import cache

import numpy as np

from model.study import ClinicalContext
from model.wording import LANGUAGES, wording
from training.wordings.composing import wordings_of
from training.wordings.languages import WORDINGS

_LONG = re.compile(r"\b[a-zäöüßăâîșț]{7,}\b")
"""Long words in small letters: a slip makes no other word of them."""


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
    """One slip of the keyboard in a long word: two letters swapped, one doubled or one left out.

    Never in a side, a size, a zone or a denial of any language: that would change what is said.
    """
    words = [word for word in _LONG.finditer(text) if not _particulars().search(word[0])]
    if not words:
        return text
    word = words[int(rng.integers(len(words)))]
    place = word.start() + 1 + int(rng.integers(len(word[0]) - 3))
    kind = int(rng.integers(3))
    if kind == 0:
        return f"{text[:place]}{text[place + 1]}{text[place]}{text[place + 2 :]}"
    return f"{text[:place]}{text[place] * 2 if kind == 1 else ''}{text[place + 1 :]}"


@cache
def _particulars() -> re.Pattern[str]:
    readings = [wording(language).reading for language in LANGUAGES]
    values = [
        words for one in readings for kind in (one.sides, one.sizes, one.zones) for words in kind.values()
    ]
    return re.compile("|".join([*(f"^(?:{words})$" for words in values), *(one.denials for one in readings)]))
