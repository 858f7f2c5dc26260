"""Small random Llamas and a tokenizer of four languages, for what writes answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from model.fusion.fused import Fused
from model.language.words import Words

START, END, SPECIAL = 0, 1, 2
WIDTH = 64
LABELS = {
    "en": (("Lungs", "Pleura", "Heart"), "Impression"),
    "de": (("Lunge", "Pleura", "Herz"), "Beurteilung"),
    "ro": (("Plămâni", "Pleură", "Inimă"), "Concluzii"),
    "ko": (("폐", "흉막", "심장"), "결론"),
}
"""The labels of the organs and of the impression in each language."""
_TEXTS = [
    "Lungs: There is a small nodule of 4.5 mm in the left upper lobe.\nPleura: No pleural effusion.\n",
    "Heart: The heart is of normal size.\n\nImpression:\nSmall left pleural effusion.",
    "Lunge: Kleiner Rundherd im linken Oberlappen. Kein Pleuraerguss.\n\nBeurteilung:\nUnauffällig.",
    "Plămâni: Fără leziuni. Inimă: În limite normale.\n\nConcluzii:\nFără modificări.",
    "폐: 결절이 없습니다.\n흉막: 삼출이 없습니다.\n\n결론:\n정상입니다.",
]

torch.set_num_threads(1)


def words(folder: Path) -> Words:
    """A byte-level tokenizer, trained on a few sentences, with three special tokens in front."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<|begin_of_text|>", "<|end_of_text|>", "<|other|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXTS * 4, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return Words(folder / "tokenizer.json")


def llama(seed: int = 0, rope: str = "default", layers: int = 3) -> LlamaForCausalLM:
    """Random weights, large enough that every token depends on all before it; grouped queries."""
    torch.manual_seed(seed)
    parameters: dict[str, Any] = {"rope_type": rope, "rope_theta": 10000.0}
    if rope == "llama3":
        parameters |= {
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        }
    config = LlamaConfig(
        vocab_size=448,
        hidden_size=WIDTH,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        rope_parameters=parameters,
        tie_word_embeddings=True,
        bos_token_id=START,
        eos_token_id=END,
        initializer_range=0.2,
    )
    network = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, one in network.named_parameters():
            if "norm" in name:
                one.uniform_(0.5, 1.5)
    return network


def adapted(network: nn.Module, *names: str) -> Any:
    """The network with random LoRA adapters on every projection."""
    made: Any = None
    for name in names:
        config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
        if made is None:
            made = get_peft_model(network, config, adapter_name=name)
        else:
            made.add_adapter(name, config)
    return made.eval()


def fusion_blocks(network: LlamaForCausalLM, count: int, seed: int = 5) -> nn.ModuleList:
    """Decoder layers with random weights, as a fusion has them."""
    torch.manual_seed(seed)
    made = [LlamaDecoderLayer(network.config, index) for index in range(count)]
    for block in made:
        for one in block.parameters():
            if one.dim() == 2:
                nn.init.normal_(one, std=0.15)
    return nn.ModuleList(made).eval()


def seen(kind: str, seed: int = 9) -> Fused | None:
    """What a fusion of each kind gives for one case, random."""
    generator = torch.Generator().manual_seed(seed)

    def some(places: int) -> Tensor:
        return torch.randn(1, places, WIDTH, generator=generator)

    if kind == "none":
        return None
    if kind == "repeated":
        return Fused(some(0), encodings=some(6))
    return Fused(some(5), (some(5), some(5)) if kind == "inject" else ())


def reference(network: Any, blocks: nn.ModuleList, fused: Fused | None, ids: Tensor) -> Tensor:
    """Logits (places, vocabulary) by the modules of transformers; ids hold the start token and the rest."""
    model = (network.get_base_model() if hasattr(network, "get_base_model") else network).model
    states = model.embed_tokens(ids).unsqueeze(0)
    images = 0
    if fused is not None:
        images = fused.prefix.shape[1]
        states = torch.cat([states[:, :1], fused.prefix, states[:, 1:]], dim=1)
    for index, layer in enumerate(model.layers):
        if fused is not None and 0 < index <= len(fused.injected):
            added = torch.zeros_like(states)
            added[:, 1 : 1 + images] = fused.injected[index - 1]
            states = states + added
        states = _through(layer, model, states)
    lead = 0
    if len(blocks):
        if fused is not None and fused.encodings is not None:
            lead = fused.encodings.shape[1]
            states = torch.cat([fused.encodings, states], dim=1)
        for block in blocks:
            states = _through(block, model, states)
    head = network.get_output_embeddings()
    logits: Tensor = head(model.norm(states[:, lead:]))[0]
    return logits


def _through(layer: Any, model: Any, states: Tensor) -> Tensor:
    count = states.shape[1]
    turns = model.rotary_emb(states, torch.arange(count).unsqueeze(0))
    hidden = torch.full((count, count), -torch.inf).triu(1)[None, None]
    after: Tensor = layer(states, attention_mask=hidden, position_embeddings=turns)
    return after
