"""The whole training, from a seed to a model folder, in the order in which it has to be done."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from model.drafter import TOKENIZER_FILE
from model.fusion.prefix import PrefixFusion
from model.language.words import Words
from model.vision.tower import VisionTower
from training.adapt import adapt
from training.checkpoint import Checkpoint
from training.dataset import Phantoms
from training.losslog import LossLog
from training.package import BASE, LANGUAGE, save_adapter, save_base, save_manifest, save_vision
from training.plan import IMAGE, TRAIN_SEEDS, Plan
from training.progress import Progress, silent
from training.see import head_weights, see
from training.speak import join, keep_features, new_llama, speak
from training.tokenizer import train_tokenizer


def train(plan: Plan, seed: int, out: Path, version: str = "1", progress: Progress = silent) -> Path:
    """Train a drafter and return its model folder, `out / "model"`.

    1. The vision half learns where findings are.
    2. The language half learns to read what the vision half makes of phantoms that are new to it.
    3. Both learn together for a short while.
    4. The base is written, read back in 4-bit, and an adapter learns the report of the house on it.
    5. The folder is written and every file pinned.

    Losses go to `losses.jsonl` and `losses.svg`; a run that was stopped goes on from `state/`.
    """
    folder, state, log = out / "model", out / "state", LossLog(out / "losses.jsonl")
    shutil.rmtree(folder, ignore_errors=True)

    # 1.
    progress("learning to see", 0)
    tower = train_tower(plan, seed, state, log, progress)

    # 2. and 3.
    progress("looking at new phantoms", 0)
    seeds = range(FEATURE_SEEDS, FEATURE_SEEDS + plan.feature_phantoms)
    examples = make_examples(seeds, IMAGE, plan.vision.heads)
    train_tokenizer(plan.vocabulary, seed, folder / BASE / TOKENIZER_FILE)
    words = Words(folder / BASE / TOKENIZER_FILE)
    torch.manual_seed(seed + 1)
    network = new_llama(plan)
    fusion = PrefixFusion(len(plan.vision.heads), IMAGE.slabs, tower.width, plan.width)
    _speak_and_join(plan, seed, state, log, tower, network, fusion, words, examples, progress)

    # 4.
    progress("writing the base", 0)
    base_sha256 = save_base(network, folder)
    tower.half().float()
    kept = keep_features(tower, examples)
    progress("learning the adapter", 0)
    checkpoint = Checkpoint(state / "adapt.safetensors", {**_identity(plan, seed), "base": base_sha256})
    adapted = adapt(
        folder / BASE,
        base_sha256,
        LANGUAGE,
        plan.rank,
        fusion,
        words,
        kept,
        plan.adapt,
        seed,
        checkpoint,
        log,
    )

    # 5.
    progress("writing the folder", 0)
    save_adapter(adapted, folder)
    save_vision(tower, fusion, folder)
    save_manifest(folder, plan, seed, version)
    log.plot(out / "losses.svg")
    return folder


def train_tower(
    plan: Plan, seed: int, state: Path, log: LossLog, progress: Progress = silent, workers: int = 1
) -> VisionTower:
    """The vision half, trained or read back from its checkpoint."""
    torch.manual_seed(seed)
    tower = VisionTower(plan.vision, IMAGE.shape)
    checkpoint = Checkpoint(state / "see.safetensors", _seen_identity(plan, seed))
    phantoms = Phantoms(TRAIN_SEEDS, plan.see.steps * plan.see.batch, IMAGE, plan.vision.heads)
    see(tower, phantoms, head_weights(plan.vision.heads), plan.see, checkpoint, log, progress, workers)
    return tower


def _speak_and_join(
    plan: Plan,
    seed: int,
    state: Path,
    log: LossLog,
    tower: VisionTower,
    network: nn.Module,
    fusion: PrefixFusion,
    words: Words,
    examples: Examples,
    progress: Progress,
) -> None:
    identity = _identity(plan, seed)
    joined = Checkpoint(state / "join.safetensors", {**identity, "join": asdict(plan.join)})
    whole = nn.ModuleDict({"tower": tower, "network": network, "fusion": fusion})
    if joined.restore(whole) < plan.join.steps:
        progress("learning to speak", 0)
        spoken = Checkpoint(state / "speak.safetensors", identity)
        kept = keep_features(tower, examples)
        speak(network, fusion, words, kept, plan.speak, seed, spoken, log, progress)
        progress("learning together", 0)
        join(tower, network, fusion, words, examples, plan, seed, joined, log, progress)
    else:
        progress("", plan.speak.steps + plan.join.steps)
    whole.eval()


def _seen_identity(plan: Plan, seed: int) -> dict[str, object]:
    return {
        "phase": "see",
        "seed": seed,
        "image": IMAGE.to_json(),
        "vision": plan.vision.to_json(),
        "steps": asdict(plan.see),
    }


def _identity(plan: Plan, seed: int) -> dict[str, object]:
    language = (plan.vocabulary, plan.width, plan.layers, plan.query_heads, plan.key_heads, plan.feed_forward)
    return {
        **_seen_identity(plan, seed),
        "phase": "speak",
        "language": list(language),
        "feature_phantoms": plan.feature_phantoms,
        "speak": asdict(plan.speak),
    }
