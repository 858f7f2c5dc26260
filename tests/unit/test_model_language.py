"""The language half is truly 4-bit, truly adapted, and loads only what belongs together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from peft.tuners.lora import LoraLayer

from model.fusion.fused import Fused
from model.language.adapters import add_adapter
from model.language.asking import Asked
from model.language.base import load_base
from model.language.local import LocalWriter
from model.language.settings import LanguageSettings
from model.language.words import Words
from model.load import load_drafter
from model.study import WeightsError
from tests.model_folders import MAXIMUM_TOKENS, random_folder, rewrite_manifest
from training.package import LANGUAGE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_folder(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(scope="module")
def writer(folder: Path) -> LocalWriter:
    base_sha256 = json.loads((folder / "adapter" / "adapter_config.json").read_text())["revision"][7:]
    network = load_base(folder / "language", LANGUAGE, torch.device("cpu"))
    network = add_adapter(network, folder / "adapter", base_sha256)
    return LocalWriter(network, Words(folder / "language" / "tokenizer.json"))


def _projections(network: Any) -> list[Linear4bit]:
    return [module for module in network.modules() if isinstance(module, Linear4bit)]


def test_every_projection_lies_in_nf4_with_double_quantisation(writer: LocalWriter) -> None:
    """Seven projections a layer, each in NF4 with quantised scales, computing in what was named."""
    projections = _projections(writer.network)
    assert len(projections) == 2 * 7
    for projection in projections:
        assert projection.weight.dtype == torch.uint8
        assert projection.weight.quant_state.quant_type == "nf4"
        assert projection.weight.quant_state.nested
        assert projection.compute_dtype == torch.float32
        assert not projection.support_avx512bf16_for_cpu


def test_four_bit_weights_take_an_eighth_of_the_memory(folder: Path, writer: LocalWriter) -> None:
    """Two weights lie in one byte, against four bytes a weight."""
    plain = load_base(
        folder / "language",
        LanguageSettings("language", "adapter", "none", "float32", 8),
        torch.device("cpu"),
    )
    whole = sum(p.numel() * 4 for name, p in plain.named_parameters() if "_proj" in name)
    packed = sum(p.weight.numel() * p.weight.element_size() for p in _projections(writer.network))
    assert packed * 8 == whole


def test_the_adapter_acts_on_every_projection(writer: LocalWriter) -> None:
    """Without the adapter the same question has another answer."""
    assert sum(isinstance(m, LoraLayer) for m in writer.network.modules()) == 2 * 7
    adapted, bare = writer.write([_asked(0), _asked(0, adapter="")])
    assert adapted.ids != bare.ids


def test_writing_is_greedy_and_the_same_every_time(writer: LocalWriter) -> None:
    """The same question gives the same answer, whatever the state of the random generator."""
    torch.manual_seed(1)
    first = writer.write([_asked(0), _asked(1)])
    torch.manual_seed(2)
    assert writer.write([_asked(0), _asked(1)]) == first


def test_a_short_prompt_beside_a_long_one_changes_nothing(writer: LocalWriter) -> None:
    """Each gives the answer that it gives alone."""
    short, long = _asked(0), _asked(1, prompt=(8,) * 40)
    assert writer.write([short, long]) == [*writer.write([short]), *writer.write([long])]


def test_an_answer_is_never_longer_than_the_cap(writer: LocalWriter) -> None:
    """Random weights do not stop by themselves: the cap of the question does."""
    answer = writer.write([_asked(0)])[0]
    assert 0 < len(answer.ids) <= MAXIMUM_TOKENS


def test_a_writer_says_what_it_reads(writer: LocalWriter) -> None:
    """Width and place of its embeddings, and the tokens that start and end a text."""
    config: Any = writer.network.config
    assert (writer.width, writer.device) == (config.hidden_size, torch.device("cpu"))
    assert (writer.start, writer.ends) == (config.bos_token_id, (config.eos_token_id,))


def _asked(seed: int, prompt: tuple[int, ...] = (5, 6, 7), adapter: str = "default") -> Asked:
    prefix = torch.randn(1, 20, 64, generator=torch.Generator().manual_seed(seed))
    return Asked(prompt, Fused(prefix), adapter, maximum_tokens=MAXIMUM_TOKENS)


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    """Both parts are pinned and unaltered, and still do not belong together."""
    first, second = random_folder(tmp_path / "a", seed=1), random_folder(tmp_path / "b", seed=2)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (first / "adapter" / name).write_bytes((second / "adapter" / name).read_bytes())
    rewrite_manifest(first)
    with pytest.raises(WeightsError, match=r"adapter names base .* the base that it was trained on"):
        load_drafter(first)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"peft_type": "IA3"}, "expected a LoRA"), ({"revision": None}, "names base nothing")],
)
def test_an_adapter_that_names_no_base_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    """An adapter must be a LoRA and say what it was trained on."""
    folder = random_folder(tmp_path / "m")
    path = folder / "adapter" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    rewrite_manifest(folder)
    with pytest.raises(WeightsError, match=words):
        load_drafter(folder)


def test_a_base_of_another_architecture_is_refused(tmp_path: Path) -> None:
    """Only the Llama architecture is loaded."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(WeightsError, match="Llama architecture, found gpt2"):
        load_base(tmp_path, LANGUAGE, torch.device("cpu"))


def test_a_base_without_safetensors_is_refused(folder: Path, tmp_path: Path) -> None:
    """A configuration alone is no base, and nothing is looked for on a network."""
    (tmp_path / "config.json").write_bytes((folder / "language" / "config.json").read_bytes())
    with pytest.raises(WeightsError, match="safetensors"):
        load_base(tmp_path, LANGUAGE, torch.device("cpu"))


@pytest.mark.parametrize(
    "change",
    [
        {"quantisation": "fp4"},
        {"compute_dtype": "int8"},
        {"maximum_tokens": 0},
        {"maximum_tokens": 4097},
        {"base": None, "adapter": None, "maximum_tokens": None},
    ],
)
def test_language_settings_that_make_no_sense_are_refused(change: dict[str, Any]) -> None:
    """They are refused before anything loads."""
    with pytest.raises(WeightsError, match="language"):
        LanguageSettings.from_json({**LANGUAGE.to_json(), **change})


@pytest.mark.parametrize("tokens", [1, 4096])
def test_the_limits_of_an_answer_s_length_are_allowed(tokens: int) -> None:
    """One token and 4096 are the ends of what may be asked for."""
    settings = LanguageSettings.from_json({**LANGUAGE.to_json(), "maximum_tokens": tokens})
    assert settings.maximum_tokens == tokens
