"""The three ways of fusion on the same data, vision half, decoder, order of cases and number of steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from model.facts import ORGANS
from model.fusion.fused import Fused
from model.fusion.settings import KINDS, FusionSettings
from model.grammar import report_grammar
from model.headings import organ_in, title_in
from model.language.asking import Asked
from model.language.local import LocalWriter
from model.language.words import Words
from model.prompts import prompt_ids
from model.sections import IMPRESSION, read_report
from model.tasks import REPORT
from model.vision.tower import VisionTower
from training.checkpoint import Checkpoint
from training.dataset import epochs
from training.features import Features, keep_features
from training.finetune import new_fusion
from training.fit import fit
from training.judging.intervals import weights
from training.judging.matching import marks_of, statement_figures
from training.losslog import LossLog
from training.plan import FEATURE_SEEDS, IMAGE, TEST_SEEDS, Phase, Plan
from training.progress import Progress, silent
from training.reading import read_record
from training.speak import new_llama
from training.tokenizer import END_ID, START_ID
from training.turns import language_loss, turn
from training.wordings import order_words

_LANGUAGE = "en"
BUDGET = Phase(300, 32, 1.5e-3)


@dataclass(frozen=True, slots=True)
class Compared:
    """One way of fusion after its training."""

    kind: str
    weights: int
    """Trainable weights of the fusion, without the decoder."""
    seconds: float
    """Of the training."""
    loss: float
    """Mean of the last twenty steps, nats a token."""
    figures: dict[str, float]
    """finding_f1_micro, finding_f1_macro and side_accuracy of what was written, without a guard."""


def compare_fusions(
    plan: Plan,
    tower: VisionTower,
    words: Words,
    folder: Path,
    *,
    phantoms: int = 2000,
    cases: int = 300,
    phase: Phase = BUDGET,
    seed: int = 7,
    kinds: Sequence[str] = KINDS,
    progress: Progress = silent,
    workers: int = 1,
) -> Iterator[Compared]:
    """Train a new decoder with each fusion on the report task in English, and judge what it writes.

    tower stays as it is. folder holds the logs and checkpoints. The decoder starts from the same weights for
    each, sees the same cases in the same order, and is judged on phantoms and wordings of orders that are in
    no training.
    """
    blank = new_fusion(FusionSettings(KINDS[0]), plan, tower)
    heads = plan.vision.heads

    def looked_at(first: int, count: int) -> Features:
        seeds = range(first, first + count)
        return keep_features(tower, blank.features, seeds, IMAGE, heads, progress, workers)

    learned, unseen = looked_at(FEATURE_SEEDS, phantoms), looked_at(TEST_SEEDS, cases)
    for kind in kinds:
        torch.manual_seed(seed)
        network = new_llama(plan)
        fusion = new_fusion(FusionSettings(kind), plan, tower)
        assert isinstance(fusion, nn.Module)
        log = LossLog(folder / f"{kind}.jsonl")
        started = time.perf_counter()
        losses: list[float] = []

        def loss_of(
            step: int,
            index: Tensor,
            fusion: nn.Module = fusion,
            network: nn.Module = network,
            losses: list[float] = losses,
        ) -> tuple[Tensor, dict[str, float]]:
            at = index.tolist()
            rng = np.random.default_rng((seed, step))
            turns = [turn(REPORT, _LANGUAGE, learned.records[i], words, END_ID, rng) for i in at]
            with torch.autocast("cpu", dtype=torch.bfloat16):
                project: Callable[..., Fused] = fusion.project  # type: ignore[assignment]
                loss = language_loss(
                    network,
                    fusion,  # type: ignore[arg-type]
                    START_ID,
                    lambda rows: project(learned.rows([at[row] for row in rows])),
                    turns,
                )
            losses.append(loss.item())
            return loss, {}

        fit(
            f"compare {kind}",
            nn.ModuleDict({"network": network, "fusion": fusion}),
            lambda first: epochs(phantoms, phase.batch, phase.steps, seed, first),
            loss_of,
            phase=phase,
            weight_decay=0.01,
            checkpoint=Checkpoint(folder / f"{kind}.safetensors", {"kind": kind, "seed": seed}),
            log=log,
            progress=progress,
        )
        seconds = time.perf_counter() - started
        yield Compared(
            kind,
            sum(weight.numel() for weight in fusion.parameters()),
            round(seconds, 1),
            round(float(np.mean(losses[-20:])), 4),
            _judged(network, fusion, words, unseen),
        )


@torch.inference_mode()
def _judged(network: nn.Module, fusion: nn.Module, words: Words, unseen: Features) -> dict[str, float]:
    writer = LocalWriter(network, words, list(fusion.blocks))  # type: ignore[arg-type]
    organs = [organ_in(organ, _LANGUAGE) for organ in ORGANS]
    grammar = report_grammar(organs, title_in(IMPRESSION, _LANGUAGE))
    project: Callable[..., Fused] = fusion.project  # type: ignore[assignment]
    asked = []
    for row in range(len(unseen.records)):
        context = order_words(np.random.default_rng(TEST_SEEDS + row), _LANGUAGE, held_out=True)
        prompt = tuple(prompt_ids(REPORT, context, _LANGUAGE, words))
        asked.append(Asked(prompt, project(unseen.rows([row])), "", grammar))
    said = []
    for answer in writer.write(asked):
        told, _ = read_report(answer.text, _LANGUAGE)
        said.append(read_record([body for _, body in told], _LANGUAGE))
    count = len(said)
    found = statement_figures(marks_of(unseen.records, said).real(weights(count, resamples=0)), count)
    return {
        name: found[name].value or 0.0 for name in ("finding_f1_micro", "finding_f1_macro", "side_accuracy")
    }
