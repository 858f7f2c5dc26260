"""The languages that drafts are read and written in: one file for each. No torch here."""

from __future__ import annotations

from model.wording.languages import LANGUAGES, wording
from model.wording.lexicon import BOTH, Phrases, Reading, Wording

__all__ = ["BOTH", "LANGUAGES", "Phrases", "Reading", "Wording", "wording"]
