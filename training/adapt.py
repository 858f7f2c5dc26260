"""Last phase: QLoRA. The base lies quantised and frozen; each adapter learns one task in one language."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from model.fusion.fused import Fused, Fusion
from model.language.base import load_base
from model.language.settings import ANY_LANGUAGE, LanguageSettings
from model.language.words import Words
from training.checkpoint import Checkpoint
from training.dataset import epochs
from training.features import Features
from training.fit import fit
from training.losslog import LossLog
from training.plan import Phase
from training.progress import Progress, silent
from training.tokenizer import END_ID, START_ID
from training.turns import draw_language, language_loss, turn


def adapt(
    task: str,
    language: str,
    base: Path,
    base_sha256: str,
    settings: LanguageSettings,
    rank: int,
    fusion: Fusion,
    words: Words,
    kept: Features,
    phase: Phase,
    seed: int,
    checkpoint: Checkpoint,
    log: LossLog,
    progress: Progress = silent,
) -> nn.Module:
    """The quantised base with an adapter for one task, in one language or in any ("*").

    The base is loaded by the code that serves it, so that the adapter corrects the very errors of the
    quantisation that it will meet. The fusion stays as it is, for all adapters share it. The adapter's
    configuration names the base by its hash.
    """
    torch.manual_seed(seed)
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
    assert isinstance(fusion, nn.Module)
    fusion.requires_grad_(requires_grad=False)

    def loss_of(step: int, index: Tensor) -> tuple[Tensor, dict[str, float]]:
        cases = index.tolist()
        rng = np.random.default_rng((seed, step))
        turns = [
            turn(
                task,
                draw_language(rng) if language == ANY_LANGUAGE else language,
                kept.records[case],
                words,
                END_ID,
                rng,
            )
            for case in cases
        ]
        with torch.autocast("cpu", dtype=torch.bfloat16):

            def fuse(rows: Sequence[int]) -> Fused:
                return fusion.project(kept.rows([cases[row] for row in rows]))

            return language_loss(network, fusion, START_ID, fuse, turns), {}

    fit(
        f"adapt {task} {language}",
        network,
        lambda first: epochs(len(kept.records), phase.batch, phase.steps, seed, first),
        loss_of,
        phase=phase,
        weight_decay=0.0,
        checkpoint=checkpoint,
        log=log,
        progress=progress,
    )
    return network
