"""Fills a structured template with what a report says, and with nothing else. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from model.prompt_words import prompt_words
from model.prompts import dictated, escape
from model.structured.support import Report, decided, read, sentences_with, supported
from model.structured.template import SEVERAL, TEXT, Field, Template
from model.study import FilledField


@dataclass(frozen=True, slots=True)
class Question:
    """One field for which a value is to be written."""

    field: Field
    choices: tuple[str, ...]
    """What the answer can be, of which the last says that the report says nothing; empty for sentences."""


Support = Mapping[str, tuple[str, ...]]
"""Value -> the sentences of the report that say so."""
Write = Callable[[Sequence[Question]], Sequence[str]]
"""Answers questions, in their order; each answer is one of the choices, or sentences where there are none."""


def fill(template: Template, report: str, language: str, write: Write | None) -> tuple[FilledField, ...]:
    """What a report, in this language, says of each field of a template, in its order.

    1. The report is read: which values of a field does it support, and by which sentence?
    2. Fields of which it supports a value, and texts, are asked for. Others stay open unasked.
    3. An answer counts when the report supports it. Where reading decides (a finding of the catalogue), it
       decides, and an answer that says otherwise is overruled; else an answer without support leaves the
       field open. Two values that contradict one another leave it open as well: a person must choose.

    Without `write` nothing is asked: what reading decides is filled. Raises Unfit when the report is
    empty or too long, ValueError for an unknown language.
    """
    # 1.
    dictated(report)
    open_words = prompt_words(language).not_stated
    known = read(report, language)
    support = {one.identifier: supported(one, template.language, known) for one in template.fields}

    # 2.
    questions = [
        Question(one, () if one.kind == TEXT else (*_choices(one, support[one.identifier]), open_words))
        for one in template.fields
        if one.kind == TEXT or support[one.identifier]
    ]
    answers = dict.fromkeys(support, "")
    if write is not None and questions:
        written = write(questions)
        answers |= {q.field.identifier: a for q, a in zip(questions, written, strict=True)}

    # 3.
    return tuple(
        _filled(one, answers[one.identifier], support[one.identifier], known, template.language, open_words)
        for one in template.fields
    )


def choice_text(field: Field, value: str) -> str:
    """A value as the prompt shows it and the answer gives it: escaped, and a number with its unit."""
    return escape(f"{value} {field.unit}" if field.unit else value)


def _choices(field: Field, support: Support) -> tuple[str, ...]:
    values = field.options or tuple(support)
    return tuple(dict.fromkeys(choice_text(field, value) for value in values))


def _filled(
    field: Field, answer: str, support: Support, report: Report, language: str, open_words: str
) -> FilledField:
    if field.kind == TEXT:
        sentences = sentences_with(answer, report)
        said = answer.strip(" .") not in ("", open_words)
        kept = " ".join(sentences) == " ".join(answer.split())
        return FilledField(field.identifier, sentences, sentences, "rewritten" if said and not kept else "")
    chosen = [value for value in support if choice_text(field, value) == answer.strip()]
    if field.kind == SEVERAL:
        values = tuple(support)
    elif decided(field, language):
        values = tuple(support) if len(support) == 1 else ()
    else:
        values = tuple(chosen)
    right = answer in ("", open_words) if not values else bool({*chosen} & {*values})
    evidence = tuple(dict.fromkeys(sentence for value in values for sentence in support[value]))
    return FilledField(field.identifier, values, evidence, "" if not answer or right else "rewritten")
