"""The names under which a draft is told in each language: sections, organs, doubt. No torch here."""

from __future__ import annotations

from collections.abc import Mapping

from model.facts import HEART, LUNGS, PLEURA
from model.sections import CLINICAL_INFORMATION, COMPARISON, FINDINGS, IMPRESSION

LANGUAGES = ("en", "de", "ro", "ko")
"""ISO 639-1 codes of the languages that a draft can be written in."""
PROCEDURE = "Procedure"

_TITLES: Mapping[str, Mapping[str, str]] = {
    "de": {
        PROCEDURE: "Untersuchung",
        CLINICAL_INFORMATION: "Klinische Angaben",
        COMPARISON: "Vergleich",
        FINDINGS: "Befund",
        IMPRESSION: "Beurteilung",
    },
    "ro": {
        PROCEDURE: "Examinare",
        CLINICAL_INFORMATION: "Date clinice",
        COMPARISON: "Comparație",
        FINDINGS: "Rezultat",
        IMPRESSION: "Concluzii",
    },
    "ko": {
        PROCEDURE: "검사",
        CLINICAL_INFORMATION: "임상 정보",
        COMPARISON: "비교",
        FINDINGS: "소견",
        IMPRESSION: "결론",
    },
}
_ORGANS: Mapping[str, Mapping[str, str]] = {
    "de": {LUNGS: "Lunge", PLEURA: "Pleura", HEART: "Herz"},
    "ro": {LUNGS: "Plămâni", PLEURA: "Pleură", HEART: "Cord"},
    "ko": {LUNGS: "폐", PLEURA: "흉막", HEART: "심장"},
}
UNCERTAIN: Mapping[str, str] = {
    "en": "[uncertain]",
    "de": "[unsicher]",
    "ro": "[incert]",
    "ko": "[불확실]",
}
"""What stands behind a sentence that must be read with doubt. No sentence of a draft has square brackets."""


def title_in(title: str, language: str) -> str:
    """A canonical section title in a language; as it is where the language has no word for it."""
    return _TITLES.get(language, {}).get(title, title)


def organ_in(organ: str, language: str) -> str:
    """A canonical organ in a language; as it is where the language has no word for it."""
    return _ORGANS.get(language, {}).get(organ, organ)


def titles_of(title: str) -> tuple[str, ...]:
    """A canonical section title in every language, the canonical one first."""
    return tuple(dict.fromkeys([title, *(title_in(title, language) for language in LANGUAGES)]))


def uncertain_in(language: str) -> str:
    """The mark of a doubtful sentence in a language; the English one where the language has none."""
    return UNCERTAIN.get(language, UNCERTAIN["en"])
