"""Model folders with random weights: small enough to make in a test, and loaded by the code that serves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from model.confidence import Calibration
from model.fusion.making import make_fusion
from model.loading import TOKENIZER_FILE
from model.manifest import MANIFEST, write_manifest
from model.observing import SizeSettings
from model.vision.tower import VisionTower
from training.package import (
    ADAPTED,
    BASE,
    adapter_folder,
    language_settings,
    save_adapter,
    save_base,
    save_manifest,
    save_vision,
)
from training.plan import IMAGE, PRESETS, Plan
from training.speak import new_llama
from training.tokenizer import train_tokenizer

TINY = PRESETS["tiny"]
MAXIMUM_TOKENS = 96

# The matrices of the tests are small: waiting for a second thread takes longer than the work.
torch.set_num_threads(1)


def random_folder(folder: Path, network: nn.Module | None = None, seed: int = 0, plan: Plan = TINY) -> Path:
    """A folder whose weights are random; its adapters act, and its tokenizer is our small one unless a
    tokenizer.json lies there. Everything that travels with weights is there: calibration, sizes, tasks."""
    torch.manual_seed(seed)
    tower = VisionTower(plan.vision, IMAGE.shape)
    network = new_llama(plan) if network is None else network
    heads = plan.vision.heads
    fusion = make_fusion(plan.fusion, len(heads), tower, network.config)  # type: ignore[arg-type]
    if not (folder / BASE / TOKENIZER_FILE).exists():
        train_tokenizer(plan.vocabulary, seed, folder / BASE / TOKENIZER_FILE, texts=200)
    base_sha256 = save_base(network, folder)
    for task, language in ADAPTED:
        adapted = get_peft_model(
            AutoModelForCausalLM.from_pretrained(str(folder / BASE), local_files_only=True),
            LoraConfig(
                r=4,
                target_modules="all-linear",
                task_type="CAUSAL_LM",
                init_lora_weights=False,
                revision=f"sha256:{base_sha256}",
            ),
        )
        save_adapter(adapted, folder / adapter_folder(task, language))
    save_vision(tower, fusion, folder)
    # Random heads are sure of nothing: a folder that abstained of everything could not be tried.
    calibration = Calibration(dict.fromkeys(heads, (1.0, 0.0)), abstain_below=0.0)
    sizes = SizeSettings({"pleural effusion": (30.0, 60.0), "pneumothorax": (30.0, 60.0)}, 0.5)
    # Random weights do not stop by themselves.
    language = replace(language_settings(), maximum_tokens=MAXIMUM_TOKENS)
    save_manifest(folder, plan, seed, "test", plan.fusion, calibration, sizes, language)
    return folder


def llama3_folder(folder: Path) -> Path:
    """A folder around a Llama 3 of reduced width and depth: grouped queries, its rope, its special tokens."""
    specials = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|eot_id|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(
        ["Findings: there is a small left pleural effusion. Impression:"] * 9, trainer
    )
    tokenizer.add_special_tokens(specials)  # after the words, as Llama 3 has them
    (folder / BASE).mkdir(parents=True)
    tokenizer.save(str(folder / BASE / TOKENIZER_FILE))
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=256,
        intermediate_size=448,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=1,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        tie_word_embeddings=False,
        bos_token_id=tokenizer.token_to_id("<|begin_of_text|>"),
        eos_token_id=[tokenizer.token_to_id("<|end_of_text|>"), tokenizer.token_to_id("<|eot_id|>")],
    )
    return random_folder(folder, LlamaForCausalLM(config))


def rewrite_manifest(folder: Path, **changes: object) -> None:
    """Change top-level entries of drafter.json and pin the files as they lie there now."""
    document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    document.pop("files")
    document.pop("format")
    write_manifest(folder, {**document, **changes})
