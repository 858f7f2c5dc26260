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
        (["study", "--impression", "words.txt"], "reads DICOM_DIR and no --impression FILE"),
        (
            ["study", "--task", "conclusion", "--findings", "words.txt"],
            "reads --findings FILE and no DICOM_DIR",
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
