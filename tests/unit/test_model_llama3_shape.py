"""The shape of Llama 3 8B goes through the code that serves, at a depth and width that a test can pay for."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from safetensors import safe_open

from model.fusion.fused import Fused
from model.language.asking import Asked
from model.language.base import load_base, read_config
from model.language.local import LocalWriter
from model.language.settings import LanguageSettings
from tests.benchmarks import large_language
from tests.benchmarks.large_language import INDEX, llama3_config, make_folder
from tests.decoding_samples import words

SMALL = llama3_config(layers=1, hidden=512, heads=4, shared=1, intermediate=1792, vocabulary=128256 // 8)
"""An eighth of the width: heads as wide as in the original, four of queries to one of keys."""
PLAIN = LanguageSettings("language", {"report": {"*": "adapter"}}, "nf4", "float32", 8)

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("llama3") / "language", config=SMALL)


def test_the_exact_shape_is_that_of_llama_3_8b() -> None:
    """Its published configuration, and so its 8.03 billion weights."""
    config = llama3_config()
    assert (config.hidden_size, config.num_hidden_layers, config.intermediate_size) == (4096, 32, 14336)
    assert (config.num_attention_heads, config.num_key_value_heads, config.head_dim) == (32, 8, 128)
    assert (config.vocab_size, config.max_position_embeddings) == (128256, 8192)
    assert (config.bos_token_id, config.eos_token_id) == (128000, [128001, 128009])
    assert config.rope_parameters == {"rope_type": "default", "rope_theta": 500000.0}
    tensors = [shape for shard in large_language.shards(config) for shape in shard.values()]
    assert sum(map(math.prod, tensors)) == 8_030_261_248


def test_every_shard_lies_in_its_own_file(base: Path) -> None:
    """The index names every tensor of every file, and no file holds more than a layer or a table."""
    places = json.loads((base / INDEX).read_text())["weight_map"]
    files = sorted(base.glob("*.safetensors"))
    assert len(files) == SMALL.num_hidden_layers + 2
    found = {}
    for path in files:
        with safe_open(path, framework="pt") as stored:
            found |= dict.fromkeys(stored.keys(), path.name)
    assert found == places
    table = SMALL.vocab_size * SMALL.hidden_size * 2
    assert max(path.stat().st_size for path in files) < table + 4096


def test_it_loads_in_four_bit_and_writes(base: Path, tmp_path: Path) -> None:
    """From its shards: seven projections in NF4, and an answer to an image under a grammar."""
    network = load_base(base, PLAIN, torch.device("cpu"))
    assert sum(isinstance(module, Linear4bit) for module in network.modules()) == 7
    writer = LocalWriter(network, words(tmp_path))
    special = SMALL.vocab_size - 256
    assert (writer.start, writer.ends, writer.width) == (special, (special + 1, special + 9), 512)
    image = Fused(0.02 * torch.randn(1, 12, 512, generator=torch.Generator().manual_seed(1)))
    prompt = tuple(range(40, 60))
    grammar = 'root ::= [a-z]{3,6} "." "\\n"'
    held, free = writer.write([Asked(prompt, image, "", grammar, 16), Asked(prompt, image, "", "", 6)])
    assert held.complete
    assert held.text.endswith(".\n")
    assert 0 < len(free.ids) <= 6
    assert all(token < 420 for token in free.ids), "a token without text was written"
    assert writer.write([Asked(prompt, image, "", "", 6)]) == [free]


def test_the_rope_of_another_llama_gives_another_answer(base: Path) -> None:
    """What config.json says of the rope is what the network turns by."""
    assert read_config(base).rope_parameters["rope_theta"] == 500000.0
    network = load_base(base, PLAIN, torch.device("cpu"))
    inverse = network.model.rotary_emb.inv_freq
    torch.testing.assert_close(inverse, 500000.0 ** (-torch.arange(0, 128, 2) / 128))
