"""A conclusion, detailed findings and a structured template say no more than was dictated."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from model.drafter import VisionLanguageDrafter
from model.load import load_drafter
from model.sections import FINDINGS
from model.structured.parse import SHIPPED_TEMPLATES, read_templates
from model.study import ClinicalContext, Unfit
from model.tasks import REPORT
from tests.model_folders import rewrite_manifest
from tests.taught_folders import CONCLUDED, DICTATED, detailed, taught_folder

ORDER = ClinicalContext("CT CHEST", "Pneumonia?", "Cough", "CT", "female", 61)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return taught_folder(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(scope="module")
def drafter(folder: Path) -> VisionLanguageDrafter:
    return loaded(folder)


def loaded(folder: Path) -> VisionLanguageDrafter:
    drafter = load_drafter(folder)
    assert isinstance(drafter, VisionLanguageDrafter)
    return drafter


def test_a_conclusion_is_an_impression_that_rests_on_the_findings(drafter: VisionLanguageDrafter) -> None:
    """No other section, no finding head, and what it rests on is what was dictated; the same each time."""
    draft = drafter.conclude(DICTATED["en"], ORDER)
    assert draft.text == f"Impression\n{CONCLUDED['en']}"
    assert [one.kind for sentence in draft.sentences for one in sentence.evidence] == ["findings"]
    assert [sentence.guarded for sentence in draft.sentences] == [""]
    assert draft.findings == {}
    assert draft.confidence is None
    assert draft.card == drafter.card
    assert drafter.conclude(DICTATED["en"], ORDER).text == draft.text


def test_what_was_dictated_stands_in_place_of_what_contradicts_it(drafter: VisionLanguageDrafter) -> None:
    """These weights know one answer by heart: given the other side, no word of it is left."""
    draft = drafter.conclude(DICTATED["en"].replace("left", "right"), ClinicalContext())
    assert "left" not in draft.text
    rewritten = [one.text for one in draft.sentences if one.guarded == "rewritten"]
    assert rewritten == ["Small right pleural effusion."]


def test_detailed_findings_stand_under_every_organ(drafter: VisionLanguageDrafter) -> None:
    """Of an impression, the Findings by organ and nothing else."""
    draft = drafter.detail(CONCLUDED["en"], ClinicalContext())
    assert [(one.section, one.organ, one.text) for one in draft.sentences] == [
        (FINDINGS, organ, text) for organ, text in detailed("en").items()
    ]
    assert {one.guarded for one in draft.sentences} == {""}


def test_a_template_is_filled_with_what_the_report_says(drafter: VisionLanguageDrafter) -> None:
    """Each field once, each value with its sentence; what is not said is left open."""
    template = read_templates(SHIPPED_TEMPLATES)["prelim.chest-ct.en"]
    report = "Findings:\nThere is a small left pleural effusion. No pneumothorax.\n\nImpression:\nEffusion."
    filled = drafter.fill(template, report, ClinicalContext())
    assert [one.identifier for one in filled.fields] == [one.identifier for one in template.fields]
    values = {one.identifier: one.values for one in filled.fields if one.values}
    assert values["effusion"] == ("left",)
    assert values["effusion_size"] == ("small",)
    assert values["pneumothorax"] == ("none",)
    assert not [one for one in filled.fields if one.values and not one.evidence]
    assert "nodule" not in values
    assert filled.card == drafter.card


@pytest.mark.parametrize("words", ["", " \n", "x" * 8001])
def test_words_from_which_nothing_can_be_drawn_are_refused(
    drafter: VisionLanguageDrafter, words: str
) -> None:
    """Empty or too long, for all three tasks that read them: Unfit."""
    template = read_templates(SHIPPED_TEMPLATES)["prelim.chest-ct.en"]
    for ask in (
        drafter.conclude,
        drafter.detail,
        lambda text, context: drafter.fill(template, text, context),
    ):
        with pytest.raises(Unfit, match="dictated words"):
            ask(words, ClinicalContext())


def test_a_task_that_the_weights_were_not_trained_for_is_refused(folder: Path, tmp_path: Path) -> None:
    """Where drafter.json does not name it, the weights say so and write nothing."""
    copy = shutil.copytree(folder, tmp_path / "m")
    rewrite_manifest(copy, tasks=[REPORT])
    drafter = loaded(copy)
    template = read_templates(SHIPPED_TEMPLATES)["prelim.chest-ct.en"]
    for ask in (
        lambda: drafter.conclude(DICTATED["en"], ClinicalContext()),
        lambda: drafter.detail(CONCLUDED["en"], ClinicalContext()),
        lambda: drafter.fill(template, DICTATED["en"], ClinicalContext()),
    ):
        with pytest.raises(Unfit, match="were not trained for the task"):
            ask()


def test_an_answer_of_which_nothing_is_whole_is_no_conclusion(folder: Path, tmp_path: Path) -> None:
    """Cut off within its first sentence, it says nothing: Unfit, and no empty draft."""
    copy = shutil.copytree(folder, tmp_path / "m")
    drafter = loaded(copy)
    language = drafter.language.to_json() | {"maximum_tokens": 3}
    rewrite_manifest(copy, language=language)
    with pytest.raises(Unfit, match="cut off"):
        loaded(copy).conclude(DICTATED["en"], ClinicalContext())
