"""Questions of a template as the language half is asked them."""

from __future__ import annotations

from collections.abc import Sequence

from model.grammar import choice_grammar, sentences_grammar
from model.language.asking import Asked, Writer
from model.prompts import Encoder, prompt_ids
from model.structured.filling import Question, Write
from model.study import ClinicalContext
from model.tasks import STRUCTURE


def pieces(
    questions: Sequence[Question], report: str, language: str, encoder: Encoder, adapter: str = ""
) -> list[Asked]:
    """One answer wanted for each question, held to its choices while it is written.

    Raises Unfit when the report is empty or too long.
    """
    return [
        Asked(
            tuple(prompt_ids(STRUCTURE, ClinicalContext(), language, encoder, report, one.field)),
            adapter=adapter,
            grammar=choice_grammar(one.choices) if one.choices else sentences_grammar(),
        )
        for one in questions
    ]


def written_by(writer: Writer, report: str, language: str, encoder: Encoder, adapter: str = "") -> Write:
    """What `fill` asks with: all questions of a template go to the writer at once."""

    def write(questions: Sequence[Question]) -> list[str]:
        return [answer.text for answer in writer.write(pieces(questions, report, language, encoder, adapter))]

    return write
