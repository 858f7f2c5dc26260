"""What a sentence of a chest CT report states about the findings of the catalogue. No torch here.

Reads plain English as drafts and their templates write it; it is no general reader of reports.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from model.facts import BY_NAME, CATALOGUE, LEFT, RIGHT

SIZES = ("small", "moderate", "large")
ZONES = ("upper", "lower")


@dataclass(frozen=True, slots=True)
class Statement:
    """One finding that a sentence says is there or is not."""

    finding: str
    present: bool
    sides: tuple[str, ...] = ()
    """right, left, both in that order, or empty when no side is said."""
    size: str = ""
    zone: str = ""


_WORDS = {word: finding.name for finding in CATALOGUE for word in finding.words}
_FINDING = re.compile(r"\b(" + "|".join(sorted(map(re.escape, _WORDS), key=len, reverse=True)) + r")\b")
_NEGATION = re.compile(r"\b(no|not|without|free of|absence of|neither|nor|negative for|excluded)\b")
_CLAUSE = re.compile(r"[;.]\s+|,?\s+but\s+|\bthere (?:is|are) (?=no\b)")
_SIDE = re.compile(r"\b(right|left|bilateral|both (?:sides|lungs|pleural spaces))\b")
_SIZE = re.compile(r"\b(" + "|".join(SIZES) + r")\b")
_ZONE = re.compile(r"\b(" + "|".join(ZONES) + r")\b")
_LUNG_FINDINGS = ("consolidation", "atelectasis", "pulmonary nodule")
_NORMAL_PHRASES = (
    (re.compile(r"\blungs are (?:otherwise )?clear\b"), _LUNG_FINDINGS),
    (re.compile(r"\bpleural spaces are (?:clear|normal)\b"), ("pleural effusion", "pneumothorax")),
    (re.compile(r"\bheart (?:size is normal|is of normal size|is not enlarged)\b"), ("cardiomegaly",)),
    (re.compile(r"\b(?:no acute|normal chest|no abnormality)\b"), tuple(BY_NAME)),
)


def statements_of(sentence: str) -> tuple[Statement, ...]:
    """The statements of one sentence, in its order.

    "No pleural effusion or pneumothorax." denies both; "The lungs are clear." denies what would be seen
    in them. A side, size or zone belongs to the finding of the same clause that stands nearest to it.
    """
    found: list[Statement] = []
    for clause in _CLAUSE.split(sentence.lower()):
        for phrase, findings in _NORMAL_PHRASES:
            if phrase.search(clause):
                found += [Statement(name, present=False) for name in findings]
        # "not enlarged" is said by a phrase above, not by a finding's own words.
        matches = list(_FINDING.finditer(clause))
        negation = _NEGATION.search(clause)
        for match in matches:
            name = _WORDS[match.group()]
            if negation and negation.start() < match.start():
                found.append(Statement(name, present=False))
                continue
            near = _Nearest(clause, [m.span() for m in matches], match.span())
            sides = _sides(near.words(_SIDE)) if BY_NAME[name].lateral else ()
            found.append(Statement(name, True, sides, near.word(_SIZE), near.word(_ZONE)))
    return tuple(dict.fromkeys(found))


class _Nearest:
    """The qualifying words of a clause that stand nearer to one finding than to any other."""

    def __init__(self, clause: str, findings: list[tuple[int, int]], own: tuple[int, int]) -> None:
        self.clause, self.findings, self.own = clause, findings, own

    def words(self, pattern: re.Pattern[str]) -> list[str]:
        return [m.group() for m in pattern.finditer(self.clause) if self._owner(m.span()) == self.own]

    def word(self, pattern: re.Pattern[str]) -> str:
        words = self.words(pattern)
        return words[0] if len(set(words)) == 1 else ""

    def _owner(self, span: tuple[int, int]) -> tuple[int, int]:
        def distance(finding: tuple[int, int]) -> int:
            return max(finding[0] - span[1], span[0] - finding[1], 0)

        return min(self.findings, key=distance)


def _sides(words: list[str]) -> tuple[str, ...]:
    both = any(word not in (RIGHT, LEFT) for word in words)
    return tuple(side for side in (RIGHT, LEFT) if both or side in words)
