"""What the engine computes is what transformers computes, for every way in which images are fused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from model.decoding.cache import STRIDE, KeyValues
from model.decoding.layers import Product, fewest_rows
from model.decoding.step import Batch, Turns, decode, prefill
from model.decoding.weights import Decoders
from model.fusion.fused import Fused
from model.language.base import load_base
from model.language.settings import LanguageSettings
from tests.decoding_samples import START, adapted, fusion_blocks, llama, reference, seen

PROMPT = [START, 40, 41, 42, 43, 44, 45]
ANSWER = [50, 60, 70, 80, 90, 100, 110, 120]


def logits_of(decoders: Decoders, adapter: str, fused: Fused | None, slot: int = 2) -> Tensor:
    """Logits (1 + len(ANSWER), vocabulary) of the engine's steps, its neighbours busy with other tokens."""
    turns = Turns(decoders.rotary, decoders.dtype, decoders.device)
    kept = [KeyValues(4, heads, size, torch.float32, torch.device("cpu")) for heads, size in decoders.shapes]
    weights = decoders.of(adapter)
    lead = fused.encodings.shape[1] if fused is not None and fused.encodings is not None else 0
    lead = lead if weights.blocks else 0
    turns.reach(STRIDE)
    for room in kept:
        room.reach(STRIDE)
    rows = [prefill(weights, turns, kept, slot, torch.tensor(PROMPT), fused)[0]]
    place = len(PROMPT) + (0 if fused is None else fused.prefix.shape[1])
    for token in ANSWER:
        tokens = torch.full((4,), 33)
        places, leads = torch.tensor([3, 9, 0, 20]), torch.zeros(4, dtype=torch.long)
        tokens[slot], places[slot], leads[slot] = token, place, lead
        batch = Batch(torch.arange(4), True, tokens, places, leads, 1 + max(place + lead, 20))
        rows.append(decode(weights, turns, kept, batch)[slot])
        place += 1
    return torch.stack(rows)


@pytest.mark.parametrize("rope", ["default", "llama3"])
@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("kind", ["none", "prefix", "inject", "repeated"])
@torch.inference_mode()
def test_logits_are_those_of_transformers(kind: str, dense: bool, rope: str) -> None:
    """At the place after the prompt and at every place of an answer, within 1e-4."""
    network = llama(1, rope)
    blocks = fusion_blocks(network, 2) if kind == "repeated" else nn.ModuleList()
    fused = seen(kind)
    ours = logits_of(Decoders(network, list(blocks), dense), "", fused)
    theirs = reference(network, blocks, fused, torch.tensor(PROMPT + ANSWER))[-len(ours) :]
    assert theirs.std() > 0.5
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_the_reference_is_the_forward_pass_of_transformers() -> None:
    """What the engine is held against is what the whole network of transformers computes."""
    network = llama(1)
    ids = torch.tensor(PROMPT)
    whole = network(input_ids=ids.unsqueeze(0)).logits[0]
    torch.testing.assert_close(reference(network, nn.ModuleList(), None, ids), whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["prefix", "inject", "repeated"])
@torch.inference_mode()
def test_what_was_seen_changes_what_is_written(kind: str) -> None:
    """Every part that a fusion gives reaches the logits."""
    network = llama(1)
    decoders = Decoders(network, list(fusion_blocks(network, 2)) if kind == "repeated" else [], None)
    first, second = seen(kind, 1), seen(kind, 2)
    assert first is not None
    assert second is not None
    if kind == "inject":  # the same prefix: only what is injected differs
        second = Fused(first.prefix, second.injected)
    apart = logits_of(decoders, "", first) - logits_of(decoders, "", second)
    assert apart.abs().amax(dim=1).min() > 1e-2


@torch.inference_mode()
def test_blocks_without_encodings_still_act() -> None:
    """A case without images passes through the fusion's blocks all the same."""
    network = llama(1)
    blocks = fusion_blocks(network, 1)
    ours = logits_of(Decoders(network, list(blocks), None), "", None)
    theirs = reference(network, blocks, None, torch.tensor(PROMPT + ANSWER))[-len(ours) :]
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dense", [True, False])
@torch.inference_mode()
def test_each_adapter_writes_with_its_own_weights(dense: bool) -> None:
    """One network with two adapters gives three decoders: the two and the base alone."""
    network = adapted(llama(1), "one", "two")
    decoders = Decoders(network, [], dense)
    ids = torch.tensor(PROMPT + ANSWER)
    for adapter in ("two", "", "one"):
        ours = logits_of(decoders, adapter, None)
        if adapter:
            network.set_adapter(adapter)
            theirs = reference(network, nn.ModuleList(), None, ids)
        else:
            with network.disable_adapter():
                theirs = reference(network, nn.ModuleList(), None, ids)
        torch.testing.assert_close(ours, theirs[-len(ours) :], atol=1e-4, rtol=1e-4)
        decoders.forget(adapter)


@torch.inference_mode()
def test_four_bit_weights_are_dense_copies_of_what_they_multiply_by(tmp_path: Path) -> None:
    """An NF4 base gives the same logits by its dense copies and by the modules of bitsandbytes."""
    llama(2).save_pretrained(tmp_path)
    settings = LanguageSettings("language", "adapter", "nf4", "float32", 8)
    network: Any = load_base(tmp_path, settings, torch.device("cpu"))
    dense = logits_of(Decoders(network, [], None), "", None)
    quantised = logits_of(Decoders(network, [], False), "", None)
    theirs = reference(network, nn.ModuleList(), None, torch.tensor(PROMPT + ANSWER))[-len(dense) :]
    torch.testing.assert_close(dense, theirs, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(quantised, theirs, atol=1e-4, rtol=1e-4)
    plain = reference(llama(2), nn.ModuleList(), None, torch.tensor(PROMPT + ANSWER))[-len(dense) :]
    assert (plain - theirs).abs().max() > 1e-2


def test_an_adapter_with_more_than_two_matrices_is_not_merged() -> None:
    """A bias or a magnitude of an adapter would be lost in a dense copy: it is refused."""
    network = adapted(llama(1), "one")
    layer: Any = network.get_base_model().model.layers[0].self_attn.q_proj
    layer.lora_bias["one"] = True
    with pytest.raises(ValueError, match="plain LoRA"):
        Decoders(network, [], True).of("one")


def test_rotary_tables_that_hang_on_the_length_are_refused() -> None:
    """With dynamic scaling a place would turn otherwise as its case grows."""
    network = llama(1)
    network.model.rotary_emb.rope_type = "dynamic"
    with pytest.raises(ValueError, match="default or llama3, found dynamic"):
        Decoders(network, [], None)


def test_blocks_of_another_width_are_refused() -> None:
    """A fusion's blocks must read the states of this decoder."""
    other = llama(1)
    blocks = fusion_blocks(other, 1)
    blocks[0].hidden_size = 32  # type: ignore[assignment]
    with pytest.raises(ValueError, match="blocks of width 64"):
        Decoders(llama(1), list(blocks), None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("width", "out"), [(256, 768), (704, 256)])
def test_a_row_s_product_hangs_on_no_other_row(width: int, out: int, dtype: torch.dtype) -> None:
    """In every multiple of the fewest rows, and in every place, a row gives the same bits."""
    generator = torch.Generator().manual_seed(1)
    product = Product(torch.randn(out, width, generator=generator).to(dtype))
    states = torch.randn(32, width, generator=generator).to(dtype)
    whole = product(states)
    fewest = fewest_rows(dtype, torch.device("cpu"))
    for count in range(fewest, 33, fewest):
        assert torch.equal(product(states[:count]), whole[:count])
    for turn in range(32):
        assert torch.equal(product(states.roll(turn, 0)), whole.roll(turn, 0))
