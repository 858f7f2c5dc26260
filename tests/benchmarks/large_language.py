"""Random weights of the shape of Llama 3 8B Instruct, written shard by shard, loaded in NF4 and run.

    python -m tests.benchmarks.large_language --layers 32 --tokens 64

Speed and memory do not hang on what the weights are. Making them takes as much memory as one layer, or as
the table of embeddings, which is larger.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import LlamaConfig

START, ENDS = 128000, [128001, 128009]
GIB = 1024**3


def llama3_config(layers: int = 32, narrower: int = 1) -> LlamaConfig:
    """As config.json of Meta-Llama-3-8B-Instruct has it; narrower divides the widths and nothing else."""
    return LlamaConfig(
        vocab_size=128256,
        hidden_size=4096 // narrower,
        intermediate_size=14336 // narrower,
        num_hidden_layers=layers,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        tie_word_embeddings=False,
        bos_token_id=START,
        eos_token_id=ENDS,
        dtype="bfloat16",
        architectures=["LlamaForCausalLM"],
    )


def make_folder(folder: Path, layers: int = 32, narrower: int = 1, seed: int = 0) -> Path:
    """Write config.json, shards and their index; returns the folder. Memory does not grow with the layers."""
    config = llama3_config(layers, narrower)
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    where: dict[str, str] = {}
    total = 0
    shards = layers + 2
    for number, shapes in enumerate(_shards(config), start=1):
        name = f"model-{number:05d}-of-{shards:05d}.safetensors"
        tensors = {tensor: _random(shape, config, generator) for tensor, shape in shapes.items()}
        save_file(tensors, folder / name, metadata={"format": "pt"})
        total += sum(one.numel() * one.element_size() for one in tensors.values())
        where |= dict.fromkeys(shapes, name)
        del tensors
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
    (folder / "config.json").write_text(config.to_json_string(use_diff=False), encoding="utf-8")
    return folder


def _shards(config: LlamaConfig) -> Iterator[dict[str, tuple[int, ...]]]:
    """Shapes of the tensors of each file: the table, every layer, and the head with the norm."""
    width, inner = int(config.hidden_size), int(config.intermediate_size)
    size = width // int(config.num_attention_heads)
    keys = size * int(config.num_key_value_heads)
    yield {"model.embed_tokens.weight": (int(config.vocab_size), width)}
    for layer in range(int(config.num_hidden_layers)):
        name = f"model.layers.{layer}"
        yield {
            f"{name}.self_attn.q_proj.weight": (width, width),
            f"{name}.self_attn.k_proj.weight": (keys, width),
            f"{name}.self_attn.v_proj.weight": (keys, width),
            f"{name}.self_attn.o_proj.weight": (width, width),
            f"{name}.mlp.gate_proj.weight": (inner, width),
            f"{name}.mlp.up_proj.weight": (inner, width),
            f"{name}.mlp.down_proj.weight": (width, inner),
            f"{name}.input_layernorm.weight": (width,),
            f"{name}.post_attention_layernorm.weight": (width,),
        }
    yield {"model.norm.weight": (width,), "lm_head.weight": (int(config.vocab_size), width)}


def _random(shape: tuple[int, ...], config: LlamaConfig, generator: torch.Generator) -> Tensor:
    if len(shape) == 1:
        return torch.ones(shape, dtype=torch.bfloat16)
    tensor = torch.empty(shape, dtype=torch.bfloat16)
    return tensor.normal_(std=float(config.initializer_range), generator=generator)


def main() -> None:
    """Make the folder, load it in NF4 and write; one JSON document on standard output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=32, help="decoder layers; the 8 B model has 32")
    parser.add_argument("--narrower", type=int, default=1, help="divide the widths by this")
    parser.add_argument("--tokens", type=int, default=64, help="tokens to write")
    parser.add_argument("--prompt", type=int, default=128, help="tokens to read first")
    parser.add_argument("--batch", type=int, default=1, help="answers at once")
    parser.add_argument("--folder", type=Path, help="where the weights lie or will lie; kept afterwards")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="prelim-llama-") as temporary:
        folder = chosen.folder or Path(temporary)
        if not (folder / "config.json").exists():
            make_folder(folder, chosen.layers, chosen.narrower)
        print(json.dumps(measure(folder, chosen.prompt, chosen.tokens, chosen.batch), indent=2))


def measure(folder: Path, prompt: int, tokens: int, batch: int) -> dict[str, float | str]:
    """Load a base in NF4 with double quantisation, write, and tell seconds, tokens a second and GiB."""
    from model.language.asking import Asked
    from model.language.base import load_base
    from model.language.local import LocalWriter
    from model.language.settings import LanguageSettings
    from model.language.words import Words
    from tests.decoding_samples import words

    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    started = time.perf_counter()
    settings = LanguageSettings("base", {}, "nf4", "bfloat16", tokens)
    network = load_base(folder, settings, device)
    loaded = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as temporary:
        known: Words = words(Path(temporary))
    writer = LocalWriter(network, known, slots=batch)
    source = torch.Generator().manual_seed(0)
    prompts = torch.randint(3, 400, (batch, prompt), generator=source).tolist()
    writer.write([Asked(tuple(prompts[0]), maximum_tokens=2)])
    started = time.perf_counter()
    answers = writer.write([Asked(tuple(one), maximum_tokens=tokens) for one in prompts])
    seconds = time.perf_counter() - started
    written = sum(len(answer.ids) for answer in answers)
    return {
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "load_seconds": round(loaded, 2),
        "tokens": written,
        "tokens_per_second": round(written / seconds, 2),
        "peak_memory_gib": round(_peak(gpu) / GIB, 2),
    }


def _peak(gpu: bool) -> int:
    """Bytes of the GPU's memory, or of the process where there is none."""
    if gpu:
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
