"""The whole training, from a seed to a model folder, in the order in which it has to be done."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from model.confidence import Calibration
from model.fusion.fused import Fusion
from model.fusion.making import make_fusion
from model.fusion.settings import FusionSettings
from model.language.words import Words
from model.loading import TOKENIZER_FILE
from model.observing import SizeSettings
from model.preprocess import pixel_mm
from model.vision.tower import VisionTower
from training.adapt import adapt
from training.calibration import coverage_threshold, fit_calibration
from training.checkpoint import Checkpoint
from training.dataset import Phantoms
from training.features import Features, kept_features
from training.losslog import LossLog
from training.package import (
    ADAPTED,
    BASE,
    adapter_folder,
    language_settings,
    save_adapter,
    save_base,
    save_manifest,
    save_vision,
)
from training.phantoms import SHAPE, SPACING_MM
from training.plan import CALIBRATION_SEEDS, FEATURE_SEEDS, IMAGE, SMALL_SEEDS, TRAIN_SEEDS, Plan
from training.progress import Progress, silent
from training.see import head_weights, see
from training.sizing import size_settings
from training.speak import llama_config, new_llama, speak
from training.starting import start_from_checkpoints
from training.tokenizer import train_tokenizer

SURE_SHARE = 0.97
"""Of the phantoms that calibrate, this share is sure enough to be drafted; on the rest it abstains."""


def train(
    plan: Plan, seed: int, out: Path, version: str = "1", progress: Progress = silent, workers: int = 1
) -> Path:
    """Train a drafter and return its model folder, `out / "model"`.

    1. The vision half learns where findings are, then whether they are.
    2. Phantoms that are new to it say how sure it may be and what is small and large.
    3. The language half learns to read what the vision half makes of further phantoms, and every task.
    4. The base is written, read back in 4-bit, and an adapter for each task and language learns on it.
    5. The folder is written and every file pinned.

    Losses go to `losses.jsonl` and `losses.svg`; a run that was stopped goes on from `state/`.
    """
    folder, state, log = out / "model", out / "state", LossLog(out / "losses.jsonl")
    shutil.rmtree(folder, ignore_errors=True)

    # 1. What is served is rounded to half precision, so what follows is learned on that.
    progress("learning to see", 0)
    tower = train_tower(plan, seed, state, log, progress, workers)
    tower.half().float()
    torch.manual_seed(seed + 1)
    fusion = new_fusion(plan.fusion, plan, tower)

    # 2.
    def looked_at(name: str, first: int, count: int) -> Features:
        return kept_features(
            state / f"{name}.safetensors",
            _seen_identity(plan, seed),
            tower,
            fusion.features,
            range(first, first + count),
            IMAGE,
            plan.vision.heads,
            progress,
            workers,
        )

    progress("measuring how sure it may be", 0)
    calibration, sizes = calibrate(
        looked_at("calibration", CALIBRATION_SEEDS, plan.calibration_phantoms), plan
    )

    # 3.
    progress("looking at new phantoms", 0)
    kept = looked_at("features", FEATURE_SEEDS, plan.feature_phantoms)
    train_tokenizer(plan.vocabulary, seed, folder / BASE / TOKENIZER_FILE, plan.texts)
    words = Words(folder / BASE / TOKENIZER_FILE)
    progress("learning to speak", 0)
    network = new_llama(plan)
    speak(network, fusion, words, kept, plan.speak, seed, _spoken(plan, seed, state), log, progress)

    # 4.
    base_sha256 = save_base(network, folder)
    _round(fusion)
    for number, (task, language) in enumerate(ADAPTED):
        progress(f"learning {task} {language}", 0)
        identity = {**_identity(plan, seed), "base": base_sha256, "adapt": asdict(plan.adapt)}
        name = adapter_folder(task, language).replace("/", "-")
        adapted = adapt(
            task,
            language,
            folder / BASE,
            base_sha256,
            language_settings(),
            plan.rank,
            fusion,
            words,
            kept,
            plan.adapt,
            seed + 10 + number,
            Checkpoint(state / f"{name}.safetensors", {**identity, "adapter": name}),
            log,
            progress,
        )
        save_adapter(adapted, folder / adapter_folder(task, language))

    # 5.
    progress("writing the folder", 0)
    save_vision(tower, fusion, folder)
    save_manifest(folder, plan, seed, version, plan.fusion, calibration, sizes)
    log.plot(out / "losses.svg")
    return folder


def steps_of(plan: Plan) -> int:
    """How many steps a run reports to its progress bar."""
    looks = -(-plan.calibration_phantoms // 16) + -(-plan.feature_phantoms // 16)
    return plan.see.steps + plan.see_small.steps + looks + plan.speak.steps + len(ADAPTED) * plan.adapt.steps


def train_tower(
    plan: Plan, seed: int, state: Path, log: LossLog, progress: Progress = silent, workers: int = 1
) -> VisionTower:
    """The vision half, trained or read back from its checkpoint."""
    torch.manual_seed(seed)
    tower = VisionTower(plan.vision, IMAGE.shape)
    start_from_checkpoints(tower, plan.vision)
    heads, weights = plan.vision.heads, head_weights(plan.vision.heads)
    first = Checkpoint(state / "see.safetensors", _see_identity(plan, seed))
    phantoms = Phantoms(TRAIN_SEEDS, plan.see.steps * plan.see.batch, IMAGE, heads)
    see(tower, phantoms, weights, plan.see, first, log, progress, workers)
    second = Checkpoint(state / "see-small.safetensors", _seen_identity(plan, seed))
    phantoms = Phantoms(
        SMALL_SEEDS, plan.see_small.steps * plan.see_small.batch, IMAGE, heads, small_nodules=True
    )
    # What is missed most comes last; where things are it knows by now.
    see(
        tower,
        phantoms,
        weights,
        plan.see_small,
        second,
        log,
        progress,
        workers,
        name="see small",
        segment_share=0.0,
    )
    return tower


def new_fusion(settings: FusionSettings, plan: Plan, tower: VisionTower) -> Fusion:
    """The fusion of a plan, untrained."""
    return make_fusion(settings, heads=len(plan.vision.heads), tower=tower, config=llama_config(plan))


def calibrate(kept: Features, plan: Plan) -> tuple[Calibration, SizeSettings]:
    """How sure the heads may be, how little is too little, and what is small and large."""
    heads = plan.vision.heads
    logits, truth = kept.logits.numpy(), kept.truth.numpy()
    first = fit_calibration(heads, logits, truth)
    sure = [
        np.prod(
            [max(p, 1 - p) for p in (first.calibrated(h, float(v)) for h, v in zip(heads, row, strict=True))]
        )
        for row in logits
    ]
    depths = np.exp(kept.measures[:, :, 3].numpy()) * pixel_mm(SHAPE, SPACING_MM, IMAGE)
    return (
        Calibration(first.heads, coverage_threshold(sure, SURE_SHARE)),
        size_settings(kept.records, depths, heads),
    )


def _round(fusion: Fusion) -> None:
    """In half precision, as it will be served; the adapters learn on that."""
    assert isinstance(fusion, nn.Module)
    fusion.half().float()


def _spoken(plan: Plan, seed: int, state: Path) -> Checkpoint:
    return Checkpoint(state / f"speak-{plan.fusion.kind}.safetensors", _identity(plan, seed))


def _see_identity(plan: Plan, seed: int) -> dict[str, object]:
    return {
        "phase": "see",
        "seed": seed,
        "image": IMAGE.to_json(),
        "vision": plan.vision.to_json(),
        "steps": asdict(plan.see),
    }


def _seen_identity(plan: Plan, seed: int) -> dict[str, object]:
    return {**_see_identity(plan, seed), "phase": "see small", "small": asdict(plan.see_small)}


def _identity(plan: Plan, seed: int) -> dict[str, object]:
    language = (plan.vocabulary, plan.width, plan.layers, plan.query_heads, plan.key_heads, plan.feed_forward)
    return {
        **_seen_identity(plan, seed),
        "phase": "speak",
        "fusion": plan.fusion.to_json(),
        "language": list(language),
        "feature_phantoms": plan.feature_phantoms,
        "speak": asdict(plan.speak),
    }
