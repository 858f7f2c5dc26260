"""The side that an order is for: left, right or bilateral. Pure.

A wrong side harms, so nothing is guessed: all that speaks of a side must agree, else there is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from connectors.hl7.message import Field, Segment

LEFT, RIGHT, BILATERAL = "left", "right", "bilateral"

MODIFIERS = {
    **dict.fromkeys(("L", "LT", "LEFT", "7771000", "G-A101"), LEFT),
    **dict.fromkeys(("R", "RT", "RIGHT", "24028007", "G-A100"), RIGHT),
    **dict.fromkeys(("B", "50", "BI", "BIL", "BILATERAL", "BOTH", "51440002", "G-A102"), BILATERAL),
}
"""CPT modifiers (HL7 table 0340), L and R of IHE, SNOMED CT and SRT codes (PS3.16 CID 244), and words."""
CONCEPTS = frozenset({"272741003", "G-C171"})
"""OBX-3 of an observation that states the laterality."""
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
PLACES = (
    "OBR-15.5",
    "OBR-45",
    "OBR-46",
    "a CPT code with -LT, -RT or -50 in OBR-4, OBR-44 or IPC-6",
    "OBX-5 under OBX-3 272741003 or G-C171",
    "words of OBR-4, OBR-44, IPC-6",
)

_NAMED_AFTER_A_SIDE = re.compile(
    r"\b(?:left|right)[ -](?:atri|ventric|heart|coronar|bundle|to[ -]left|to[ -]right)\w*"
    r"|\b(?:link|recht)\w*[ -](?:ventrik|vorhof|herz|koronar)\w*"
    r"|\b(?:ventricul|atri)\w* (?:stâng|drept|dreapt)\w*",
    re.IGNORECASE,
)
"""Parts of the heart are named after a side: they say nothing about the side of an examination."""
_CPT_WITH_MODIFIER = re.compile(r"[0-9A-Z]{5}[- ](LT|RT|50)")
_WORD = re.compile(r"[^\W\d_]+")


def laterality(obr: Segment, segments: Sequence[Segment], procedures: Sequence[Field]) -> str:
    """The side on which everything that names one agrees; empty when nothing does, or two disagree.

    Read are the site modifier of OBR-15 (SPS.5), the procedure code modifiers of OBR-45, the
    supplemental service information of OBR-46 (IHE RAD TF-2 writes L and R there), an OBX that states the
    laterality, and the codes and words of the procedures.
    """
    found = {*_of_modifiers(obr), *_of_observations(segments)}
    for procedure in procedures:
        for number in (1, 4):
            modified = _CPT_WITH_MODIFIER.fullmatch(procedure.component(number).strip().upper())
            found |= {MODIFIERS[modified[1]]} if modified else set()
        for number in (2, 5, 9):
            found |= _of_words(procedure.component(number))
    return found.pop() if len(found) == 1 else ""


def _of_modifiers(obr: Segment) -> Iterator[str]:
    site = obr.field(15)
    codes = [site.component(5, part) for part in (1, 2)]
    for number in (45, 46):
        for modifier in obr.field(number).repetitions:
            codes += [modifier.component(part) for part in (1, 2, 4)]
    yield from (MODIFIERS[plain] for code in codes if (plain := code.strip().upper()) in MODIFIERS)


def _of_observations(segments: Sequence[Segment]) -> Iterator[str]:
    for obx in segments:
        if obx.name == "OBX" and obx.field(3).component(1).strip() in CONCEPTS:
            values = (obx.field(5).component(part).strip().upper() for part in (1, 2))
            yield from (MODIFIERS[value] for value in values if value in MODIFIERS)


def _of_words(text: str) -> set[str]:
    bare = _NAMED_AFTER_A_SIDE.sub(" ", text)
    return {WORDS[word] for word in _WORD.findall(bare.lower()) if word in WORDS}
