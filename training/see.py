"""First phase: the vision half learns where findings are, before any word is trained.

Trained end to end from words alone, the drafter learns to call everything normal; dense lesion maps from
the first step are what makes it look.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from model.vision.seen import Seen
from model.vision.tower import VisionTower
from training.checkpoint import Checkpoint
from training.dataset import Examples
from training.fit import fit
from training.losslog import LossLog
from training.plan import Phase
from training.progress import Progress, silent

_SMALL_FINDING_WEIGHT = 2.0
_SMALL = "pulmonary nodule"


def head_weights(heads: tuple[str, ...]) -> Tensor:
    """(heads,): nodules cover one or two places only, and count more."""
    return torch.tensor([_SMALL_FINDING_WEIGHT if name.startswith(_SMALL) else 1.0 for name in heads])


def vision_loss(seen: Seen, maps: Tensor, weights: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Loss of probabilities and lesion maps; maps is (batch, heads, height / 8, width / 8) of 0 and 1.

    Positive places are averaged for each finding first: a nodule counts as much as a lung full of fluid.
    """
    present = (maps.flatten(2).amax(dim=2) > 0).float()
    image = (F.binary_cross_entropy_with_logits(seen.logits, present, reduction="none") * weights).mean()
    places = F.binary_cross_entropy_with_logits(seen.maps, maps, reduction="none").flatten(2)
    flat = maps.flatten(2)
    inside = (places * flat).sum(dim=2) / flat.sum(dim=2).clamp(min=1)
    positive = (inside * present * weights).sum() / present.sum().clamp(min=1)
    negative = (places * (1 - flat)).mean()
    loss = 2 * image + positive + 4 * negative
    return loss, {"image": image.item(), "positive": positive.item(), "negative": negative.item()}


def see(
    tower: VisionTower,
    examples: Examples,
    weights: Tensor,
    phase: Phase,
    seed: int,
    checkpoint: Checkpoint,
    log: LossLog,
    progress: Progress = silent,
) -> None:
    """Train the vision half in place."""

    def loss_of(_step: int, index: Tensor) -> tuple[Tensor, dict[str, float]]:
        images, maps = examples.batch(index)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            seen = tower(images)
        return vision_loss(seen, maps, weights)

    fit(
        "see",
        tower,
        loss_of,
        cases=len(examples.records),
        phase=phase,
        seed=seed,
        weight_decay=0.02,
        checkpoint=checkpoint,
        log=log,
        progress=progress,
    )
