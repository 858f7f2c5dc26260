"""What is drawn from words that a person dictated, held against these words. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from model.sections import sentences_of
from model.statements import Statement, measurements_of, speaks_of_prior, statements_of
from model.study import MARKED, ClinicalContext, Evidence, Sentence

_DICTATED = (Evidence(kind="findings"),)
_TOLERANCE_MM = 0.5
"""A length that was dictated as 1.2 cm may be told as 12 mm, and no more than that."""
_PARTICULARS = "states a side, size, zone or measurement that was not dictated"


def rest_on_dictation(
    sentences: Sequence[Sentence], text: str, context: ClinicalContext, language: str
) -> tuple[Sentence, ...]:
    """The sentences with what they rest on; one that says more than was dictated, or the contrary, is marked.

    Denials that contradict nothing stand: detailed findings say what is not there as well. Words about which
    the catalogue knows nothing stand too, for a person may dictate what no head looks for.
    """
    known = [one for said in sentences_of(text, language) for one in statements_of(said, language)]
    dictates_prior = bool(context.prior.strip()) or speaks_of_prior(text, language)
    told = []
    for sentence in sentences:
        reason = _fault(sentence.text, known, language)
        if not reason and not _measured(sentence.text, text):
            reason = _PARTICULARS
        if not reason and not dictates_prior and speaks_of_prior(sentence.text, language):
            reason = "speaks of a prior examination that is not there"
        sentence = replace(sentence, evidence=_DICTATED)
        told.append(replace(sentence, guarded=MARKED, reason=reason) if reason else sentence)
    return tuple(told)


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
