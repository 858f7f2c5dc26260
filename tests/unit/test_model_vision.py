"""Vision and fusion: shapes, where maps point, gradients from words to pixels, timm on every torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.facts import HEADS
from model.fusion.prefix import PrefixFusion, features
from model.study import WeightsError
from model.vision.seen import Seen
from model.vision.settings import VisionSettings
from model.vision.tower import VisionTower
from training.plan import IMAGE, PRESETS

SETTINGS = PRESETS["tiny"].vision
TILES = (IMAGE.tile_rows, IMAGE.tile_columns)


@pytest.fixture(scope="module")
def tower() -> VisionTower:
    torch.manual_seed(0)
    return VisionTower(SETTINGS, IMAGE.shape, TILES).eval()


@pytest.fixture(scope="module")
def seen(tower: VisionTower) -> Seen:
    with torch.no_grad():
        return tower(torch.rand(2, *IMAGE.shape, generator=torch.Generator().manual_seed(0)))


def test_shapes_are_those_of_the_docstrings(tower: VisionTower, seen: Seen) -> None:
    """Maps at an eighth of the image, one logit a head, one pooled feature a head, one feature a slab."""
    heads = len(HEADS)
    assert seen.maps.shape == (2, heads, 24, 48)
    assert seen.logits.shape == seen.area.shape == (2, heads)
    assert seen.pooled.shape == (2, heads, tower.width)
    assert seen.slabs.shape == (2, 8, tower.width)
    assert seen.heights.shape == (2, heads, 8)
    torch.testing.assert_close(seen.heights.sum(dim=2), torch.ones(2, heads))
    assert ((seen.probabilities > 0) & (seen.probabilities < 1)).all()


def test_the_transformer_is_timm_s(tower: VisionTower) -> None:
    """The encoder comes from the library, not from here."""
    assert type(tower.transformer).__module__.startswith("timm.")


@pytest.mark.parametrize("slab", range(8))
def test_the_best_slab_is_the_tile_with_the_highest_place(tower: VisionTower, slab: int) -> None:
    """One bright place in one tile makes that tile the best, for that head only."""
    maps = torch.zeros(1, len(HEADS), 24, 48)
    maps[0, 3, 12 * (slab // 4) + 5, 12 * (slab % 4) + 11] = 1.0
    best = tower.best_slab(maps)
    assert best[0, 3] == slab
    assert best[0, 0] == 0


def test_a_case_is_seen_alike_alone_and_in_a_batch(tower: VisionTower) -> None:
    """No statistic is taken across the batch."""
    images = torch.rand(3, *IMAGE.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(tower(images).logits[1:2], tower(images[1:2]).logits, atol=1e-4, rtol=1e-4)


def test_an_image_that_sixteen_does_not_divide_is_refused() -> None:
    """Tiles must hold whole tokens."""
    with pytest.raises(WeightsError, match="16 divides"):
        VisionTower(SETTINGS, (4, 192, 376), TILES)


def test_the_prefix_has_a_token_for_every_head_and_slab(tower: VisionTower, seen: Seen) -> None:
    """As many tokens as the fusion says, as wide as the language half."""
    fusion = PrefixFusion(len(HEADS), IMAGE.slabs, tower.width, 64)
    assert fusion(seen).shape == (2, fusion.length, 64)
    assert fusion.length == len(HEADS) + 8


def test_the_prefix_depends_on_each_head(tower: VisionTower, seen: Seen) -> None:
    """Another probability of one head changes that head's token and no other."""
    fusion = PrefixFusion(len(HEADS), IMAGE.slabs, tower.width, 64).eval()
    logits = seen.logits.clone()
    logits[:, 5] += 3
    changed = Seen(seen.maps, logits, seen.pooled, seen.slabs, seen.area, seen.heights)
    difference = (fusion(changed) - fusion(seen)).abs().amax(dim=(0, 2))
    assert difference[5] > 1e-3
    assert torch.cat([difference[:5], difference[6:]]).max() == 0


def test_features_that_were_kept_give_the_same_prefix(tower: VisionTower, seen: Seen) -> None:
    """Training on kept features is training on the prefix that serving builds."""
    fusion = PrefixFusion(len(HEADS), IMAGE.slabs, tower.width, 64).eval()
    torch.testing.assert_close(fusion.project(*features(seen)), fusion(seen))


def test_gradients_reach_the_stem_through_the_prefix(tower: VisionTower) -> None:
    """Words can teach the eyes: a loss on the prefix moves the first layer."""
    fusion = PrefixFusion(len(HEADS), IMAGE.slabs, tower.width, 64)
    prefix: Tensor = fusion(tower(torch.rand(1, *IMAGE.shape)))
    prefix.square().sum().backward()  # type: ignore[no-untyped-call]
    gradient = tower.stem[0].weight.grad
    assert gradient is not None
    assert gradient.abs().max() > 0
    tower.zero_grad()


def test_vision_settings_survive_their_json() -> None:
    """What drafter.json holds gives the settings again, and half of it is refused."""
    assert VisionSettings.from_json(SETTINGS.to_json()) == SETTINGS
    with pytest.raises(WeightsError, match="vision settings"):
        VisionSettings.from_json({"timm_name": "vit_tiny_patch16_224"})


def _run(program: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False
    )


# As beside a CPU-only torch: the compiled part of torchvision does not load.
_WITHOUT_OPERATORS = """
import torch
load = torch.ops.load_library
def refuse(path):
    if "torchvision" in str(path): raise OSError("libcudart is not there")
    return load(path)
torch.ops.load_library = refuse
"""


def test_timm_imports_where_torchvision_has_no_operators() -> None:
    """Declaring the two operators lets a vision transformer be made and run."""
    program = _WITHOUT_OPERATORS + (
        "from model.operators import import_timm\n"
        "net = import_timm().create_model('vit_tiny_patch16_224', depth=1)\n"
        "assert net(torch.rand(1, 3, 224, 224)).shape == (1, 1000)\n"
    )
    result = _run(program)
    assert result.returncode == 0, result.stderr


def test_timm_alone_fails_where_torchvision_has_no_operators() -> None:
    """The rule above can fail: without the declarations the import raises."""
    result = _run(_WITHOUT_OPERATORS + "import timm\n")
    assert result.returncode != 0
    assert "torchvision::nms" in result.stderr
