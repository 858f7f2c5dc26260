"""A trained drafter as a model folder: safetensors, tokenizer and a drafter.json that pins them all."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import nn

from model.drafter import TOKENIZER_FILE, VISION_FILE
from model.fusion.prefix import PrefixFusion
from model.language.settings import LanguageSettings
from model.manifest import file_sha256, folder_sha256, write_manifest
from model.prompts import PROMPT_VERSION
from model.sections import FINDINGS, IMPRESSION, NO_PRIOR
from model.vision.tower import VisionTower
from training.checkpoint import save_tensors
from training.plan import IMAGE, Plan

BASE, ADAPTER = "language", "adapter"
LANGUAGE = LanguageSettings(BASE, ADAPTER, "nf4", "float32", maximum_tokens=192)
NOTICE = (
    "Demonstration only, not for patients: these weights were trained on synthetic phantoms and have "
    "never seen a patient's images."
)


def save_base(network: nn.Module, folder: Path) -> str:
    """Write the base in half precision beside its tokenizer; returns the hash that adapters name it by."""
    base = folder / BASE
    network.to(torch.float16).save_pretrained(base)  # type: ignore[operator]
    if not (base / TOKENIZER_FILE).exists():
        raise FileNotFoundError(f"expected {TOKENIZER_FILE} beside the base: train the tokenizer first")
    return folder_sha256({path.name: file_sha256(path) for path in base.iterdir()})


def save_adapter(adapted: nn.Module, folder: Path) -> None:
    """Write the adapter; what its library adds for publishing is left out."""
    target = folder / ADAPTER
    adapted.save_pretrained(target)  # type: ignore[operator]
    (target / "README.md").unlink(missing_ok=True)
    path = target / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = BASE
    config["target_modules"] = sorted(config["target_modules"])
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def save_vision(tower: VisionTower, fusion: PrefixFusion, folder: Path) -> None:
    """Write the vision half and the fusion in half precision."""
    whole = nn.ModuleDict({"tower": tower, "fusion": fusion})
    save_tensors(folder / VISION_FILE, {name: value.half() for name, value in whole.state_dict().items()})


def save_manifest(folder: Path, plan: Plan, seed: int, version: str) -> None:
    """Write drafter.json: everything that serving needs to know, and the hash of every file."""
    write_manifest(
        folder,
        {
            "architecture": "vision-prefix",
            "name": "prelim-phantom-chest-ct",
            "version": version,
            "prompt_version": PROMPT_VERSION,
            "notice": NOTICE,
            "trained": {"preset": plan.name, "seed": seed, "data": "synthetic chest phantoms"},
            "sections": {"generated": [FINDINGS, IMPRESSION], "comparison": NO_PRIOR},
            "image": IMAGE.to_json(),
            "vision": plan.vision.to_json(),
            "language": LANGUAGE.to_json(),
        },
    )
