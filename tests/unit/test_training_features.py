"""What the vision half saw is kept, and read back only where the same weights saw the same chests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from model.facts import HEADS
from model.fusion.making import make_fusion
from model.fusion.places import FusionModule
from model.fusion.settings import FusionSettings
from model.preprocess import pixel_mm
from model.vision.tower import VisionTower
from training.checkpoint import load_tensors, save_tensors
from training.facts import draw
from training.features import Features, kept_features
from training.phantoms import SHAPE, SPACING_MM, phantom
from training.plan import IMAGE, PRESETS
from training.speak import llama_config

TINY = PRESETS["tiny"]
SEEDS = range(116, 121)
"""Of the third, one finding hides another."""
IDENTITY = {"phase": "see", "seed": 1}


@pytest.fixture(scope="module")
def tower() -> VisionTower:
    torch.manual_seed(0)
    return VisionTower(TINY.vision, IMAGE.shape)


@pytest.fixture(scope="module")
def fusion(tower: VisionTower) -> FusionModule:
    torch.manual_seed(0)
    return make_fusion(FusionSettings("prefix"), len(HEADS), tower, llama_config(TINY))


@pytest.fixture
def looks(tower: VisionTower) -> Iterator[list[int]]:
    """The sizes of the batches that the vision half looked at."""
    seen: list[int] = []
    handle = tower.register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))
    yield seen
    handle.remove()


@pytest.fixture(scope="module")
def first(
    tower: VisionTower, fusion: FusionModule, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Features]:
    path = tmp_path_factory.mktemp("kept") / "features.safetensors"
    return path, keep(path, tower, fusion)


def keep(
    path: Path,
    tower: VisionTower,
    fusion: FusionModule,
    identity: dict[str, object] | None = None,
    seeds: range = SEEDS,
) -> Features:
    return kept_features(path, identity or IDENTITY, tower, fusion.features, seeds, IMAGE, HEADS, workers=0)


def same(one: Features, other: Features) -> bool:
    names = ("logits", "measures", "truth", "true_measures")
    return (
        one.records == other.records
        and len(one.tensors) == len(other.tensors)
        and all(map(torch.equal, one.tensors, other.tensors))
        and all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)
    )


def test_one_row_is_kept_of_each_seed(first: tuple[Path, Features]) -> None:
    """However many a batch holds; features in half precision, read out in full."""
    kept = first[1]
    assert {
        len(one) for one in (*kept.tensors, kept.logits, kept.measures, kept.truth, kept.true_measures)
    } == {len(SEEDS)}
    assert {one.dtype for one in kept.tensors} == {torch.float16}
    rows = kept.rows([3, 1])
    assert {one.dtype for one in rows} == {torch.float32}
    assert all(torch.equal(row, one[[3, 1]].float()) for row, one in zip(rows, kept.tensors, strict=True))


def test_truth_and_records_are_those_of_the_seeds(first: tuple[Path, Features]) -> None:
    """What is hidden by something else is in neither; lengths are those that were drawn."""
    kept = first[1]
    pixel = pixel_mm(SHAPE, SPACING_MM, IMAGE)
    assert kept.records[2] != draw(np.random.default_rng(SEEDS[2]))
    for row, seed in enumerate(SEEDS):
        made = phantom(seed)
        assert kept.records[row] == made.record
        assert {head for head, there in zip(HEADS, kept.truth[row].tolist(), strict=True) if there} == set(
            made.masks
        )
        for head, millimetres in made.millimetres.items():
            said = np.exp(kept.true_measures[row, HEADS.index(head), 3].item()) * pixel
            assert said == pytest.approx(millimetres, rel=1e-4)


def test_kept_features_are_read_back_and_not_made_again(
    first: tuple[Path, Features], tower: VisionTower, fusion: FusionModule, looks: list[int]
) -> None:
    """The same to the last bit, and nothing is looked at."""
    path, kept = first
    assert same(keep(path, tower, fusion), kept)
    assert looks == []


@pytest.mark.parametrize(
    ("identity", "seeds"),
    [({"phase": "see", "seed": 2}, SEEDS), (None, range(116, 120)), (None, range(117, 122))],
)
def test_another_identity_or_other_seeds_are_looked_at_anew(
    first: tuple[Path, Features],
    tower: VisionTower,
    fusion: FusionModule,
    looks: list[int],
    tmp_path: Path,
    identity: dict[str, object] | None,
    seeds: range,
) -> None:
    """Other weights saw something else: a file of theirs is written over, and then holds the new ones."""
    path = tmp_path / "features.safetensors"
    path.write_bytes(first[0].read_bytes())
    made = keep(path, tower, fusion, identity, seeds)
    assert sum(looks) >= len(seeds)
    assert len(made.records) == len(seeds)
    looks.clear()
    assert same(keep(path, tower, fusion, identity, seeds), made)
    assert looks == []


def test_what_is_read_back_is_what_lies_in_the_file(
    first: tuple[Path, Features], tower: VisionTower, fusion: FusionModule, tmp_path: Path
) -> None:
    """A changed file of the same identity gives the changed numbers: nothing is made up beside it."""
    path = tmp_path / "features.safetensors"
    tensors, metadata = load_tensors(first[0])
    save_tensors(path, {**tensors, "logits": tensors["logits"] + 1}, metadata)
    assert torch.equal(keep(path, tower, fusion).logits, first[1].logits + 1)
