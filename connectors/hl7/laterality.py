"""The side that an order is for: left, right or bilateral. Pure.

A wrong side harms, so nothing is guessed: all that speaks of a side must agree, else there is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from connectors.hl7.message import Field, Segment
from connectors.sides import MODIFIERS, side_words

CONCEPTS = frozenset({"272741003", "G-C171"})
"""OBX-3 of an observation that states the laterality."""
PLACES = (
    "OBR-15.5",
    "OBR-45",
    "OBR-46",
    "a CPT code with -LT, -RT or -50 in OBR-4, OBR-44 or IPC-6",
    "OBX-5 under OBX-3 272741003 or G-C171",
    "words of OBR-4, OBR-44, IPC-6",
)

_CPT_WITH_MODIFIER = re.compile(r"[0-9A-Z]{5}[- ](LT|RT|50)")


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
            found |= side_words(procedure.component(number))
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
