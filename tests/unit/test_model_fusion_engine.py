"""What serving writes with each fusion is what training saw: the engine gives fused_logits' numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from model.decoding.cache import STRIDE, KeyValues
from model.decoding.step import Batch, Turns, decode, prefill
from model.decoding.weights import Decoders
from model.fusion.forward import fused_logits
from model.fusion.fused import Fused
from model.fusion.inject import InjectFusion
from model.fusion.places import FusionModule, Places
from model.fusion.prefix import PrefixFusion
from model.fusion.repeated import RepeatedFusion
from model.fusion.settings import INJECT, KINDS, REPEATED
from model.language.asking import Asked
from model.language.local import LocalWriter
from model.language.words import Words
from model.vision.seen import Seen
from tests.decoding_samples import END, START, WIDTH, adapted, llama, words

FINDINGS, TOKENS, PLANES, VISION = 3, 2, 4, 6
STAGES = (5, 7)
PROMPT = (40, 41, 42, 43)
TOKENS_WRITTEN = 12


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Words:
    return words(tmp_path_factory.mktemp("words"))


def seen(seed: int, batch: int = 1) -> Seen:
    """What a vision half might make of studies."""
    source = torch.Generator().manual_seed(seed)

    def of(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=source)

    return Seen(
        maps=of(FINDINGS, PLANES, 2, 2),
        logits=3 * of(FINDINGS),
        pooled=of(FINDINGS, VISION),
        tokens=of(TOKENS, VISION),
        area=of(FINDINGS).abs(),
        heights=torch.softmax(of(FINDINGS, PLANES), dim=2),
        measures=of(FINDINGS, 4),
        stages=tuple(of(FINDINGS + TOKENS, width) for width in STAGES),
    )


def fusion_of(kind: str, network: Any) -> FusionModule:
    """A fusion as after training: gates and output projections are no longer zero."""
    torch.manual_seed(5)
    places = Places(FINDINGS, TOKENS, PLANES, VISION, WIDTH)
    made: FusionModule = PrefixFusion(places)
    if kind == REPEATED:
        made = RepeatedFusion(places, network.config, 2)
    elif kind == INJECT:
        made = InjectFusion(places, STAGES, WIDTH, network.config.num_hidden_layers)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if name == "gates" or (name.startswith("blocks") and weight.dim() > 1):
                weight.normal_(std=0.5 if name == "gates" else 0.2)
    return made.eval()


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_the_engine_s_logits_are_those_of_training(kind: str, dense: bool) -> None:
    """At the place after the prompt and, token by token, at every place of an answer."""
    network = llama(1)
    fusion = fusion_of(kind, network)
    fused = fusion(seen(1))
    answer = [50, 60, 70, 80]
    theirs = fused_logits(network, list(fusion.blocks), START, fused, torch.tensor([[*PROMPT, *answer]]))
    ours = _stepped(Decoders(network, list(fusion.blocks), dense), fused, answer)
    assert theirs.std() > 0.5
    torch.testing.assert_close(ours, theirs[0, len(PROMPT) :], atol=1e-4, rtol=1e-4)


def _stepped(decoders: Decoders, fused: Fused, answer: list[int]) -> Tensor:
    turns = Turns(decoders.rotary, decoders.dtype, decoders.device)
    kept = [KeyValues(4, heads, size, torch.float32, torch.device("cpu")) for heads, size in decoders.shapes]
    weights = decoders.of("")
    turns.reach(STRIDE)
    for room in kept:
        room.reach(STRIDE)
    rows = [prefill(weights, turns, kept, 1, torch.tensor([START, *PROMPT]), fused)[0]]
    lead = 0 if fused.encodings is None else fused.encodings.shape[1]
    place = 1 + fused.prefix.shape[1] + len(PROMPT)
    for token in answer:
        tokens, places, leads = (torch.zeros(4, dtype=torch.long) for _ in range(3))
        tokens[1], places[1], leads[1] = token, place, lead
        batch = Batch(torch.arange(4), True, tokens, places, leads, 1 + place + lead)
        rows.append(decode(weights, turns, kept, batch)[1])
        place += 1
    return torch.stack(rows)


@pytest.mark.parametrize("adapter", ["", "one"])
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_answers_are_the_best_tokens_of_training(kind: str, adapter: str, tokenizer: Words) -> None:
    """Of several cases at once, each token that is written is the best by fused_logits, case by case."""
    network = adapted(llama(1), "one")
    fusion = fusion_of(kind, network.get_base_model())
    batch = fusion(seen(2, batch=3))
    writer = LocalWriter(network, tokenizer, list(fusion.blocks))
    asked = [
        Asked((*PROMPT, 60 + case), batch.rows([case]), adapter, maximum_tokens=TOKENS_WRITTEN)
        for case in range(3)
    ]
    answers = writer.write(asked)
    banned = torch.tensor([i for i in range(448) if i >= 420 or (i in tokenizer.special and i != END)])
    if adapter:
        network.set_adapter(adapter)
    for one, answer in zip(asked, answers, strict=True):
        ids = torch.tensor([[*one.prompt, *answer.ids]])
        with network.disable_adapter() if not adapter else torch.no_grad():
            logits = fused_logits(network, list(fusion.blocks), START, one.fused, ids)[0]
        logits = logits[len(one.prompt) :]
        logs = torch.log_softmax(logits, dim=1)
        logits[:, banned] = -torch.inf
        best = logits.argmax(dim=1)
        assert best[: len(answer.ids)].tolist() == list(answer.ids)
        assert answer.complete == (int(best[-1]) == END)
        own = logs[torch.arange(len(answer.ids)), torch.tensor(answer.ids)].mean().item()
        assert answer.likelihood == pytest.approx(own, abs=1e-4)
    assert len({answer.ids for answer in answers}) == 3
