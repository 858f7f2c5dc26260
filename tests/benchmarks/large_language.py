"""A base of the exact shape of Llama 3 8B with random weights, written shard by shard in bounded memory."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import LlamaConfig

HEAD = 128
"""Width of one head, at any width of the model."""
INDEX = "model.safetensors.index.json"


def llama3_config(
    layers: int = 32,
    hidden: int = 4096,
    heads: int = 32,
    shared: int = 8,
    intermediate: int = 14336,
    vocabulary: int = 128256,
) -> LlamaConfig:
    """The configuration of Llama 3 8B Instruct; smaller ones keep its rope, norms, limits and special tokens.

    shared is the number of heads of keys and values. Special tokens are the last 256 of the vocabulary.
    """
    from transformers import LlamaConfig

    special = vocabulary - 256
    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=shared,
        head_dim=HEAD,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        tie_word_embeddings=False,
        bos_token_id=special,
        eos_token_id=[special + 1, special + 9],
        dtype="bfloat16",
    )


def make_folder(folder: Path, layers: int = 32, config: LlamaConfig | None = None, seed: int = 0) -> Path:
    """Write config.json and bfloat16 safetensors with their index into a folder, and return it.

    No more than one shard is in memory: a layer, or one table of embeddings. The same seed gives the same
    weights. config stands in for the exact shape, and its own number of layers then counts.
    """
    import torch
    from safetensors.torch import save_file

    config = llama3_config(layers) if config is None else config
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    generator = torch.Generator().manual_seed(seed)
    files = list(shards(config))
    places: dict[str, str] = {}
    total = 0
    for number, shapes in enumerate(files, start=1):
        name = f"model-{number:05d}-of-{len(files):05d}.safetensors"
        tensors = {key: _random(shape, generator) for key, shape in shapes.items()}
        save_file(tensors, folder / name, metadata={"format": "pt"})
        places |= dict.fromkeys(tensors, name)
        total += sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return folder


def shards(config: LlamaConfig) -> Iterator[dict[str, tuple[int, ...]]]:
    """Names and shapes of what lies in one file: the embeddings, each layer, the norm and the head."""
    width, inner = config.hidden_size, config.intermediate_size
    queries, keys = config.num_attention_heads * HEAD, config.num_key_value_heads * HEAD
    yield {"model.embed_tokens.weight": (config.vocab_size, width)}
    for layer in range(config.num_hidden_layers):
        prefix = f"model.layers.{layer}"
        yield {
            f"{prefix}.input_layernorm.weight": (width,),
            f"{prefix}.self_attn.q_proj.weight": (queries, width),
            f"{prefix}.self_attn.k_proj.weight": (keys, width),
            f"{prefix}.self_attn.v_proj.weight": (keys, width),
            f"{prefix}.self_attn.o_proj.weight": (width, queries),
            f"{prefix}.post_attention_layernorm.weight": (width,),
            f"{prefix}.mlp.gate_proj.weight": (inner, width),
            f"{prefix}.mlp.up_proj.weight": (inner, width),
            f"{prefix}.mlp.down_proj.weight": (width, inner),
        }
    yield {"model.norm.weight": (width,), "lm_head.weight": (config.vocab_size, width)}


def _random(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    import torch

    made = torch.empty(shape, dtype=torch.bfloat16)
    if len(shape) == 1:  # a norm
        return made.fill_(1)
    # Drawn a few rows at a time: on a CPU a narrow type is drawn through one of full width.
    rows = max(1, (1 << 22) // shape[1])
    for start in range(0, shape[0], rows):
        made[start : start + rows].normal_(std=0.02, generator=generator)
    return made


def main() -> None:
    """Write a folder: python -m tests.benchmarks.large_language FOLDER --layers 32."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=32)
    arguments = parser.parse_args()
    print(make_folder(arguments.folder, arguments.layers))


if __name__ == "__main__":
    main()
