"""Names of languages, as orders write them. Pure."""

from __future__ import annotations

import re

_TWO = {"deu": "de", "ger": "de", "eng": "en", "ron": "ro", "rum": "ro", "kor": "ko"}
"""ISO 639-2, both of its codes where it has two, of the languages that drafts are written in."""


def language_code(said: str) -> str:
    """ISO 639-1 code, in small letters, of a language tag: de, DE, deu, ger, de-AT and de_AT are all "de".

    Empty for anything else: an order whose language is not understood says none.
    """
    first = re.split(r"[-_]", said.strip(), maxsplit=1)[0].lower()
    if re.fullmatch(r"[a-z]{2}", first):
        return first
    return _TWO.get(first, "")
