"""What the benchmark of generation counts, and that it says why it leaves something out."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import torch

from model.fusion.fused import Fused
from model.language.asking import Answer, Asked
from model.load import SCRIPTED_WEIGHTS
from tests.benchmarks import bench_generation, large_generation


class Echo:
    """Answers with the prompt."""

    def write(self, asked: Sequence[Asked]) -> list[Answer]:
        """The prompt again."""
        return [Answer(one.prompt, "", True, 0.0) for one in asked]


def test_every_call_of_the_decoder_is_counted() -> None:
    """Tokens and places add up over calls, and steps are those of the longest answer."""
    writer = Echo()
    fused = Fused(torch.zeros(1, 7, 4))
    with bench_generation.observed(writer) as seen:
        writer.write([Asked((1, 2, 3), fused), Asked((1,))])
        writer.write([Asked((1, 2))])
    assert (seen.tokens, seen.steps, seen.lengths) == (6, 4, [11, 2, 3])
    assert seen.length == 5
    assert seen.seconds > 0
    assert "write" not in vars(writer)
    writer.write([Asked((1, 2))])
    assert seen.tokens == 6


def test_an_error_of_the_decoder_leaves_nothing_wrapped() -> None:
    """The drafter goes on being itself after a benchmark that failed."""
    writer = Echo()
    with pytest.raises(ZeroDivisionError), bench_generation.observed(writer):
        _ = 1 / 0
    assert "write" not in vars(writer)


def test_a_model_without_a_decoder_is_skipped_with_a_reason() -> None:
    """The scripted drafter writes nothing that could be timed."""
    (row,) = bench_generation.run(SCRIPTED_WEIGHTS)
    assert row["ours"] is None
    assert "no decoder" in row["what"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: the rows are measured")
def test_without_a_gpu_the_large_shape_is_skipped_with_a_reason() -> None:
    """No figure, and a sentence that says what is missing."""
    (row,) = large_generation.large_rows((1,), 1, print)
    assert row["ours"] is None
    assert "no GPU" in row["what"]


def test_a_step_reads_every_weight_but_the_embedding_table() -> None:
    """A table that is also the head is read whole; packed 4-bit weights count half a byte each."""
    from torch import nn

    def network(tied: bool) -> SimpleNamespace:
        table, head = nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)
        if tied:
            head.weight = table.weight
        packed = torch.zeros(6, dtype=torch.uint8)
        kept = [table.weight, packed] if tied else [table.weight, head.weight, packed]
        return SimpleNamespace(
            get_input_embeddings=lambda: table,
            get_output_embeddings=lambda: head,
            parameters=lambda: iter(kept),
        )

    assert large_generation.step_bytes(network(tied=False)) == 40 * 4 + 6
    assert large_generation.step_bytes(network(tied=True)) == 40 * 4 + 6
