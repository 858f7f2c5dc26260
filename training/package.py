"""A trained drafter as a model folder: safetensors, tokenizer and a drafter.json that pins them all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from model.confidence import Calibration
from model.fusion.fused import Fusion
from model.fusion.settings import FusionSettings
from model.language.settings import ANY_LANGUAGE, LanguageSettings
from model.loading import TOKENIZER_FILE, VISION_FILE
from model.manifest import file_sha256, folder_sha256, write_manifest
from model.observing import SizeSettings
from model.prompts import PROMPT_VERSION
from model.tasks import CONCLUSION, DETAIL, REPORT, STRUCTURE, TASKS
from model.vision.tower import VisionTower
from model.wording import LANGUAGES
from training.checkpoint import save_tensors
from training.plan import IMAGE, Plan

BASE, ADAPTERS = "language", "adapters"
NOTICE = (
    "Demonstration only, not for patients: these weights were trained on synthetic phantoms and have "
    "never seen a patient's images."
)
ADAPTED = (
    *((REPORT, language) for language in LANGUAGES),
    *((task, ANY_LANGUAGE) for task in (CONCLUSION, DETAIL, STRUCTURE)),
)
"""The (task, language) pairs that have an adapter of their own; "*" stands for every language."""


def adapter_folder(task: str, language: str) -> str:
    """Where the adapter of a task and language lies in a model folder."""
    return f"{ADAPTERS}/{task}" if language == ANY_LANGUAGE else f"{ADAPTERS}/{task}-{language}"


def language_settings() -> LanguageSettings:
    """How the language half of the shipped weights is loaded and run."""
    adapters: dict[str, dict[str, str]] = {}
    for task, language in ADAPTED:
        adapters.setdefault(task, {})[language] = adapter_folder(task, language)
    return LanguageSettings(
        base=BASE, adapters=adapters, quantisation="nf4", compute_dtype="float32", maximum_tokens=256
    )


def save_base(network: nn.Module, folder: Path) -> str:
    """Write the base in half precision beside its tokenizer; returns the hash that adapters name it by."""
    base = folder / BASE
    network.to(torch.float16).save_pretrained(base)  # type: ignore[operator]
    if not (base / TOKENIZER_FILE).exists():
        raise FileNotFoundError(f"expected {TOKENIZER_FILE} beside the base: train the tokenizer first")
    return folder_sha256({path.name: file_sha256(path) for path in base.iterdir()})


def save_adapter(adapted: nn.Module, target: Path) -> None:
    """Write an adapter in half precision; what its library adds for publishing is left out."""
    adapted.half().save_pretrained(target)  # type: ignore[operator]
    (target / "README.md").unlink(missing_ok=True)
    path = target / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = BASE
    config["target_modules"] = sorted(config["target_modules"])
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def save_vision(tower: VisionTower, fusion: Fusion, folder: Path) -> None:
    """Write the vision half and the fusion in half precision."""
    assert isinstance(fusion, nn.Module)
    whole = nn.ModuleDict({"tower": tower, "fusion": fusion})
    save_tensors(folder / VISION_FILE, {name: value.half() for name, value in whole.state_dict().items()})


def save_manifest(
    folder: Path,
    plan: Plan,
    seed: int,
    version: str,
    fusion: FusionSettings,
    calibration: Calibration,
    sizes: SizeSettings,
    language: LanguageSettings | None = None,
) -> None:
    """Write drafter.json: everything that serving needs to know, and the hash of every file.

    Of a checkpoint that an encoder started from only the file's name is told.
    """
    encoders = [replace(one, checkpoint=Path(one.checkpoint).name) for one in plan.vision.encoders]
    vision = replace(plan.vision, encoders=tuple(encoders))
    document: Mapping[str, Any] = {
        "architecture": "vision-language",
        "name": "prelim-phantom-chest-ct",
        "version": version,
        "prompt_version": PROMPT_VERSION,
        "notice": NOTICE,
        "tasks": list(TASKS),
        "trained": {"preset": plan.name, "seed": seed, "data": "synthetic chest phantoms"},
        "image": IMAGE.to_json(),
        "vision": vision.to_json(),
        "fusion": fusion.to_json(),
        "language": (language or language_settings()).to_json(),
        "calibration": calibration.to_json(),
        "sizes": sizes.to_json(),
    }
    write_manifest(folder, document)
