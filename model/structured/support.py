"""What a report says of a template's field: the values that it supports, and the sentence of each.

Nothing here guesses. A finding of the catalogue is read as the guard reads it; of anything else the words of
the value must stand in one sentence. No torch here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from model.facts import BY_NAME, LEFT, RIGHT
from model.headings import titles_of
from model.sections import (
    CLINICAL_INFORMATION,
    COMPARISON,
    FINDINGS,
    IMPRESSION,
    PROCEDURE,
    sentences_of,
    split,
)
from model.statements import Statement, statements_of
from model.structured.template import CHOICE, NUMBER, SEVERAL, Field
from model.wording import LANGUAGES

_AFFIRMED = frozenset(
    ("yes", "present", "seen", "ja", "vorhanden", "da", "prezent", "prezentă", "prezente", "예", "있음", "유")
)
_DENIED = frozenset(
    ("no", "none", "absent", "nein", "kein", "keine", "keiner", "nu", "absentă", "아니오", "없음", "무")
)
_NEGATION = re.compile(r"\b(?:no|not|without|none|free of|kein\w*|nicht|ohne|fără|nu|absent\w*)\b|없|않|아니")
_STOP = frozenset(("the", "a", "an", "of", "in", "is", "are", "and", "or", "with"))
_WORD = re.compile(r"\w+")
_NUMBER = r"(\d{1,5}(?:[.,]\d{1,3})?)"
_RIGHT = re.compile(r"\b(?:right|rechts\w*|rechte\w*|drept\w*|drea\w*)\b|우측|오른쪽")
_LEFT = re.compile(r"\b(?:left|links\w*|linke\w*|stâng\w*|stang\w*)\b|좌측|왼쪽")
_TOLD = tuple(title for one in (FINDINGS, IMPRESSION) for title in titles_of(one))
_OTHER_TITLES = tuple(
    title for one in (PROCEDURE, CLINICAL_INFORMATION, COMPARISON) for title in titles_of(one)
)
_MILLIMETRES = {"mm": 1.0, "cm": 10.0}


@dataclass(frozen=True, slots=True)
class Report:
    """The sentences of a report and what they state."""

    sentences: tuple[str, ...]
    statements: tuple[tuple[Statement, ...], ...]
    """Of each sentence."""


def read(report: str, language: str) -> Report:
    """Read a report. Of one with sections only the Findings and the Impression count.

    What the order says under another title (a known effusion, a question) is no finding of this study.
    """
    bodies = [body for title, body in split(report, (*_TOLD, *_OTHER_TITLES)) if title in _TOLD]
    sentences = tuple(
        sentence for body in bodies or _paragraphs(report) for sentence in sentences_of(body, language)
    )
    return Report(sentences, tuple(_stated(sentence, language) for sentence in sentences))


def supported(field: Field, language: str, report: Report) -> Mapping[str, tuple[str, ...]]:
    """Value -> the sentences that say so, for every value of the field that the report supports.

    `language` is the template's. Empty where the report says nothing of the field.
    """
    if field.kind == NUMBER:
        return _numbers(field, language, report)
    if field.kind not in (CHOICE, SEVERAL):
        return {}
    claims = {option: claim_of(field.label, option, language) for option in field.options}
    found: dict[str, tuple[str, ...]] = {}
    for option, claim in claims.items():
        sentences = _states(claim, report) if claim else _says(field, option, report)
        if sentences:
            found[option] = sentences
    # Words of a denial may be of one side only: what is there goes before.
    denials = [one for one in found if claims[one] is None and _denied(one)]
    if len(denials) < len(found):
        found = {one: sentences for one, sentences in found.items() if one not in denials}
    # "right" is true of an effusion on both sides, and less than what the report says.
    for one in list(found):
        if any(_less(claims[one], claims[other]) for other in found):
            del found[one]
    return found


def decided(field: Field, language: str) -> bool:
    """Whether the field asks for a finding of the catalogue, so that reading alone decides it."""
    if field.kind == NUMBER:
        return bool(_stated(field.label, language))
    return any(claim_of(field.label, option, language) for option in field.options)


@dataclass(frozen=True, slots=True)
class Claim:
    """What choosing an option says of one finding."""

    finding: str
    present: bool
    sides: tuple[str, ...] = ()
    size: str = ""
    zone: str = ""


def claim_of(label: str, option: str, language: str) -> Claim | None:
    """What an option of a field says of a finding of the catalogue; None where it says nothing of one.

    "small" under "Pleural effusion, left" says that there is a small one on the left; "none" that there is
    none there.
    """
    of_label = {statement.finding: statement for statement in _stated(label, language)}
    if len(of_label) > 1:
        return None
    if of_label:
        (about,) = of_label.values()
        if _denied(option):
            return Claim(about.finding, False, about.sides)
        if set(_WORD.findall(option.lower())) <= _AFFIRMED:
            return Claim(about.finding, True, about.sides)
    stated = _stated(f"{option} {label}", language)
    # An option that adds nothing which can be read says nothing of a finding: its words must stand there.
    if len(stated) != 1 or stated[0] in of_label.values():
        return None
    (one,) = stated
    return Claim(one.finding, one.present, one.sides, one.size, one.zone)


def sentences_with(text: str, report: Report) -> tuple[str, ...]:
    """The sentences of a text that stand in the report word by word."""
    known = {_plain(sentence): sentence for sentence in report.sentences}
    return tuple(dict.fromkeys(known[one] for s in sentences_of(text) if (one := _plain(s)) in known))


def _states(claim: Claim, report: Report) -> tuple[str, ...]:
    there: list[tuple[str, Statement]] = []
    denied: list[tuple[str, Statement]] = []
    for sentence, statements in zip(report.sentences, report.statements, strict=True):
        for one in statements:
            if one.finding == claim.finding:
                (there if one.present else denied).append((sentence, one))
    if not claim.present:
        overlap = [
            one for _, one in there if not claim.sides or not one.sides or {*claim.sides} & {*one.sides}
        ]
        if overlap:
            return ()
        return _unique(sentence for sentence, _ in denied if _denies(sentence, claim.sides))
    fitting = [
        (sentence, one)
        for sentence, one in there
        if (not claim.size or one.size == claim.size) and (not claim.zone or one.zone == claim.zone)
    ]
    if not claim.sides:
        return _unique(sentence for sentence, _ in fitting)
    said = {side for _, one in fitting for side in one.sides}
    if not {*claim.sides} <= said:
        return ()
    return _unique(sentence for sentence, one in fitting if {*claim.sides} & {*one.sides})


def _denies(sentence: str, sides: tuple[str, ...]) -> bool:
    """Whether a denial holds for these sides; for both where none is given, which "no left one" does not."""
    named = {side for side, words in ((RIGHT, _RIGHT), (LEFT, _LEFT)) if words.search(sentence.lower())}
    return not named or named == {*sides}


def _says(field: Field, option: str, report: Report) -> tuple[str, ...]:
    """Sentences in which the option's words stand beside a word of the label, neither of them denied."""
    label, words = _content(field.label), _content(option)
    if _denied(option) or set(_WORD.findall(option.lower())) <= _AFFIRMED:
        wanted = _denied(option)
        return tuple(
            sentence
            for sentence in report.sentences
            if label and _holds(sentence, label) and bool(_NEGATION.search(sentence.lower())) is wanted
        )
    return tuple(
        sentence
        for sentence in report.sentences
        if words
        and _holds(sentence, words)
        and (len(words) > 2 or any(_holds(sentence, {word}) for word in label))
        and bool(_NEGATION.search(sentence.lower())) is bool(_NEGATION.search(option.lower()))
    )


def _numbers(field: Field, language: str, report: Report) -> dict[str, tuple[str, ...]]:
    label = {statement.finding for statement in _stated(field.label, language)}
    unit = field.unit.lower()
    units = "|".join(_MILLIMETRES) if unit in _MILLIMETRES else re.escape(unit)
    pattern = re.compile(
        rf"(?<![\w.,]){_NUMBER}(?![.,]?\d)\s*-?\s*({units})(?!\w)"
        if unit
        else rf"(?<![\w.,]){_NUMBER}(?![.,]?\w)"
    )
    found: dict[str, tuple[str, ...]] = {}
    for sentence, statements in zip(report.sentences, report.statements, strict=True):
        there = {one.finding for one in statements if one.present}
        if label:
            about = there == label
        else:
            about = any(_holds(sentence, {word}) for word in _content(field.label) - {unit})
        for match in pattern.finditer(sentence.lower()) if about else ():
            number = float(match[1].replace(",", "."))
            if unit in _MILLIMETRES:
                number = round(number * _MILLIMETRES[match[2]] / _MILLIMETRES[unit], 3)
            if field.minimum is not None and number < field.minimum:
                continue
            if field.maximum is not None and number > field.maximum:
                continue
            found.setdefault(f"{number:g}", (sentence,))
    return found


def _less(one: Claim | None, other: Claim | None) -> bool:
    """Whether one claim is the other without some of its sides."""
    return (
        one is not None
        and other is not None
        and (one.finding, one.present, one.size, one.zone)
        == (other.finding, other.present, other.size, other.zone)
        and {*one.sides} < {*other.sides}
    )


def _stated(text: str, language: str) -> tuple[Statement, ...]:
    """The statements of a text; one that denies everything at once denies nothing in particular.

    In a language that is not read, the words of a value must stand in the report.
    """
    statements = statements_of(text, language) if language in LANGUAGES else ()
    denied = {one.finding for one in statements if not one.present}
    return tuple(one for one in statements if one.present or denied != set(BY_NAME))


def _paragraphs(report: str) -> list[str]:
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n|(?<=[:.!?])\s*\n", report) if part.strip()]


def _denied(option: str) -> bool:
    return bool({*_WORD.findall(option.lower())} & _DENIED)


def _content(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.lower())) - _STOP


def _holds(sentence: str, words: frozenset[str] | set[str]) -> bool:
    said = set(_WORD.findall(sentence.lower()))
    # Korean writes particles onto the noun.
    return all(word in said or (word >= "가" and any(one.startswith(word) for one in said)) for word in words)


def _plain(sentence: str) -> str:
    return " ".join(_WORD.findall(sentence.lower()))


def _unique(sentences: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(sentences))
