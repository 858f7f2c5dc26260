"""The language half is truly 4-bit, loads only what belongs together, and says what it can write."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from hypothesis import given
from hypothesis import strategies as st

from model.language.base import INDEX, WEIGHTS, check_weights, load_base, read_config
from model.language.local import LocalWriter
from model.language.settings import LanguageSettings, ServerSettings
from model.language.words import Words
from model.study import Unfit, WeightsError
from tests.benchmarks.large_language import llama3_config, make_folder
from tests.decoding_samples import llama, words

CPU = torch.device("cpu")
ADAPTERS = {"report": {"en": "adapters/report-en", "de": "adapters/report-de"}, "conclusion": {"*": "c"}}
SETTINGS = LanguageSettings("language", ADAPTERS, "nf4", "float32", 192)
PLAIN = LanguageSettings("language", ADAPTERS, "none", "float32", 192)
IDS = torch.tensor([[0, 5, 6, 7]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("base")
    network: Any = llama(rope="llama3")
    network.save_pretrained(made)
    return made


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Words:
    return words(tmp_path_factory.mktemp("words"))


def _projections(network: Any) -> list[Linear4bit]:
    return [module for module in network.modules() if isinstance(module, Linear4bit)]


def test_every_projection_lies_in_nf4_with_double_quantisation(folder: Path) -> None:
    """Seven projections a layer, each in NF4 with quantised scales, computing in what was named."""
    projections = _projections(load_base(folder, SETTINGS, CPU))
    assert len(projections) == 3 * 7
    for projection in projections:
        assert projection.weight.dtype == torch.uint8
        assert projection.weight.quant_state.quant_type == "nf4"
        assert projection.weight.quant_state.nested
        assert projection.compute_dtype == torch.float32
        assert not projection.support_avx512bf16_for_cpu


def test_four_bit_weights_take_an_eighth_of_the_memory(folder: Path) -> None:
    """Two weights lie in one byte, against four bytes a weight."""
    plain: Any = load_base(folder, PLAIN, CPU)
    whole = sum(p.numel() * 4 for name, p in plain.named_parameters() if "_proj" in name)
    four = _projections(load_base(folder, SETTINGS, CPU))
    assert sum(p.weight.numel() * p.weight.element_size() for p in four) * 8 == whole


def test_a_base_in_shards_is_the_base_in_one_file(folder: Path, tmp_path: Path) -> None:
    """However its tensors are spread over files, it gives the same numbers."""
    whole: Any = load_base(folder, PLAIN, CPU)
    whole.save_pretrained(tmp_path, max_shard_size="60KB")
    assert len(check_weights(tmp_path)) > 1
    assert check_weights(folder) == (folder / WEIGHTS,)
    shards: Any = load_base(tmp_path, PLAIN, CPU)
    with torch.inference_mode():
        assert torch.equal(whole(input_ids=IDS).logits, shards(input_ids=IDS).logits)


def test_positions_turn_as_llama_3_turns_them(folder: Path) -> None:
    """Slow turns are slowed by the factor, fast ones are kept, and those between are mixed."""
    network: Any = load_base(folder, PLAIN, CPU)
    found = network.model.rotary_emb.inv_freq
    for pair, rate in enumerate(found.tolist()):
        plain = 10000.0 ** (-2 * pair / 16)
        turns = 64 / (2 * math.pi / plain)
        share = min(1.0, max(0.0, (turns - 1.0) / (4.0 - 1.0)))
        assert math.isclose(rate, share * plain + (1 - share) * plain / 8.0, rel_tol=1e-5)


def _config_of(folder: Path, target: Path, **changes: Any) -> None:
    document = json.loads((folder / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**document, **changes}))


@pytest.mark.parametrize("kind", ["gpt2", "mistral", None])
def test_a_base_of_another_architecture_is_refused(folder: Path, tmp_path: Path, kind: str | None) -> None:
    """Only the Llama architecture is loaded."""
    _config_of(folder, tmp_path, model_type=kind)
    for load in (read_config, lambda path: load_base(path, SETTINGS, CPU)):
        with pytest.raises(WeightsError, match=f"Llama architecture, found {kind}"):
            load(tmp_path)


def test_a_folder_that_is_not_there_is_not_looked_for_elsewhere(tmp_path: Path) -> None:
    """A name that a hub may know is a folder here, and nothing else."""
    with pytest.raises(WeightsError, match=r"expected config\.json of a base in Meta-Llama-3-8B"):
        load_base(Path("meta-llama/Meta-Llama-3-8B"), SETTINGS, CPU)


def test_a_base_without_safetensors_is_refused(folder: Path, tmp_path: Path) -> None:
    """A configuration alone is no base, nor is one whose weights are no tensors."""
    _config_of(folder, tmp_path)
    with pytest.raises(WeightsError, match="a base lies in safetensors"):
        load_base(tmp_path, SETTINGS, CPU)
    (tmp_path / WEIGHTS).write_bytes(b"no tensors")
    with pytest.raises(WeightsError, match="expected a Llama in safetensors"):
        load_base(tmp_path, SETTINGS, CPU)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "modeling_llama.py", "consolidated.00.PTH"])
def test_what_can_run_code_beside_a_base_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    """Even where the weights lie in safetensors too."""
    _config_of(folder, tmp_path)
    (tmp_path / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes())
    check_weights(tmp_path)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(WeightsError, match="can run code when loaded"):
        load_base(tmp_path, SETTINGS, CPU)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ({"weight_map": {"a": "../outside.safetensors"}}, "to name safetensors beside it"),
        ({"weight_map": {"a": "model.bin"}}, "to name safetensors beside it"),
        ({"weight_map": {"a": "model-00001-of-00002.safetensors"}}, "as its index says"),
        ({"weight_map": ["a"]}, "to map tensors to files"),
        ({}, "to map tensors to files"),
        ([], "to map tensors to files"),
    ],
)
def test_an_index_that_leads_astray_is_refused(folder: Path, tmp_path: Path, index: Any, said: str) -> None:
    """Shards are safetensors that lie beside their index, all of them."""
    _config_of(folder, tmp_path)
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(WeightsError, match=said):
        load_base(tmp_path, SETTINGS, CPU)


def test_the_shape_of_llama_3_loads_in_nf4_and_writes(tmp_path: Path, known: Words) -> None:
    """The code that makes, loads and runs the 8 B shape does so at one layer and a sixteenth of the width."""
    config = llama3_config(layers=1, narrower=16)
    assert (config.num_attention_heads, config.num_key_value_heads, config.vocab_size) == (32, 8, 128256)
    base = make_folder(tmp_path, layers=1, narrower=16)
    assert len(check_weights(base)) > 1
    network = load_base(base, LanguageSettings("b", ADAPTERS, "nf4", "bfloat16", 16), CPU)
    assert len(_projections(network)) == 7
    writer = LocalWriter(network, known)
    (answer,) = writer.write([_asked(known)])
    assert 0 < len(answer.ids) <= 4
    assert math.isfinite(answer.likelihood)


def _asked(known: Words) -> Any:
    from model.language.asking import Asked

    return Asked(tuple(known.encode("Lungs:")), maximum_tokens=4)


def test_the_exact_shape_is_that_of_llama_3_8b_instruct() -> None:
    """Width, depth, heads, vocabulary and turns as its config.json has them."""
    config = llama3_config()
    assert (config.hidden_size, config.intermediate_size, config.num_hidden_layers) == (4096, 14336, 32)
    assert (config.num_attention_heads, config.num_key_value_heads) == (32, 8)
    assert (config.vocab_size, config.max_position_embeddings) == (128256, 8192)
    assert config.rope_parameters["rope_theta"] == 500000.0
    assert (config.bos_token_id, config.eos_token_id) == (128000, [128001, 128009])
    assert not config.tie_word_embeddings


@pytest.mark.parametrize(
    "change",
    [
        {"quantisation": "fp4"},
        {"compute_dtype": "int8"},
        {"maximum_tokens": 0},
        {"maximum_tokens": 4097},
        {"base": None, "maximum_tokens": None},
        {"base": "../elsewhere"},
        {"base": "/absolute"},
        {"adapter": "beside/adapters"},
        {"adapters": {}},
        {"adapters": []},
        {"adapters": {"report": {}}},
        {"adapters": {"poem": {"*": "a"}}},
        {"adapters": {"report": {"english": "a"}}},
        {"adapters": {"report": {"en": "../a"}}},
        {"adapters": {"report": {"en": "a.b"}}},
        {"adapters": {"report": {"en": 7}}},
        {"adaptors": {"report": {"en": "a"}}},
        {"runner": "cloud"},
        {"runner": {"kind": "local", "url": "http://h"}},
        {"runner": {"kind": "vllm"}},
        {"runner": {"kind": "vllm", "url": "h:8000"}},
        {"runner": {"kind": "vllm", "url": "ftp://h"}},
        {"runner": {"kind": "vllm", "url": "http://h:99999"}},
        {"runner": {"kind": "vllm", "url": "http://me@h"}},
        {"runner": {"kind": "vllm", "url": "http://h?key=1"}},
        {"runner": {"kind": "vllm", "url": "http://h", "model": ""}},
        {"runner": {"kind": "vllm", "url": "http://h", "timeout_seconds": 0}},
        {"runner": {"kind": "vllm", "url": "http://h", "timeout_seconds": 3601}},
        {"runner": {"kind": "vllm", "url": "http://h", "key": "k"}},
    ],
)
def test_language_settings_that_make_no_sense_are_refused(change: dict[str, Any]) -> None:
    """They are refused before anything loads, and the error says in which part."""
    with pytest.raises(WeightsError, match="language"):
        LanguageSettings.from_json({**SETTINGS.to_json(), **change})


@pytest.mark.parametrize("tokens", [1, 4096])
def test_the_limits_of_an_answer_s_length_are_allowed(tokens: int) -> None:
    """One token and 4096 are the ends of what may be asked for."""
    settings = LanguageSettings.from_json({**SETTINGS.to_json(), "maximum_tokens": tokens})
    assert settings.maximum_tokens == tokens


@pytest.mark.parametrize(
    "settings",
    [
        SETTINGS,
        PLAIN,
        LanguageSettings(
            "b",
            ADAPTERS,
            "nf4",
            "bfloat16",
            9,
            "vllm",
            ServerSettings("https://gpu.site:8000/a", "llama", 3600),
        ),
    ],
    ids=["nf4", "plain", "vllm"],
)
def test_language_settings_survive_their_json(settings: LanguageSettings) -> None:
    """What drafter.json holds gives the settings again."""
    assert LanguageSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


def test_one_adapter_alone_writes_reports_in_any_language() -> None:
    """As folders had it that were made for reports only; a runner may be named by its kind."""
    part = {key: value for key, value in SETTINGS.to_json().items() if key not in ("adapters", "runner")}
    settings = LanguageSettings.from_json({**part, "adapter": "adapter", "runner": "local"})
    assert settings.adapters == {"report": {"*": "adapter"}}
    assert settings.adapter("report", "ko") == "adapter"


@pytest.mark.parametrize(
    ("task", "language", "folder"),
    [
        ("report", "en", "adapters/report-en"),
        ("report", "de", "adapters/report-de"),
        ("conclusion", "de", "c"),
        ("conclusion", "ko", "c"),
    ],
)
def test_an_adapter_is_chosen_by_task_and_language(task: str, language: str, folder: str) -> None:
    """Its own language first, then any."""
    assert SETTINGS.adapter(task, language) == folder
    assert SETTINGS.folders == ("adapters/report-en", "adapters/report-de", "c")


def test_what_no_adapter_can_write_is_unfit() -> None:
    """The error says which languages, or which tasks, there are."""
    with pytest.raises(Unfit, match=r"cannot write the task report in the language 'ko', only in de, en"):
        SETTINGS.adapter("report", "ko")
    with pytest.raises(Unfit, match=r"no adapter for the task detail, only for conclusion, report"):
        SETTINGS.adapter("detail", "en")


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(SETTINGS.to_json())), _VALUES, min_size=1))
def test_any_other_json_gives_settings_or_one_error(change: dict[str, Any]) -> None:
    """Whatever stands in drafter.json, nothing but WeightsError comes of it."""
    try:
        settings = LanguageSettings.from_json({**SETTINGS.to_json(), **change})
    except WeightsError:
        return
    assert LanguageSettings.from_json(settings.to_json()) == settings
