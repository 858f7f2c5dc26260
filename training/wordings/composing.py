"""Many wordings from few patterns, and which of them training may see."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
HELD_OUT_SHARE = 5
"""One wording in so many is kept from training."""


@dataclass(frozen=True, slots=True)
class Wordings:
    """The wordings of one language.

    In a pattern "[a|b|]" stands for a, b or nothing; {size}, {side}, {zone}, {mm} and {names} are filled.
    """

    present: Mapping[str, tuple[str, ...]]
    """Finding -> patterns that state it on one side, or where there is no side."""
    both: Mapping[str, tuple[str, ...]]
    """Finding that can be on both sides -> patterns that state it there."""
    concluded: Mapping[str, tuple[str, ...]]
    concluded_both: Mapping[str, tuple[str, ...]]
    names: Mapping[str, tuple[str, ...]]
    """Finding -> names in a denial."""
    absent: tuple[str, ...]
    """Patterns that deny {names}."""
    joined: tuple[str, ...]
    """What may stand before the last of several names."""
    normal: Mapping[str, tuple[str, ...]]
    """Organ -> patterns that deny all its findings."""
    nothing: tuple[str, ...]
    """Patterns of an Impression without a finding."""
    sides: Mapping[str, tuple[str, ...]]
    """right and left -> words for {side}; patterns of both sides hold their own words."""
    sizes: Mapping[str, tuple[str, ...]]
    zones: Mapping[str, tuple[str, ...]]
    procedures: tuple[str, ...]
    questions: tuple[str, ...]
    histories: tuple[str, ...]


@cache
def expand(pattern: str) -> tuple[str, ...]:
    """Every text that a pattern stands for, white space tidied."""
    parts = _CHOICE.split(pattern)
    choices = [[part] if i % 2 == 0 else part.split("|") for i, part in enumerate(parts)]
    texts = (" ".join("".join(one).split()) for one in product(*choices))
    return tuple(dict.fromkeys(text.replace(" .", ".").replace(" ,", ",") for text in texts))


@cache
def wordings_of(patterns: tuple[str, ...], held_out: bool) -> tuple[str, ...]:
    """The wordings of some patterns that training sees, or those that it does not.

    Which is which depends on the words alone. Neither is empty: of very few, all are seen by both.
    """
    every = tuple(dict.fromkeys(text for pattern in patterns for text in expand(pattern)))
    chosen = tuple(text for text in every if is_held_out(text) is held_out)
    return chosen or every


def is_held_out(text: str) -> bool:
    """Whether a wording is kept from training."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) % HELD_OUT_SHARE == 0


def capitalised(text: str) -> str:
    """With a capital first letter, where the script has them."""
    return text[:1].upper() + text[1:]


def joined(names: Sequence[str], last: str) -> str:
    """Names in a row: a, b or c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])}{last}{names[-1]}"
