"""Rows of the exact shape of Llama 3 8B in NF4 on a GPU. Weights are random: speed does not depend on them.

Each step reads every weight once: bytes of weights over the measured bandwidth of a copy is the time that a
step takes at least, whoever writes the code. vLLM is measured beside it where it can be imported.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.bench_generation import generate_seconds, plain_network
from tests.benchmarks.machine import release
from tests.benchmarks.table import Progress, Row, figure, skipped

PROMPT = 320
"""Tokens before an answer: those of an order with its image."""
TOKENS = 128
GIB = 1024**3
SHAPE = "Llama 3 8B shape, NF4, GPU"


def large_rows(batches: tuple[int, ...], turns: int, progress: Progress) -> list[Row]:
    """Tokens a second against `generate` and the limit of the memory, and peak memory, by batch size."""
    import torch

    if not torch.cuda.is_available():
        return [skipped("generation", f"{SHAPE}: there is no GPU")]
    free, _ = torch.cuda.mem_get_info()
    if free < 12 * GIB:
        return [skipped("generation", f"{SHAPE}: expected 12 GiB of free memory, found {free / GIB:.1f}")]
    from tests.benchmarks.large_language import make_folder

    with tempfile.TemporaryDirectory(prefix="prelim-llama-") as name:
        progress("generation: making random weights of the shape of Llama 3 8B")
        base = make_folder(Path(name), layers=32)
        rows = _ours(base, batches, turns, progress)
        # The network is gone with its function: what it held is free for the next.
        torch.cuda.empty_cache()
        ours = {row["what"]: row["ours"] or 0.0 for row in rows}
        return rows + _served(base, batches, turns, ours, progress)


def _ours(base: Path, batches: tuple[int, ...], turns: int, progress: Progress) -> list[Row]:
    import torch

    from model.language.asking import Asked
    from model.language.local import LocalWriter
    from model.language.words import Words
    from training.tokenizer import train_tokenizer

    network = plain_network(base, "NF4", torch.device("cuda"), "bfloat16")
    tokenizer = base / "small" / "tokenizer.json"
    train_tokenizer(512, 0, tokenizer, texts=100)
    writer = LocalWriter(network, Words(tokenizer), slots=max(batches))
    limit = copy_bandwidth() / step_bytes(network)
    rows: list[Row] = []
    for batch in batches:
        generator = torch.Generator().manual_seed(batch)
        prompts = torch.randint(8, 500, (batch, PROMPT), generator=generator).tolist()
        asked = [Asked(tuple(prompt), maximum_tokens=TOKENS) for prompt in prompts]
        writer.write(asked[:1])
        generate_seconds(network, batch, PROMPT, 2)
        torch.cuda.reset_peak_memory_stats()
        ours: list[float] = []
        for turn in range(turns):
            progress(f"generation: {SHAPE}, batch {batch}, turn {turn + 1} of {turns}")
            seconds, answers = _timed(partial(writer.write, asked))
            ours.append(sum(len(answer.ids) for answer in answers) / seconds)
        peak = torch.cuda.max_memory_allocated() / GIB
        theirs = [batch * TOKENS / generate_seconds(network, batch, PROMPT, TOKENS) for _ in range(turns)]
        what = f"tokens, {SHAPE}, batch {batch}"
        peer = f"transformers {release('transformers')} generate, NF4"
        rows += [
            figure("generation", f"peak memory, {SHAPE}, batch {batch}", "GiB", [peak]),
            figure("generation", what, "1/s", ours, [batch * limit], "limit of the memory's bandwidth"),
            figure("generation", what, "1/s", ours, theirs, peer),
        ]
    return rows


def step_bytes(network: Any) -> int:
    """Bytes of weights that one step reads: all but the embedding table, of which it reads a row."""
    table = network.get_input_embeddings().weight
    total = sum(p.numel() * p.element_size() for p in network.parameters())
    tied = network.get_output_embeddings().weight is table
    return int(total if tied else total - table.numel() * table.element_size())


def copy_bandwidth(bytes_copied: int = 2 * GIB) -> float:
    """Bytes a second that the GPU's memory reads and writes in a copy, the best of five."""
    import torch

    source = torch.empty(bytes_copied, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    best = min(_timed(partial(target.copy_, source))[0] for _ in range(5))
    return 2 * bytes_copied / best


def _served(
    base: Path, batches: tuple[int, ...], turns: int, ours: dict[str, float], progress: Progress
) -> list[Row]:
    """vLLM in this process on the same folder, quantised by bitsandbytes as well."""
    if not release("vllm"):
        return [skipped("generation", f"{SHAPE}: vLLM is not installed")]
    import vllm

    engine = vllm.LLM(
        str(base),
        quantization="bitsandbytes",
        dtype="bfloat16",
        skip_tokenizer_init=True,
        enable_prefix_caching=False,
        max_model_len=PROMPT + TOKENS + 8,
    )
    wanted = vllm.SamplingParams(
        temperature=0, max_tokens=TOKENS, min_tokens=TOKENS, ignore_eos=True, detokenize=False
    )
    rows = []
    for batch in batches:
        progress(f"generation: vLLM, batch {batch}")
        prompts = [{"prompt_token_ids": [8 + (i + n) % 1000 for i in range(PROMPT)]} for n in range(batch)]
        engine.generate(prompts[:1], wanted, use_tqdm=False)
        taken = [
            batch * TOKENS / _timed(partial(engine.generate, prompts, wanted, use_tqdm=False))[0]
            for _ in range(turns)
        ]
        what = f"tokens, {SHAPE}, batch {batch}"
        rows.append(figure("generation", what, "1/s", [ours[what]], taken, f"vLLM {release('vllm')}, NF4"))
    return rows


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds until the GPU is done, and what came out."""
    import torch

    torch.cuda.synchronize()
    began = time.perf_counter()
    result = work()
    torch.cuda.synchronize()
    return time.perf_counter() - began, result
