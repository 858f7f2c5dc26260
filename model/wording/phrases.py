"""Canonical sentences: what the guard writes, in every language. No torch here."""

from __future__ import annotations

import re
from collections.abc import Sequence

from model.facts import LEFT, RIGHT
from model.wording.languages import wording
from model.wording.lexicon import BOTH

_GROUP = re.compile(r"\[([^\[\]]*)\]")
_FIELD = re.compile(r"\{(\w+)\}")


def present(
    finding: str,
    sides: Sequence[str],
    language: str,
    size: str = "",
    zone: str = "",
    millimetres: float | None = None,
) -> str:
    """A sentence of the Findings that states one finding."""
    words = wording(language).phrases
    template = words.both[finding][0] if _is_both(sides) and finding in words.both else words.present[finding]
    return _filled(template, sides, language, size, zone, millimetres)


def concluded(
    finding: str,
    sides: Sequence[str],
    language: str,
    size: str = "",
    zone: str = "",
    millimetres: float | None = None,
) -> str:
    """A sentence of the Impression that states one finding."""
    words = wording(language).phrases
    template = (
        words.both[finding][1] if _is_both(sides) and finding in words.both else words.concluded[finding]
    )
    return _filled(template, sides, language, size, zone, millimetres)


def absent(findings: Sequence[str], language: str) -> str:
    """A sentence that denies one finding or several. Raises ValueError for none."""
    if not findings:
        raise ValueError("expected findings to deny, found none")
    words = wording(language).phrases
    names = [words.names[finding] for finding in findings]
    between, last = words.joined
    joined = names[0] if len(names) == 1 else f"{between.join(names[:-1])}{last}{names[-1]}"
    return _capitalised(words.absent.format(names=joined))


def organ_normal(organ: str, language: str) -> str:
    """A sentence that denies what would be seen in an organ.

    Of the lungs it does not deny emphysema: a lung may be clear of lesions and emphysematous.
    """
    return wording(language).phrases.normal[organ]


def nothing(language: str) -> str:
    """The Impression of a study in which nothing is found."""
    return wording(language).phrases.nothing


def _is_both(sides: Sequence[str]) -> bool:
    return set(sides) == {RIGHT, LEFT}


def _filled(
    template: str,
    sides: Sequence[str],
    language: str,
    size: str,
    zone: str,
    millimetres: float | None,
) -> str:
    """What is not known of a finding is left out, with the words that it would stand among."""
    words = wording(language).phrases
    known = {
        "size": words.sizes.get(size, ""),
        "side": words.sides[BOTH] if _is_both(sides) else words.sides.get(sides[0], "") if sides else "",
        "zone": words.zones.get(zone, ""),
        "mm": f"{millimetres:.0f}" if millimetres is not None else "",
    }

    def chosen(group: re.Match[str]) -> str:
        for words in group[1].split("|"):
            if all(known[name] for name in _FIELD.findall(words)):
                return words
        return ""

    filled = _GROUP.sub(chosen, template).format(**known)
    return _capitalised(" ".join(filled.split()).replace(" .", ".").replace(" ,", ","))


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
