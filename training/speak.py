"""The base learns to read what was seen, and every task in every language."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from model.fusion.fused import Fused, Fusion
from model.language.words import Words
from training.checkpoint import Checkpoint
from training.dataset import epochs
from training.features import Features
from training.fit import fit
from training.losslog import LossLog
from training.plan import Phase, Plan
from training.progress import Progress, silent
from training.tokenizer import END_ID, START_ID
from training.turns import language_loss, mixed_turns


def llama_config(plan: Plan) -> LlamaConfig:
    """The shape of the small decoder."""
    return LlamaConfig(
        vocab_size=plan.vocabulary,
        hidden_size=plan.width,
        intermediate_size=plan.feed_forward,
        num_hidden_layers=plan.layers,
        num_attention_heads=plan.query_heads,
        num_key_value_heads=plan.key_heads,
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        tie_word_embeddings=True,
        bos_token_id=START_ID,
        eos_token_id=END_ID,
    )


def new_llama(plan: Plan) -> nn.Module:
    """A decoder of the Llama architecture with random weights."""
    network: nn.Module = LlamaForCausalLM(llama_config(plan))
    return network


def speak(
    network: nn.Module,
    fusion: Fusion,
    words: Words,
    kept: Features,
    phase: Phase,
    seed: int,
    checkpoint: Checkpoint,
    log: LossLog,
    progress: Progress = silent,
) -> None:
    """Train the language half and the fusion in place, on kept features."""
    assert isinstance(fusion, nn.Module)
    both = nn.ModuleDict({"network": network, "fusion": fusion})

    def loss_of(step: int, index: Tensor) -> tuple[Tensor, dict[str, float]]:
        cases = index.tolist()
        rng = np.random.default_rng((seed + 1, step))
        turns = mixed_turns([kept.records[case] for case in cases], words, END_ID, rng)
        with torch.autocast("cpu", dtype=torch.bfloat16):

            def fuse(rows: Sequence[int]) -> Fused:
                return fusion.project(kept.rows([cases[row] for row in rows]))

            return language_loss(network, fusion, START_ID, fuse, turns), {}

    fit(
        "speak",
        both,
        lambda first: epochs(len(kept.records), phase.batch, phase.steps, seed + 1, first),
        loss_of,
        phase=phase,
        weight_decay=0.01,
        checkpoint=checkpoint,
        log=log,
        progress=progress,
    )
