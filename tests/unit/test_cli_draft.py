"""`prelim draft` beyond a plain report: languages, priors, and drafts from text."""

from __future__ import annotations

import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connectors.sandbox.ris import order_message
from model.load import SCRIPTED_WEIGHTS
from model.scripted import ScriptedDrafter
from model.study import ClinicalContext, Draft, Volume
from plugin.settings import SettingError
from tests.case_samples import ADA, an_order
from tests.command_line import failure, invoke, told

ROOT = Path(__file__).resolve().parents[2]
AT = datetime(2026, 1, 6, 9, 30, tzinfo=UTC)


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[ClinicalContext]:
    """The scripted drafter in an empty folder; and what every call of it was told, in order."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRELIM_MODEL", str(SCRIPTED_WEIGHTS))
    kept: list[ClinicalContext] = []
    draft, conclude = ScriptedDrafter.draft, ScriptedDrafter.conclude

    def seen(self: ScriptedDrafter, volume: Volume, context: ClinicalContext) -> Draft:
        kept.append(context)
        return draft(self, volume, context)

    def concluded(self: ScriptedDrafter, findings: str, context: ClinicalContext) -> Draft:
        kept.append(context)
        return conclude(self, findings, context)

    monkeypatch.setattr(ScriptedDrafter, "draft", seen)
    monkeypatch.setattr(ScriptedDrafter, "conclude", concluded)
    return kept


@pytest.fixture
def study(asked: list[ClinicalContext]) -> Path:
    """The demo study as a folder of DICOM files."""
    with zipfile.ZipFile(ROOT / "connectors" / "sandbox" / "studies" / "chest-ct.zip") as archive:
        archive.extractall("study")
    return Path("study")


def order_file(language: str) -> Path:
    """The order of the demo study in a file."""
    patient = type(ADA)("DEMO-0001", "DEMOHOSP")
    order = an_order(
        "DEMO-ACC-1",
        patient=patient,
        study_instance_uid="2.25.214748364720260105",
        language=language,
    )
    Path("order.hl7").write_bytes(order_message(order, "M1", AT))
    return Path("order.hl7")


def text_file(words: str | bytes) -> Path:
    """Words in a file."""
    Path("words.txt").write_bytes(words if isinstance(words, bytes) else words.encode())
    return Path("words.txt")


def test_the_language_is_asked_for_before_the_orders_and_the_sites(
    study: Path, asked: list[ClinicalContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--language wins over the order's, and that over PRELIM_LANGUAGE."""
    monkeypatch.setenv("PRELIM_LANGUAGE", "ro")
    for more in ([], ["--order", order_file("de")], ["--order", order_file("de"), "--language", "ko"]):
        told("draft", study, *more)
    assert [context.language for context in asked] == ["ro", "de", "ko"]
    assert invoke("draft", study, "--language", "fr").exit_code == 2


def test_a_draft_tells_every_sentence_with_what_it_rests_on(
    study: Path, asked: list[ClinicalContext]
) -> None:
    """As JSON: sections, and sentences with confidence, evidence and what the guard did."""
    found = told("draft", study, "--prior", text_file("Old effusion."))
    assert [section["title"] for section in found["sections"]] == ["Comparison", "Findings", "Impression"]
    assert {"text", "organ", "confidence", "evidence", "guarded"} <= set(found["sentences"][0])
    assert (found["language"], found["confidence"]) == ("en", None)
    assert [context.prior for context in asked] == ["Old effusion."]


def test_a_conclusion_is_drafted_from_a_file_without_images(asked: list[ClinicalContext]) -> None:
    """--task conclusion reads findings, and the words of the order beside them."""
    found = told(
        "draft", "--task", "conclusion", "--findings", text_file("Effusion."), "--order", order_file("de")
    )
    assert [section["title"] for section in found["sections"]] == ["Impression"]
    assert [(context.language, context.procedure) for context in asked] == [("de", "CT Chest")]
    assert told("draft", "--task", "conclusion", "--findings", text_file("Effusion."))["text"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--task report needs DICOM_DIR"),
        (["--task", "conclusion"], "--task conclusion needs --findings FILE"),
        (["--task", "detail"], "--task detail needs --impression FILE"),
        (["--findings", "words.txt"], "--task report needs DICOM_DIR"),
        (["--task", "detail", "--findings", "words.txt"], "--task detail needs --impression FILE"),
        (["study", "--impression", "words.txt"], "--task report reads DICOM_DIR alone"),
        (
            ["study", "--task", "conclusion", "--findings", "words.txt"],
            "--task conclusion reads --findings FILE alone",
        ),
    ],
)
def test_a_task_is_given_what_it_reads_and_nothing_else(
    study: Path, arguments: list[str], words: str
) -> None:
    """Nothing that was named is left out unsaid: one sentence says what is missing or too much."""
    text_file("Effusion.")
    assert words in failure("draft", *arguments)


def test_text_that_is_none_is_refused(asked: list[ClinicalContext]) -> None:
    """A file in another character set would be read as other words."""
    assert "UTF-8" in failure("draft", "--task", "conclusion", "--findings", text_file(b"Erg\xfcsse"))
    assert asked == []


def test_an_impression_is_detailed_from_a_file(asked: list[ClinicalContext]) -> None:
    """--task detail reads an impression and writes the findings alone."""
    found = told("draft", "--task", "detail", "--impression", text_file("Effusion."))
    assert [section["title"] for section in found["sections"]] == ["Findings"]


REPORT = "There is a small left pleural effusion. The heart is of normal size."


def refused(*arguments: object) -> str:
    """The sentence about a setting with which a command refuses."""
    result = invoke(*arguments)
    assert isinstance(result.exception, SettingError)
    return str(result.exception)


def identifiers(asked: list[ClinicalContext]) -> list[str]:
    """The templates that the command says there are."""
    words = failure("draft", "--task", "structure", "--findings", text_file(REPORT), "--template", "none")
    assert "needs --template ID, one of " in words
    return words.rpartition("one of ")[2].rstrip(".").split(", ")


def test_a_template_is_filled_with_what_a_report_says(study: Path, asked: list[ClinicalContext]) -> None:
    """From a file, or from the draft of images; every filled field tells what it rests on."""
    name = next(name for name in identifiers(asked) if name.endswith("en"))
    for source in (["--findings", text_file(REPORT)], [study]):
        found = told("draft", "--task", "structure", "--template", name, *source)
        assert found["template"] == name
        values = [field for field in found["fields"] if field["values"]]
        assert values
        assert all(field["evidence"] for field in values)
        assert found["notice"]
        assert found["title"] in found["text"]
        plain = invoke("draft", "--task", "structure", "--template", name, *source).output
        assert plain.strip() == found["text"]
    assert len(asked) == 2


def test_a_sites_own_templates_are_read(
    asked: list[ClinicalContext], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PRELIM_TEMPLATES names their folder, --templates another one; one that cannot be used is a sentence."""
    site, other = tmp_path / "site", tmp_path / "other"
    site.mkdir()
    other.mkdir()
    monkeypatch.setenv("PRELIM_TEMPLATES", str(site))
    arguments = ["draft", "--task", "structure", "--template", "x", "--findings", text_file(REPORT)]
    assert "There is no template" in refused(*arguments)
    (other / "broken.html").write_text("<p>")
    assert "broken.html" in refused(*arguments, "--templates", other)
    monkeypatch.setenv("PRELIM_TEMPLATES", str(tmp_path / "nowhere"))
    assert "no folder" in refused(*arguments)


def test_a_template_is_named_for_its_own_task_only(study: Path) -> None:
    """--template with another task is refused: the report would not be in its form."""
    assert "fills no template" in failure("draft", study, "--template", "x")
