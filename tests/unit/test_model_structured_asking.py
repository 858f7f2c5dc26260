"""Questions of a template reach the writer as prompts with a grammar, and come back in their order."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from model.language.asking import Answer, Asked
from model.prompts import prompt_ids
from model.structured.filling import fill
from model.structured.template import CHOICE, TEXT, Field, Template
from model.study import ClinicalContext
from model.tasks import STRUCTURE

asking = pytest.importorskip("model.structured.asking", exc_type=ImportError)
FIELDS = (
    Field("e", CHOICE, "Emphysema", options=("absent", "present")),
    Field("t", TEXT, "Impression"),
)
REPORT = "Emphysema. No pneumothorax."


class Bytes:
    """An encoder of one token for each byte."""

    def encode(self, text: str) -> list[int]:
        return list(text.encode())


class Fixed:
    """A writer that remembers what it was asked and gives fixed answers."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.asked = answers, list[Asked]()

    def write(self, asked: Sequence[Asked]) -> list[Answer]:
        self.asked += asked
        return [Answer((1,), text, True, -0.1) for text in self.answers]


def test_a_template_goes_to_the_writer_at_once() -> None:
    """A prompt of the task for each field, by the adapter that is named, held to its choices."""
    writer = Fixed("present", "No pneumothorax.")
    write = asking.written_by(writer, REPORT, "en", Bytes(), "structure-en")
    filled = fill(Template("T", "t", "en", FIELDS), REPORT, "en", write)
    assert [one.values for one in filled] == [("present",), ("No pneumothorax.",)]
    assert [one.prompt for one in writer.asked] == [
        tuple(prompt_ids(STRUCTURE, ClinicalContext(), "en", Bytes(), REPORT, field)) for field in FIELDS
    ]
    assert {(one.adapter, one.fused) for one in writer.asked} == {("structure-en", None)}
    assert all(word in writer.asked[0].grammar for word in ("absent", "present", "Not stated"))
    assert "absent" not in writer.asked[1].grammar
