"""A training run: resumes where it stopped, learns what the loss says, and its command makes a folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from training.conversation import Turn, language_loss

from model.facts import HEADS
from model.language.words import Words
from model.load import SCRIPTED_WEIGHTS, load_drafter
from model.vision.seen import Seen
from training.checkpoint import Checkpoint, load_tensors, save_tensors
from training.cli import PRESET_NAMES, evaluate, train
from training.dataset import epochs
from training.losslog import LossLog
from training.plan import FEATURE_SEEDS, PRESETS, TEST_SEEDS, TRAIN_SEEDS
from training.schedule import rate
from training.see import head_weights, vision_loss
from training.speak import new_llama
from training.tokenizer import END, END_ID, START, START_ID, train_tokenizer


def _fit(path: Path, stop: int | None, steps: int = 8) -> nn.Module:
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(module.parameters(), lr=0.1)
    checkpoint = Checkpoint(path, {"seed": 1})
    for step in range(checkpoint.restore(module, optimiser), steps):
        if step == stop:
            break
        inputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        loss = module(inputs).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        checkpoint.save(step + 1, module, optimiser)
    return module


def test_a_run_that_was_stopped_ends_where_one_that_was_not_ends(tmp_path: Path) -> None:
    """Weights and optimiser are taken up: the result is equal to the last bit."""
    whole = _fit(tmp_path / "whole", None)
    _fit(tmp_path / "cut", 3)
    resumed = _fit(tmp_path / "cut", None)
    assert torch.equal(whole.weight, resumed.weight)  # type: ignore[arg-type]


def test_a_checkpoint_of_another_run_is_not_taken(tmp_path: Path) -> None:
    """Another seed or plan starts over."""
    _fit(tmp_path / "state", None)
    assert Checkpoint(tmp_path / "state", {"seed": 2}).restore(nn.Linear(3, 2)) == 0
    assert Checkpoint(tmp_path / "state", {"seed": 1}).restore(nn.Linear(3, 2)) == 8


def test_frozen_parameters_are_not_kept(tmp_path: Path) -> None:
    """A checkpoint of the adapter holds no copy of the base."""
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module[0].requires_grad_(False)
    Checkpoint(tmp_path / "state", {}).save(1, module)
    assert set(load_tensors(tmp_path / "state")[0]) == {"weight/1.weight", "weight/1.bias"}


def test_tensors_that_share_memory_are_saved(tmp_path: Path) -> None:
    """Tied weights are written as two."""
    shared = torch.ones(2)
    save_tensors(tmp_path / "t", {"a": shared, "b": shared})
    assert set(load_tensors(tmp_path / "t")[0]) == {"a", "b"}


@given(st.integers(1, 50), st.integers(1, 20), st.integers(0, 60), st.integers(0, 9))
def test_resumed_epochs_go_on_with_the_cases_that_were_left(
    count: int, batch: int, first: int, seed: int
) -> None:
    """The order depends on the seed alone, and no case comes twice within an epoch."""
    whole = list(epochs(count, batch, 60, seed))
    rest = list(epochs(count, batch, 60, seed, first))
    assert [(s, i.tolist()) for s, i in rest] == [(s, i.tolist()) for s, i in whole[first:]]
    per_epoch = count // min(batch, count)
    seen = [i for _, index in whole[:per_epoch] for i in index.tolist()]
    assert len(set(seen)) == len(seen)


def test_the_learning_rate_rises_and_falls() -> None:
    """From a twentieth of the way up to full, then down to the floor."""
    rates = [rate(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[5] == pytest.approx(1.0)
    assert rates[-1] < 0.035
    assert rate(0, 1) == 1.0


def test_seeds_of_training_and_test_do_not_meet() -> None:
    """The largest preset stays below the next range."""
    for plan in PRESETS.values():
        assert TRAIN_SEEDS + plan.train_phantoms <= FEATURE_SEEDS
        assert FEATURE_SEEDS + plan.feature_phantoms <= TEST_SEEDS
    assert tuple(PRESETS) == PRESET_NAMES


def test_widths_of_every_preset_are_multiples_of_64() -> None:
    """4-bit kernels of a CPU fail on others."""
    for plan in PRESETS.values():
        head = plan.width // plan.query_heads
        assert not {plan.width % 64, plan.feed_forward % 64} - {0}
        assert head * plan.query_heads == plan.width
        assert plan.query_heads % plan.key_heads == 0


def _seen(logit: float) -> Seen:
    heads = len(HEADS)
    maps = torch.full((1, heads, 4, 4), logit)
    return Seen(maps, torch.full((1, heads), logit), *[torch.zeros(1)] * 4)


def test_the_vision_loss_falls_when_a_finding_is_seen() -> None:
    """Saying no everywhere costs more once something is there; a nodule costs more than the others."""
    weights, nothing = head_weights(HEADS), torch.zeros(1, len(HEADS), 4, 4)
    costs = {}
    for head in ("pulmonary nodule, left", "emphysema"):
        maps = nothing.clone()
        maps[0, HEADS.index(head), 0, 0] = 1
        costs[head] = vision_loss(_seen(-5.0), maps, weights)[0].item()
    clear = vision_loss(_seen(-5.0), nothing, weights)[0].item()
    assert clear < costs["emphysema"] < costs["pulmonary nodule, left"]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Words:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_tokenizer(512, 1, path, texts=100)
    return Words(path)


def test_the_small_tokenizer_holds_any_text(words: Words) -> None:
    """Bytes are tokens: nothing is unknown, and its special tokens have their places."""
    text = "Größe 3 cm ‹‹ 肺 \t end"
    assert words.decode(words.encode(text)) == text
    assert (words.tokenizer.token_to_id(START), words.tokenizer.token_to_id(END)) == (START_ID, END_ID)


def test_only_the_answer_is_learned(words: Words) -> None:
    """The loss of a case is the mean over its answer's tokens, whatever the prompt or the padding."""
    torch.manual_seed(0)
    network = new_llama(PRESETS["tiny"]).eval()
    prefix = torch.randn(2, 3, 64)
    short, long = Turn([5, 6], [7, END_ID], blind=False), Turn([5] * 9, [8, 9, 10, END_ID], blind=False)
    with torch.no_grad():
        together = language_loss(network, START_ID, prefix, [short, long]).item()
        alone = [
            language_loss(network, START_ID, prefix[i : i + 1], [t]).item()
            for i, t in enumerate((short, long))
        ]
    assert together == pytest.approx((alone[0] * 2 + alone[1] * 4) / 6, abs=1e-4)


def test_each_answer_token_is_learned_from_what_stands_before_it() -> None:
    """The loss is that of reading start, prefix and prompt and then saying the answer, token by token."""
    torch.manual_seed(0)
    network: Any = new_llama(PRESETS["tiny"]).eval()
    prefix, turn = torch.randn(1, 3, 64), Turn([5, 6], [7, 8, END_ID], blind=False)
    table = network.get_input_embeddings()
    with torch.no_grad():
        read, cost = (
            torch.cat([table(torch.tensor([[START_ID]])), prefix, table(torch.tensor([[5, 6]]))], 1),
            0.0,
        )
        for token in turn.answer:
            cost -= network(inputs_embeds=read).logits[0, -1].log_softmax(0)[token].item()
            read = torch.cat([read, table(torch.tensor([[token]]))], dim=1)
        loss = language_loss(network, START_ID, prefix, [turn]).item()
    assert loss == pytest.approx(cost / 3, abs=1e-4)


def test_a_blind_case_sees_no_image(words: Words) -> None:
    """Its loss does not depend on the prefix; that of a seeing case does."""
    torch.manual_seed(0)
    network = new_llama(PRESETS["tiny"]).eval()
    with torch.no_grad():
        for blind in (True, False):
            turn = Turn([5, 6], [7, END_ID], blind)
            losses = {
                language_loss(network, START_ID, torch.randn(1, 3, 64) * 9, [turn]).item() for _ in range(2)
            }
            assert (len(losses) == 1) is blind


def test_losses_are_drawn(tmp_path: Path) -> None:
    """Every phase has its line; a loss that has no logarithm is left out."""
    log = LossLog(tmp_path / "run" / "losses.jsonl")
    for step in range(3):
        log.write("see", step + 1, {"loss": 1 / (step + 1)})
        log.write("speak", step + 1, {"loss": float("nan") if step else 0.0})
    log.plot(tmp_path / "losses.svg")
    drawn = (tmp_path / "losses.svg").read_text()
    assert drawn.count("<polyline") == 1
    assert "see: loss, 3 steps" in drawn
    assert json.loads((tmp_path / "run" / "losses.jsonl").read_text().splitlines()[0])["loss"] == 1.0


def test_commands_load_without_torch() -> None:
    """`prelim --help` must not wait for torch."""
    program = "import sys, training.cli; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])


def test_one_command_trains_a_folder_and_another_judges_it(tmp_path: Path) -> None:
    """The tiny preset walks through every phase, and the same command again reads all of it back."""
    runner = CliRunner()
    arguments = ["--preset", "tiny", "--out", str(tmp_path), "--seed", "3", "--json"]
    first = runner.invoke(train, arguments)
    assert first.exit_code == 0, first.output
    folder = Path(json.loads(first.stdout)["model"])
    lines = [json.loads(line) for line in (tmp_path / "losses.jsonl").read_text().splitlines()]
    assert list(dict.fromkeys(line["phase"] for line in lines)) == ["see", "speak", "join", "adapt"]
    assert (tmp_path / "losses.svg").read_text().count("<polyline") == 4
    sha256 = load_drafter(folder).card.weights_sha256

    again = runner.invoke(train, arguments)
    assert again.exit_code == 0, again.output
    assert len((tmp_path / "losses.jsonl").read_text().splitlines()) == len(lines)
    assert load_drafter(folder).card.weights_sha256 == sha256

    judged = runner.invoke(evaluate, ["--model", str(folder), "--count", "3", "--json"])
    assert judged.exit_code == 0, judged.output
    result = json.loads(judged.stdout)
    assert result["cases"] == 3
    assert result["model"]["sha256"] == sha256
    assert {"real", "shuffled", "blank", "always_normal"} <= result["conditions"].keys()


def test_a_drafter_that_looks_at_nothing_is_not_judged(tmp_path: Path) -> None:
    """And a folder that is none says what is missing."""
    runner = CliRunner()
    scripted = runner.invoke(evaluate, ["--model", str(SCRIPTED_WEIGHTS)])
    assert scripted.exit_code == 1
    assert "look at images" in scripted.output
    nothing = runner.invoke(evaluate, ["--model", str(tmp_path)])
    assert nothing.exit_code == 1
    assert "drafter.json" in nothing.output
