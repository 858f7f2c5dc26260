"""Tokens a second of drafting, against plain `generate` of transformers on the same decoder.

The peer loads the decoder's base from the same folder, in fp32 and in 4-bit NF4, without our code and without
the adapter. It runs as many steps on prompts as long as ours, and is credited with the same tokens: those
that the drafts were made of, without padding.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.load import SHIPPED_WEIGHTS, load_drafter
from model.study import ClinicalContext, Volume, WeightsError
from tests.benchmarks.machine import release
from tests.benchmarks.table import Progress, Row, figure, skipped

if TYPE_CHECKING:
    import torch

    from model.drafter import VisionPrefixDrafter

BATCHES = (1, 16)
TURNS = 3
"""Each batch size is measured this often, each time on other phantoms."""
FIRST_SEED = 95_000_000
"""Phantoms from here are in no training and no evaluation."""
CONTEXT = ClinicalContext(procedure="CT Chest", clinical_question="Effusion?", modality="CT")


def run(
    model: Path = SHIPPED_WEIGHTS,
    batches: tuple[int, ...] = BATCHES,
    turns: int = TURNS,
    progress: Progress = print,
) -> list[Row]:
    """Rows for each batch size and each peer, and the share of a draft that is not the decoder."""
    if not release("torch"):
        return [skipped("generation", "torch is not installed: pip install -e '.[bench]'")]
    try:
        drafter: Any = load_drafter(model)
    except WeightsError as error:
        return [skipped("generation", f"no weights that can be loaded in {model.name}: {error}")]
    if not hasattr(drafter, "draft_many"):
        return [skipped("generation", f"{model.name} has no decoder")]
    return _rows(drafter, _base(model), batches, turns, progress)


def _base(model: Path) -> Path:
    from model.language.settings import LanguageSettings
    from model.manifest import read_manifest

    return model / LanguageSettings.from_json(read_manifest(model).part("language")).base


def _rows(
    drafter: VisionPrefixDrafter, base: Path, batches: tuple[int, ...], turns: int, progress: Progress
) -> list[Row]:
    peers = {kind: _plain(base, kind, drafter.device) for kind in ("fp32", "NF4")}
    where = "GPU" if drafter.device.type == "cuda" else "CPU"
    rows: list[Row] = []
    seed = FIRST_SEED
    for batch in batches:
        # Kernels, caches and lazy imports settle before anything is timed.
        _, _, length, _, _ = _drafts(drafter, _volumes(seed, batch))
        for network in peers.values():
            _generate(network, batch, length, 2)
        ours: list[float] = []
        theirs: dict[str, list[float]] = {kind: [] for kind in peers}
        besides: list[float] = []
        for turn in range(turns):
            progress(f"generation: batch {batch}, turn {turn + 1} of {turns}")
            volumes = _volumes(seed + (turn + 1) * batch, batch)
            tokens, steps, length, whole, decoding = _drafts(drafter, volumes)
            ours.append(tokens / whole)
            besides.append(100 * (1 - decoding / whole))
            for kind, network in peers.items():
                theirs[kind].append(tokens / _generate(network, batch, length, steps))
        for kind, taken in theirs.items():
            rows.append(
                figure(
                    "generation",
                    f"tokens of whole drafts, {where}, batch {batch}",
                    "1/s",
                    ours,
                    taken,
                    f"transformers {release('transformers')} generate, {kind}, same decoder alone",
                )
            )
        rows.append(figure("generation", f"time that is not the decoder, batch {batch}", "%", besides))
    return rows


def _volumes(seed: int, count: int) -> list[Volume]:
    from training.phantoms import phantom

    return [phantom(seed + number).volume for number in range(count)]


def _drafts(drafter: VisionPrefixDrafter, volumes: list[Volume]) -> tuple[int, int, int, float, float]:
    """Draft a batch: tokens, steps, prompt length in positions, seconds of all, seconds in the decoder."""
    with _observed(drafter) as seen:
        began = time.perf_counter()
        drafts = drafter.draft_many(volumes, [CONTEXT] * len(volumes))
        whole = time.perf_counter() - began
    return sum(draft.tokens for draft in drafts), seen["steps"], seen["length"], whole, seen["seconds"]


@contextmanager
def _observed(drafter: VisionPrefixDrafter) -> Iterator[dict[str, Any]]:
    """Note what the decoder is asked for and how long it takes."""
    network: Any = drafter.language.network
    original: Callable[..., torch.Tensor] = network.generate
    seen: dict[str, Any] = {}

    def generate(**given: Any) -> torch.Tensor:
        began = time.perf_counter()
        rows = original(**given)
        seen["seconds"] = time.perf_counter() - began
        seen["steps"], seen["length"] = rows.shape[1], given["inputs_embeds"].shape[1]
        return rows

    network.generate = generate
    try:
        yield seen
    finally:
        del network.generate


def _plain(base: Path, kind: str, device: torch.device) -> Any:
    """The decoder as anybody loads it."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    return AutoModelForCausalLM.from_pretrained(
        str(base),
        dtype=torch.float32,
        quantization_config=nf4 if kind == "NF4" else None,
        device_map={"": str(device)},
        local_files_only=True,
    ).eval()


def _generate(network: Any, batch: int, length: int, steps: int) -> float:
    """Seconds of so many greedy steps after prompts of that many tokens, with the usual cache."""
    import torch

    generator = torch.Generator().manual_seed(5)
    prompts = torch.randint(8, network.config.vocab_size, (batch, length), generator=generator)
    prompts = prompts.to(network.device)
    with torch.inference_mode():
        began = time.perf_counter()
        network.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            do_sample=False,
            min_new_tokens=steps,
            max_new_tokens=steps,
            pad_token_id=0,
        )
        return time.perf_counter() - began
