"""What the vision half makes of phantoms, kept so that the language half trains without images."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.preprocess import ImageSettings
from model.vision.seen import Seen
from model.vision.tower import VisionTower
from training.checkpoint import load_tensors, save_tensors
from training.dataset import Phantoms
from training.facts import FactRecord, draw
from training.progress import Progress, silent

_BATCH = 16
_SEEN = ("logits", "measures", "truth", "true_measures")


@dataclass(frozen=True, slots=True)
class Features:
    """One row a phantom."""

    tensors: tuple[Tensor, ...]
    """Each (cases, ...), float16, as the fusion's `features` give them."""
    logits: Tensor
    """(cases, heads), as the finding heads gave them."""
    measures: Tensor
    """(cases, heads, 4), likewise."""
    truth: Tensor
    """(cases, heads) of 0 and 1."""
    true_measures: Tensor
    """(cases, heads, 4)."""
    records: tuple[FactRecord, ...]

    def rows(self, index: Sequence[int]) -> list[Tensor]:
        """The tensors of some cases, float32."""
        chosen = list(index)
        return [one[chosen].float() for one in self.tensors]


def kept_features(
    path: Path,
    identity: Mapping[str, Any],
    tower: VisionTower,
    features_of: Callable[[Seen], tuple[Tensor, ...]],
    seeds: range,
    settings: ImageSettings,
    heads: Sequence[str],
    progress: Progress = silent,
    workers: int = 1,
) -> Features:
    """The features of a file of the same identity, or new ones, which are written there."""
    named = json.dumps({**identity, "seeds": [seeds.start, seeds.stop]}, sort_keys=True)
    if path.exists():
        tensors, metadata = load_tensors(path)
        if metadata.get("identity") == named:
            count = sum(name.startswith("kept/") for name in tensors)
            progress("", -(-len(seeds) // _BATCH))
            return Features(
                tensors=tuple(tensors[f"kept/{i}"] for i in range(count)),
                logits=tensors["logits"],
                measures=tensors["measures"],
                truth=tensors["truth"],
                true_measures=tensors["true_measures"],
                records=_records(seeds, tensors["truth"], heads),
            )
    made = keep_features(tower, features_of, seeds, settings, heads, progress, workers)
    kept = {f"kept/{i}": one for i, one in enumerate(made.tensors)}
    save_tensors(path, {**kept, **{name: getattr(made, name) for name in _SEEN}}, {"identity": named})
    return made


@torch.inference_mode()
def keep_features(
    tower: VisionTower,
    features_of: Callable[[Seen], tuple[Tensor, ...]],
    seeds: range,
    settings: ImageSettings,
    heads: Sequence[str],
    progress: Progress = silent,
    workers: int = 1,
) -> Features:
    """Look at the phantom of each seed once; seeds follow one another."""
    tower.eval()
    phantoms = Phantoms(seeds.start, len(seeds), settings, heads)
    kept: list[tuple[Tensor, ...]] = []
    seen_of: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    steps = -(-len(seeds) // _BATCH)
    for _, batch in phantoms.batches(_BATCH, steps, workers=workers):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            seen = tower(batch.images)
        kept.append(tuple(one.half() for one in features_of(seen)))
        seen_of.append((seen.logits.float(), seen.measures.float(), batch.present, batch.measures))
        progress("", 1)
    count = len(seeds)
    logits, measures, truth, true_measures = (torch.cat(part)[:count] for part in zip(*seen_of, strict=True))
    return Features(
        tuple(torch.cat(part)[:count] for part in zip(*kept, strict=True)),
        logits,
        measures,
        truth,
        true_measures,
        _records(seeds, truth, heads),
    )


def _records(seeds: range, truth: Tensor, heads: Sequence[str]) -> tuple[FactRecord, ...]:
    """The record of each seed, without what another finding hides."""
    records = []
    for seed, row in zip(seeds, truth.tolist(), strict=True):
        there = {head for head, value in zip(heads, row, strict=True) if value}
        records.append(draw(np.random.default_rng(seed)).only(there))
    return tuple(records)
