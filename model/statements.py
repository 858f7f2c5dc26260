"""What a sentence of a chest CT report states about the findings of the catalogue. No torch here.

Reads plain sentences as drafts and their templates write them, in the languages of model.wording; it is no
general reader of reports.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from model.facts import BY_NAME, LEFT, RIGHT
from model.wording import BOTH, Reading, wording


@dataclass(frozen=True, slots=True)
class Statement:
    """One finding that a sentence says is there or is not."""

    finding: str
    present: bool
    sides: tuple[str, ...] = ()
    """right, left, both in that order, or empty when no side is said."""
    size: str = ""
    zone: str = ""
    millimetres: float | None = None


_MILLIMETRES = re.compile(
    r"(?<![\d.,])(\d{1,4}(?:[.,]\d{1,2})?)\s*-?\s*(mm|cm|millimet(?:er|re)s?|밀리미터|센티미터)"
)
_CENTIMETRES = ("cm", "센티미터")


@dataclass(frozen=True, slots=True)
class _Patterns:
    """The lexicon of one language, compiled."""

    findings: tuple[tuple[re.Pattern[str], str], ...]
    denials: re.Pattern[str]
    denies_before: bool
    qualifiers: tuple[tuple[str, str, re.Pattern[str]], ...]
    """(kind, value, pattern): side right, size small, ..."""
    normal: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...]
    clause: re.Pattern[str]
    prior: re.Pattern[str]


@cache
def _patterns(language: str) -> _Patterns:
    reading = wording(language).reading
    edge = reading.boundary
    return _Patterns(
        findings=tuple(
            (re.compile(f"{edge}(?:{word}){edge}"), finding)
            for finding, words in reading.findings.items()
            for word in words
        ),
        denials=re.compile(reading.denials),
        denies_before=reading.denies_before,
        qualifiers=_qualifiers(reading),
        normal=tuple((re.compile(pattern), findings) for pattern, findings in reading.normal),
        clause=re.compile(reading.clause),
        prior=re.compile(reading.prior),
    )


def _qualifiers(reading: Reading) -> tuple[tuple[str, str, re.Pattern[str]], ...]:
    kinds: tuple[tuple[str, Mapping[str, str]], ...] = (
        ("side", reading.sides),
        ("size", reading.sizes),
        ("zone", reading.zones),
    )
    edge = reading.boundary
    return tuple(
        (kind, value, re.compile(f"{edge}(?:{pattern}){edge}"))
        for kind, values in kinds
        for value, pattern in values.items()
    )


@dataclass(frozen=True, slots=True)
class _Word:
    """A qualifying word of a clause."""

    kind: str
    value: str
    span: tuple[int, int]


def statements_of(sentence: str, language: str = "en") -> tuple[Statement, ...]:
    """The statements of one sentence, in its order.

    "No pleural effusion or pneumothorax." denies both; "The lungs are clear." denies what would be seen
    in them. A side, size, zone or measurement belongs to the finding of the same clause that stands nearest.
    """
    patterns = _patterns(language)
    found: list[Statement] = []
    for clause in patterns.clause.split(sentence.lower()):
        if not clause:
            continue
        for phrase, findings in patterns.normal:
            if phrase.search(clause):
                found += [Statement(name, present=False) for name in findings]
        named = _findings_in(clause, patterns)
        words = _words_in(clause, patterns) if named else []
        spans = [span for span, _ in named]
        for span, name in named:
            if _denied(clause, span, patterns):
                found.append(Statement(name, present=False))
                continue
            own = [word for word in words if _nearest(spans, word.span) == span]
            sides = _sides(own) if BY_NAME[name].lateral else ()
            found.append(Statement(name, True, sides, _one(own, "size"), _one(own, "zone"), _length(own)))
    return tuple(dict.fromkeys(found))


def speaks_of_prior(sentence: str, language: str = "en") -> bool:
    """Whether a sentence speaks of an earlier examination, or of what has changed since."""
    return _patterns(language).prior.search(sentence.lower()) is not None


def measurements_of(sentence: str) -> tuple[float, ...]:
    """Every length that a sentence gives, in millimetres."""
    return tuple(_millimetres(match) for match in _MILLIMETRES.finditer(sentence.lower()))


def _findings_in(clause: str, patterns: _Patterns) -> list[tuple[tuple[int, int], str]]:
    """(span, finding) in the order of the clause; of words that overlap the longest counts."""
    matches = [(m.span(), name) for pattern, name in patterns.findings for m in pattern.finditer(clause)]
    chosen: list[tuple[tuple[int, int], str]] = []
    for span, name in sorted(matches, key=lambda one: (one[0][0] - one[0][1], one[0][0])):
        if all(span[1] <= other[0] or span[0] >= other[1] for other, _ in chosen):
            chosen.append((span, name))
    return sorted(chosen)


def _words_in(clause: str, patterns: _Patterns) -> list[_Word]:
    words = [
        _Word(kind, value, match.span())
        for kind, value, pattern in patterns.qualifiers
        for match in pattern.finditer(clause)
    ]
    lengths = [_Word("mm", str(_millimetres(m)), m.span()) for m in _MILLIMETRES.finditer(clause)]
    return words + lengths


def _denied(clause: str, span: tuple[int, int], patterns: _Patterns) -> bool:
    if patterns.denies_before:
        return patterns.denials.search(clause, 0, span[0]) is not None
    return patterns.denials.search(clause, span[1]) is not None


def _nearest(findings: list[tuple[int, int]], span: tuple[int, int]) -> tuple[int, int]:
    return min(findings, key=lambda finding: max(finding[0] - span[1], span[0] - finding[1], 0))


def _one(words: list[_Word], kind: str) -> str:
    values = {word.value for word in words if word.kind == kind}
    return values.pop() if len(values) == 1 else ""


def _sides(words: list[_Word]) -> tuple[str, ...]:
    said = {word.value for word in words if word.kind == "side"}
    return tuple(side for side in (RIGHT, LEFT) if side in said or BOTH in said)


def _length(words: list[_Word]) -> float | None:
    value = _one(words, "mm")
    return float(value) if value else None


def _millimetres(match: re.Match[str]) -> float:
    number = float(match[1].replace(",", "."))
    return number * 10 if match[2] in _CENTIMETRES else number
