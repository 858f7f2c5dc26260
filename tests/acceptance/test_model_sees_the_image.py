"""The shipped weights write what the image shows: 200 phantoms that no training saw.

A drafter that calls everything normal, or that follows the words of the order, reads well and fails here.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from model.drafter import VisionPrefixDrafter
from model.load import SHIPPED_WEIGHTS, load_drafter
from model.study import ClinicalContext, Draft, Volume
from training.evaluate import Case, draft_cases, evaluate, said_in, unseen_cases
from training.facts import FactRecord
from training.metrics import Scores, score

CASES = 200
DEMO = Path(__file__).parents[2] / "connectors" / "sandbox" / "studies" / "chest-ct.zip"


@pytest.fixture(scope="module")
def drafter() -> VisionPrefixDrafter:
    loaded = load_drafter()
    assert isinstance(loaded, VisionPrefixDrafter)
    return loaded


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return unseen_cases(CASES)


@pytest.fixture(scope="module")
def drafts(drafter: VisionPrefixDrafter, cases: list[Case]) -> list[Draft]:
    return draft_cases(drafter, cases)


@pytest.fixture(scope="module")
def truth(cases: list[Case]) -> list[FactRecord]:
    return [case.record for case in cases]


@pytest.fixture(scope="module")
def real(drafts: list[Draft], truth: list[FactRecord]) -> Scores:
    return score(truth, [said_in(draft) for draft in drafts])


@pytest.fixture(scope="module")
def shuffled(drafts: list[Draft], truth: list[FactRecord]) -> Scores:
    said = [said_in(draft) for draft in drafts]
    return score(truth, said[1:] + said[:1])


def test_findings_are_stated_that_are_there(real: Scores, shuffled: Scores) -> None:
    """Finding F1 is high on the real images and falls apart when images are shuffled among the cases."""
    assert real.finding_f1 >= 0.85
    assert shuffled.finding_f1 <= 0.35
    assert real.finding_f1 - shuffled.finding_f1 >= 0.5


def test_sides_are_right(real: Scores, shuffled: Scores) -> None:
    """Of what is rightly stated hardly any side is wrong; pairs of finding and side need the image too."""
    assert real.side_accuracy >= 0.90
    assert real.zone_accuracy >= 0.85
    assert real.head_f1 >= 0.85
    assert shuffled.head_f1 <= 0.30


def test_hardly_any_finding_is_put_on_the_other_side(drafts: list[Draft], truth: list[FactRecord]) -> None:
    """One side of two may be left out; a finding that stands only where it is not is the error that harms."""
    swapped = total = 0
    for draft, record in zip(drafts, truth, strict=True):
        said = {fact.finding: fact.sides for fact in said_in(draft).facts}
        for fact in record.facts:
            if fact.sides and said.get(fact.finding):
                total += 1
                swapped += not set(fact.sides) & set(said[fact.finding])
    assert total >= 100
    assert swapped <= total * 0.03


def test_drafts_differ_as_the_chests_do(drafts: list[Draft]) -> None:
    """Weights that collapsed would write few texts."""
    findings = {tuple(s.text for s in draft.sentences if s.section == "Findings") for draft in drafts}
    assert len(findings) >= 60


def test_every_draft_says_that_it_is_a_demonstration(drafts: list[Draft]) -> None:
    """The notice travels with each draft of these weights."""
    assert all("not for patients" in draft.card.notice for draft in drafts)
    assert all("Demonstration" in draft.card.notice for draft in drafts)


def test_every_draft_has_its_sections_and_evidence(drafts: list[Draft]) -> None:
    """Findings and Impression are written, no prior is invented, and each sentence rests on something."""
    for draft in drafts:
        titles = [title for title, _ in draft.sections]
        assert titles[-3:] == ["Comparison", "Findings", "Impression"]
        assert dict(draft.sections)["Comparison"] == "No prior available."
        assert all(sentence.evidence for sentence in draft.sentences)


def test_the_image_outweighs_the_order(drafter: VisionPrefixDrafter, cases: list[Case]) -> None:
    """An order that names the other findings and sides does not move the scores of its draft."""
    part = [
        Case(
            case.volume,
            ClinicalContext(
                "CT CHEST", "Left pneumothorax?", "Known large right pleural effusion and cardiomegaly"
            ),
            case.record,
        )
        for case in cases[:40]
    ]
    said = [said_in(draft) for draft in draft_cases(drafter, part)]
    assert score([case.record for case in part], said).head_f1 >= 0.8


def test_the_adapter_carries_the_report(drafter: VisionPrefixDrafter, cases: list[Case]) -> None:
    """With the adapter switched off the base states hardly a fact below the title Findings."""
    network: Any = drafter.language.network
    part = cases[:20]
    with network.disable_adapter():
        bare = [said_in(draft) for draft in draft_cases(drafter, part)]
    truth = [case.record for case in part]
    assert score(truth, bare).head_f1 <= 0.4
    assert score(truth, [said_in(draft) for draft in draft_cases(drafter, part)]).head_f1 >= 0.75


def test_a_blank_image_gives_no_findings_worth_having(
    drafter: VisionPrefixDrafter, cases: list[Case]
) -> None:
    """Put before the network in spite of `Unfit`, a blank image scores nothing."""
    assert evaluate(drafter, cases[:20])["blank"]["finding_f1"] <= 0.35


def test_the_demo_study_shows_its_left_effusion(drafter: VisionPrefixDrafter) -> None:
    """The embedded hospital's study is drafted with the finding that was put into it, on its side only."""
    with zipfile.ZipFile(DEMO) as archive:
        files = [pydicom.dcmread(io.BytesIO(archive.read(name))) for name in archive.namelist()]
    files.sort(key=lambda file: float(file.ImagePositionPatient[2]))
    voxels = np.stack([f.pixel_array + np.float32(f.RescaleIntercept) for f in files]).astype(np.float32)
    volume = Volume(voxels, (10.0, 3.6, 3.6), "CT", "2.25.1", "2.25.2")
    draft = drafter.draft(volume, ClinicalContext("CT CHEST"))
    assert said_in(draft).heads == {"pleural effusion, left"}
    assert draft.findings["pleural effusion, left"] > 0.9
    assert draft.findings["pleural effusion, right"] < 0.1


def test_the_shipped_weights_are_small() -> None:
    """A clone stays quick: at most 20 MB in all, no file of 10 MB."""
    sizes = [path.stat().st_size for path in SHIPPED_WEIGHTS.parent.rglob("*") if path.is_file()]
    assert sum(sizes) <= 20_000_000
    assert max(sizes) < 10_000_000
