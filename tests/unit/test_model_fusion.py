"""Three ways in which vision meets text: shapes, gradients, numbers, and that no case hears of another."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from model.facts import HEADS
from model.fusion.forward import fused_logits
from model.fusion.fused import Fused
from model.fusion.inject import InjectFusion
from model.fusion.making import make_fusion
from model.fusion.places import FusionModule, Places, features
from model.fusion.prefix import PrefixFusion
from model.fusion.repeated import RepeatedFusion
from model.fusion.settings import KINDS, FusionSettings
from model.study import WeightsError
from model.vision.seen import Seen
from model.vision.settings import EncoderSettings, VisionSettings
from model.vision.tower import VisionTower

FINDINGS, TOKENS, PLANES, VISION = 3, 2, 4, 6
PLACES = FINDINGS + TOKENS
STAGES = (5, 7)
"""Widths of two earlier stages, early to deep."""
START = 1
CONFIG = LlamaConfig(
    vocab_size=40,
    hidden_size=64,
    intermediate_size=64,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    rms_norm_eps=1e-5,
    rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
    tie_word_embeddings=False,
    bos_token_id=START,
    eos_token_id=2,
)

torch.set_num_threads(1)


def _seen(batch: int, seed: int = 0) -> Seen:
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
        stages=tuple(of(PLACES, width) for width in STAGES),
    )


def _network(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    network: Any = LlamaForCausalLM(CONFIG)
    network.eval()
    for weight in network.parameters():
        if weight.dim() > 1:
            # As they come, they are so small that attention is nearly even.
            nn.init.normal_(weight, std=0.2)
    return network


def _fusion(kind: str, *, moved: bool = True) -> Any:
    """A fusion; moved: as after some training, when gates and output projections are no longer zero."""
    torch.manual_seed(5)
    places = Places(FINDINGS, TOKENS, PLANES, VISION, 64)
    made: FusionModule
    if kind == "repeated":
        made = RepeatedFusion(places, CONFIG, blocks=2)
    elif kind == "inject":
        made = InjectFusion(places, STAGES, 64, layers=3)
    else:
        made = PrefixFusion(places)
    if moved:
        for name, weight in made.named_parameters():
            if name == "gates" or (name.startswith("blocks") and weight.dim() > 1):
                nn.init.normal_(weight, std=0.5 if name == "gates" else 0.2)
    return made.eval()


def _ids(batch: int, length: int = 6) -> Tensor:
    return torch.randint(3, 40, (batch, length), generator=torch.Generator().manual_seed(9))


def _rms(states: Tensor, norm: Any) -> Tensor:
    weight: Tensor = norm.weight
    return states / (states.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt() * weight


def _turned(vector: Tensor, place: int) -> Tensor:
    """Rotary position: pair i of the vector turned by place / theta^(2i / size)."""
    half = len(vector) // 2
    angles = [place / 500000.0 ** (i / half) for i in range(half)]
    cos, sin = torch.tensor([*map(math.cos, angles)]), torch.tensor([*map(math.sin, angles)])
    a, b = vector[:half], vector[half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin])


def _slow_layer(layer: Any, states: Tensor) -> Tensor:
    """One decoder layer over (places, 64) of one case: place by place, head by head."""
    normed = _rms(states, layer.input_layernorm)
    attention = layer.self_attn
    queries = (normed @ attention.q_proj.weight.T).view(-1, 4, 16)
    keys = (normed @ attention.k_proj.weight.T).view(-1, 2, 16)
    values = (normed @ attention.v_proj.weight.T).view(-1, 2, 16)
    rows = []
    for place in range(len(states)):
        heads = []
        for head in range(4):
            query = _turned(queries[place, head], place)
            earlier = [_turned(keys[at, head // 2], at) for at in range(place + 1)]
            shares = torch.softmax(torch.stack([query @ key / 4 for key in earlier]), dim=0)
            heads.append(shares @ values[: place + 1, head // 2])
        rows.append(torch.cat(heads))
    states = states + torch.stack(rows) @ attention.o_proj.weight.T
    normed, mlp = _rms(states, layer.post_attention_layernorm), layer.mlp
    gate = normed @ mlp.gate_proj.weight.T
    inner = gate * torch.sigmoid(gate) * (normed @ mlp.up_proj.weight.T)
    after: Tensor = states + inner @ mlp.down_proj.weight.T
    return after


def _slow_logits(network: Any, blocks: Any, fused: Fused, ids: Tensor) -> Tensor:
    """The same as fused_logits, for the one case of a batch, by the definition."""
    table = network.model.embed_tokens.weight
    states = torch.cat([table[START][None], fused.prefix[0], table[ids[0]]])
    for number, layer in enumerate(network.model.layers):
        if 1 <= number <= len(fused.injected):
            states = states.clone()
            states[1 : 1 + PLACES] += fused.injected[number - 1][0]
        states = _slow_layer(layer, states)
    if fused.encodings is not None:
        states = torch.cat([fused.encodings[0], states])
    for block in blocks:
        states = _slow_layer(block, states)
    head: Tensor = network.lm_head.weight
    return _rms(states, network.model.norm)[-(ids.shape[1] + 1) :] @ head.T


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_are_those_of_the_docstrings(kind: str) -> None:
    """A place for each finding and token; a prefix or encodings; an addition for each earlier stage."""
    fused = _fusion(kind)(_seen(2))
    places = (2, PLACES, 64)
    assert fused.prefix.shape == ((2, 0, 64) if kind == "repeated" else places)
    assert [one.shape for one in fused.injected] == ([places, places] if kind == "inject" else [])
    assert (None if fused.encodings is None else fused.encodings.shape) == (
        places if kind == "repeated" else None
    )
    assert fused_logits(_network(), _fusion(kind).blocks, START, fused, _ids(2)).shape == (2, 7, 40)


def test_a_head_s_features_are_its_numbers_beside_its_image() -> None:
    """Pooled features, then four times logit / 10, probability, area, measures / 4, and the attention."""
    seen = _seen(1)
    heads, tokens, *stages = features(seen)
    expected = [
        *seen.pooled[0, 1].tolist(),
        4 * seen.logits[0, 1].item() / 10,
        4 / (1 + math.exp(-seen.logits[0, 1].item())),
        4 * seen.area[0, 1].item(),
        *seen.measures[0, 1].tolist(),
        *(4 * seen.heights[0, 1]).tolist(),
    ]
    torch.testing.assert_close(heads[0, 1], torch.tensor(expected))
    assert tokens is seen.tokens
    assert [one is other for one, other in zip(stages, seen.stages, strict=True)] == [True, True]


@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_are_those_of_the_definition(kind: str) -> None:
    """The whole forward pass gives what the plain definition gives, place by place."""
    network, fusion, ids = _network(), _fusion(kind), _ids(1)
    with torch.no_grad():
        fused = fusion(_seen(1))
        torch.testing.assert_close(
            fused_logits(network, fusion.blocks, START, fused, ids)[0],
            _slow_logits(network, fusion.blocks, fused, ids),
            atol=1e-4,
            rtol=1e-4,
        )


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_of_a_fusion_learns(kind: str) -> None:
    """A loss on the words gives every parameter a gradient that is not zero."""
    fusion = _fusion(kind)
    logits = fused_logits(_network(), fusion.blocks, START, fusion(_seen(2)), _ids(2))
    _learn(logits)
    still = [name for name, weight in fusion.named_parameters() if not _learns(weight)]
    assert still == []


@pytest.mark.parametrize(("kind", "first"), [("inject", "gates"), ("repeated", "o_proj.weight")])
def test_what_starts_at_zero_can_leave_it(kind: str, first: str) -> None:
    """Gates and output projections that are zero have a gradient: nothing is closed for ever."""
    fusion = _fusion(kind, moved=False)
    logits = fused_logits(_network(), fusion.blocks, START, fusion(_seen(2)), _ids(2))
    _learn(logits)
    closed = [weight for name, weight in fusion.named_parameters() if name.endswith(first)]
    assert closed
    assert all(weight.abs().max() == 0 and _learns(weight) for weight in closed)


def _learn(logits: Tensor) -> None:
    logits.square().mean().backward()  # type: ignore[no-untyped-call]


def _learns(weight: Tensor) -> bool:
    return weight.grad is not None and bool(weight.grad.abs().max() > 0)


def test_a_fusion_changes_nothing_at_first() -> None:
    """Untrained blocks leave the decoder's words alone; closed gates leave those of a plain prefix."""
    network, ids, seen = _network(), _ids(2), _seen(2)
    with torch.no_grad():
        bare = fused_logits(network, [], START, None, ids)
        repeated = _fusion("repeated", moved=False)
        torch.testing.assert_close(
            fused_logits(network, repeated.blocks, START, repeated(seen), ids), bare, atol=1e-5, rtol=1e-5
        )
        prefix, inject = _fusion("prefix"), _fusion("inject", moved=False)
        inject.places.load_state_dict(prefix.places.state_dict())
        torch.testing.assert_close(
            fused_logits(network, [], START, inject(seen), ids),
            fused_logits(network, [], START, prefix(seen), ids),
        )


def test_stages_enter_deep_to_early() -> None:
    """The deepest of the earlier stages enters the second layer, and the earliest the one after it."""
    fusion = _fusion("inject")
    seen = _seen(1)
    with torch.no_grad():
        injected = fusion(seen).injected
        deep, early = (fusion.gates[i] * fusion.stages[i](seen.stages[1 - i]) for i in (0, 1))
    torch.testing.assert_close(injected[0], deep)
    torch.testing.assert_close(injected[1], early)


def test_of_more_stages_than_layers_the_deepest_enter() -> None:
    """A decoder of two layers has room for one stage: the deepest of the earlier ones."""
    fusion: Any = InjectFusion(Places(FINDINGS, TOKENS, PLANES, VISION, 64), STAGES, 64, layers=2)
    assert len(fusion(_seen(1)).injected) == 1
    assert fusion.stages[0][0].normalized_shape == (STAGES[-1],)


@pytest.mark.parametrize("kind", KINDS)
def test_no_place_sees_what_comes_after_it(kind: str) -> None:
    """Another last token changes the last logits and none before: an answer cannot be read ahead of time."""
    network, fusion, ids = _network(), _fusion(kind), _ids(1)
    other = ids.clone()
    other[0, -1] = (other[0, -1] + 1) % 40
    with torch.no_grad():
        fused = fusion(_seen(1))
        change = (
            fused_logits(network, fusion.blocks, START, fused, ids)
            - fused_logits(network, fusion.blocks, START, fused, other)
        ).abs()
    assert change[0, :-1].max() < 1e-6
    assert change[0, -1].max() > 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_another_image_changes_its_own_case_only(kind: str) -> None:
    """Of three cases in a batch the one with another image has other logits, from the first place on."""
    network, fusion, ids = _network(), _fusion(kind), _ids(3)
    first, second = features(_seen(3)), features(_seen(3, seed=1))
    mixed = [torch.cat([a[:1], b[1:2], a[2:]]) for a, b in zip(first, second, strict=True)]
    with torch.no_grad():
        before = fused_logits(network, fusion.blocks, START, fusion.project(first), ids)
        after = fused_logits(network, fusion.blocks, START, fusion.project(mixed), ids)
    change = (after - before).abs().amax(dim=2)
    assert change[[0, 2]].max() == 0
    assert change[1].min() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_case_alone_is_as_in_a_batch(kind: str) -> None:
    """Beside others, and padded on the right for the longest of them, a case has the logits it has alone."""
    network, fusion, ids = _network(), _fusion(kind), _ids(3)
    with torch.no_grad():
        fused = fusion(_seen(3))
        together = fused_logits(network, fusion.blocks, START, fused, ids)
        alone = fused_logits(network, fusion.blocks, START, fused.rows([1]), ids[1:2, :4])
    torch.testing.assert_close(together[1:2, :5], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_kept_features_give_what_the_image_gives(kind: str) -> None:
    """Training on kept features is training on what serving builds."""
    fusion, seen = _fusion(kind), _seen(2)
    kept, fresh = fusion.project(fusion.features(seen)), fusion(seen)
    torch.testing.assert_close(kept.prefix, fresh.prefix)
    torch.testing.assert_close(kept.injected, fresh.injected)
    torch.testing.assert_close(kept.encodings, fresh.encodings)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_can_be_had_of_some_places_only(kind: str) -> None:
    """The kept places' logits are those that they have among all."""
    network, fusion, ids = _network(), _fusion(kind), _ids(2)
    keep = torch.zeros(2, 7, dtype=torch.bool)
    keep[0, 3:5] = keep[1, 6] = True
    with torch.no_grad():
        fused = fusion(_seen(2))
        whole = fused_logits(network, fusion.blocks, START, fused, ids)
        torch.testing.assert_close(
            fused_logits(network, fusion.blocks, START, fused, ids, keep),
            torch.stack([whole[0, 3], whole[0, 4], whole[1, 6]]),
        )


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_without_images_goes_through_the_same_layers(kind: str) -> None:
    """Without an image the decoder reads the text alone, and the fusion's blocks after it."""
    network, fusion, ids = _network(), _fusion(kind), _ids(1)
    with torch.no_grad():
        torch.testing.assert_close(
            fused_logits(network, fusion.blocks, START, None, ids)[0],
            _slow_logits(network, fusion.blocks, Fused(torch.zeros(1, 0, 64)), ids),
            atol=1e-4,
            rtol=1e-4,
        )


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_and_the_fusion_learn_around_a_frozen_base(kind: str) -> None:
    """Gradients pass through the frozen weights of a network in peft to both sides."""
    fusion = _fusion(kind)
    adapted = get_peft_model(
        _network(), LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    )
    _learn(fused_logits(adapted, fusion.blocks, START, fusion(_seen(2)), _ids(2)))
    weights = [*fusion.parameters(), *(w for w in adapted.parameters() if w.requires_grad)]
    assert all(map(_learns, weights))
    bare = fused_logits(_network(), fusion.blocks, START, fusion(_seen(2)), _ids(2))
    acted = fused_logits(adapted, fusion.blocks, START, fusion(_seen(2)), _ids(2))
    assert not torch.allclose(bare, acted, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_decoder_in_half_precision_meets_a_fusion_in_full(kind: str) -> None:
    """On an accelerator the decoder computes in bfloat16; the fusion keeps its own precision."""
    fusion = _fusion(kind)
    network: Any = _network().to(torch.bfloat16)
    logits = fused_logits(network, fusion.blocks, START, fusion(_seen(1)), _ids(1))
    assert logits.dtype == torch.bfloat16
    assert logits.isfinite().all()


def test_an_attention_that_needs_a_mask_gets_one() -> None:
    """A decoder that attends eagerly, which sees everything without a mask, gives the same numbers."""
    network, fusion, ids = _network(), _fusion("prefix"), _ids(2)
    with torch.no_grad():
        fused = fusion(_seen(2))
        fast = fused_logits(network, [], START, fused, ids)
        network.set_attn_implementation("eager")
        torch.testing.assert_close(fused_logits(network, [], START, fused, ids), fast, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fusion_fits_the_halves_that_it_is_made_for(kind: str) -> None:
    """Made from a vision half and a language half, it takes what the one gives and the other reads."""
    encoder = EncoderSettings("vit_tiny_patch16_224", "apart", depth=3, stages=3)
    shape = (2, 3, 64, 64)
    tower = VisionTower(VisionSettings((encoder,), HEADS, width=16), shape).eval()
    fusion = make_fusion(FusionSettings(kind, blocks=3), len(HEADS), tower, CONFIG)
    assert len(fusion.blocks) == (3 if kind == "repeated" else 0)
    with torch.no_grad():
        fused = fusion(tower(torch.rand(1, *shape)))
        assert fused_logits(_network(), fusion.blocks, START, fused, _ids(1)).isfinite().all()
    assert len(fused.injected) == (2 if kind == "inject" else 0)


@pytest.mark.parametrize(
    "settings",
    [FusionSettings("prefix"), FusionSettings("repeated", 1), FusionSettings("repeated", 64)],
    ids=["prefix", "one block", "64 blocks"],
)
def test_fusion_settings_survive_their_json(settings: FusionSettings) -> None:
    """What drafter.json holds gives the settings again; no object at all means a prefix."""
    assert FusionSettings.from_json(settings.to_json()) == settings
    assert FusionSettings.from_json(None) == FusionSettings("prefix")


@pytest.mark.parametrize(
    "part",
    [
        {},
        {"kind": "adaptive"},
        {"kind": ["prefix"]},
        {"kind": "repeated", "blocks": 0},
        {"kind": "repeated", "blocks": 65},
        {"kind": "repeated", "blocks": "2"},
        {"kind": "repeated", "blocks": True},
        {"kind": "repeated", "block": 2},
        ["prefix"],
    ],
)
def test_fusion_settings_that_make_no_sense_are_refused(part: Any) -> None:
    """They are refused before anything loads."""
    with pytest.raises(WeightsError, match="fusion"):
        FusionSettings.from_json(part)
