"""Model folders whose small decoder was taught a few answers by heart: it ends what it writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from model.facts import ORGANS
from model.fusion.making import make_fusion
from model.headings import organ_in
from model.language.words import Words
from model.loading import TOKENIZER_FILE
from model.manifest import MANIFEST
from model.prompts import prompt_ids
from model.study import ClinicalContext
from model.tasks import CONCLUSION, DETAIL
from model.vision.tower import VisionTower
from model.wording import LANGUAGES, concluded, organ_normal, present
from tests.model_folders import TINY, random_folder, rewrite_manifest
from training.package import BASE
from training.plan import IMAGE, Plan
from training.speak import new_llama
from training.tokenizer import END_ID, START_ID, train_tokenizer
from training.turns import Turn, language_loss

DICTATED = {
    language: " ".join(
        (
            present("pleural effusion", ("left",), language, size="small"),
            *(organ_normal(organ, language) for organ in ("Lungs", "Heart")),
        )
    )
    for language in LANGUAGES
}
"""Findings in every language, of which a taught folder knows the Impression."""
CONCLUDED = {
    language: concluded("pleural effusion", ("left",), language, size="small") for language in LANGUAGES
}
"""That Impression, of which it knows the Findings."""
_CONTEXTS = (ClinicalContext(), ClinicalContext("CT CHEST", "Effusion?", "Cough", sex="female", age_years=61))
_STEPS = 90


def detailed(language: str) -> Mapping[str, str]:
    """Organ -> the sentence that a taught folder writes under it when it is asked for the Findings."""
    effusion = present("pleural effusion", ("left",), language, size="small")
    return {organ: effusion if organ == "Pleura" else organ_normal(organ, language) for organ in ORGANS}


def taught_folder(
    folder: Path, plan: Plan = TINY, languages: tuple[str, ...] = ("en",), maximum_tokens: int = 48
) -> Path:
    """A folder that draws CONCLUDED from DICTATED, and details it; its adapters add nothing."""
    path = folder / BASE / TOKENIZER_FILE
    train_tokenizer(plan.vocabulary, 0, path, texts=200)
    words = Words(path)
    turns = []
    for language in languages:
        lines = [f"{organ_in(organ, language)}: {text}" for organ, text in detailed(language).items()]
        answers = (
            (CONCLUSION, DICTATED[language], CONCLUDED[language]),
            (DETAIL, CONCLUDED[language], "\n".join(lines)),
        )
        for task, text, answer in answers:
            for context in _CONTEXTS:
                prompt = prompt_ids(task, context, language, words, text)
                turns.append(Turn(prompt, [*words.encode(answer), END_ID], image=False))
    torch.manual_seed(0)
    network = new_llama(plan)
    tower = VisionTower(plan.vision, IMAGE.shape)
    fusion = make_fusion(plan.fusion, len(plan.vision.heads), tower, network.config)  # type: ignore[arg-type]
    optimiser = torch.optim.AdamW(network.parameters(), lr=4e-3)
    for _ in range(_STEPS):
        loss = language_loss(network, fusion, START_ID, lambda rows: fusion.project(()), turns)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    random_folder(folder, network, plan=plan)
    for tensors in folder.glob("adapters/*/adapter_model.safetensors"):
        quiet = {name: one * 0 if "lora_B" in name else one for name, one in load_file(str(tensors)).items()}
        save_file(quiet, str(tensors), metadata={"format": "pt"})
    settings = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["language"]
    rewrite_manifest(folder, language={**settings, "maximum_tokens": maximum_tokens})
    return folder
