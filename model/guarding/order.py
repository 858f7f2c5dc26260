"""What an order fixes, in any of the languages that orders come in: the side that is examined, and the sex.

No torch here. An order may be written in another language than the draft: all words are looked for at once.
"""

from __future__ import annotations

import re
import unicodedata

from model.facts import LEFT, RIGHT

# English, German, Romanian (with and without diacritics), Korean.
_SIDES = {
    RIGHT: re.compile(r"\b(?:right|rt|rechts\w*|rechte[mnrs]?|re\.|drept\w*|dreapt\w*)|우측|오른쪽"),
    LEFT: re.compile(r"\b(?:left|lt|links\w*|linke[mnrs]?|li\.|st[aâ]ng\w*)|좌측|왼쪽"),
}
_BOTH = re.compile(r"\b(?:bilateral\w*|both|beid(?:e[mnrs]?|seit\w*)|ambel\w*)\b|양측|양쪽")
_SEXES = {
    "male": re.compile(
        r"\b(?:prostat\w*|seminal vesicles?|testis|testes|testic\w*|scrot\w*|skrot\w*|penis|penile"
        r"|hoden\w*|samenblase\w*|vezicul\w* seminal\w*)|전립선|고환|정낭|음낭|음경"
    ),
    "female": re.compile(
        r"\b(?:uter(?:us|ine|in|ul\w*)|ovar\w*|vagin\w*|endometri\w*|pregnan\w*|gebärmutter\w*|eierst[oö]ck\w*"
        r"|schwanger\w*|gravid\w*)|자궁|난소|임신"
    ),
}


def sides_in(text: str) -> frozenset[str]:
    """right and left, where the words name them; both of them where they say both."""
    words = _plain(text)
    if _BOTH.search(words):
        return frozenset(_SIDES)
    return frozenset(side for side, pattern in _SIDES.items() if pattern.search(words))


def examined_side(procedure: str) -> str:
    """right or left where a procedure names just one of them, else empty."""
    sides = sides_in(procedure)
    return next(iter(sides)) if len(sides) == 1 else ""


def names_organ_of_other_sex(text: str, sex: str) -> bool:
    """Whether the words name an organ that a patient of this sex (male or female) does not have."""
    other = {"male": "female", "female": "male"}.get(sex)
    return other is not None and _SEXES[other].search(_plain(text)) is not None


def echoes(text: str, *fields: str) -> bool:
    """Whether a sentence only repeats words of the order."""
    words = " ".join(_plain(text).strip(" .").split())
    return bool(words) and any(words in " ".join(_plain(field).split()) for field in fields)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).lower()
