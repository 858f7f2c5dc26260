"""The fonts of a PDF: which are taken, that they lose no letter, and that threads may share them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO

import pytest
from fontTools.ttLib import TTFont

from connectors.pdf import report_pdf
from connectors.pdf_fonts import KOREAN, LATIN, fonts_for
from tests.fhir_samples import a_draft


@pytest.mark.parametrize(
    ("characters", "names"),
    [
        ("No effusion, Größe 5 µm ș ț ă", [LATIN]),
        ("≥ 5 mm", [LATIN, KOREAN]),
        ("кириллица", [LATIN]),
        ("우측 폐", [LATIN, KOREAN]),
    ],
)
def test_fonts_are_those_that_the_characters_need(characters: str, names: list[str]) -> None:
    """The Korean font is read for Korean only, and every character has its shape in one of them."""
    fonts = fonts_for(characters)
    assert list(fonts) == names
    shapes: set[int] = set()
    for file in fonts.values():
        shapes |= set(TTFont(BytesIO(file), lazy=True).getBestCmap())
    assert {ord(c) for c in characters} <= shapes


@pytest.mark.parametrize(("inside", "outside"), [("ſ", "ƀ"), ("ț", "Ȝ")])
def test_a_letter_just_outside_of_the_small_cut_takes_the_whole_alphabet(inside: str, outside: str) -> None:
    """The small cut holds to the letter, and what lies beyond it is set all the same."""
    small, whole = fonts_for(inside)[LATIN], fonts_for(outside)[LATIN]
    assert small == fonts_for("a")[LATIN]
    assert len(whole) > len(small)
    assert ord(outside) in TTFont(BytesIO(whole), lazy=True).getBestCmap()


def test_a_sign_that_only_the_korean_font_has_does_not_bring_all_of_it() -> None:
    """A comparison sign in an English draft costs a few shapes, not eleven thousand syllables."""
    assert len(fonts_for("≥")[KOREAN]) * 10 < len(fonts_for("폐")[KOREAN])


def test_threads_that_write_at_once_write_the_same_bytes() -> None:
    """Shared fonts carry nothing from one document to another."""
    draft = a_draft()
    greek = replace(draft, sections=(("Findings", "Ελληνικά"),))
    alone = report_pdf(draft), report_pdf(greek)
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(report_pdf, [draft, greek] * 8))
    assert together == list(alone) * 8
