"""The fonts of a PDF: Noto Sans and Noto Sans KR, cut down once to what is set with them.

Parsing the whole fonts takes longer than all the rest of a document. So each is cut once in a process:
layout tables and variable axes go, which nothing here uses, and beside the whole alphabet there is a small
cut with the letters and signs of Western and Central Europe, in which nearly every draft can be set. The
Korean font gives the signs that the other lacks; whole, it is read by drafts in Korean only, for its cut
would take seconds. The shapes are the fonts' own.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable
from importlib.resources import files
from io import BytesIO

from fontTools import subset
from fontTools.ttLib import TTFont

LATIN, KOREAN = "latin", "korean"
_FILES = {
    LATIN: ("fontpkg_noto_sans", "files/NotoSans[wdth,wght].ttf"),
    KOREAN: ("pylopdf_fonts_ko", "NotoSansKR-Regular.otf"),
}
_WESTERN = frozenset((*range(0x0180), *range(0x0218, 0x021C), *range(0x2000, 0x2300)))
"""Latin with the letters of Europe's languages, punctuation, currency, and mathematical signs."""
_UNUSED_TABLES = [
    *("GDEF", "GPOS", "GSUB", "BASE", "JSTF", "VORG", "vhea", "vmtx"),
    *("fvar", "gvar", "avar", "cvar", "HVAR", "VVAR", "MVAR", "STAT"),
]

_making = threading.Lock()


def glyphs(name: str) -> frozenset[int]:
    """The characters that a font has shapes for."""
    return _glyphs(name)


def fonts_for(characters: Iterable[str]) -> dict[str, bytes]:
    """Name and file of each font that is needed to set these characters, the first before its fallback."""
    wanted = frozenset(map(ord, characters))
    with _making:  # several threads write drafts at once: each cut is made by one of them
        cuts = {LATIN: _cut(LATIN, western=wanted & _glyphs(LATIN) <= _WESTERN)}
        if signs := wanted - _glyphs(LATIN):
            cuts[KOREAN] = _cut(KOREAN, western=True) if signs <= _WESTERN else _whole(KOREAN)
        return cuts


@functools.cache
def _glyphs(name: str) -> frozenset[int]:
    with _opened(name) as font:
        return frozenset(font.getBestCmap())


@functools.cache
def _cut(name: str, *, western: bool) -> bytes:
    options = subset.Options(notdef_outline=True, recommended_glyphs=True, name_IDs=["*"], layout_features=[])
    options.drop_tables += _UNUSED_TABLES
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=_glyphs(name) & _WESTERN if western else _glyphs(name))
    with _opened(name) as font:
        subsetter.subset(font)
        cut = BytesIO()
        font.save(cut)
    return cut.getvalue()


@functools.cache
def _whole(name: str) -> bytes:
    package, file = _FILES[name]
    return (files(package) / file).read_bytes()


def _opened(name: str) -> TTFont:
    package, file = _FILES[name]
    # The file's own time stays: the same draft gives the same bytes.
    return TTFont(str(files(package) / file), lazy=True, recalcTimestamp=False)
