"""An encoder starts from a local checkpoint where its settings name one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from model.facts import HEADS
from model.operators import import_timm
from model.study import WeightsError
from model.vision.settings import EncoderSettings, VisionSettings
from model.vision.tower import VisionTower
from training.starting import start_from_checkpoints

VIT = EncoderSettings("vit_tiny_patch16_224", "apart", depth=1, stages=1)


def _tower(encoder: EncoderSettings) -> tuple[VisionTower, VisionSettings]:
    settings = VisionSettings((encoder,), HEADS, width=32)
    return VisionTower(settings, (2, 3, 32, 32)), settings


def test_weights_that_fit_are_taken_and_others_left(tmp_path: Path) -> None:
    """Blocks come from the file; positions of another grid stay as chance made them."""
    torch.manual_seed(0)
    given = import_timm().create_model("vit_tiny_patch16_224", depth=1, num_classes=0)
    save_file(given.state_dict(), tmp_path / "vit.safetensors")
    tower, settings = _tower(replace(VIT, checkpoint=str(tmp_path / "vit.safetensors")))
    before = tower.encoders[0].network.pos_embed.clone()  # type: ignore[union-attr, operator]
    taken = start_from_checkpoints(tower, settings)
    network = tower.encoders[0].network
    assert taken == len(given.state_dict()) - 1
    assert torch.equal(network.blocks[0].attn.qkv.weight, given.blocks[0].attn.qkv.weight)  # type: ignore[union-attr, index]
    assert torch.equal(network.pos_embed, before)  # type: ignore[union-attr, arg-type]


def test_without_a_name_nothing_is_loaded() -> None:
    """From chance, then."""
    assert start_from_checkpoints(*_tower(VIT)) == 0


@pytest.mark.parametrize(
    ("name", "words"), [("vit.pth", "in safetensors"), ("other.safetensors", "none that fit")]
)
def test_a_file_that_is_no_checkpoint_of_it_is_refused(tmp_path: Path, name: str, words: str) -> None:
    """Another format can run code; tensors of another network fit nowhere."""
    save_file({"other.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    (tmp_path / "vit.pth").write_bytes(b"pickle")
    with pytest.raises(WeightsError, match=words):
        start_from_checkpoints(*_tower(replace(VIT, checkpoint=str(tmp_path / name))))
