"""Which languages there are."""

from __future__ import annotations

from model.wording.english import ENGLISH
from model.wording.german import GERMAN
from model.wording.korean import KOREAN
from model.wording.lexicon import Wording
from model.wording.romanian import ROMANIAN

_ALL = {one.code: one for one in (ENGLISH, GERMAN, ROMANIAN, KOREAN)}
LANGUAGES = tuple(_ALL)
"""ISO 639-1 codes."""


def wording(language: str) -> Wording:
    """The wording of a language. Raises ValueError, which says which there are."""
    try:
        return _ALL[language]
    except KeyError:
        raise ValueError(f"expected a language of {', '.join(LANGUAGES)}, found {language!r}") from None
