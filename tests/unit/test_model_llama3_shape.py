"""The folder that stands for Llama 3 8B has its weights, and is written and read within bounds."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from model.fusion.fused import Fused
from model.language.asking import Asked
from model.language.base import INDEX, load_base
from model.language.local import LocalWriter
from model.language.settings import LanguageSettings
from tests.benchmarks import large_language
from tests.benchmarks.large_language import ENDS, START, llama3_config, make_folder
from tests.decoding_samples import words

NARROWER = 16
SETTINGS = LanguageSettings("language", {"report": {"*": "adapter"}}, "nf4", "float32", 16)

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("llama3"), layers=1, narrower=NARROWER)


def test_it_has_the_weights_of_llama_3_8b() -> None:
    """As many as were published: 8.03 billion."""
    shapes = [shape for file in large_language._shards(llama3_config()) for shape in file.values()]
    assert sum(map(math.prod, shapes)) == 8_030_261_248


def test_no_file_holds_more_than_a_layer_or_a_table(base: Path) -> None:
    """So much memory it takes to write it, at any depth; the index names every tensor of every file."""
    places = json.loads((base / INDEX).read_text())["weight_map"]
    found: dict[str, str] = {}
    for path in sorted(base.glob("*.safetensors")):
        with safe_open(path, framework="pt") as stored:
            found |= dict.fromkeys(stored.keys(), path.name)
            layers = {key.split(".")[2] for key in stored.keys() if ".layers." in key}  # noqa: SIM118
            tables = [key for key in stored.keys() if "embed" in key or "head" in key]  # noqa: SIM118
            assert len(layers) + len(tables) == 1
    assert found == places


def test_it_writes_to_an_image_within_a_grammar(base: Path, tmp_path: Path) -> None:
    """In NF4, with the start and the two ends of Llama 3, and the same every time."""
    writer = LocalWriter(load_base(base, SETTINGS, torch.device("cpu")), words(tmp_path))
    width = 4096 // NARROWER
    assert (writer.start, writer.ends, writer.width) == (START, tuple(ENDS), width)
    image = Fused(0.02 * torch.randn(1, 12, width, generator=torch.Generator().manual_seed(1)))
    asked = Asked(tuple(range(40, 60)), image, "", 'root ::= [a-z]{3,6} "."', 16)
    (answer,) = writer.write([asked])
    assert answer.complete
    assert answer.text.endswith(".")
    assert 4 <= len(answer.text) <= 7
    assert writer.write([asked]) == [answer]
