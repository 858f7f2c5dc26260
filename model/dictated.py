"""What is drawn from words that a person dictated, held against these words. No torch here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from model.facts import BY_NAME, ORGANS, SIDES
from model.sections import FINDINGS, sentences_of
from model.statements import Statement, measurements_of, speaks_of_prior, statements_of
from model.study import MARKED, REWRITTEN, ClinicalContext, Evidence, Sentence
from model.wording import concluded, nothing, organ_normal, present

_DICTATED = (Evidence(kind="findings"),)
_TOLERANCE_MM = 0.5
"""A length that was dictated as 1.2 cm may be told as 12 mm, and no more than that."""
_TEMPLATE = (Evidence(kind="template"),)
_MISSING = "was not said, or not so, and is what was dictated"
_UNSAID = "says what was not dictated"
_WORD = re.compile(r"[^\W\d_]+")
_SHORTEST = 4
"""Shorter words join others and say nothing by themselves; in Korean every word counts."""
_STEM = 5
"""So many letters of a word are compared: endings follow the sentence."""
_PARTICULARS = "states a side, size, zone or measurement that was not dictated"


def rest_on_dictation(
    sentences: Sequence[Sentence], text: str, context: ClinicalContext, language: str
) -> tuple[Sentence, ...]:
    """The sentences with what they rest on; one that says more than was dictated, or the contrary, is marked.

    Denials that contradict nothing stand: detailed findings say what is not there as well. Words about which
    the catalogue knows nothing stand where most of them were dictated, for a person may dictate what no head
    looks for.
    """
    known = [one for said in sentences_of(text, language) for one in statements_of(said, language)]
    dictates_prior = bool(context.prior.strip()) or speaks_of_prior(text, language)
    told = []
    for sentence in sentences:
        reason = _fault(sentence.text, known, language)
        if not reason and not _measured(sentence.text, text):
            reason = _PARTICULARS
        if not reason and not _drawn_from(sentence.text, text, language):
            reason = _UNSAID
        if not reason and not dictates_prior and speaks_of_prior(sentence.text, language):
            reason = "speaks of a prior examination that is not there"
        sentence = replace(sentence, evidence=_DICTATED)
        told.append(replace(sentence, guarded=MARKED, reason=reason) if reason else sentence)
    return tuple(told)


def _drawn_from(text: str, dictated: str, language: str) -> bool:
    """Whether a sentence states something of the catalogue, or takes most of its words from the dictation."""
    if statements_of(text, language):
        return True
    known = {word[:_STEM] for word in _words(dictated)}
    words = _words(text)
    return 2 * sum(word[:_STEM] in known for word in words) > len(words)


def _words(text: str) -> list[str]:
    return [word for word in _WORD.findall(text.lower()) if len(word) >= _SHORTEST or word >= "가"]


def mended(sentences: Sequence[Sentence], text: str, language: str, section: str) -> tuple[Sentence, ...]:
    """What was written, with what was dictated in place of what contradicts it.

    sentences are those of `rest_on_dictation`. A marked one that speaks of findings of the catalogue goes;
    each finding that was dictated and is then told by none is told by its fixed phrase. In the Findings an
    organ of which nothing is told gets its normal sentence, which the impression does not contradict.
    Words of what the catalogue does not know stay, marked or not. Nothing where nothing holds and the
    dictated words say more than the catalogue knows.
    """
    kept = [s for s in sentences if not (s.guarded == MARKED and statements_of(s.text, language))]
    told = {
        (said.finding, side)
        for sentence in kept
        for said in statements_of(sentence.text, language)
        if said.present
        for side in said.sides or ("",)
    }
    phrase = present if section == FINDINGS else concluded
    added = []
    for (finding, size, zone, millimetres), sides in _dictated(text, language).items():
        missing = tuple(side for side in sides if (finding, side) not in told)
        if missing:
            sided = tuple(side for side in missing if side)
            words = phrase(finding, sided, language, size=size, zone=zone, millimetres=millimetres)
            organ = BY_NAME[finding].organ if section == FINDINGS else ""
            added.append(Sentence(section, words, _DICTATED, organ, None, REWRITTEN, _MISSING))
    kept += added
    if section != FINDINGS:
        # That there is nothing may be said only of words that were read to their end.
        read = all(statements_of(one, language) for one in sentences_of(text, language))
        normal = Sentence(section, nothing(language), _DICTATED, "", None, REWRITTEN, _MISSING)
        return tuple(kept) or ((normal,) if read else ())
    ordered = []
    for organ in ORGANS:
        own = [sentence for sentence in kept if sentence.organ == organ]
        ordered += own or [
            Sentence(section, organ_normal(organ, language), (Evidence(kind="template"),), organ)
        ]
    return tuple(ordered)


def _dictated(text: str, language: str) -> dict[tuple[str, str, str, float | None], tuple[str, ...]]:
    """(finding, size, zone, millimetres) -> sides, one empty where none is said; in catalogue order."""
    found: dict[tuple[str, str, str, float | None], tuple[str, ...]] = {}
    for sentence in sentences_of(text, language):
        for said in statements_of(sentence, language):
            if said.present:
                key = (said.finding, said.size, said.zone, said.millimetres)
                sides = {*found.get(key, ()), *(said.sides or ("",))}
                found[key] = tuple(side for side in (*SIDES, "") if side in sides)
    order = list(BY_NAME)
    return dict(sorted(found.items(), key=lambda one: order.index(one[0][0])))


def _measured(text: str, dictated: str) -> bool:
    """Whether every length was dictated, whatever it is said to be the length of."""
    known = measurements_of(dictated)
    return all(any(abs(one - other) <= _TOLERANCE_MM for other in known) for one in measurements_of(text))


def _fault(text: str, known: Sequence[Statement], language: str) -> str:
    for said in statements_of(text, language):
        there = [one for one in known if one.finding == said.finding and one.present]
        if said.present and not there:
            return "states a finding that was not dictated"
        # Both sides in one word may have been dictated in two sentences.
        sides: tuple[tuple[str, ...], ...] = tuple((side,) for side in said.sides) or ((),)
        told = [replace(said, sides=side) for side in sides]
        if said.present and not all(any(_supports(one, part) for one in there) for part in told):
            return _PARTICULARS
        if not said.present and there:
            return "denies a finding that was dictated"
    return ""


def _supports(dictated: Statement, said: Statement) -> bool:
    """Whether all that is said of a finding was dictated of it."""
    return (
        set(said.sides) <= set(dictated.sides)
        and said.size in ("", dictated.size)
        and said.zone in ("", dictated.zone)
        and (
            said.millimetres is None
            or (
                dictated.millimetres is not None
                and abs(said.millimetres - dictated.millimetres) <= _TOLERANCE_MM
            )
        )
    )
