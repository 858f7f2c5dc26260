"""Three systems that reports were drafted with before are configurations of this one, and each writes.

S1: several encoders apart, with heads that classify, segment and detect; encodings concatenated with the
language embeddings through n decoder blocks; detailed findings of an impression. S2: a conclusion of
findings. S3: findings of an impression, and a structured report.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from model.drafter import VisionLanguageDrafter
from model.facts import HEADS, ORGANS
from model.fusion.repeated import RepeatedFusion
from model.fusion.settings import PREFIX, REPEATED, FusionSettings
from model.load import load_drafter
from model.loading import VISION_FILE
from model.preprocess import planes_image
from model.readings import SEEN
from model.reporting import complete
from model.sections import FINDINGS
from model.structured.parse import SHIPPED_TEMPLATES, read_templates
from model.study import ClinicalContext, Unfit
from model.vision.settings import EncoderSettings, VisionSettings
from tests.model_folders import TINY, rewrite_manifest
from tests.taught_folders import CONCLUDED, DICTATED, detailed, taught_folder
from training.dataset import Phantoms
from training.phantoms import phantom
from training.plan import IMAGE
from training.see import head_weights, vision_loss

PLANES_APART = EncoderSettings("vit_tiny_patch16_224", "apart", depth=1, stem_width=32, stages=1)
SMALLER_APART = EncoderSettings("vit_tiny_patch16_224", "apart", depth=1, pixels=64, stages=1)
S1 = replace(
    TINY,
    name="s1",
    vision=VisionSettings((PLANES_APART, SMALLER_APART), HEADS, width=32, queries=6),
    fusion=FusionSettings(REPEATED, 2),
)
S2_AND_S3 = replace(TINY, name="s2", fusion=FusionSettings(PREFIX))
VOLUME = phantom(2).volume


def loaded(folder: Path) -> VisionLanguageDrafter:
    drafter = load_drafter(folder)
    assert isinstance(drafter, VisionLanguageDrafter)
    return drafter


@pytest.fixture(scope="module")
def first_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return taught_folder(tmp_path_factory.mktemp("s1") / "m", S1)


@pytest.fixture(scope="module")
def first(first_folder: Path) -> VisionLanguageDrafter:
    return loaded(first_folder)


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> VisionLanguageDrafter:
    return loaded(taught_folder(tmp_path_factory.mktemp("s2") / "m", S2_AND_S3))


def test_the_first_system_classifies_segments_and_detects(first: VisionLanguageDrafter) -> None:
    """Two encoders over the same planes: a probability, a map and measures of each finding, from one pass."""
    assert len(first.tower.encoders) == 2
    image = torch.from_numpy(planes_image(VOLUME.voxels, VOLUME.spacing_mm, IMAGE))
    seen = first.look(image[None])
    cells = IMAGE.side // 8
    assert seen.logits.shape == (1, len(HEADS))
    assert seen.maps.shape == (1, len(HEADS), IMAGE.planes, cells, cells)
    assert seen.measures.shape == (1, len(HEADS), 4)
    assert seen.tokens.shape == (1, 6, 32)


def test_each_encoder_of_the_first_system_counts(first: VisionLanguageDrafter) -> None:
    """Silence one and another image is seen: neither stands there for nothing."""
    image = torch.from_numpy(planes_image(VOLUME.voxels, VOLUME.spacing_mm, IMAGE))[None]
    whole = first.look(image).maps
    for deep in first.tower.deep:
        kept = deep.weight.data.clone()
        deep.weight.data.zero_()
        assert not torch.allclose(first.look(image).maps, whole)
        deep.weight.data.copy_(kept)
    torch.testing.assert_close(first.look(image).maps, whole)


def test_the_first_system_learns_all_three_at_once(first: VisionLanguageDrafter) -> None:
    """One loss of probability, place and size reaches both encoders."""
    _, batch = next(Phantoms(70, 2, IMAGE, HEADS).batches(2, 1, workers=0))
    tower = first.tower
    tower.requires_grad_(requires_grad=True)
    try:
        loss, parts = vision_loss(tower(batch.images), batch, head_weights(HEADS))
        loss.backward()
        assert parts.keys() == {"image", "positive", "negative", "sizes"}
        for encoder in tower.encoders:
            first_layer = next(p for p in encoder.parameters() if p.requires_grad and p.dim() > 1)
            assert first_layer.grad is not None
            assert first_layer.grad.abs().sum() > 0
    finally:
        tower.zero_grad()
        tower.requires_grad_(requires_grad=False)


def test_the_first_system_writes_a_whole_draft(first: VisionLanguageDrafter) -> None:
    """It is complete, and what is seen stands in it with its probability."""
    draft = first.draft(VOLUME, ClinicalContext("CT CHEST", "Effusion?"))
    assert complete(draft.sentences)
    assert draft.tokens > 0
    for head, probability in draft.findings.items():
        shown = [e for s in draft.sentences for e in s.evidence if (e.finding, e.side) == tuple_of(head)]
        if probability >= SEEN:
            assert {one.probability for one in shown} == {probability}


def test_the_first_system_writes_through_its_repeated_blocks(
    first: VisionLanguageDrafter, first_folder: Path, tmp_path: Path
) -> None:
    """Two decoder blocks, for n is a setting, over the encodings: another one weighs words otherwise."""
    fusion = first.fusion
    assert isinstance(fusion, RepeatedFusion)
    assert len(fusion.blocks) == 2
    image = torch.from_numpy(planes_image(VOLUME.voxels, VOLUME.spacing_mm, IMAGE))[None]
    with torch.inference_mode():
        fused = fusion(first.look(image))
    assert fused.encodings is not None
    assert fused.encodings.shape == (1, len(HEADS) + 6, S1.width)
    assert fused.prefix.shape == (1, 0, S1.width)

    copy = shutil.copytree(first_folder, tmp_path / "m")
    tensors = load_file(str(copy / VISION_FILE))
    torch.manual_seed(5)
    # Blocks start as ones that add nothing.
    changed = [name for name in tensors if "blocks.1" in name and name.endswith("down_proj.weight")]
    assert changed == ["fusion.blocks.1.mlp.down_proj.weight"]
    save_file(tensors | {name: torch.randn_like(tensors[name]) for name in changed}, copy / VISION_FILE)
    rewrite_manifest(copy)
    other = load_drafter(copy)
    assert isinstance(other, VisionLanguageDrafter)
    answers = [one.speak([fused], [ClinicalContext()], ["en"])[0] for one in (first, other)]
    assert abs(answers[0].likelihood - answers[1].likelihood) > 0.01


def tuple_of(head: str) -> tuple[str, str]:
    finding, _, side = head.partition(", ")
    return finding, side


def test_the_first_system_details_an_impression(first: VisionLanguageDrafter) -> None:
    """Findings under every organ, of nothing but the impression, through the same blocks."""
    draft = first.detail(CONCLUDED["en"], ClinicalContext())
    assert {sentence.organ: sentence.text for sentence in draft.sentences} == detailed("en")
    assert {sentence.section for sentence in draft.sentences} == {FINDINGS}
    assert draft.findings == {}


def test_the_second_system_concludes_findings(second: VisionLanguageDrafter) -> None:
    """What was dictated becomes an Impression of its own; without findings there is none."""
    draft = second.conclude(DICTATED["en"], ClinicalContext())
    assert draft.text == f"Impression\n{CONCLUDED['en']}"
    assert [sentence.guarded for sentence in draft.sentences] == [""]
    with pytest.raises(Unfit, match="came none"):
        second.conclude(" ", ClinicalContext())


def test_the_third_system_writes_findings_and_fills_a_structured_report(
    second: VisionLanguageDrafter,
) -> None:
    """The Findings that it writes of an impression fill the template, value by value with its sentence."""
    findings = second.detail(CONCLUDED["en"], ClinicalContext())
    assert tuple(dict.fromkeys(sentence.organ for sentence in findings.sentences)) == ORGANS
    template = read_templates(SHIPPED_TEMPLATES)["prelim.chest-ct.en"]
    report = " ".join(sentence.text for sentence in findings.sentences)
    filled = second.fill(template, report, ClinicalContext())
    assert [one.identifier for one in filled.fields] == [one.identifier for one in template.fields]
    values = {one.identifier: one for one in filled.fields}
    assert values["effusion"].values == ("left",)
    assert values["effusion_size"].values == ("small",)
    assert values["effusion"].evidence == (detailed("en")["Pleura"],)
    assert values["nodule"].values in (("none",), ())


def test_the_systems_differ_by_their_configuration_alone(
    first: VisionLanguageDrafter, second: VisionLanguageDrafter
) -> None:
    """The same code runs both, and the same study is drafted in the same form by each."""
    assert type(first) is type(second)
    drafts = [one.draft(VOLUME, ClinicalContext()) for one in (first, second)]
    one, other = ([title for title, _ in draft.sections] for draft in drafts)
    assert one == other
    assert not np.allclose(list(drafts[0].findings.values()), list(drafts[1].findings.values()))
