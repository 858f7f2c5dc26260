"""The loop that every phase of a training shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from training.checkpoint import EVERY_STEPS, Checkpoint, trained
from training.losslog import LossLog
from training.plan import Phase
from training.progress import Progress
from training.schedule import rate

Batch = TypeVar("Batch")


def fit(
    name: str,
    module: nn.Module,
    batches: Callable[[int], Iterator[tuple[int, Batch]]],
    loss_of: Callable[[int, Batch], tuple[Tensor, dict[str, float]]],
    *,
    phase: Phase,
    weight_decay: float,
    checkpoint: Checkpoint,
    log: LossLog,
    progress: Progress,
) -> None:
    """Train a module in place, on from its checkpoint when there is one, and leave it in eval mode.

    batches gives (step, batch) from a step on; loss_of takes both and returns the loss and its parts for the
    log. AdamW on whatever takes gradients, gradients clipped to norm 1, one line of the log a step. Raises
    FloatingPointError when the loss is no number: the last checkpoint is kept.
    """
    optimiser = torch.optim.AdamW(trained(module).values(), lr=phase.learning_rate, weight_decay=weight_decay)
    first = checkpoint.restore(module, optimiser)
    progress("", first)
    module.train()
    for step, batch in batches(first):
        for group in optimiser.param_groups:
            group["lr"] = phase.learning_rate * rate(step, phase.steps)
        loss, parts = loss_of(step, batch)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"expected a finite loss, found {loss.item()} in phase {name} at step {step + 1}: start "
                "again with the same options to go on from the last checkpoint, or with a lower learning rate"
            )
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
