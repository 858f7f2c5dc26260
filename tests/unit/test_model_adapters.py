"""Adapters belong to their base, stand side by side on it, and one can take another's place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.language.adapters import CONFIG, TENSORS, add_adapters, check_adapter, replace_adapter
from model.language.asking import Asked
from model.language.base import load_base
from model.language.local import LocalWriter
from model.language.settings import LanguageSettings
from model.language.words import Words
from model.manifest import file_sha256
from model.study import WeightsError
from tests.decoding_samples import llama, seen, words

SHA256 = "ab" * 32
NAMES = ("report", "report-en", "conclusion")
"""The first is the beginning of the second: what is done to one must not reach the other."""


def make_adapter(folder: Path, seed: int, rank: int = 4, base: str = SHA256, **changes: Any) -> Path:
    """A folder with a random adapter that acts."""
    network = llama()
    torch.manual_seed(seed)
    made: Any = get_peft_model(
        network,
        LoraConfig(
            r=rank,
            lora_alpha=2 * rank,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
            init_lora_weights=False,
            revision=f"sha256:{base}",
            **changes,
        ),
    )
    made.half().save_pretrained(folder)
    (folder / "README.md").unlink()
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    network: Any = llama()
    network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("adapters")
    return {name: make_adapter(root / name, seed) for seed, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Words:
    return words(tmp_path_factory.mktemp("words"))


@pytest.fixture
def network(base: Path, folders: dict[str, Path]) -> Any:
    settings = LanguageSettings("base", {}, "nf4", "float32", 16)
    return add_adapters(load_base(base, settings, torch.device("cpu")), folders, SHA256)


def _logits(network: Any, name: str) -> Tensor:
    network.set_adapter(name, inference_mode=True)
    with torch.inference_mode():
        logits: Tensor = network(input_ids=torch.tensor([[0, 5, 6, 7]])).logits
    return logits


def _pins(folder: Path) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in folder.iterdir()}


def test_adapters_stand_side_by_side_and_switch_without_being_read_again(
    network: Any, folders: dict[str, Path]
) -> None:
    """Each gives other numbers, the same ones after any other was used, and with its files away."""
    hidden = [(path, path.with_suffix(".away")) for path in (one / TENSORS for one in folders.values())]
    for path, away in hidden:
        path.rename(away)
    try:
        first = {name: _logits(network, name) for name in NAMES}
        again = {name: _logits(network, name) for name in reversed(NAMES)}
    finally:
        for path, away in hidden:
            away.rename(path)
    for name in NAMES:
        assert torch.equal(first[name], again[name])
    assert not torch.allclose(first["report"], first["report-en"], atol=1e-2)
    assert not any(weight.requires_grad for weight in network.parameters() if weight.is_floating_point())


def test_a_writer_gives_each_case_its_own_adapter(network: Any, known: Words) -> None:
    """In one batch or one after another, A after B writes what A wrote before."""
    writer = LocalWriter(network, known)
    asked = [Asked((5, 6), seen("prefix"), name, maximum_tokens=8) for name in NAMES]
    together = writer.write(asked)
    alone = [writer.write([one])[0] for one in reversed(asked)][::-1]
    assert together == alone
    assert len({answer.ids for answer in together}) == len(NAMES)


@pytest.mark.parametrize("rank", [4, 2, 8], ids=["same rank", "lower rank", "higher rank"])
def test_an_adapter_takes_another_s_place_on_a_running_base(
    network: Any, known: Words, base: Path, tmp_path: Path, rank: int
) -> None:
    """It writes what it would write on a fresh base, and the others what they wrote before."""
    writer = LocalWriter(network, known)
    asked = [Asked((5, 6), seen("prefix"), name, maximum_tokens=8) for name in NAMES]
    before, kept = writer.write(asked), {name: _logits(network, name) for name in NAMES}
    new = make_adapter(tmp_path / "new", seed=9, rank=rank)
    network.set_adapter("report", inference_mode=True)
    replace_adapter(network, "report", new, _pins(new), SHA256)
    assert network.active_adapters == ["report"]
    writer.engine.forget("report")
    after = writer.write(asked)
    assert after[0] != before[0]
    assert after[1:] == before[1:]
    for name in NAMES[1:]:
        assert torch.equal(_logits(network, name), kept[name])
    replaced = _logits(network, "report")
    settings = LanguageSettings("base", {}, "nf4", "float32", 16)
    fresh = add_adapters(load_base(base, settings, torch.device("cpu")), {"report": new}, SHA256)
    torch.testing.assert_close(replaced, _logits(fresh, "report"), atol=1e-5, rtol=1e-5)


def _altered(new: Path) -> None:
    (new / TENSORS).write_bytes((new / TENSORS).read_bytes()[:-1] + b"\0")


def _added(new: Path) -> None:
    (new / "notes.txt").write_text("x")


def _gone(new: Path) -> None:
    (new / CONFIG).unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_altered, r"adapter_model\.safetensors in new has SHA-256"),
        (_added, r"notes\.txt in new has no SHA-256"),
        (_gone, r"expected adapter_config\.json in new"),
    ],
)
def test_a_replacement_is_checked_against_its_hashes(
    network: Any, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    """An altered, an unpinned and a missing file are each refused, and the old adapter writes on."""
    new = make_adapter(tmp_path / "new", seed=9)
    pins = _pins(new)
    before = _logits(network, "report")
    spoil(new)
    with pytest.raises(WeightsError, match=said):
        replace_adapter(network, "report", new, pins, SHA256)
    assert torch.equal(_logits(network, "report"), before)


def _lacks_one(tensors: dict[str, Tensor]) -> None:
    del tensors[sorted(tensors)[0]]


def _too_wide(tensors: dict[str, Tensor]) -> None:
    name = sorted(tensors)[0]
    tensors[name] = torch.cat([tensors[name], tensors[name]], dim=1)


def _no_numbers(tensors: dict[str, Tensor]) -> None:
    tensors[sorted(tensors)[0]][0, 0] = torch.nan


def _one_more(tensors: dict[str, Tensor]) -> None:
    name = sorted(tensors)[0]
    tensors[name.replace("layers.0", "layers.7")] = tensors[name].clone()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_lacks_one, "it lacks base_model"),
        (_one_more, "it holds base_model"),
        (_too_wide, "fits the base in new"),
        (_no_numbers, "expected finite numbers"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(
    network: Any, base: Path, tmp_path: Path, spoil: Callable[[dict[str, Tensor]], None], said: str
) -> None:
    """Missing, odd, misshapen and broken tensors: alone, and in place of one that then writes on."""
    new = make_adapter(tmp_path / "new", seed=9)
    tensors = load_file(new / TENSORS)
    spoil(tensors)
    save_file({name: one.contiguous() for name, one in tensors.items()}, new / TENSORS)
    settings = LanguageSettings("base", {}, "none", "float32", 16)
    with pytest.raises(WeightsError, match=said):
        add_adapters(load_base(base, settings, torch.device("cpu")), {"report": new}, SHA256)
    before = {name: _logits(network, name) for name in NAMES}
    with pytest.raises(WeightsError, match=said):
        replace_adapter(network, "report", new, _pins(new), SHA256)
    assert sorted(network.peft_config) == sorted(NAMES)
    assert all(torch.equal(_logits(network, name), before[name]) for name in NAMES)


def test_an_adapter_that_is_not_loaded_cannot_be_replaced(network: Any, base: Path, tmp_path: Path) -> None:
    """The error names those that are."""
    new = make_adapter(tmp_path / "new", seed=9)
    with pytest.raises(WeightsError, match=r"\(conclusion, report, report-en\)"):
        replace_adapter(network, "detail", new, _pins(new), SHA256)
    bare = load_base(base, LanguageSettings("base", {}, "none", "float32", 16), torch.device("cpu"))
    with pytest.raises(WeightsError, match=r"\(none\)"):
        replace_adapter(bare, "report", new, _pins(new), SHA256)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"peft_type": "IA3"}, "expected a LoRA adapter"),
        ({"revision": None}, "names base nothing"),
        ({"revision": "sha256:" + "cd" * 32}, "names base sha256:cdcd.*the base that it was trained on"),
        ({"use_dora": True}, "found use_dora True"),
        ({"bias": "all"}, "found bias 'all'"),
        ({"modules_to_save": ["embed_tokens"]}, "found modules_to_save"),
        ({"trainable_token_indices": [3]}, "found trainable_token_indices"),
    ],
)
def test_what_is_no_plain_lora_of_this_base_is_refused(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    """Another base, another kind and what changes more than the layers' products."""
    folder = make_adapter(tmp_path / "new", seed=9)
    check_adapter(folder, SHA256)
    path = folder / CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(WeightsError, match=said):
        check_adapter(folder, SHA256)


@pytest.mark.parametrize("name", ["adapter_model.bin", "optimizer.PT", "deep/within.pkl"])
def test_a_pickle_beside_an_adapter_is_refused(tmp_path: Path, name: str) -> None:
    """Even where the tensors lie in safetensors too."""
    folder = make_adapter(tmp_path / "new", seed=9)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"\x80\x04.")
    with pytest.raises(WeightsError, match="can run code when loaded"):
        check_adapter(folder, SHA256)


@pytest.mark.parametrize("text", ["[]", "no json", ""])
def test_a_configuration_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    """No JSON, or not an object; and a folder without tensors is not looked for on a network."""
    folder = make_adapter(tmp_path / "new", seed=9)
    (folder / TENSORS).rename(tmp_path / "away")
    with pytest.raises(WeightsError, match="an adapter lies in safetensors"):
        check_adapter(folder, SHA256)
    (folder / CONFIG).write_text(text)
    with pytest.raises(WeightsError, match="expected"):
        check_adapter(folder, SHA256)
