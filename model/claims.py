"""What a whole draft claims: each finding that its sentences say is there or is not. No torch here.

The sentences are what a person reads and signs, so they alone are read here; what the finding heads saw is
only how probable it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from model.facts import BY_NAME, SIDES
from model.sections import FINDINGS, IMPRESSION
from model.statements import Statement, statements_of
from model.study import Evidence, Sentence
from model.wording import LANGUAGES

BILATERAL = "bilateral"


@dataclass(frozen=True, slots=True)
class Claim:
    """One finding that a draft says is there, or is not there."""

    finding: str
    present: bool
    side: str = ""
    """right, left, bilateral; empty where no side is said."""
    probability: float | None = None
    """Between 0 and 1, of the finding, as its head gave it; the lesser of two sides. None without a head."""


def claims_of(sentences: Iterable[Sentence], language: str = "en") -> tuple[Claim, ...]:
    """What the Findings and the Impression claim, each finding and side once, in the order of the text.

    A finding that any sentence says is there is not denied by another one ("No right effusion. Small left
    effusion."). A side is never added up from two sentences: left in one and right in another are two
    claims. A sentence that denies everything at once ("No acute abnormality.") denies nothing in particular.
    language: of the sentences. In one that model.wording does not know nothing is claimed: read in another,
    "Kein Pneumothorax" would state one.
    """
    if language not in LANGUAGES:
        return ()
    rests: dict[tuple[str, bool, str], list[Evidence]] = {}
    for sentence in sentences:
        if sentence.section in (FINDINGS, IMPRESSION):
            for statement in _particular(statements_of(sentence.text, language)):
                key = (statement.finding, statement.present, _side(statement))
                rests.setdefault(key, []).extend(
                    one for one in sentence.evidence if one.finding == statement.finding
                )
    there = {finding for finding, present, _ in rests if present}
    sided = {finding for finding, _, side in rests if side}
    return tuple(
        Claim(finding, present, side, _probability(evidence, side))
        for (finding, present, side), evidence in rests.items()
        if (present or finding not in there) and (side or not present or finding not in sided)
    )


def _particular(statements: Sequence[Statement]) -> list[Statement]:
    denied = {statement.finding for statement in statements if not statement.present}
    return [statement for statement in statements if statement.present or denied != set(BY_NAME)]


def _side(statement: Statement) -> str:
    return BILATERAL if len(statement.sides) > 1 else "".join(statement.sides)


def _probability(evidence: Iterable[Evidence], side: str) -> float | None:
    known = [(one.side, one.probability) for one in evidence if one.probability is not None]
    if side == BILATERAL:
        sides = [max((p for s, p in known if s == one), default=None) for one in SIDES]
        both = [p for p in sides if p is not None]
        return min(both) if len(both) == len(SIDES) else None
    return max((p for s, p in known if not side or s == side), default=None)
