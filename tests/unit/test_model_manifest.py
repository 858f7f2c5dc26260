"""A model folder is verified whole before anything of it is loaded."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from model.load import SCRIPTED_WEIGHTS, load_drafter
from model.manifest import EXECUTABLE_SUFFIXES, MANIFEST, read_manifest, write_manifest
from model.prompts import FINDINGS_CHARACTERS
from model.structured.parse import read_templates
from model.study import ClinicalContext, Unfit, WeightsError

SCRIPT = {"sections": ["Findings"], "text": "Findings:\nNothing.", "seconds": 0}


def _folder(path: Path, **changes: Any) -> Path:
    (path / "part").mkdir(parents=True)
    (path / "part" / "weights.safetensors").write_bytes(b"12345678")
    document = {
        "architecture": "scripted",
        "name": "test",
        "version": "1",
        "prompt_version": "1",
        "notice": "Not for patients.",
        "script": SCRIPT,
        **changes,
    }
    write_manifest(path, document)
    return path


def _edit(folder: Path, **changes: Any) -> None:
    document = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**document, **changes}))


def test_a_folder_that_is_what_it_says_is_read(tmp_path: Path) -> None:
    """Every file pinned and unaltered: the manifest comes back with its hash and card."""
    manifest = read_manifest(_folder(tmp_path / "m"))
    assert list(manifest.files) == ["part/weights.safetensors"]
    assert manifest.card.weights_sha256 == manifest.sha256
    assert manifest.card.notice == "Not for patients."


@pytest.mark.parametrize("place", range(8))
def test_one_altered_byte_is_refused(tmp_path: Path, place: int) -> None:
    """Whichever byte of a pinned file changes, the file is named and nothing loads."""
    folder = _folder(tmp_path / "m")
    content = bytearray(b"12345678")
    content[place] ^= 1
    (folder / "part" / "weights.safetensors").write_bytes(bytes(content))
    with pytest.raises(WeightsError, match=r"part/weights\.safetensors has SHA-256 .* altered"):
        load_drafter(folder)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A pinned file that is not there is named."""
    folder = _folder(tmp_path / "m")
    (folder / "part" / "weights.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"part/weights\.safetensors is pinned .* missing"):
        load_drafter(folder)


def test_an_unpinned_file_is_refused(tmp_path: Path) -> None:
    """A file that nobody pinned might be loaded by a library: it is named."""
    folder = _folder(tmp_path / "m")
    (folder / "extra.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"extra\.safetensors is not pinned"):
        load_drafter(folder)


@pytest.mark.parametrize("suffix", sorted(EXECUTABLE_SUFFIXES))
@pytest.mark.parametrize("pinned", [True, False])
def test_a_file_that_can_run_code_is_refused_even_when_pinned(
    tmp_path: Path, suffix: str, pinned: bool
) -> None:
    """Pickles and code are refused by their kind, in any letter case, with or without a hash."""
    folder = _folder(tmp_path / "m")
    (folder / f"adapter_model{suffix.upper()}").write_bytes(b"\x80\x04.")
    if pinned:
        document = json.loads((folder / MANIFEST).read_text())
        document.pop("files")
        document.pop("format")
        write_manifest(folder, document)
    with pytest.raises(WeightsError, match="can run code"):
        load_drafter(folder)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "part/../../outside"])
def test_a_pin_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    """A path that leaves the folder pins nothing in it."""
    folder = _folder(tmp_path / "m")
    (tmp_path / "outside").write_bytes(b"")
    files = json.loads((folder / MANIFEST).read_text())["files"]
    _edit(folder, files={**files, name: "0" * 64})
    with pytest.raises(WeightsError, match="missing"):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, "expected format 1"),
        ({"format": None}, "expected format 1"),
        ({"architecture": "magic"}, "expected architecture"),
        ({"name": ""}, "words under 'name'"),
        ({"notice": " "}, "words under 'notice'"),
        ({"prompt_version": 1}, "words under 'prompt_version'"),
        ({"files": []}, "'files'"),
        ({"files": {"part/weights.safetensors": "0" * 63}}, "64 hexadecimal digits"),
        ({"files": {"part/weights.safetensors": "A" * 64}}, "64 hexadecimal digits"),
        ({"tasks": []}, "expected tasks"),
        ({"tasks": None}, "expected tasks"),
        ({"tasks": "report"}, "expected tasks"),
        ({"tasks": ["conclusion"]}, "expected tasks"),
        ({"tasks": ["report", "translation"]}, "expected tasks .*translation"),
        ({"tasks": ["report", "facts"]}, "expected tasks .*facts"),
        ({"tasks": ["detail", "structure"]}, "expected tasks"),
        ({"tasks": ["report", ["conclusion"]]}, "expected tasks"),
        ({"script": None}, "object named 'script'"),
        ({"script": {**SCRIPT, "seconds": -0.1}}, "seconds"),
        ({"script": {**SCRIPT, "seconds": 3600.1}}, "seconds"),
        ({"script": {**SCRIPT, "text": "No title."}}, "titled section"),
        ({"script": {"sections": ["Findings"]}}, r"script\.text"),
    ],
)
def test_a_wrong_entry_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    """What drafter.json says wrongly is named."""
    folder = _folder(tmp_path / "m")
    _edit(folder, **changes)
    with pytest.raises(WeightsError, match=words):
        load_drafter(folder)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe"])
def test_a_drafter_json_that_is_no_object_is_refused(tmp_path: Path, content: bytes) -> None:
    """Bytes that are no JSON object are refused as such."""
    folder = _folder(tmp_path / "m")
    (folder / MANIFEST).write_bytes(content)
    with pytest.raises(WeightsError, match="JSON"):
        read_manifest(folder)


def test_a_folder_without_drafter_json_is_refused(tmp_path: Path) -> None:
    """An empty folder, and one that does not exist, are no model folders."""
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(WeightsError, match=MANIFEST):
            read_manifest(folder)


def test_the_hash_of_the_folder_changes_with_every_file(tmp_path: Path) -> None:
    """Another byte in a file, another name of a file or another notice is another model."""
    first = read_manifest(_folder(tmp_path / "a")).sha256
    assert read_manifest(_folder(tmp_path / "b")).sha256 == first
    assert read_manifest(_folder(tmp_path / "c", notice="Another.")).sha256 != first
    renamed = _folder(tmp_path / "d")
    (renamed / "part").rename(renamed / "trap")
    _edit(
        renamed,
        files={
            "trap/weights.safetensors": json.loads((renamed / MANIFEST).read_text())["files"][
                "part/weights.safetensors"
            ]
        },
    )
    assert read_manifest(renamed).sha256 != first


def test_the_scripted_drafter_needs_no_torch() -> None:
    """Loading it and drafting imports neither torch nor transformers."""
    program = (
        "import sys; from model.load import SCRIPTED_WEIGHTS, load_drafter\n"
        "assert load_drafter(SCRIPTED_WEIGHTS).draft(None, None).text\n"
        "assert not {'torch', 'transformers', 'timm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])


def test_the_scripted_drafter_says_that_it_looked_at_no_image() -> None:
    """Its notice says so, and each of its sentences rests on a template."""
    drafter = load_drafter(SCRIPTED_WEIGHTS)
    draft = drafter.draft(None, None)  # type: ignore[arg-type]
    assert "no image" in drafter.card.notice
    assert {e.kind for s in draft.sentences for e in s.evidence} == {"template"}
    assert [title for title, _ in draft.sections] == ["Comparison", "Findings", "Impression"]


def test_the_scripted_drafter_says_what_its_folder_says(tmp_path: Path) -> None:
    """The text and the wait come from drafter.json."""
    folder = tmp_path / "m"
    shutil.copytree(SCRIPTED_WEIGHTS, folder)
    _edit(folder, script={"sections": ["Findings"], "text": "Findings:\nOne. Two.", "seconds": 0.05})
    draft = load_drafter(folder).draft(None, None)  # type: ignore[arg-type]
    assert [s.text for s in draft.sentences] == ["One.", "Two."]
    assert draft.seconds >= 0.05


@pytest.mark.parametrize(
    ("changes", "tasks"),
    [
        ({}, ("report",)),
        ({"tasks": ["report"]}, ("report",)),
        ({"tasks": ["report", "conclusion"]}, ("report", "conclusion")),
        ({"tasks": ["structure", "detail", "report"]}, ("structure", "detail", "report")),
    ],
)
def test_tasks_are_those_that_the_folder_names(
    tmp_path: Path, changes: dict[str, Any], tasks: tuple[str, ...]
) -> None:
    """A folder that says nothing was trained for reports."""
    assert read_manifest(_folder(tmp_path / "m", **changes)).tasks == tasks


def test_the_script_concludes_with_its_impression() -> None:
    """The Impression of the fixed text and nothing else, under the notice of the script."""
    scripted = load_drafter(SCRIPTED_WEIGHTS)
    draft = scripted.conclude("A small left pleural effusion.", ClinicalContext())
    assert draft.sections == (("Impression", "Small left pleural effusion."),)
    assert draft.card == scripted.card
    assert {one.kind for sentence in draft.sentences for one in sentence.evidence} == {"template"}


def test_a_script_without_an_impression_concludes_nothing(tmp_path: Path) -> None:
    """Unfit, and the drafter still drafts."""
    with pytest.raises(Unfit, match="Impression"):
        load_drafter(_folder(tmp_path / "m")).conclude("Clear lungs.", ClinicalContext())


def test_the_script_details_with_its_findings() -> None:
    """The Findings of the fixed text and nothing else; a script without them details nothing."""
    scripted = load_drafter(SCRIPTED_WEIGHTS)
    draft = scripted.detail("Small left pleural effusion.", ClinicalContext())
    assert [title for title, _ in draft.sections] == ["Findings"]
    assert draft.card == scripted.card


def test_a_script_without_findings_details_nothing(tmp_path: Path) -> None:
    """Unfit, and it still concludes."""
    script = {"sections": ["Impression"], "text": "Impression:\nNothing.", "seconds": 0}
    drafter = load_drafter(_folder(tmp_path / "m", script=script))
    with pytest.raises(Unfit, match="Findings"):
        drafter.detail("Effusion.", ClinicalContext())
    assert drafter.conclude("Clear.", ClinicalContext()).text


def test_the_scripted_drafter_fills_a_template_with_what_it_reads() -> None:
    """Without a model: findings that the report states, under the card of the script; no report is Unfit."""
    scripted = load_drafter(SCRIPTED_WEIGHTS)
    folder = Path(__file__).parents[2] / "model" / "structured" / "templates"
    template = read_templates(folder)["prelim.chest-ct.en"]
    filled = scripted.fill(template, "Small left pleural effusion.", ClinicalContext(language="en"))
    said = {one.identifier: one.values for one in filled.fields if one.values}
    assert said == {"effusion": ("left",), "effusion_size": ("small",)}
    assert (filled.card, filled.language) == (scripted.card, "en")
    for report in ("", " \n", "x" * (FINDINGS_CHARACTERS + 1)):
        with pytest.raises(Unfit, match="Expected dictated words"):
            scripted.fill(template, report, ClinicalContext())
