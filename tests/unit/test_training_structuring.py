"""The right value of a template's field, from the record that its report was made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.prompts import prompt_ids
from model.structured import parse
from model.structured.filling import fill
from model.structured.parse import read_templates
from model.structured.template import NUMBER, TEXT, Field, Template
from model.study import ClinicalContext
from model.tasks import STRUCTURE
from training.facts import Fact, FactRecord, draw
from training.structuring import pairs, right_values
from training.wordings import report as report_text

CHEST = read_templates(Path(parse.__file__).with_name("templates"))["prelim.chest-ct.en"]


class Bytes:
    """An encoder of one token for each byte."""

    def encode(self, text: str) -> list[int]:
        return list(text.encode())


def test_the_right_values_of_a_record() -> None:
    """Side and size of what is there, denials where the report makes them, nothing where it is silent."""
    record = FactRecord((Fact("pleural effusion", ("right", "left"), "small"), Fact("emphysema")))
    report = "Findings:\nSmall bilateral pleural effusions. Emphysema. No pneumothorax."
    right = right_values(CHEST, record, report, "en")
    assert {name: value for name, value in right.items() if value} == {
        "effusion": "bilateral",
        "effusion_size": "small",
        "emphysema": "present",
        "pneumothorax": "none",
    }
    assert right["cardiomegaly"] == right["nodule_diameter"] == ""
    assert "impression_text" not in right


def test_a_value_of_a_record_needs_all_its_sides() -> None:
    """One of two sides is not the right answer; another zone is none."""
    record = FactRecord((Fact("consolidation", ("left",), zone="upper"),))
    right = right_values(CHEST, record, "Findings:\nLeft upper zone consolidation.", "en")
    assert (right["consolidation"], right["consolidation_zone"]) == ("left", "upper")


@pytest.mark.parametrize(("said", "right"), [("Nodule of 12 mm.", "12"), ("A nodule.", "")])
def test_a_number_must_stand_in_the_report(said: str, right: str) -> None:
    """A number that the report does not give cannot be learned from it."""
    template = Template("T", "t", "en", (Field("d", NUMBER, "Nodule", unit="mm"),))
    record = FactRecord((Fact("pulmonary nodule", ("left",), zone="upper"),))
    assert right_values(template, record, said, "en") == {"d": right}


def test_what_is_right_is_what_filling_reads() -> None:
    """Of two hundred records: what is learned as right, the guard of filling lets stand."""
    rng = np.random.default_rng(8)
    for _ in range(200):
        record = draw(rng)
        report = f"Findings:\n{report_text(record, rng, 'en')}"
        filled = {one.identifier: one.values for one in fill(CHEST, report, "en", None)}
        for name, value in right_values(CHEST, record, report, "en").items():
            assert filled[name] == ((value,) if value else ())


def test_pairs_hold_the_prompt_of_serving_and_the_answer_of_its_grammar() -> None:
    """One for each field but texts; the answer is a choice, or that nothing is stated."""
    record = FactRecord((Fact("pneumothorax", ("left",), "large"),))
    report = "Findings:\nLarge left pneumothorax."
    made = pairs(CHEST, record, report, "en", Bytes())
    assert [one.field for one in made] == [field for field in CHEST.fields if field.kind != TEXT]
    answers = {one.field.identifier: one.answer for one in made}
    assert (answers["pneumothorax"], answers["pneumothorax_size"]) == ("left", "large")
    assert answers["effusion"] == "Not stated"
    for one in made:
        serving = prompt_ids(STRUCTURE, ClinicalContext(), "en", Bytes(), report, one.field)
        assert list(one.prompt) == serving
