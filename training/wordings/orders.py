"""Words of an order that say nothing of what this image shows: the draft must not follow them."""

from __future__ import annotations

import re

import numpy as np

from model.study import ClinicalContext
from model.wording import LANGUAGES, Reading, wording
from training.wordings.composing import wordings_of
from training.wordings.languages import WORDINGS

_LONG = re.compile(r"\b[a-zäöüßăâîșț]{7,}\b")


def _deciding(reading: Reading) -> str:
    sizes = "|".join((*reading.sides.values(), *reading.sizes.values(), *reading.zones.values()))
    return f"^(?:{sizes})$|{reading.denials}"


_DECIDING = re.compile("|".join(_deciding(wording(language).reading) for language in LANGUAGES))
"""A word that says a side, a size or a zone, or denies."""


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

    A slip in a side, size, zone or denial would change what is said (of "kleiner" it makes "keiner"): these
    words stay as they are, and so do short ones and those with a capital.
    """
    words = [word for word in _LONG.finditer(text) if not _DECIDING.search(word[0])]
    if not words:
        return text
    word = words[int(rng.integers(len(words)))]
    place = word.start() + 1 + int(rng.integers(len(word[0]) - 3))
    kind = int(rng.integers(3))
    if kind == 0:
        return f"{text[:place]}{text[place + 1]}{text[place]}{text[place + 2 :]}"
    return f"{text[:place]}{text[place] * 2 if kind == 1 else ''}{text[place + 1 :]}"
