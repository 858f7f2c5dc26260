"""From the settings to the fusion."""

from __future__ import annotations

from transformers import LlamaConfig

from model.fusion.inject import InjectFusion
from model.fusion.places import FusionModule, Places
from model.fusion.prefix import PrefixFusion
from model.fusion.repeated import RepeatedFusion
from model.fusion.settings import INJECT, REPEATED, FusionSettings
from model.vision.tower import VisionTower


def make_fusion(
    settings: FusionSettings, heads: int, tower: VisionTower, config: LlamaConfig
) -> FusionModule:
    """The fusion of these settings between a vision half and a language half, untrained.

    heads is the number of finding heads, config that of the language half.
    """
    width = int(config.hidden_size)
    places = Places(heads, tower.tokens, tower.planes, tower.width, width)
    if settings.kind == REPEATED:
        return RepeatedFusion(places, config, settings.blocks)
    if settings.kind == INJECT:
        return InjectFusion(places, tower.stage_widths, width, int(config.num_hidden_layers))
    return PrefixFusion(places)
