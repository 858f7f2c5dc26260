"""A drafter that returns the text of its `drafter.json`: it needs no torch and looks at no image."""

from __future__ import annotations

import time

from model.manifest import Manifest
from model.sections import IMPRESSION, sentences_of, split
from model.study import ClinicalContext, Draft, Evidence, ModelCard, Sentence, Unfit, Volume, WeightsError


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
        impression = tuple(sentence for sentence in self._sentences if sentence.section == IMPRESSION)
        if not impression:
            raise Unfit(f"Expected a script with an {IMPRESSION}, found none: this drafter cannot conclude.")
        return self._said(impression)

    def _said(self, sentences: tuple[Sentence, ...]) -> Draft:
        started = time.perf_counter()
        if self._seconds:
            time.sleep(self._seconds)
        words = sum(len(sentence.text.split()) for sentence in sentences)
        return Draft(sentences, self.card, tokens=words, seconds=time.perf_counter() - started)
