"""Second and third phase: the language half learns to read the prefix, then both halves learn together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from model.fusion.prefix import PrefixFusion, features
from model.language.words import Words
from model.vision.tower import VisionTower
from training.checkpoint import Checkpoint
from training.conversation import Turn, house_turn, language_loss, plain_turn
from training.dataset import Examples
from training.facts import FactRecord
from training.fit import fit
from training.losslog import LossLog
from training.plan import Phase, Plan
from training.progress import Progress, silent
from training.see import head_weights, vision_loss
from training.tokenizer import END_ID, START_ID

_BLIND_SHARE = 0.3
"""Cases that teach the words of the house style without an image. An adapter learns no new words: the
embeddings are frozen when its turn comes."""
_VISION_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Features:
    """What the vision half makes of the cases, kept so that the language half trains without images."""

    heads: Tensor
    """(cases, heads, vision width + 3 + slabs), float16."""
    slabs: Tensor
    """(cases, slabs, vision width), float16."""
    records: tuple[FactRecord, ...]


def new_llama(plan: Plan) -> nn.Module:
    """A decoder of the Llama architecture with random weights."""
    config = LlamaConfig(
        vocab_size=plan.vocabulary,
        hidden_size=plan.width,
        intermediate_size=plan.feed_forward,
        num_hidden_layers=plan.layers,
        num_attention_heads=plan.query_heads,
        num_key_value_heads=plan.key_heads,
        max_position_embeddings=1024,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        tie_word_embeddings=True,
        bos_token_id=START_ID,
        eos_token_id=END_ID,
    )
    network: nn.Module = LlamaForCausalLM(config)
    return network


@torch.inference_mode()
def keep_features(tower: VisionTower, examples: Examples, batch: int = 16) -> Features:
    """Look at every case once."""
    tower.eval()
    heads, slabs = [], []
    for start in range(0, len(examples.records), batch):
        index = torch.arange(start, min(start + batch, len(examples.records)))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            seen = tower(examples.batch(index)[0])
        of_heads, of_slabs = features(seen)
        heads.append(of_heads.half())
        slabs.append(of_slabs.half())
    return Features(torch.cat(heads), torch.cat(slabs), examples.records)


def base_turns(records: list[FactRecord], words: Words, seed: int, step: int) -> list[Turn]:
    """What the base learns: lists of what is seen, and the words of the house style without an image."""
    rng = np.random.default_rng((seed, step))
    return [
        house_turn(record, words, END_ID, rng, blind=True)
        if rng.random() < _BLIND_SHARE
        else plain_turn(record, words, END_ID, rng)
        for record in records
    ]


def speak(
    network: nn.Module,
    fusion: PrefixFusion,
    words: Words,
    kept: Features,
    phase: Phase,
    seed: int,
    checkpoint: Checkpoint,
    log: LossLog,
    progress: Progress = silent,
) -> None:
    """Train the language half and the fusion in place, on kept features."""
    both = nn.ModuleDict({"network": network, "fusion": fusion})

    def loss_of(step: int, index: Tensor) -> tuple[Tensor, dict[str, float]]:
        turns = base_turns([kept.records[i] for i in index.tolist()], words, seed, step)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            prefix = fusion.project(kept.heads[index].float(), kept.slabs[index].float())
            return language_loss(network, START_ID, prefix, turns), {}

    fit(
        "speak",
        both,
        loss_of,
        cases=len(kept.records),
        phase=phase,
        seed=seed + 1,
        weight_decay=0.01,
        checkpoint=checkpoint,
        log=log,
        progress=progress,
    )


def join(
    tower: VisionTower,
    network: nn.Module,
    fusion: PrefixFusion,
    words: Words,
    examples: Examples,
    plan: Plan,
    seed: int,
    checkpoint: Checkpoint,
    log: LossLog,
    progress: Progress = silent,
) -> None:
    """Train both halves together for a short while, from images to words."""
    whole = nn.ModuleDict({"tower": tower, "network": network, "fusion": fusion})
    weights = head_weights(plan.vision.heads)

    def loss_of(step: int, index: Tensor) -> tuple[Tensor, dict[str, float]]:
        images, maps = examples.batch(index)
        turns = base_turns([examples.records[i] for i in index.tolist()], words, seed + 2, step)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            seen = tower(images)
            spoken = language_loss(network, START_ID, fusion(seen), turns)
        looked, _ = vision_loss(seen, maps, weights)
        return spoken + _VISION_SHARE * looked, {"words": spoken.item(), "vision": looked.item()}

    fit(
        "join",
        whole,
        loss_of,
        cases=len(examples.records),
        phase=plan.join,
        seed=seed + 2,
        weight_decay=0.01,
        checkpoint=checkpoint,
        log=log,
        progress=progress,
    )
