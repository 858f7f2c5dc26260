"""Last phase: QLoRA. The base lies quantised and frozen; an adapter learns the report of the house."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from model.fusion import PrefixFusion
from model.language import LanguageSettings, Words, load_base
from training.checkpoint import EVERY_STEPS, Checkpoint, trained
from training.conversation import house_turn, language_loss
from training.dataset import epochs
from training.losslog import LossLog
from training.plan import Phase
from training.progress import Progress, silent
from training.schedule import rate
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
    network = get_peft_model(
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
    optimiser = torch.optim.AdamW(trained(both).values(), lr=phase.learning_rate, weight_decay=0.0)
    first = checkpoint.restore(both, optimiser)
    progress("", first)
    both.train()
    for step, index in epochs(len(kept.records), phase.batch, phase.steps, seed + 3, first):
        for group in optimiser.param_groups:
            group["lr"] = phase.learning_rate * rate(step, phase.steps)
        rng = np.random.default_rng((seed + 3, step))
        turns = [house_turn(kept.records[i], words, END_ID, rng) for i in index.tolist()]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            prefix = fusion.project(kept.heads[index].float(), kept.slabs[index].float())
            loss = language_loss(network, START_ID, prefix, turns)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(both.parameters(), 1.0)
        optimiser.step()
        log.write("adapt", step + 1, {"loss": loss.item()})
        progress("", 1)
        if (step + 1) % EVERY_STEPS == 0:
            checkpoint.save(step + 1, both, optimiser)
    checkpoint.save(phase.steps, both)
    return both.eval()["network"]
