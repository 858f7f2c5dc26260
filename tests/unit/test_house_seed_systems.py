"""The configurations of docs/seed-systems.md are ones that load."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from model.facts import HEADS
from model.fusion.settings import FusionSettings
from model.language.settings import LanguageSettings
from model.study import Unfit
from model.tasks import TASKS
from model.vision.settings import VisionSettings

PAGE = (Path(__file__).parents[2] / "docs" / "seed-systems.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
PARTS: list[dict[str, Any]] = [json.loads(block) for block in BLOCKS]
MANNHEIM, VOINEA, KIM = PARTS


@pytest.mark.parametrize("part", PARTS)
def test_every_part_is_read_as_drafter_json_is(part: dict[str, Any]) -> None:
    """Nothing in it is unknown, misspelt or of no task, and nothing is lost on the way."""
    assert set(part["tasks"]) <= set(TASKS)
    fusion = FusionSettings.from_json(part["fusion"])
    assert fusion.to_json().items() >= part["fusion"].items()
    language = LanguageSettings.from_json(part["language"])
    assert set(language.adapters) <= set(part["tasks"])
    written = language.to_json()
    assert written.pop("runner").items() >= part["language"]["runner"].items()
    assert written.items() >= {key: v for key, v in part["language"].items() if key != "runner"}.items()


def test_the_encoders_have_the_heads_of_the_catalogue() -> None:
    """Several encoders look, and each finding that drafts speak of has its heads."""
    vision = VisionSettings.from_json(MANNHEIM["vision"])
    assert len(vision.encoders) == 3
    assert vision.heads == HEADS
    assert FusionSettings.from_json(MANNHEIM["fusion"]).kind == "repeated"


@pytest.mark.parametrize("part", [VOINEA, KIM])
def test_without_an_adapter_for_it_no_report_is_written(part: dict[str, Any]) -> None:
    """What the page says of folders that see no image: refused, and for what there is an adapter."""
    language = LanguageSettings.from_json(part["language"])
    with pytest.raises(Unfit, match="no adapter for the task report"):
        language.adapter("report", "en")


def test_a_language_may_have_an_adapter_of_its_own() -> None:
    """It is taken before the one that stands for all."""
    language = LanguageSettings.from_json(KIM["language"])
    assert language.adapter("detail", "ko") == "adapters/detail-ko"
    assert language.adapter("detail", "ro") == "adapters/detail"
