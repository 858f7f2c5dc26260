"""A training run: resumes where it stopped, learns what the loss says, and its command makes a folder."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from model.facts import HEADS
from model.load import SCRIPTED_WEIGHTS, load_drafter
from model.preprocess import pixel_mm
from model.vision.seen import Seen
from training.checkpoint import Checkpoint, load_tensors, save_tensors
from training.cli import PRESET_NAMES, evaluate, train
from training.dataset import Examples, Phantoms, epochs
from training.facts import SMALL_MM, SMALLEST_MM
from training.losslog import LossLog
from training.package import ADAPTED
from training.phantoms import SHAPE, SPACING_MM
from training.plan import (
    CALIBRATION_SEEDS,
    FEATURE_SEEDS,
    IMAGE,
    PRESETS,
    SMALL_SEEDS,
    TEST_SEEDS,
    TRAIN_SEEDS,
)
from training.schedule import rate
from training.see import head_weights, vision_loss


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
        ranges = [
            (TRAIN_SEEDS, plan.see.steps * plan.see.batch),
            (SMALL_SEEDS, plan.see_small.steps * plan.see_small.batch),
            (FEATURE_SEEDS, plan.feature_phantoms),
            (CALIBRATION_SEEDS, plan.calibration_phantoms),
            (TEST_SEEDS, 1),
        ]
        assert all(first + count <= after for (first, count), (after, _) in pairwise(ranges))
    assert tuple(PRESETS) == PRESET_NAMES


def test_widths_of_every_preset_are_multiples_of_64() -> None:
    """4-bit kernels of a CPU fail on others."""
    for plan in PRESETS.values():
        head = plan.width // plan.query_heads
        assert not {plan.width % 64, plan.feed_forward % 64} - {0}
        assert head * plan.query_heads == plan.width
        assert plan.query_heads % plan.key_heads == 0


def _seen(logit: float, sizes: float = 0.0) -> Seen:
    heads = len(HEADS)
    rest = torch.zeros(1, heads, 1)
    return Seen(
        torch.full((1, heads, 2, 4, 4), logit),
        torch.full((1, heads), logit),
        *(rest, rest, rest[..., 0], rest),
        torch.full((1, heads, 4), sizes),
    )


def _truth(*heads: str, sizes: float = 0.0) -> Examples:
    maps = torch.zeros(1, len(HEADS), 2, 4, 4)
    for head in heads:
        maps[0, HEADS.index(head), 0, 0, 0] = 1
    return Examples(torch.zeros(1, 2, 1, 32, 32), maps, torch.full((1, len(HEADS), 4), sizes))


def _cost(seen: Seen, truth: Examples, classify: bool = True) -> float:
    return vision_loss(seen, truth, head_weights(HEADS), classify)[0].item()


def test_the_vision_loss_falls_when_a_finding_is_seen() -> None:
    """Saying no everywhere costs more once something is there; a nodule costs more than the others."""
    nodule, other = (_cost(_seen(-5.0), _truth(head)) for head in ("pulmonary nodule, left", "emphysema"))
    assert _cost(_seen(-5.0), _truth()) < other < nodule
    right = _seen(-5.0)
    right.maps[0, HEADS.index("emphysema"), 0, 0, 0] = 5.0
    right.logits[0, HEADS.index("emphysema")] = 5.0
    assert _cost(right, _truth("emphysema")) < other


def test_a_size_is_learned_of_what_is_there_alone() -> None:
    """A wrong size of nothing costs nothing; of a finding it does, the more the more it is off."""
    assert _cost(_seen(-5.0, sizes=3.0), _truth()) == _cost(_seen(-5.0), _truth())
    costs = [_cost(_seen(-5.0, sizes=off), _truth("emphysema")) for off in (0.0, 0.5, 1.0)]
    assert costs == sorted(costs)
    assert costs[0] < costs[1] < costs[2]


def test_probabilities_wait_for_the_maps() -> None:
    """At first a wrong probability costs nothing: from a map that shows nothing it cannot be learned."""
    sure, unsure = _seen(-5.0), _seen(-5.0)
    sure.logits[:] = 9.0
    assert _cost(sure, _truth(), classify=False) == _cost(unsure, _truth(), classify=False)
    assert _cost(sure, _truth()) > _cost(unsure, _truth())


def test_every_second_chest_of_the_last_look_has_a_small_nodule() -> None:
    """The others are as they were drawn; a seed gives the same chest in either set."""
    drawn, small = (Phantoms(70, 4, IMAGE, HEADS, small_nodules=some) for some in (False, True))
    for index in range(4):
        same = all(torch.equal(*pair) for pair in zip(drawn[index], small[index], strict=True))
        assert same is (index % 2 == 0)
    for index in (1, 3):
        maps, measures = small[index][1:]
        heads = [i for i, head in enumerate(HEADS) if head.startswith("pulmonary nodule") and maps[i].any()]
        (head,) = heads
        millimetres = measures[head, 3].exp().item() * pixel_mm(SHAPE, SPACING_MM, IMAGE)
        assert SMALLEST_MM - 0.1 <= millimetres <= SMALL_MM + 0.1


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
    arguments = ["--preset", "tiny", "--out", str(tmp_path), "--seed", "3", "--workers", "0", "--json"]
    first = runner.invoke(train, arguments)
    assert first.exit_code == 0, first.output
    folder = Path(json.loads(first.stdout)["model"])
    lines = [json.loads(line) for line in (tmp_path / "losses.jsonl").read_text().splitlines()]
    adapted = [f"adapt {task} {language}" for task, language in ADAPTED]
    phases = ["see", "see small", "speak", *adapted]
    assert list(dict.fromkeys(line["phase"] for line in lines)) == phases
    assert (tmp_path / "losses.svg").read_text().count("<polyline") == len(phases)
    drafter = load_drafter(folder)
    sha256 = drafter.card.weights_sha256
    assert json.loads((folder / "drafter.json").read_text())["trained"]["seed"] == 3

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
