"""The whole: a volume and the words of an order in, a draft with its evidence out."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from model.confidence import check_sure, draft_confidence
from model.dictated import mended, rest_on_dictation
from model.evidence import after_removal
from model.facts import ORGANS
from model.fusion.fused import Fused
from model.grammar import findings_grammar, report_grammar, sentences_grammar
from model.guard import guard
from model.headings import organ_in, title_in
from model.language.asking import Answer, Asked
from model.loading import load_parts
from model.manifest import Manifest
from model.preprocess import check_fit, planes_image
from model.prompts import language_of, prompt_ids
from model.readings import SEEN, HeadReading
from model.removal import lung_places, moved_regions, regions_of, removal_drops, widened
from model.reporting import finding_sentences, given_sentences, impression_sentences, written_sentences
from model.sections import FINDINGS, IMPRESSION
from model.structured.asking import written_by
from model.structured.filling import fill
from model.structured.template import Template
from model.study import ClinicalContext, Draft, Filled, ModelCard, Sentence, Unfit, Volume
from model.tasks import CONCLUSION, DETAIL, REPORT, STRUCTURE
from model.vision.seen import Seen
from model.watched import Watched

DEFAULT_LANGUAGE = "en"
_IMAGES_AT_ONCE = 16
"""Studies that the vision half looks at in one pass: memory does not grow with the batch."""
_RANDOM_SEED = 0


class VisionLanguageDrafter:
    """Vision half, fusion and a 4-bit Llama with its adapters. Safe to call from many threads.

    Drafts are greedy: the same volume and context give the same text, alone or among others.
    """

    card: ModelCard

    def __init__(self, manifest: Manifest) -> None:
        """Load the halves of a verified model folder. Raises WeightsError when they do not fit together."""
        self.card = manifest.card
        self.tasks = manifest.tasks
        parts = load_parts(manifest)
        self.image, self.tower, self.fusion = parts.image, parts.tower, parts.fusion
        self.observer, self.calibration = parts.observer, parts.calibration
        self.language, self.words, self.writer = parts.language, parts.words, parts.writer
        self.device = parts.device
        self.heads = parts.observer.heads
        self._lock = threading.Lock()

    def draft(self, volume: Volume, context: ClinicalContext) -> Draft:
        """Draft one report. Raises Unfit when the volume cannot be assessed, Unsure rather than guess."""
        return self.draft_many([volume], [context])[0]

    def draft_many(self, volumes: Sequence[Volume], contexts: Sequence[ClinicalContext]) -> list[Draft]:
        """Draft a batch; each draft has the text that it would have alone.

        The time of a draft is its share of the batch. Raises Unfit when any of the volumes is, Unsure when
        the drafter is of any of them, ValueError when there are not as many contexts as volumes.
        """
        watched = self.watch_many(volumes, contexts)
        for one in watched:
            if one.unsure:
                check_sure(one.readings, self.calibration)
        return [one.draft for one in watched]

    def watch_many(
        self, volumes: Sequence[Volume], contexts: Sequence[ClinicalContext], *, random_regions: int = 0
    ) -> list[Watched]:
        """Draft a batch and tell the way; what the drafter is unsure of is written nevertheless.

        1. Every volume is fit.
        2. The vision half looks, and what its heads saw is read in clinical words.
        3. What is seen is taken out of the image, and looked for again.
        4. The language half writes, held to the form of the report.
        5. The guard holds what it wrote against what the heads saw and the order says.

        random_regions: how many places elsewhere each removal is compared with. Raises Unfit as `draft_many`.
        """
        started = time.perf_counter()
        # 1.
        if len(volumes) != len(contexts):
            raise ValueError(f"expected a context for each volume, found {len(contexts)} for {len(volumes)}")
        for volume in volumes:
            check_fit(volume, self.image)
        # 2. and 3.
        readings: list[dict[str, HeadReading]] = []
        elsewhere: list[dict[str, float]] = []
        fused: list[Fused] = []
        for start in range(0, len(volumes), _IMAGES_AT_ONCE):
            part = volumes[start : start + _IMAGES_AT_ONCE]
            images = np.stack([planes_image(one.voxels, one.spacing_mm, self.image) for one in part])
            read, random, prefixes = self._look(torch.from_numpy(images), part, random_regions)
            readings += read
            elsewhere += random
            fused += prefixes
        # 4.
        languages = [language_of(context, DEFAULT_LANGUAGE) for context in contexts]
        answers = self.speak(fused, contexts, languages)
        # 5.
        each = (time.perf_counter() - started) / max(1, len(volumes))
        return [
            self._watched(*one, seconds=each)
            for one in zip(contexts, languages, answers, readings, elsewhere, strict=True)
        ]

    def conclude(self, findings: str, context: ClinicalContext) -> Draft:
        """Draft the Impression, and nothing else, of findings that a person dictated.

        Raises Unfit when these weights were not trained for it, the findings are empty or too long, or no
        whole sentence was written.
        """
        return self._of_words(CONCLUSION, findings, context)

    def detail(self, impression: str, context: ClinicalContext) -> Draft:
        """Draft the Findings, and nothing else, behind an impression that a person dictated.

        Raises Unfit when these weights were not trained for it, the impression is empty or too long, or no
        whole sentence was written.
        """
        return self._of_words(DETAIL, impression, context)

    def fill(self, template: Template, report: str, context: ClinicalContext) -> Filled:
        """Fill a structured template with what a report says; what it does not say is left open.

        Raises Unfit when these weights were not trained for it, or the report is empty or too long.
        """
        started = time.perf_counter()
        self._check_task(STRUCTURE)
        language = language_of(context, DEFAULT_LANGUAGE)
        adapter = self.language.adapter(STRUCTURE, language)
        write = written_by(self.writer, report, language, self.words, adapter)
        fields = fill(template, report, language, write)
        return Filled(template, fields, self.card, language, time.perf_counter() - started)

    @torch.inference_mode()
    def look(self, images: Tensor) -> Seen:
        """What the vision half makes of images, (batch, planes, channels, side, side) between 0 and 1."""
        seen: Seen = self.tower(images.to(self.device))
        return seen

    def speak(
        self, fused: Sequence[Fused], contexts: Sequence[ClinicalContext], languages: Sequence[str]
    ) -> list[Answer]:
        """The answer to the report task for each case, of what was seen of it."""
        asked = [
            Asked(
                tuple(prompt_ids(REPORT, context, language, self.words)),
                one,
                self.language.adapter(REPORT, language),
                _report_grammar(language),
                self.language.maximum_tokens,
            )
            for one, context, language in zip(fused, contexts, languages, strict=True)
        ]
        return self.writer.write(asked)

    def _look(
        self, images: Tensor, volumes: Sequence[Volume], random_regions: int
    ) -> tuple[list[dict[str, HeadReading]], list[dict[str, float]], list[Fused]]:
        with self._lock:
            seen = self.look(images)
            with torch.inference_mode():
                fused = self.fusion(seen)
            readings = [self.observer.readings(seen, row, volume) for row, volume in enumerate(volumes)]
            tried = [
                (row, head, region)
                for row, read in enumerate(readings)
                for head, region in self._regions(seen, row, read).items()
            ]
            drops = self._drops(images, seen, [(row, self.heads.index(h), r) for row, h, r in tried])
            for (row, head, _), drop in zip(tried, drops, strict=True):
                reading = readings[row][head]
                if reading.box is not None:
                    readings[row][head] = after_removal(reading, reading.box, drop)
            elsewhere = self._elsewhere(images, seen, volumes, tried, random_regions)
        return readings, elsewhere, [fused.rows([row]) for row in range(len(volumes))]

    def _regions(self, seen: Seen, row: int, readings: Mapping[str, HeadReading]) -> dict[str, Tensor]:
        """Head -> the places that show it, for what is seen in one study."""
        shown = [head for head, reading in readings.items() if reading.probability >= SEEN]
        if not shown:
            return {}
        index = [self.heads.index(head) for head in shown]
        return dict(zip(shown, widened(regions_of(seen.maps[row][index])), strict=True))

    def _drops(self, images: Tensor, seen: Seen, tried: Sequence[tuple[int, int, Tensor]]) -> list[float]:
        if not tried:
            return []
        return removal_drops(self.tower, images.to(self.device), seen, tried, self._probabilities)

    def _elsewhere(
        self,
        images: Tensor,
        seen: Seen,
        volumes: Sequence[Volume],
        tried: Sequence[tuple[int, str, Tensor]],
        count: int,
    ) -> list[dict[str, float]]:
        """The mean drop for places of the same shape elsewhere in the lungs, for each study and head."""
        means: list[dict[str, float]] = [{} for _ in volumes]
        generator = torch.Generator().manual_seed(_RANDOM_SEED)
        lungs: dict[int, Tensor] = {}
        for row, head, region in tried if count else ():
            if row not in lungs:
                voxels = torch.from_numpy(np.ascontiguousarray(volumes[row].voxels))
                grid = (region.shape[1], region.shape[2])
                lungs[row] = lung_places(voxels, self.observer.ranges(volumes[row]), grid)
            moved = moved_regions(region, lungs[row], count, generator)
            drops = self._drops(images, seen, [(row, self.heads.index(head), one) for one in moved])
            if drops:
                means[row][head] = float(np.mean(drops))
        return means

    def _probabilities(self, logits: Tensor) -> Tensor:
        return self.calibration.calibrated_rows(logits.float(), self.heads)

    def _watched(
        self,
        context: ClinicalContext,
        language: str,
        answer: Answer,
        readings: dict[str, HeadReading],
        elsewhere: dict[str, float],
        seconds: float,
    ) -> Watched:
        written = written_sentences(answer.text, language)
        told = (*given_sentences(context, language), *guard(written, readings, context, language))
        confidence = draft_confidence(readings)
        draft = Draft(
            told,
            self.card,
            {head: reading.probability for head, reading in readings.items()},
            language=language,
            confidence=round(confidence, 4),
            tokens=len(answer.ids),
            seconds=seconds,
        )
        return Watched(draft, written, readings, confidence < self.calibration.abstain_below, elsewhere)

    def _of_words(self, task: str, text: str, context: ClinicalContext) -> Draft:
        """A task that reads what a person dictated, and no image."""
        started = time.perf_counter()
        self._check_task(task)
        language = language_of(context, DEFAULT_LANGUAGE)
        prompt = prompt_ids(task, context, language, self.words, text)
        grammar = sentences_grammar() if task == CONCLUSION else findings_grammar(_organs(language))
        adapter = self.language.adapter(task, language)
        (answer,) = self.writer.write(
            [Asked(tuple(prompt), None, adapter, grammar, self.language.maximum_tokens)]
        )
        sentences: tuple[Sentence, ...]
        if task == CONCLUSION:
            sentences = impression_sentences(answer.text, language)
        else:
            sentences = finding_sentences(answer.text, language)
        if not sentences:
            raise Unfit(
                "Expected a whole sentence, all that was written was cut off: write it without a draft."
            )
        rested = rest_on_dictation(sentences, text, context, language)
        told = mended(rested, text, language, IMPRESSION if task == CONCLUSION else FINDINGS)
        if not told:
            raise Unfit("Expected an answer that holds against what was dictated: write it without a draft.")
        return Draft(
            told,
            self.card,
            language=language,
            tokens=len(answer.ids),
            seconds=time.perf_counter() - started,
        )

    def _check_task(self, task: str) -> None:
        if task not in self.tasks:
            raise Unfit(
                f"These weights were not trained for the task {task}: use weights whose drafter.json names "
                "it among its tasks."
            )


def _report_grammar(language: str) -> str:
    return report_grammar(_organs(language), title_in(IMPRESSION, language))


def _organs(language: str) -> list[str]:
    return [organ_in(organ, language) for organ in ORGANS]
