"""The writer of this process: greedy, the same every time, each answer what it would be alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from model.fusion.fused import Fused
from model.language.asking import Asked
from model.language.local import LocalWriter
from tests.decoding_samples import END, START, WIDTH, adapted, llama, words

TOKENS = 24


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> LocalWriter:
    folder: Path = tmp_path_factory.mktemp("words")
    return LocalWriter(adapted(llama(), "report"), words(folder))


def _asked(seed: int, prompt: tuple[int, ...] = (5, 6, 7), adapter: str = "report") -> Asked:
    prefix = torch.randn(1, 20, WIDTH, generator=torch.Generator().manual_seed(seed))
    return Asked(prompt, Fused(prefix), adapter, maximum_tokens=TOKENS)


def test_the_adapter_acts(writer: LocalWriter) -> None:
    """Without the adapter the same question has another answer."""
    with_it, bare = writer.write([_asked(0), _asked(0, adapter="")])
    assert with_it.ids != bare.ids


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
    assert 0 < len(answer.ids) <= TOKENS


def test_a_writer_says_what_it_reads(writer: LocalWriter) -> None:
    """Width and place of its embeddings, and the tokens that start and end a text."""
    config: Any = writer.network.config
    assert (writer.width, writer.device) == (config.hidden_size, torch.device("cpu"))
    assert (writer.start, writer.ends) == (START, (END,))
