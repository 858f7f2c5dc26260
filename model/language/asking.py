"""What the language half is asked and what it answers, whoever runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from model.fusion.fused import Fused


@dataclass(frozen=True, slots=True)
class Asked:
    """One answer that is wanted."""

    prompt: tuple[int, ...]
    """Token ids after the start token and the image; nothing in them is a special token that we did not put
    there."""
    fused: Fused | None = None
    """What was seen, of one case (batch 1); None for a task without images."""
    adapter: str = ""
    """Name of the adapter that writes; empty for the base alone."""
    grammar: str = ""
    """EBNF (GBNF, rule root) that the answer obeys while it is written; empty leaves it free."""
    maximum_tokens: int = 192


@dataclass(frozen=True, slots=True)
class Answer:
    """What was written."""

    ids: tuple[int, ...]
    """Without the token that ends it."""
    text: str
    complete: bool
    """Whether it ended by itself, and by its grammar where it had one."""
    likelihood: float
    """Mean logarithm of the probability of its tokens, natural, before the grammar."""


class Writer(Protocol):
    """Runs the language half."""

    def write(self, asked: Sequence[Asked]) -> list[Answer]:
        """Answer all, in their order; each answer is what it would be alone."""
        ...
