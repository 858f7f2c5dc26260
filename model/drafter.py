"""The whole: a volume and the words of an order in, a draft with its evidence out."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from model.evidence import HeadReading, evidence_of
from model.fusion.prefix import PrefixFusion
from model.language.adapters import add_adapter, check_adapter
from model.language.base import load_base
from model.language.local import LanguageModel
from model.language.settings import LanguageSettings
from model.language.words import Words
from model.manifest import CONCLUSION, Manifest, folder_sha256
from model.preprocess import ImageSettings, check_fit, slab_ranges, tiled_image
from model.prompts import PROMPT_VERSION, clinical_information, conclusion_ids, prompt_ids
from model.sections import CLINICAL_INFORMATION, COMPARISON, FINDINGS, IMPRESSION, TITLES, sentences_of, split
from model.study import ClinicalContext, Draft, Evidence, ModelCard, Sentence, Unfit, Volume, WeightsError
from model.vision.seen import Seen
from model.vision.settings import VisionSettings
from model.vision.tower import VisionTower

VISION_FILE = "vision/model.safetensors"
TOKENIZER_FILE = "tokenizer.json"


class VisionPrefixDrafter:
    """Vision transformer, prefix fusion and a 4-bit Llama with its adapter. Safe to call from many threads.

    Drafts are greedy: the same volume and context give the same text.
    """

    card: ModelCard

    def __init__(self, manifest: Manifest) -> None:
        """Load the halves of a verified model folder.

        1. Every setting can be read, and the prompt is the one that the weights were trained with.
        2. The adapter names the base that lies in the folder.
        3. The language half loads: base in 4-bit, adapter, tokenizer.
        4. The vision half and the fusion load, and their widths fit.

        Raises WeightsError when one of these does not hold.
        """
        # 1.
        self.card = manifest.card
        self._tasks = manifest.tasks
        if manifest.prompt_version != PROMPT_VERSION:
            raise WeightsError(
                f"the weights were trained with prompt {manifest.prompt_version}, this release builds "
                f"{PROMPT_VERSION}: use the release that they were made for"
            )
        self.image = ImageSettings.from_json(manifest.part("image"))
        settings = VisionSettings.from_json(manifest.part("vision"))
        language = LanguageSettings.from_json(manifest.part("language"))
        grammar = manifest.part("sections")
        self._no_prior = str(grammar.get("comparison", ""))
        if list(grammar.get("generated", [])) != [FINDINGS, IMPRESSION] or not self._no_prior:
            raise WeightsError("expected sections.generated (Findings, Impression) and sections.comparison")

        # 2.
        base, adapter = manifest.folder / language.base, manifest.folder / language.adapter
        check_adapter(adapter, base_sha256(manifest, language.base))

        # 3.
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        words = Words(manifest.path(f"{language.base}/{TOKENIZER_FILE}"))
        network = load_base(base, language, self.device)
        network = add_adapter(network, adapter, base_sha256(manifest, language.base))
        self.language = LanguageModel(network, words, language.maximum_tokens)

        # 4.
        self.heads = settings.heads
        tiles = (self.image.tile_rows, self.image.tile_columns)
        self.tower = VisionTower(settings, self.image.shape, tiles)
        self.fusion = PrefixFusion(len(self.heads), self.image.slabs, self.tower.width, self.language.width)
        try:
            tensors = load_file(str(manifest.path(VISION_FILE)))
            whole = torch.nn.ModuleDict({"tower": self.tower, "fusion": self.fusion})
            whole.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        except (RuntimeError, SafetensorError) as error:
            raise WeightsError(f"expected {VISION_FILE} to fit drafter.json: {error}") from error
        whole.to(self.device).eval()
        self._lock = threading.Lock()

    def draft(self, volume: Volume, context: ClinicalContext) -> Draft:
        """Draft one report. Raises Unfit when the volume cannot be assessed by these weights."""
        return self.draft_many([volume], [context])[0]

    def draft_many(self, volumes: Sequence[Volume], contexts: Sequence[ClinicalContext]) -> list[Draft]:
        """Draft a batch in one pass; each draft has the text that it would have alone.

        The time of a draft is its share of the batch. Raises Unfit when any of the volumes is, ValueError
        when there are not as many contexts as volumes.
        """
        started = time.perf_counter()
        if len(volumes) != len(contexts):
            raise ValueError(f"expected a context for each volume, found {len(contexts)} for {len(volumes)}")
        if not volumes:
            return []
        for volume in volumes:
            check_fit(volume, self.image)
        images = np.stack([tiled_image(volume.voxels, self.image) for volume in volumes])
        with self._lock:
            seen = self.look(torch.from_numpy(images))
            answers = self.speak(seen, contexts)
        best = self.tower.best_slab(seen.maps)
        each = (time.perf_counter() - started) / len(volumes)
        drafts = []
        for row, (volume, context, ids) in enumerate(zip(volumes, contexts, answers, strict=True)):
            middles = [(a + b) // 2 for a, b in slab_ranges(volume.voxels.shape[0], self.image.slabs)]
            readings = {
                head: HeadReading(round(float(seen.probabilities[row, i]), 4), middles[int(best[row, i])])
                for i, head in enumerate(self.heads)
            }
            drafts.append(self._drafted(ids, context, readings, each))
        return drafts

    def conclude(self, findings: str, context: ClinicalContext) -> Draft:
        """Draft the Impression of findings that a person dictated: the language half alone, no prefix.

        Raises Unfit when these weights were not trained for it, or the findings are empty or too long.
        """
        started = time.perf_counter()
        if CONCLUSION not in self._tasks:
            raise Unfit(
                "These weights were not trained to draw a conclusion from dictated findings: use weights "
                f"whose drafter.json names {CONCLUSION} among its tasks."
            )
        prompt = conclusion_ids(findings, context, self.language.words)
        blind = torch.zeros((1, 0, self.language.width), device=self.device)
        with self._lock:
            (ids,) = self.language.generate(blind, [prompt])
        # The prompt ended with the title. What comes under any further title was not asked for.
        (_, body), *_ = split(f"{IMPRESSION}:\n{self.language.words.decode(ids)}", TITLES)
        dictated = (Evidence(kind="findings"),)
        sentences = tuple(Sentence(IMPRESSION, text, dictated) for text in sentences_of(body))
        return Draft(sentences, self.card, tokens=len(ids), seconds=time.perf_counter() - started)

    @torch.inference_mode()
    def look(self, images: torch.Tensor) -> Seen:
        """What the vision half makes of tiled images, (batch, channels, height, width) between 0 and 1."""
        seen: Seen = self.tower(images.to(self.device))
        return seen

    @torch.inference_mode()
    def speak(self, seen: Seen, contexts: Sequence[ClinicalContext]) -> list[list[int]]:
        """Token ids of the answer for each case."""
        prompts = [prompt_ids(context, FINDINGS, self.language.words) for context in contexts]
        return self.language.generate(self.fusion(seen), prompts)

    def _drafted(
        self,
        ids: list[int],
        context: ClinicalContext,
        readings: dict[str, HeadReading],
        seconds: float,
    ) -> Draft:
        """Sentences in the order of the sections, each with its evidence."""
        order, template = (Evidence(kind="order"),), (Evidence(kind="template"),)
        sentences = [Sentence(CLINICAL_INFORMATION, text, order) for text in clinical_information(context)]
        sentences.append(Sentence(COMPARISON, self._no_prior, template))
        # The prompt ended with the first title: the answer goes on below it.
        text = f"{FINDINGS}:\n{self.language.words.decode(ids)}"
        for title, body in split(text, (FINDINGS, IMPRESSION)):
            for sentence in sentences_of(body):
                sentences.append(Sentence(title, sentence, evidence_of(sentence, readings)))
        return Draft(
            tuple(sentences),
            self.card,
            {head: reading.probability for head, reading in readings.items()},
            tokens=len(ids),
            seconds=seconds,
        )


def base_sha256(manifest: Manifest, base: str) -> str:
    """The hash by which an adapter names its base: over the names and hashes of the base's files."""
    prefix = f"{base}/"
    files = {
        name.removeprefix(prefix): digest
        for name, digest in manifest.files.items()
        if name.startswith(prefix)
    }
    if not files:
        raise WeightsError(f"expected files of the language base under {base}, found none pinned")
    return folder_sha256(files)
