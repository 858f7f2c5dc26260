"""Last phase: QLoRA. The base lies quantised and frozen; an adapter learns the report of the house."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from model.fusion.prefix import PrefixFusion
from model.language.base import load_base
from model.language.settings import LanguageSettings
from model.language.words import Words
from training.checkpoint import Checkpoint
from training.conversation import house_turn, language_loss
from training.fit import fit
from training.losslog import LossLog
from training.plan import Phase
from training.progress import Progress, silent
from training.speak import Features
from training.tokenizer import END_ID, START_ID


def adapt(
    base: Path,
    base_sha256: str,
    settings: LanguageSettings,
    rank: int,
    fusion: PrefixFusion,
    words: Words,
    kept: Features,
    phase: Phase,
    seed: int,
    checkpoint: Checkpoint,
    log: LossLog,
    progress: Progress = silent,
) -> nn.Module:
    """The quantised base with a trained adapter. The fusion learns along, in place.

    The base is loaded by the code that serves it, so that the adapter corrects the very errors of the
    quantisation that it will meet. The adapter's configuration names the base by its hash.
    """
    torch.manual_seed(seed + 3)
    network: nn.Module = get_peft_model(
        load_base(base, settings, torch.device("cpu")),
        LoraConfig(
            r=rank,
            lora_alpha=2 * rank,
            lora_dropout=0.0,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
            base_model_name_or_path=str(base),
            revision=f"sha256:{base_sha256}",
        ),
    )
    both = nn.ModuleDict({"network": network, "fusion": fusion})

    def loss_of(step: int, index: Tensor) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng((seed + 3, step))
        turns = [house_turn(kept.records[i], words, END_ID, rng) for i in index.tolist()]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            prefix = fusion.project(kept.heads[index].float(), kept.slabs[index].float())
            return language_loss(network, START_ID, prefix, turns), {}

    fit(
        "adapt",
        both,
        loss_of,
        cases=len(kept.records),
        phase=phase,
        seed=seed + 3,
        weight_decay=0.0,
        checkpoint=checkpoint,
        log=log,
        progress=progress,
    )
    return network
