"""What a training run does: the presets of `prelim train`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from model.facts import HEADS
from model.fusion.settings import FusionSettings
from model.preprocess import ImageSettings, Window
from model.vision.settings import EncoderSettings, VisionSettings

TRAIN_SEEDS = 10_000_000
"""Phantoms to train the vision half on have seeds from here."""
SMALL_SEEDS = 15_000_000
"""Phantoms with small nodules to train on have seeds from here."""
FEATURE_SEEDS = 20_000_000
"""Phantoms to train the language half on: the vision half must be as unsure of them as of new ones."""
CALIBRATION_SEEDS = 30_000_000
"""Phantoms that say how sure the finding heads may be."""
TEST_SEEDS = 90_000_000
"""Phantoms that no training sees."""

IMAGE = ImageSettings(
    modalities=("CT",),
    minimum_slices=20,
    minimum_extent_mm=(150.0, 200.0, 200.0),
    minimum_deviation=10.0,
    windows=(
        Window("part 1 of 4", -600.0, 1500.0),
        Window("part 2 of 4", -600.0, 1500.0),
        Window("part 3 of 4", -600.0, 1500.0),
        Window("part 4 of 4", -600.0, 1500.0),
        Window("mean", -850.0, 400.0),
        Window("mean", 40.0, 400.0),
    ),
    planes=10,
    side=112,
)


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of training."""

    steps: int
    batch: int
    learning_rate: float


@dataclass(frozen=True, slots=True)
class Plan:
    """One preset. Counts are phantoms; widths are multiples of 64, which NF4 kernels on a CPU need."""

    name: str
    vision: VisionSettings
    fusion: FusionSettings
    feature_phantoms: int
    calibration_phantoms: int
    see: Phase
    """The vision half alone, on lesion maps, finding probabilities and sizes; no phantom comes twice."""
    see_small: Phase
    """The vision half again, on chests of which every second has a small nodule."""
    speak: Phase
    """The language half alone, on cached features."""
    adapt: Phase
    """Each LoRA adapter on the quantised language half."""
    vocabulary: int
    width: int
    layers: int
    query_heads: int
    key_heads: int
    feed_forward: int
    rank: int
    """Rank of the LoRA adapters."""
    texts: int = 12_000
    """Turns that the tokenizer is made of."""

    def to_json(self) -> dict[str, Any]:
        """The plan as plain values, for the log and to tell one plan's checkpoints from another's."""
        return asdict(self)


def _vision(depth: int, stem_width: int) -> VisionSettings:
    tiles = EncoderSettings(
        "vit_tiny_patch16_224", "tiled", depth=depth, stem_width=stem_width, tile_columns=5, stages=depth
    )
    return VisionSettings((tiles,), HEADS)


PRESETS = {
    "small": Plan(
        name="small",
        vision=_vision(depth=4, stem_width=128),
        fusion=FusionSettings("prefix"),
        feature_phantoms=4800,
        calibration_phantoms=1000,
        see=Phase(1200, 16, 1e-3),
        see_small=Phase(300, 16, 6e-4),
        speak=Phase(700, 32, 1.5e-3),
        adapt=Phase(60, 32, 1e-3),
        vocabulary=2048,
        width=256,
        layers=4,
        query_heads=4,
        key_heads=2,
        feed_forward=704,
        rank=8,
    ),
    # For tests: walks through every phase and learns nothing.
    "tiny": Plan(
        name="tiny",
        vision=_vision(depth=1, stem_width=32),
        fusion=FusionSettings("prefix"),
        feature_phantoms=8,
        calibration_phantoms=8,
        see=Phase(2, 4, 1e-3),
        see_small=Phase(1, 4, 1e-3),
        speak=Phase(2, 4, 1e-3),
        adapt=Phase(2, 4, 1e-3),
        vocabulary=512,
        width=64,
        layers=2,
        query_heads=2,
        key_heads=1,
        feed_forward=128,
        rank=4,
        texts=200,
    ),
}
