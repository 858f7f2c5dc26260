"""What names a side in codes and in words, whichever wire brought it. Pure."""

from __future__ import annotations

import re

LEFT, RIGHT, BILATERAL = "left", "right", "bilateral"

MODIFIERS = {
    **dict.fromkeys(("L", "LT", "LEFT", "7771000", "G-A101"), LEFT),
    **dict.fromkeys(("R", "RT", "RIGHT", "24028007", "G-A100"), RIGHT),
    **dict.fromkeys(("B", "50", "BI", "BIL", "BILATERAL", "BOTH", "51440002", "G-A102"), BILATERAL),
}
"""CPT modifiers (HL7 table 0340), L and R of IHE, SNOMED CT and SRT codes (PS3.16 CID 244), and words."""
WORDS = {
    **dict.fromkeys(
        ("left", "links", "linke", "linker", "linkes", "linken", "stâng", "stânga", "stângă"), LEFT
    ),
    **dict.fromkeys(("right", "rechts", "rechte", "rechter", "rechtes", "rechten"), RIGHT),
    **dict.fromkeys(("drept", "dreapta", "dreaptă", "우측"), RIGHT),
    **dict.fromkeys(("좌측",), LEFT),
    **dict.fromkeys(("bilateral", "both", "beidseits", "beide", "beider", "bds", "양측"), BILATERAL),
}
"""Whole words of a procedure's text (English, German, Romanian, Korean). L, R, LT and RT are none: L spine is
lumbar, RT may be radiotherapy."""

_NAMED_AFTER_A_SIDE = re.compile(
    r"\b(?:left|right)[ -](?:atri|ventric|heart|coronar|bundle|to[ -]left|to[ -]right)\w*"
    r"|\b(?:link|recht)\w*[ -](?:ventrik|vorhof|herz|koronar)\w*"
    r"|\b(?:ventricul|atri)\w* (?:stâng|drept|dreapt)\w*",
    re.IGNORECASE,
)
"""Parts of the heart are named after a side: they say nothing about the side of an examination."""
_WORD = re.compile(r"[^\W\d_]+")


def side_words(text: str) -> set[str]:
    """The sides that words of a text name; parts of the heart that are named after a side are no side."""
    bare = _NAMED_AFTER_A_SIDE.sub(" ", text)
    return {WORDS[word] for word in _WORD.findall(bare.lower()) if word in WORDS}
