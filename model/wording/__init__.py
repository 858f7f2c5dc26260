"""The languages that drafts are read and written in: one file for each. No torch here."""

from __future__ import annotations

from model.wording.languages import LANGUAGES, wording
from model.wording.lexicon import BOTH, Phrases, Reading, Wording
from model.wording.phrases import absent, concluded, nothing, organ_normal, present

__all__ = [
    "BOTH",
    "LANGUAGES",
    "Phrases",
    "Reading",
    "Wording",
    "absent",
    "concluded",
    "nothing",
    "organ_normal",
    "present",
    "wording",
]
