"""First phases: the vision half learns where findings are, then whether they are, before any word.

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
from training.dataset import Examples, Phantoms
from training.fit import fit
from training.losslog import LossLog
from training.plan import Phase
from training.progress import Progress, silent

SEGMENT_SHARE = 0.15
"""Of the steps: first where, then whether. A probability is read from the map, and from a map that shows
nothing yet it could only learn how common a finding is."""
_SMALL_FINDING_WEIGHT = 2.0
_SMALL = "pulmonary nodule"


def head_weights(heads: tuple[str, ...]) -> Tensor:
    """(heads,): nodules cover one or two places only, and count more."""
    return torch.tensor([_SMALL_FINDING_WEIGHT if name.startswith(_SMALL) else 1.0 for name in heads])


def vision_loss(
    seen: Seen, truth: Examples, weights: Tensor, classify: bool = True
) -> tuple[Tensor, dict[str, float]]:
    """Loss of lesion maps and sizes, and of probabilities unless they wait for the maps.

    Positive places are averaged for each finding first: a nodule counts as much as a lung full of fluid.
    """
    present = truth.present
    image = (F.binary_cross_entropy_with_logits(seen.logits, present, reduction="none") * weights).mean()
    places = F.binary_cross_entropy_with_logits(seen.maps, truth.maps, reduction="none").flatten(2)
    flat = truth.maps.flatten(2)
    inside = (places * flat).sum(dim=2) / flat.sum(dim=2).clamp(min=1)
    positive = (inside * present * weights).sum() / present.sum().clamp(min=1)
    negative = (places * (1 - flat)).mean()
    off = F.smooth_l1_loss(seen.measures, truth.measures, reduction="none", beta=0.1)
    sizes = (off.mean(dim=2) * present * weights).sum() / present.sum().clamp(min=1)
    loss = positive + 4 * negative + sizes + (2 * image if classify else 0)
    return loss, {
        "image": image.item(),
        "positive": positive.item(),
        "negative": negative.item(),
        "sizes": sizes.item(),
    }


def see(
    tower: VisionTower,
    phantoms: Phantoms,
    weights: Tensor,
    phase: Phase,
    checkpoint: Checkpoint,
    log: LossLog,
    progress: Progress = silent,
    workers: int = 1,
    *,
    name: str = "see",
    segment_share: float = SEGMENT_SHARE,
) -> None:
    """Train the vision half in place, on phantoms that are made while it learns.

    name is that of the phase in the log; of its steps segment_share are for the maps and sizes alone.
    """
    segmenting = round(phase.steps * segment_share)

    def loss_of(step: int, batch: Examples) -> tuple[Tensor, dict[str, float]]:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            seen = tower(batch.images)
        return vision_loss(seen, batch, weights, classify=step >= segmenting)

    fit(
        name,
        tower,
        lambda first: phantoms.batches(phase.batch, phase.steps, first, workers),
        loss_of,
        phase=phase,
        weight_decay=0.02,
        checkpoint=checkpoint,
        log=log,
        progress=progress,
    )
