"""What the language half learns: the answer alone, the same in a batch as by itself, of every task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from model.facts import HEADS
from model.fusion.forward import fused_logits
from model.fusion.fused import Fused
from model.fusion.making import make_fusion
from model.fusion.places import FusionModule
from model.fusion.settings import KINDS, FusionSettings
from model.headings import title_in
from model.language.words import Words
from model.prompt_words import prompt_words
from model.prompts import response_title
from model.sections import FINDINGS, IMPRESSION, read_report
from model.tasks import CONCLUSION, DETAIL, FACTS, REPORT, STRUCTURE
from model.vision.tower import VisionTower
from model.wording import LANGUAGES
from training.facts import Fact, FactRecord, draw
from training.plan import IMAGE, PRESETS
from training.reading import read_record
from training.speak import llama_config, new_llama
from training.tokenizer import END_ID, START_ID, train_tokenizer
from training.turns import Turn, draw_language, language_loss, mixed_turns, turn

TINY = PRESETS["tiny"]
RECORD = FactRecord((Fact("pleural effusion", ("left",), size="small"), Fact("cardiomegaly")))
SHORT, LONG = Turn([5, 6], [7, END_ID], image=True), Turn([5] * 9, [8, 9, 10, END_ID], image=True)
BLIND = Turn([11, 12, 13], [14, 15, END_ID], image=False)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return new_llama(TINY).eval()


@pytest.fixture(scope="module")
def tower() -> VisionTower:
    torch.manual_seed(1)
    return VisionTower(TINY.vision, IMAGE.shape).eval()


@pytest.fixture(scope="module")
def kept(tower: VisionTower) -> list[torch.Tensor]:
    """Features of four images, as every fusion keeps them."""
    fusion = fusion_of("inject", tower)
    with torch.no_grad():
        images = torch.rand(4, *IMAGE.shape, generator=torch.Generator().manual_seed(2))
        return list(fusion.features(tower(images)))


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Words:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_tokenizer(512, 1, path, texts=100)
    return Words(path)


def fusion_of(kind: str, tower: VisionTower) -> FusionModule:
    """A fusion whose every part acts: its last layers do not start at zero."""
    torch.manual_seed(3)
    fusion = make_fusion(FusionSettings(kind, 2), len(HEADS), tower, llama_config(TINY))
    for parameter in fusion.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return fusion.eval()


class Fuse:
    """Gives what was seen of rows, and remembers which were asked for."""

    def __init__(self, fusion: FusionModule, kept: Sequence[torch.Tensor]) -> None:
        self.fusion, self.kept = fusion, kept
        self.asked: list[list[int]] = []

    def __call__(self, rows: Sequence[int]) -> Fused:
        self.asked.append(list(rows))
        return self.fusion.project([one[list(rows)] for one in self.kept])


def loss(network: nn.Module, fuse: Fuse, turns: Sequence[Turn]) -> float:
    with torch.no_grad():
        return language_loss(network, fuse.fusion, START_ID, fuse, turns).item()


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_of_a_batch_is_that_of_its_turns(
    network: nn.Module, tower: VisionTower, kept: list[torch.Tensor], kind: str
) -> None:
    """Rows with and without images, of any length, mixed: the mean over all answers' tokens, one by one."""
    fusion = fusion_of(kind, tower)
    turns = [SHORT, BLIND, LONG, Turn([5] * 30, [20] * 9, image=False)]
    together = loss(network, Fuse(fusion, kept), turns)
    summed = 0.0
    for row, one in enumerate(turns):
        alone = loss(network, Fuse(fusion, [part[row : row + 1] for part in kept]), [one])
        summed += alone * len(one.answer)
    assert together == pytest.approx(summed / sum(len(one.answer) for one in turns), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_each_answer_token_is_learned_from_what_stands_before_it(
    network: nn.Module, tower: VisionTower, kept: list[torch.Tensor], kind: str
) -> None:
    """The loss is that of reading image and prompt and then saying the answer, token by token."""
    fuse = Fuse(fusion_of(kind, tower), kept)
    cost, said = 0.0, list(LONG.prompt)
    with torch.no_grad():
        for token in LONG.answer:
            ids = torch.tensor([said])
            logits = fused_logits(network, list(fuse.fusion.blocks), START_ID, fuse([0]), ids)
            cost -= logits[0, -1].log_softmax(0)[token].item()
            said.append(token)
    assert loss(network, fuse, [LONG]) == pytest.approx(cost / len(LONG.answer), rel=1e-4)


def test_what_stands_in_the_prompt_or_the_padding_is_not_learned(
    network: nn.Module, tower: VisionTower, kept: list[torch.Tensor]
) -> None:
    """A longer neighbour, for which the short row is padded, adds its own answer and nothing else."""
    fuse = Fuse(fusion_of("prefix", tower), [part[[0, 0, 0, 0]] for part in kept])
    short = loss(network, fuse, [SHORT]) * 2
    both = loss(network, fuse, [SHORT, LONG]) * 6
    assert both - short == pytest.approx(loss(network, fuse, [LONG]) * 4, rel=1e-5)
    # The words of the prompt weigh only by what comes after them: of one token's answer there is one loss.
    asked = Turn([*LONG.prompt, *LONG.answer[:-1]], [END_ID], image=True)
    ids = torch.tensor([asked.prompt])
    with torch.no_grad():
        logits = fused_logits(network, [], START_ID, fuse([0]), ids)
    assert loss(network, fuse, [asked]) == pytest.approx(
        -logits[0, -1].log_softmax(0)[END_ID].item(), rel=1e-4
    )


def test_only_rows_with_an_image_are_asked_for_one(
    network: nn.Module, tower: VisionTower, kept: list[torch.Tensor]
) -> None:
    """In their order, all at once; of a batch without images, none."""
    fuse = Fuse(fusion_of("prefix", tower), kept)
    loss(network, fuse, [BLIND, SHORT, BLIND, LONG])
    assert fuse.asked == [[1, 3]]
    fuse.asked.clear()
    loss(network, fuse, [BLIND, BLIND])
    assert fuse.asked == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_counts_for_its_own_row_alone(
    network: nn.Module, tower: VisionTower, kept: list[torch.Tensor], kind: str
) -> None:
    """Another image changes the loss of a turn that sees it, and of no turn that does not."""
    fusion = fusion_of(kind, tower)
    other = [part[[1, 0, 2, 3]] for part in kept]
    seeing = [loss(network, Fuse(fusion, one), [SHORT]) for one in (kept, other)]
    assert seeing[0] != pytest.approx(seeing[1], rel=1e-6)
    blind = [loss(network, Fuse(fusion, one), [BLIND]) for one in (kept, other)]
    assert blind[0] == blind[1]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_task_is_learned_in_every_language(words: Words, language: str) -> None:
    """Prompt and answer are in the language, the answer is its record, and ends."""
    title = title_in(IMPRESSION, language)
    for task in (FACTS, REPORT, CONCLUSION, DETAIL, STRUCTURE):
        made = turn(task, language, RECORD, words, END_ID, np.random.default_rng(5))
        prompt, answer = words.decode(made.prompt), words.decode(made.answer[:-1])
        assert made.answer[-1] == END_ID
        assert END_ID not in (*made.prompt, *made.answer[:-1])
        assert prompt_words(language).instructions[task] in prompt
        assert prompt.endswith(f"\n### Response:\n{response_title(task, language)}:\n")
        assert made.image is (task in (FACTS, REPORT))
        if task == REPORT:
            organs, impression = read_report(answer, language)
            assert read_record([body for _, body in organs], language) == RECORD
            assert read_record([impression], language) == RECORD
            assert f"\n\n{title}:\n" in answer
        elif task == CONCLUSION:
            assert read_record([answer], language) == RECORD
        elif task == DETAIL:
            assert read_record([body for _, body in read_report(answer, language)[0]], language) == RECORD
            assert title not in answer
        elif task == FACTS:
            assert answer.startswith("Seen: small left pleural effusion; cardiomegaly.")


def test_a_field_is_answered_with_an_option_or_that_nothing_is_said(words: Words) -> None:
    """Over many draws both happen, and an answer with an option stands among those that the prompt shows."""
    stated = Counter[bool]()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        made = turn(STRUCTURE, "en", draw(rng), words, END_ID, rng)
        prompt, answer = words.decode(made.prompt), words.decode(made.answer[:-1])
        (options,) = [line for line in prompt.split("\n") if line.startswith("Options:")]
        open_ = answer == prompt_words("en").not_stated
        stated[open_] += 1
        shown = options.removeprefix("Options: ").split("; ")
        assert open_ or answer in shown or answer.rsplit(" ", 1)[-1] == shown[0]
        assert f"{FINDINGS}:" in prompt
    assert min(stated[True], stated[False]) > 0


def test_turns_are_of_all_tasks_and_languages(words: Words) -> None:
    """One a record, most of them reports; English twice as often as any other; the same of the same seed."""
    records = [draw(np.random.default_rng(seed)) for seed in range(150)]
    made = mixed_turns(records, words, END_ID, np.random.default_rng(1))
    assert len(made) == len(records)
    assert made == mixed_turns(records, words, END_ID, np.random.default_rng(1))
    first = [words.decode(one.prompt).split("\n")[1] for one in made]
    instructions = {
        text: (task, language)
        for language in LANGUAGES
        for task, text in prompt_words(language).instructions.items()
    }
    tasks = Counter(instructions[text][0] for text in first)
    assert set(tasks) == {FACTS, REPORT, CONCLUSION, DETAIL, STRUCTURE}
    assert tasks[REPORT] > 60
    rng = np.random.default_rng(2)
    languages = Counter(draw_language(rng) for _ in range(2000))
    assert set(languages) == set(LANGUAGES)
    assert 740 < languages["en"] < 860
    assert all(330 < languages[one] < 470 for one in LANGUAGES[1:])


def test_the_tokenizer_holds_any_text_and_is_made_again_the_same(words: Words, tmp_path: Path) -> None:
    """Bytes are tokens: nothing is unknown, its special tokens have their places, a seed gives one file."""
    text = "Größe 3 cm ‹‹ 肺 소견 ș \t end"
    assert words.decode(words.encode(text)) == text
    assert (
        words.tokenizer.token_to_id("<|begin_of_text|>"),
        words.tokenizer.token_to_id("<|end_of_text|>"),
    ) == (
        START_ID,
        END_ID,
    )
    for name in ("a", "b"):
        train_tokenizer(300, 7, tmp_path / name, texts=10)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
