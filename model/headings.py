"""The names under which a draft is told in each language: sections, organs, doubt. No torch here."""

from __future__ import annotations

from model.wording import LANGUAGES, wording

UNCERTAIN = {language: wording(language).uncertain for language in LANGUAGES}
"""What stands behind a sentence that must be read with doubt. No sentence of a draft has square brackets."""


def title_in(title: str, language: str) -> str:
    """A canonical section title in a language; as it is where the language has no word for it."""
    return wording(language).titles.get(title, title) if language in LANGUAGES else title


def organ_in(organ: str, language: str) -> str:
    """A canonical organ in a language; as it is where the language has no word for it."""
    return wording(language).organs.get(organ, organ) if language in LANGUAGES else organ


def titles_of(title: str) -> tuple[str, ...]:
    """A canonical section title in every language, the canonical one first."""
    return tuple(dict.fromkeys([title, *(title_in(title, language) for language in LANGUAGES)]))


def uncertain_in(language: str) -> str:
    """The mark of a doubtful sentence in a language; the English one where the language has none."""
    return UNCERTAIN.get(language, UNCERTAIN["en"])
