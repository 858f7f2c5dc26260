"""The loop that every phase of a training shares."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from training.checkpoint import EVERY_STEPS, Checkpoint, trained
from training.dataset import epochs
from training.losslog import LossLog
from training.plan import Phase
from training.progress import Progress
from training.schedule import rate

LossOf = Callable[[int, Tensor], tuple[Tensor, dict[str, float]]]
"""Takes the step and (batch,) indices of cases; returns the loss and its parts for the log."""


def fit(
    name: str,
    module: nn.Module,
    loss_of: LossOf,
    *,
    cases: int,
    phase: Phase,
    seed: int,
    weight_decay: float,
    checkpoint: Checkpoint,
    log: LossLog,
    progress: Progress,
) -> None:
    """Train a module in place, on from its checkpoint when there is one, and leave it in eval mode.

    AdamW on whatever takes gradients, gradients clipped to norm 1, one line of the log a step.
    """
    optimiser = torch.optim.AdamW(trained(module).values(), lr=phase.learning_rate, weight_decay=weight_decay)
    first = checkpoint.restore(module, optimiser)
    progress("", first)
    module.train()
    for step, index in epochs(cases, phase.batch, phase.steps, seed, first):
        for group in optimiser.param_groups:
            group["lr"] = phase.learning_rate * rate(step, phase.steps)
        loss, parts = loss_of(step, index)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        log.write(name, step + 1, {"loss": loss.item(), **parts})
        progress("", 1)
        if (step + 1) % EVERY_STEPS == 0:
            checkpoint.save(step + 1, module, optimiser)
    checkpoint.save(phase.steps, module)
    module.eval()
