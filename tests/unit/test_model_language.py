"""The language half is truly 4-bit, truly adapted, and loads only what belongs together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from peft.tuners.lora import LoraLayer

from model.drafter import VisionPrefixDrafter
from model.language.base import load_base
from model.language.local import LanguageModel
from model.language.settings import LanguageSettings
from model.load import load_drafter
from model.study import WeightsError
from tests.model_folders import MAXIMUM_TOKENS, random_folder, rewrite_manifest
from training.package import LANGUAGE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_folder(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(scope="module")
def language(folder: Path) -> LanguageModel:
    drafter = load_drafter(folder)
    assert isinstance(drafter, VisionPrefixDrafter)
    return drafter.language


def _projections(network: Any) -> list[Linear4bit]:
    return [module for module in network.modules() if isinstance(module, Linear4bit)]


def test_every_projection_lies_in_nf4_with_double_quantisation(language: LanguageModel) -> None:
    """Seven projections a layer, each in NF4 with quantised scales, computing in what was named."""
    projections = _projections(language.network)
    assert len(projections) == 2 * 7
    for projection in projections:
        assert projection.weight.dtype == torch.uint8
        assert projection.weight.quant_state.quant_type == "nf4"
        assert projection.weight.quant_state.nested
        assert projection.compute_dtype == torch.float32
        assert not projection.support_avx512bf16_for_cpu


def test_four_bit_weights_take_an_eighth_of_the_memory(folder: Path, language: LanguageModel) -> None:
    """Two weights lie in one byte, against four bytes a weight."""
    plain = load_base(
        folder / "language",
        LanguageSettings("language", "adapter", "none", "float32", 8),
        torch.device("cpu"),
    )
    whole = sum(p.numel() * 4 for name, p in plain.named_parameters() if "_proj" in name)
    packed = sum(p.weight.numel() * p.weight.element_size() for p in _projections(language.network))
    assert packed * 8 == whole


def test_the_adapter_acts_on_every_projection(language: LanguageModel) -> None:
    """With the adapter switched off the same input gives other logits."""
    assert sum(isinstance(m, LoraLayer) for m in language.network.modules()) == 2 * 7
    embedded, mask = language.inputs(torch.randn(1, 20, language.width), [[5, 6, 7]])
    network: Any = language.network
    with torch.inference_mode():
        adapted = network(inputs_embeds=embedded, attention_mask=mask).logits
        with network.disable_adapter():
            bare = network(inputs_embeds=embedded, attention_mask=mask).logits
    assert not torch.allclose(adapted, bare, atol=1e-3)


def test_generation_is_greedy_and_the_same_every_time(language: LanguageModel) -> None:
    """The same prefix and prompt give the same tokens, whatever the state of the random generator."""
    prefix = torch.randn(2, 20, language.width, generator=torch.Generator().manual_seed(1))
    prompts = [[5, 6, 7], [8]]
    torch.manual_seed(1)
    first = language.generate(prefix, prompts)
    torch.manual_seed(2)
    assert language.generate(prefix, prompts) == first


def test_padding_on_the_left_changes_nothing(language: LanguageModel) -> None:
    """A short prompt beside a long one gives the tokens that it gives alone."""
    prefix = torch.randn(2, 20, language.width, generator=torch.Generator().manual_seed(1))
    together = language.generate(prefix, [[5, 6, 7], [8] * 40])
    assert together[0] == language.generate(prefix[:1], [[5, 6, 7]])[0]
    assert together[1] == language.generate(prefix[1:], [[8] * 40])[0]


def test_an_answer_is_never_longer_than_the_cap(language: LanguageModel) -> None:
    """Random weights do not stop by themselves: the cap of drafter.json does."""
    answers = language.generate(torch.zeros(1, 20, language.width), [[5]])
    assert 0 < len(answers[0]) <= MAXIMUM_TOKENS


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
