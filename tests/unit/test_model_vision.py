"""The vision half: shapes, several encoders, positions, gradients to the pixels, timm on every torch."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.facts import HEADS
from model.study import WeightsError
from model.vision.encoder import Encoder
from model.vision.heads import FindingHeads
from model.vision.resampler import PlanePosition, Resampler
from model.vision.seen import Seen
from model.vision.settings import EncoderSettings, VisionSettings
from model.vision.tower import VisionTower
from training.plan import IMAGE, PRESETS

SETTINGS = PRESETS["tiny"].vision
TILED = SETTINGS.encoders[0]
SMALL = (3, 3, 64, 64)
"""Three planes of three channels."""
VIT = EncoderSettings("vit_tiny_patch16_224", "apart", depth=2, stages=2)
SWIN = EncoderSettings("swin_tiny_patch4_window7_224", "apart", stages=3)
MAXVIT = EncoderSettings("maxvit_rmlp_pico_rw_256", "apart", stages=2)


def _images(batch: int, shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.rand(batch, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def tower() -> VisionTower:
    torch.manual_seed(0)
    return VisionTower(SETTINGS, IMAGE.shape).eval()


@pytest.fixture(scope="module")
def seen(tower: VisionTower) -> Seen:
    with torch.no_grad():
        return tower(_images(2, IMAGE.shape))


def test_shapes_are_those_of_the_docstrings(tower: VisionTower, seen: Seen) -> None:
    """Maps at an eighth of a plane, a logit, a feature and four measures a head, a token a plane."""
    heads, planes, places = len(HEADS), IMAGE.planes, IMAGE.side // 8
    assert seen.maps.shape == (2, heads, planes, places, places)
    assert seen.logits.shape == seen.area.shape == (2, heads)
    assert seen.pooled.shape == (2, heads, tower.width)
    assert seen.tokens.shape == (2, planes, tower.width)
    assert seen.measures.shape == (2, heads, 4)
    assert seen.heights.shape == (2, heads, planes)
    torch.testing.assert_close(seen.heights.sum(dim=2), torch.ones(2, heads))
    assert ((seen.probabilities > 0) & (seen.probabilities < 1)).all()


@pytest.mark.parametrize("encoder", [VIT, SWIN, MAXVIT], ids=lambda one: one.timm_name)
def test_any_encoder_of_timm_gives_its_stages(encoder: EncoderSettings) -> None:
    """Of one grid or of several: as many stages as asked for, for every plane, early to deep."""
    made = Encoder(encoder, SMALL).eval()
    with torch.no_grad():
        grids, near = made(_images(2, SMALL))
    assert near is None
    assert len(grids) == encoder.stages
    assert [grid.shape[:3] for grid in grids] == [(2, 3, width) for width in made.widths]
    assert type(made.network).__module__.startswith("timm.")


def test_encoders_stand_side_by_side() -> None:
    """Two encoders of different grids give one set of features, and both learn from every head."""
    torch.manual_seed(1)
    settings = VisionSettings((VIT, replace(SWIN, pixels=64)), HEADS, width=32, queries=5)
    both = VisionTower(settings, SMALL)
    seen = both(_images(1, SMALL))
    assert seen.tokens.shape == (1, 5, 32)
    # Stages count back from the deepest: only the Swin has one more.
    assert both.stage_widths == tuple(stage.shape[2] for stage in seen.stages) == (192, 192 + 384)
    assert all(stage.shape[:2] == (1, len(HEADS) + 5) for stage in seen.stages)
    seen.logits.sum().backward()
    for encoder in both.encoders:
        first = next(iter(encoder.parameters()))
        assert first.grad is not None
        assert first.grad.abs().max() > 0


def test_a_tile_lies_where_its_plane_belongs() -> None:
    """Untiling the tiles gives the planes again, row by row."""
    encoder = Encoder(replace(TILED, tile_columns=2, stem_width=0, depth=1, stages=1), (6, 1, 32, 32))
    planes = _images(2, (6, 1, 32, 32))
    tiled = encoder._tile(planes)
    assert tiled.shape == (2, 1, 96, 64)
    torch.testing.assert_close(tiled[:, :, 32:64, 32:], planes[:, 3])
    torch.testing.assert_close(encoder._by_plane(tiled, 2), planes)


def test_planes_apart_are_encoded_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of planes, no more than a few are in work at once, and the result is the same."""
    encoder = Encoder(VIT, (9, 3, 32, 32)).eval()
    sizes: list[int] = []
    encode = encoder._encode

    def counted(images: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        sizes.append(images.shape[0])
        return encode(images)

    images = _images(1, (9, 3, 32, 32))
    with torch.no_grad():
        whole, _ = encoder(images)
        monkeypatch.setattr(encoder, "_encode", counted)
        monkeypatch.setattr("model.vision.encoder._PLANES_AT_ONCE", 4)
        parts, _ = encoder(images)
    assert sizes == [4, 4, 1]
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_a_plane_knows_how_high_it_lies() -> None:
    """Positions differ along the body, and the same share of the way is the same position."""
    position = PlanePosition(16)
    few, many = position(5, torch.zeros(1)), position(15, torch.zeros(1))
    assert (few[:-1] - few[1:]).abs().amax(dim=1).min() > 1e-3
    torch.testing.assert_close(few, many[1::3])


def test_a_resampler_looks_at_every_place() -> None:
    """As many tokens as queries; attention sums to one, and each place can change the tokens."""
    torch.manual_seed(2)
    resampler = Resampler(32, 4).eval()
    places = _images(1, (20, 32)).requires_grad_()
    tokens, weights = resampler(places)
    assert tokens.shape == (1, 4, 32)
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(1, 4))
    tokens.square().sum().backward()
    assert places.grad is not None
    assert (places.grad.abs().amax(dim=2) > 0).all()


def test_a_measure_is_read_where_the_map_is_high() -> None:
    """Another size at the peak is another measure; one elsewhere is not."""
    heads = FindingHeads(16, 2).eval()
    features = torch.zeros(1, 1, 16, 4, 4)
    with torch.no_grad():
        maps, _, attention, _ = heads(features)
    assert maps.shape == (1, 2, 1, 4, 4)
    torch.testing.assert_close(attention.sum(dim=2), torch.ones(1, 2))


def test_a_case_is_seen_alike_alone_and_in_a_batch(tower: VisionTower) -> None:
    """No statistic is taken across the batch."""
    images = _images(3, IMAGE.shape, seed=1)
    with torch.no_grad():
        torch.testing.assert_close(tower(images).logits[1:2], tower(images[1:2]).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("encoder", "shape", "words"),
    [
        (TILED, (10, 6, 112, 104), "16 divides"),
        (TILED, (9, 6, 112, 112), "tiles a row divide"),
        (replace(VIT, timm_name="vit_of_nobody"), SMALL, "vit_of_nobody"),
    ],
)
def test_an_encoder_that_does_not_fit_is_refused(
    encoder: EncoderSettings, shape: tuple[int, int, int, int], words: str
) -> None:
    """Tiles hold whole tokens, rows whole tiles, and timm knows the name."""
    with pytest.raises(WeightsError, match=words):
        Encoder(encoder, shape)


def test_gradients_reach_the_first_layer_from_every_output() -> None:
    """Maps, probabilities and measures each can teach the stem."""
    torch.manual_seed(0)
    made = VisionTower(SETTINGS, IMAGE.shape)
    for name in ("maps", "logits", "measures", "pooled", "tokens"):
        made.zero_grad()
        getattr(made(_images(1, IMAGE.shape)), name).square().sum().backward()
        stem = made.encoders[0].stem[0].weight  # type: ignore[index, union-attr]
        assert stem.grad is not None, name
        assert stem.grad.abs().max() > 0, name


def test_vision_settings_survive_their_json() -> None:
    """What drafter.json holds gives the settings again."""
    assert VisionSettings.from_json(SETTINGS.to_json()) == SETTINGS
    both = VisionSettings((VIT, MAXVIT), HEADS, width=64, queries=8)
    assert VisionSettings.from_json(both.to_json()) == both


@pytest.mark.parametrize(
    "change",
    [
        {"encoders": []},
        {"encoders": [{"timm_name": "vit_tiny_patch16_224", "layout": "round"}]},
        {"encoders": [{"layout": "apart"}]},
        {"encoders": [{"timm_name": "vit_tiny_patch16_224", "layout": "apart", "stages": 0}]},
        {"heads": []},
        {"heads": ["emphysema", "emphysema"]},
        {"width": 100},
        {"queries": -1},
        {"encoders": "one"},
    ],
)
def test_vision_settings_that_make_no_sense_are_refused(change: dict[str, object]) -> None:
    """They are refused when the weights load, not when a study waits."""
    with pytest.raises(WeightsError, match="vision"):
        VisionSettings.from_json({**SETTINGS.to_json(), **change})


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
