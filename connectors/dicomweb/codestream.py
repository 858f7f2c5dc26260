"""The size that a compressed frame claims in its own header, read before a decoder believes it."""

from __future__ import annotations

from typing import Any

from pydicom.encaps import generate_frames

_START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""Markers of ITU-T T.81 table B.1 and, for JPEG-LS, T.87 annex C, that are followed by the size."""
_LOOK_AT_BYTES = 64 * 1024


def shape_in(codestream: bytes) -> tuple[int, int] | None:
    """Return (rows, columns) as the codestream states them; None when it states none that we know."""
    if codestream[:4] == b"\xff\x4f\xff\x51":  # JPEG 2000: SOC, then SIZ (T.800 annex A.5.1)
        width, height, left, top = (int.from_bytes(codestream[at : at + 4], "big") for at in (8, 12, 16, 20))
        return height - top, width - left
    at = 2 if codestream[:2] == b"\xff\xd8" else len(codestream)
    while at + 9 <= min(len(codestream), _LOOK_AT_BYTES):
        if codestream[at] != 0xFF:
            return None
        marker = codestream[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _START_OF_FRAME:
            return int.from_bytes(codestream[at + 5 : at + 7], "big"), int.from_bytes(
                codestream[at + 7 : at + 9], "big"
            )
        else:
            at += 2 + int.from_bytes(codestream[at + 2 : at + 4], "big")
    return None


def claimed_shapes(dataset: Any, frames: int) -> set[tuple[int, int]]:
    """Return the sizes that the encapsulated frames of a dataset claim."""
    shapes = (
        shape_in(frame[:_LOOK_AT_BYTES])
        for frame in generate_frames(dataset.PixelData, number_of_frames=frames)
    )
    return {shape for shape in shapes if shape is not None}
