"""Tokens a second of drafting, against plain `generate` of transformers on the same decoder.

The peer loads the decoder's base from the same folder, in fp32 and in 4-bit NF4, without our code and without
the adapter. It runs as many steps as the longest of our answers, on prompts as long as ours are in the mean,
and is credited with the same tokens: those that the drafts were made of, without padding.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.load import SHIPPED_WEIGHTS, load_drafter
from model.study import ClinicalContext, Volume, WeightsError
from tests.benchmarks.machine import release
from tests.benchmarks.table import Progress, Row, figure, skipped

if TYPE_CHECKING:
    import torch

    from model.language.asking import Answer, Asked, Writer

BATCHES = (1, 16)
TURNS = 3
"""Each batch size is measured this often, each time on other phantoms."""
FIRST_SEED = 95_000_000
"""Phantoms from here are in no training and no evaluation."""
CONTEXT = ClinicalContext(procedure="CT Chest", clinical_question="Effusion?", modality="CT")
GOAL = "≥ 1.5"
"""Tokens a second, over those of the peer's decoder alone: of ours alone, and of whole drafts."""


@dataclass(slots=True)
class Observed:
    """What the language half was asked, and how long it took."""

    seconds: float = 0.0
    steps: int = 0
    """Tokens of the longest answer, with the one that ends it."""
    lengths: list[int] = field(default_factory=list)
    """Places before each answer: start token, image, prompt."""
    tokens: int = 0

    @property
    def length(self) -> int:
        """Of the mean prompt."""
        return round(sum(self.lengths) / max(1, len(self.lengths)))


def run(
    model: Path = SHIPPED_WEIGHTS,
    batches: tuple[int, ...] = BATCHES,
    turns: int = TURNS,
    progress: Progress = print,
) -> list[Row]:
    """Rows for each batch size and each peer, and the share of a draft that is not the decoder; then those
    of the exact shape of Llama 3 8B where there is a GPU."""
    if not release("torch"):
        return [skipped("generation", "torch is not installed: pip install -e '.[bench]'")]
    try:
        drafter: Any = load_drafter(model)
    except WeightsError as error:
        return [skipped("generation", f"no weights that can be loaded in {model.name}: {error}")]
    if not hasattr(drafter, "writer") or not hasattr(drafter.writer, "network"):
        return [skipped("generation", f"{model.name} has no decoder in this process")]
    rows = _rows(drafter, base_folder(model), batches, turns, progress)
    from tests.benchmarks.large_generation import large_rows

    return rows + large_rows(batches, turns, progress)


def base_folder(model: Path) -> Path:
    """Where the language base of a model folder lies."""
    from model.language.settings import LanguageSettings
    from model.manifest import read_manifest

    return model / LanguageSettings.from_json(read_manifest(model).part("language")).base


def _rows(drafter: Any, base: Path, batches: tuple[int, ...], turns: int, progress: Progress) -> list[Row]:
    device = drafter.writer.device
    peers = {kind: plain_network(base, kind, device) for kind in ("fp32", "NF4")}
    where = "GPU" if device.type == "cuda" else "CPU"
    rows: list[Row] = []
    for batch in batches:
        # Kernels, caches, grammars and lazy imports settle before anything is timed.
        seen, _ = _drafts(drafter, _volumes(FIRST_SEED, batch))
        for network in peers.values():
            generate_seconds(network, batch, seen.length, 2)
        ours: list[float] = []
        decoder: list[float] = []
        besides: list[float] = []
        theirs: dict[str, list[float]] = {kind: [] for kind in peers}
        for turn in range(turns):
            progress(f"generation: batch {batch}, turn {turn + 1} of {turns}")
            seen, whole = _drafts(drafter, _volumes(FIRST_SEED + (turn + 1) * batch, batch))
            ours.append(seen.tokens / whole)
            decoder.append(seen.tokens / seen.seconds)
            besides.append(100 * (1 - seen.seconds / whole))
            for kind, network in peers.items():
                theirs[kind].append(seen.tokens / generate_seconds(network, batch, seen.length, seen.steps))
        for kind, taken in theirs.items():
            peer = f"transformers {release('transformers')} generate, {kind}, same decoder alone"
            whole_drafts = f"tokens of whole drafts, {where}, batch {batch}"
            alone = f"tokens of the decoder alone, {where}, batch {batch}"
            rows.append(figure("generation", whole_drafts, "1/s", ours, taken, peer, goal=GOAL))
            rows.append(figure("generation", alone, "1/s", decoder, taken, peer, goal=GOAL))
        rows.append(figure("generation", f"time that is not the decoder, batch {batch}", "%", besides))
    return rows


def _volumes(seed: int, count: int) -> list[Volume]:
    from training.phantoms import phantom

    return [phantom(seed + number).volume for number in range(count)]


def _drafts(drafter: Any, volumes: list[Volume]) -> tuple[Observed, float]:
    """Draft a batch: what the decoder did, and the seconds of all."""
    with observed(drafter.writer) as seen:
        began = time.perf_counter()
        # Watched, a batch holds phantoms too of which the drafter would abstain.
        drafter.watch_many(volumes, [CONTEXT] * len(volumes))
        whole = time.perf_counter() - began
    return seen, whole


@contextmanager
def observed(writer: Writer) -> Iterator[Observed]:
    """Note what a writer is asked for and how long it takes; several calls add up."""
    watched: Any = writer
    original = watched.write
    seen = Observed()

    def write(asked: Sequence[Asked]) -> list[Answer]:
        began = time.perf_counter()
        answers: list[Answer] = original(asked)
        seen.seconds += time.perf_counter() - began
        seen.tokens += sum(len(answer.ids) for answer in answers)
        # One more for the token that ends an answer: the decoder writes it too.
        seen.steps = max([seen.steps, *(len(answer.ids) + 1 for answer in answers)])
        seen.lengths += [1 + _places(one) + len(one.prompt) for one in asked]
        return answers

    watched.write = write
    try:
        yield seen
    finally:
        del watched.write


def _places(asked: Asked) -> int:
    """Places that the image takes in what the decoder reads."""
    return 0 if asked.fused is None else int(asked.fused.prefix.shape[1])


def plain_network(base: Path, kind: str, device: torch.device, compute: str = "float32") -> Any:
    """The decoder as anybody loads it: kind is fp32 (anything but NF4: unquantised) or NF4."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    dtype = getattr(torch, compute)
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return AutoModelForCausalLM.from_pretrained(
        str(base),
        dtype=dtype,
        quantization_config=nf4 if kind == "NF4" else None,
        device_map={"": str(device)},
        local_files_only=True,
    ).eval()


def generate_seconds(network: Any, batch: int, length: int, steps: int) -> float:
    """Seconds of so many greedy steps after prompts of that many tokens, with the usual cache."""
    import torch

    generator = torch.Generator().manual_seed(5)
    prompts = torch.randint(8, network.config.vocab_size, (batch, length), generator=generator)
    prompts = prompts.to(network.device)
    on_gpu = network.device.type == "cuda"
    with torch.inference_mode():
        if on_gpu:
            torch.cuda.synchronize()
        began = time.perf_counter()
        network.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            do_sample=False,
            min_new_tokens=steps,
            max_new_tokens=steps,
            pad_token_id=0,
        )
        if on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter() - began
