"""A draft's sentences: those that the order gives, and those that the language half wrote. No torch here."""

from __future__ import annotations

from collections.abc import Iterable

from model.facts import ORGANS
from model.grammar import CUT
from model.prompts import clinical_information, not_stated, procedure_sentence
from model.sections import (
    CLINICAL_INFORMATION,
    COMPARISON,
    FINDINGS,
    IMPRESSION,
    PROCEDURE,
    read_report,
    sentences_of,
)
from model.study import ClinicalContext, Evidence, Sentence
from model.wording import wording

_ORDER = (Evidence(kind="order"),)
_PRIOR = (Evidence(kind="prior"),)
_TEMPLATE = (Evidence(kind="template"),)


def given_sentences(context: ClinicalContext, language: str) -> tuple[Sentence, ...]:
    """Procedure, Clinical information and Comparison: always all three, and nothing that was not given."""
    procedure = procedure_sentence(context, language)
    information = clinical_information(context, language)
    sentences = [Sentence(PROCEDURE, procedure, _ORDER)] if procedure else [_nothing(PROCEDURE, language)]
    sentences += [Sentence(CLINICAL_INFORMATION, text, _ORDER) for text in information] or [
        _nothing(CLINICAL_INFORMATION, language)
    ]
    prior = " ".join(context.prior.split())
    if prior:
        words = wording(language)
        sentences.append(Sentence(COMPARISON, words.prior_available, _PRIOR))
    else:
        sentences.append(Sentence(COMPARISON, wording(language).no_prior, _TEMPLATE))
    return tuple(sentences)


def written_sentences(answer: str, language: str) -> tuple[Sentence, ...]:
    """The Findings by organ and the Impression of an answer to the report task."""
    organs, impression = read_report(answer, language)
    return (*_by_organ(organs, language), *_plain(IMPRESSION, impression, language))


def finding_sentences(answer: str, language: str) -> tuple[Sentence, ...]:
    """The Findings by organ of an answer that holds no Impression."""
    organs, _ = read_report(answer, language)
    return _by_organ(organs, language)


def impression_sentences(answer: str, language: str) -> tuple[Sentence, ...]:
    """The Impression of an answer that holds nothing else; what stands under a further title is left out."""
    first, *_ = answer.split("\n\n", 1)
    return _plain(IMPRESSION, " ".join(first.split()), language)


def complete(sentences: Iterable[Sentence]) -> bool:
    """Whether a draft has every section and every organ, in order, each with words."""
    kept = [sentence for sentence in sentences if sentence.text.strip()]
    sections = list(dict.fromkeys(sentence.section for sentence in kept))
    organs = list(dict.fromkeys(s.organ for s in kept if s.section == FINDINGS))
    wanted = [PROCEDURE, CLINICAL_INFORMATION, COMPARISON, FINDINGS, IMPRESSION]
    return sections == wanted and organs == list(ORGANS)


def _by_organ(organs: Iterable[tuple[str, str]], language: str) -> tuple[Sentence, ...]:
    return tuple(
        Sentence(FINDINGS, text, organ=organ) for organ, body in organs for text in _said(body, language)
    )


def _plain(section: str, body: str, language: str) -> tuple[Sentence, ...]:
    return tuple(Sentence(section, text) for text in _said(body, language))


def _said(body: str, language: str) -> tuple[str, ...]:
    """The sentences of a body, without one that the limit of tokens cut off: nobody said its end."""
    return tuple(text for text in sentences_of(body, language) if not text.endswith(CUT))


def _nothing(section: str, language: str) -> Sentence:
    return Sentence(section, not_stated(language), _TEMPLATE)
