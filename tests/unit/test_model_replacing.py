"""An adapter of a running writer can be replaced: no answer is half of one and half of the other."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from model.decoding.engine import Engine
from model.language.adapters import add_adapters
from model.language.asking import Answer, Asked
from model.language.local import LocalWriter
from model.language.words import Words
from model.manifest import file_sha256
from model.study import WeightsError
from tests.decoding_samples import llama, words

SHA256 = "ab" * 32
LONG = 200


def make_adapter(folder: Path, seed: int, base: str = SHA256) -> Path:
    """A folder with a random adapter that acts, trained on the base of this hash."""
    network = llama()
    torch.manual_seed(seed)
    config = LoraConfig(
        r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False, revision=f"sha256:{base}"
    )
    made: Any = get_peft_model(network, config)
    made.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Words:
    return words(tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tmp_path_factory.mktemp("adapters") / "first", 1)


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tmp_path_factory.mktemp("adapters") / "second", 2)


@pytest.fixture(params=[True, False], ids=["copied weights", "weights as they are"])
def writer(request: pytest.FixtureRequest, known: Words, first: Path, second: Path) -> LocalWriter:
    network = add_adapters(llama(), {"report": first, "report-en": second}, SHA256)
    made = LocalWriter(network, known)
    made.engine = Engine(network, known, dense=request.param)
    return made


def pins(folder: Path) -> dict[str, str]:
    """What the folder's files must hash to."""
    return {path.name: file_sha256(path) for path in folder.iterdir()}


def ask(adapter: str = "report", tokens: int = 12) -> Asked:
    return Asked((40, 41, 42), None, adapter, "", tokens)


def test_what_was_replaced_and_put_back_writes_as_before(
    writer: LocalWriter, first: Path, second: Path
) -> None:
    """A, then B, then A: B writes what it writes under its own name, and A what it wrote at first."""
    old, other = writer.write([ask(), ask("report-en")])
    writer.replace("report", second, pins(second), SHA256)
    assert writer.write([ask(), ask("report-en")]) == [other, other]
    writer.replace("report", first, pins(first), SHA256)
    assert writer.write([ask(), ask("report-en")]) == [old, other]
    assert old.ids != other.ids


def test_an_answer_in_work_ends_with_the_adapter_that_it_began_with(
    writer: LocalWriter, second: Path
) -> None:
    """Replacing waits for it, and who asks meanwhile waits for the new one."""
    (whole,) = writer.write([ask(tokens=LONG)])
    told: list[Answer] = []
    writing = threading.Thread(target=lambda: told.extend(writer.write([ask(tokens=LONG)])))
    writing.start()
    deadline = time.monotonic() + 20
    while not any(case is not None and not case.done for case in writer.engine._held):
        assert time.monotonic() < deadline
        assert writing.is_alive()
        time.sleep(0)
    writer.replace("report", second, pins(second), SHA256)
    writing.join(20)
    assert told == [whole]
    assert writer.write([ask(tokens=LONG)]) == writer.write([ask("report-en", LONG)])


def test_threads_that_ask_while_adapters_change_get_whole_answers(
    writer: LocalWriter, first: Path, second: Path
) -> None:
    """Each answer is all of the old adapter or all of the new one, and nobody waits for ever."""
    allowed = [writer.write([ask(name, 40)])[0] for name in ("report", "report-en")]
    told: list[Answer] = []

    def keep_asking() -> None:
        for _ in range(4):
            told.extend(writer.write([ask(tokens=40)]))

    threads = [threading.Thread(target=keep_asking) for _ in range(3)]
    for thread in threads:
        thread.start()
    for folder in (second, first, second):
        writer.replace("report", folder, pins(folder), SHA256)
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert len(told) == 12
    assert all(answer in allowed for answer in told)


def test_a_refused_replacement_leaves_the_old_adapter_and_lets_others_write(
    writer: LocalWriter, second: Path, tmp_path: Path
) -> None:
    """Of another base, without hashes and under a name that is not loaded."""
    before = writer.write([ask(), ask("report-en"), ask("")])
    foreign = make_adapter(tmp_path / "foreign", 3, base="cd" * 32)
    with pytest.raises(WeightsError, match="the base that it was trained on"):
        writer.replace("report", foreign, pins(foreign), SHA256)
    with pytest.raises(WeightsError, match="no SHA-256"):
        writer.replace("report", second, {}, SHA256)
    with pytest.raises(WeightsError, match="that is loaded"):
        writer.replace("detail", second, pins(second), SHA256)
    assert writer.write([ask(), ask("report-en"), ask("")]) == before
