"""What a sentence of a chest CT report states about the findings of the catalogue. No torch here.

Reads plain sentences as drafts and their templates write them, in the languages of model.wording; it is no
general reader of reports.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from model.facts import BY_NAME, LEFT, RIGHT, SIZED, ZONED
from model.wording import BOTH, Reading, wording


@dataclass(frozen=True, slots=True)
class Statement:
    """One finding that a sentence says is there or is not."""

    finding: str
    present: bool
    sides: tuple[str, ...] = ()
    """right, left, both in that order, or empty when no side is said."""
    size: str = ""
    """small, moderate or large, of the findings in SIZED: of others a report gives no such size."""
    zone: str = ""
    """upper or lower, of the findings in ZONED."""
    millimetres: float | None = None


_NUMBER = r"\d{1,4}(?:[.,]\d{1,2})?"
_LENGTH = re.compile(
    rf"(?<![\d.,])(?P<numbers>{_NUMBER}(?:\s*(?:mm|cm)?\s*[x×]\s*{_NUMBER}){{0,2}})\s*-?\s*"
    r"(?P<unit>mm|mil+imet\w+|밀리(?:미터)?|cm|[cz]entimet\w+|센티(?:미터)?)(?![a-z])"
)
_CENTIMETRES = ("c", "z", "센")
_COMMA = re.compile(r",(?!\d)")


@dataclass(frozen=True, slots=True)
class _Patterns:
    """The lexicon of one language, compiled."""

    findings: tuple[tuple[re.Pattern[str], str], ...]
    denials: re.Pattern[str]
    denies_before: bool
    denied_after: re.Pattern[str]
    qualifiers: tuple[tuple[str, str, re.Pattern[str]], ...]
    """(kind, value, pattern): side right, size small, ..."""
    normal: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...]
    clause: re.Pattern[str]
    prior: re.Pattern[str]
    no_prior: re.Pattern[str]


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
        denied_after=re.compile(reading.denied_after),
        qualifiers=_qualifiers(reading),
        normal=tuple((re.compile(pattern), findings) for pattern, findings in reading.normal),
        clause=re.compile(reading.clause),
        prior=re.compile(reading.prior),
        no_prior=re.compile(reading.no_prior),
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
    for clause in patterns.clause.split(_plain(sentence)):
        if not clause:
            continue
        for phrase, findings in patterns.normal:
            if phrase.search(clause):
                found += [Statement(name, present=False) for name in findings]
        named = _findings_in(clause, patterns)
        words = _words_in(clause, patterns) if named else []
        spans = [span for span, _ in named]
        for span, name in named:
            own = [word for word in words if _nearest(spans, word.span) == span]
            if _denied(clause, span, bool(own), patterns):
                found.append(Statement(name, present=False))
                continue
            sides = _sides(own) if BY_NAME[name].lateral else ()
            size = _one(own, "size") if name in SIZED else ""
            zone = _one(own, "zone") if name in ZONED else ""
            found.append(Statement(name, True, sides, size, zone, _length(own)))
    return tuple(dict.fromkeys(found))


def speaks_of_prior(sentence: str, language: str = "en") -> bool:
    """Whether a sentence speaks of an earlier examination, or of what has changed since.

    That there is none, it may say.
    """
    patterns = _patterns(language)
    return patterns.prior.search(patterns.no_prior.sub(" ", _plain(sentence))) is not None


def measurements_of(sentence: str) -> tuple[float, ...]:
    """Every length that a sentence gives, in millimetres: 12 mm, 12-mm, 1.2 cm, 1,2 cm, 12 x 9 mm."""
    return tuple(length for match in _LENGTH.finditer(_plain(sentence)) for length in _millimetres(match))


def _plain(sentence: str) -> str:
    """Lower case, each letter in one piece: accents and units can be typed as one character or as two."""
    return unicodedata.normalize("NFKC", sentence).lower()


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
    # Of two diameters the larger one is the size.
    lengths = [_Word("mm", str(max(_millimetres(m))), m.span()) for m in _LENGTH.finditer(clause)]
    return words + lengths


def _denied(clause: str, span: tuple[int, int], told: bool, patterns: _Patterns) -> bool:
    """Whether a denial reaches a finding. told: the finding has a side, a size, a zone or a length."""
    if patterns.denies_before and patterns.denials.search(clause, 0, span[0]):
        return True
    after = patterns.denied_after if patterns.denies_before else patterns.denials
    denial = after.search(clause, span[1])
    if denial is None:
        return False
    # In "small left effusion, pneumothorax not seen" what is described so is there.
    return not (told and _COMMA.search(clause, span[1], denial.start()))


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


def _millimetres(match: re.Match[str]) -> list[float]:
    factor = 10 if match["unit"].startswith(_CENTIMETRES) else 1
    return [round(float(one.replace(",", ".")) * factor, 2) for one in re.findall(_NUMBER, match["numbers"])]
