"""A drafter that returns the text of its `drafter.json`: it needs no torch and looks at no image."""

from __future__ import annotations

import time

from model.manifest import Manifest
from model.prompt_words import LANGUAGES
from model.prompts import language_of
from model.sections import FINDINGS, IMPRESSION, sentences_of, split
from model.structured.filling import fill
from model.structured.template import Template
from model.study import (
    ClinicalContext,
    Draft,
    Evidence,
    Filled,
    ModelCard,
    Sentence,
    Unfit,
    Volume,
    WeightsError,
)


class ScriptedDrafter:
    """Drafts the same fixed text for every volume, after an optional wait. Safe to call from many threads."""

    card: ModelCard

    def __init__(self, manifest: Manifest) -> None:
        """Read the text and the wait. Raises WeightsError when drafter.json gives none that can be used."""
        script = manifest.part("script")
        text, titles, seconds = script.get("text"), script.get("sections"), script.get("seconds", 0.0)
        if not isinstance(text, str) or not isinstance(titles, list):
            raise WeightsError("expected script.text (words) and script.sections (titles) in drafter.json")
        if not isinstance(seconds, int | float) or not 0 <= seconds <= 3600:
            raise WeightsError("expected script.seconds between 0 and 3600 in drafter.json")
        self.card = manifest.card
        self._seconds = float(seconds)
        self._sentences = tuple(
            Sentence(title, sentence, (Evidence(kind="template"),))
            for title, body in split(text, titles)
            for sentence in sentences_of(body)
        )
        if not self._sentences:
            raise WeightsError("expected script.text to hold at least one titled section with a sentence")

    def draft(self, volume: Volume, context: ClinicalContext) -> Draft:
        """The fixed text. Neither the volume nor the context is looked at, so that nothing is unfit."""
        return self._said(self._sentences)

    def conclude(self, findings: str, context: ClinicalContext) -> Draft:
        """The fixed Impression, whatever the findings are. Raises Unfit when the script has none."""
        return self._section(IMPRESSION, "conclude")

    def detail(self, impression: str, context: ClinicalContext) -> Draft:
        """The fixed Findings, whatever the impression is. Raises Unfit when the script has none."""
        return self._section(FINDINGS, "detail")

    def fill(self, template: Template, report: str, context: ClinicalContext) -> Filled:
        """What reading alone finds in the report for the template: nothing is written by a model."""
        started = time.perf_counter()
        language = language_of(context, template.language if template.language in LANGUAGES else "en")
        fields = fill(template, report, language, write=None)
        return Filled(template, fields, self.card, language, time.perf_counter() - started)

    def _section(self, title: str, what: str) -> Draft:
        sentences = tuple(sentence for sentence in self._sentences if sentence.section == title)
        if not sentences:
            raise Unfit(f"Expected a script with {title}, found none: this drafter cannot {what}.")
        return self._said(sentences)

    def _said(self, sentences: tuple[Sentence, ...]) -> Draft:
        started = time.perf_counter()
        if self._seconds:
            time.sleep(self._seconds)
        words = sum(len(sentence.text.split()) for sentence in sentences)
        return Draft(sentences, self.card, tokens=words, seconds=time.perf_counter() - started)
