"""The wordings of each language."""

from __future__ import annotations

from training.wordings.composing import Wordings
from training.wordings.english import ENGLISH
from training.wordings.german import GERMAN
from training.wordings.korean import KOREAN
from training.wordings.romanian import ROMANIAN

WORDINGS: dict[str, Wordings] = {"en": ENGLISH, "de": GERMAN, "ro": ROMANIAN, "ko": KOREAN}
