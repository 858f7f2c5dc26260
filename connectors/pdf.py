"""A draft as PDF: the same bytes for the same draft, a banner on every page, never a wrong glyph.

Pure but for its fonts: Noto Sans (Latin, Greek, Cyrillic) and Noto Sans KR (Korean), both embedded. Text that
they cannot show as it is written is refused: scripts that need shaping or run from right to left, and
characters without a glyph.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC
from io import BytesIO
from typing import Any, cast

from fpdf import FPDF
from fpdf.fonts import TTFFont

from connectors.errors import Rejected
from connectors.exchange import DraftReport
from connectors.pdf_fonts import KOREAN, LATIN, fonts_for, glyphs

BANNER = "AI draft, not signed"
"""On every page: a page that is torn off, printed or faxed must still say it."""

_MARGIN_MM, _LINE_MM = 18, 5.5
_TEXT_POINTS, _HEADING_POINTS = 10.5, 12.5
_ALWAYS = f"{BANNER} · page 0123456789"
"""What stands on every page, whatever the draft says."""
_BREAKS = re.compile("\r\n|[\r\n\x0b\x0c\x85\u2028\u2029]")
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")
"""Where a line may break or join: they change no word, and fonts need not have them."""
_JAMO = re.compile("[\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff]")
"""Korean letters that NFC could not compose to syllables: they need shaping."""


class Unprintable(Rejected):
    """The text of a draft holds characters that no font here can show as they should be."""

    next_step = "Send the draft as text, without the PDF."


def report_pdf(draft: DraftReport) -> bytes:
    """The draft as an A4 document: banner, patient, examination, notice, then every section.

    The same draft gives the same bytes: the only time in it is when the draft was written.
    Raises Unprintable, which names the characters and never quotes the text.
    """
    told = [(_TEXT_POINTS, f"{label}: {value}") for label, value in _particulars(draft) if value]
    told += [(0, ""), (_TEXT_POINTS, draft.notice)]
    for title, text in draft.sections:
        told += [(0, ""), (_HEADING_POINTS, title), (_TEXT_POINTS, text)]
    paragraphs = [(points, printable(text)) for points, text in told]
    page = _Page(printable(_footer(draft)), {c for _, text in paragraphs for c in text})
    page.set_creation_date(draft.issued_at.astimezone(UTC))
    page.set_title(BANNER)
    page.add_page()
    for points, text in paragraphs:
        if points:
            page.paragraph(text, points)
        else:
            page.gap()
    return bytes(page.output())


def _particulars(draft: DraftReport) -> Sequence[tuple[str, str]]:
    patient, author = draft.patient, draft.author
    name = ", ".join(part for part in (patient.family_name, patient.given_name) if part)
    authority = f" ({patient.assigning_authority})" if patient.assigning_authority else ""
    ordered_by = draft.ordering_provider.printed_name if draft.ordering_provider else ""
    return (
        ("Patient", name),
        ("Patient identifier", f"{patient.identifier}{authority}"),
        ("Birth date", patient.birth_date.isoformat() if patient.birth_date else ""),
        ("Sex", patient.sex),
        ("Accession number", draft.accession),
        ("Procedure", draft.procedure.text or draft.procedure.code),
        ("Images of", draft.studied_on.isoformat() if draft.studied_on else ""),
        ("Ordered by", ordered_by),
        ("Drafted", f"{draft.issued_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC, draft {draft.number}"),
        ("Drafted by", f"{author.name} {author.version} (software)"),
    )


def _footer(draft: DraftReport) -> str:
    """What says on every page whose page it is."""
    return f"{draft.patient.identifier} · {draft.accession} · {BANNER}"


class _Page(FPDF):
    """A4 pages with banner and footer."""

    def __init__(self, footer: str, characters: Iterable[str]) -> None:
        super().__init__(format="A4")
        self._footer = footer
        # "{nb}" is text of a report here, not the number of pages.
        self.str_alias_nb_pages = ""
        fonts = fonts_for({*characters, *footer, *_ALWAYS} - {"\n"})
        for name, file in fonts.items():
            self._add(name, file)
        if KOREAN in fonts:
            self.set_fallback_fonts([KOREAN], exact_match=False)
        self.set_margins(_MARGIN_MM, _MARGIN_MM, _MARGIN_MM)
        self.set_auto_page_break(True, margin=_MARGIN_MM + _LINE_MM)

    def _add(self, name: str, file: bytes) -> None:
        """Add a font; `add_font` takes files on a disk only, and ours are made in memory."""
        self.fonts[name] = font = TTFFont(self, cast(Any, BytesIO(file)), name, "")
        # TrueType shapes stay as they are, and so do their bounds: to measure them anew would unpack each.
        font.ttfont.recalcBBoxes = font.is_cff
        if font.is_cff and font.is_cid_keyed:
            self._set_min_pdf_version("1.6")

    def header(self) -> None:
        """The banner; FPDF calls this at the top of each page."""
        self.set_font(LATIN, size=13)
        self.set_fill_color(255, 214, 102)
        self.cell(0, 10, BANNER, align="C", fill=True, new_x="LMARGIN", new_y="NEXT")
        self.ln(4)

    def footer(self) -> None:
        """Whose page it is and which; FPDF calls this at the bottom of each page."""
        self.set_y(-_MARGIN_MM)
        self.set_font(LATIN, size=8)
        self.cell(0, _LINE_MM, f"{self._footer} · page {self.page_no()}", align="C")

    def paragraph(self, text: str, points: float) -> None:
        """Printable text over as many lines and pages as it takes."""
        self.set_font(LATIN, size=points)
        self.multi_cell(0, _LINE_MM, text, align="L", new_x="LMARGIN", new_y="NEXT")

    def gap(self) -> None:
        """An empty line."""
        self.ln(_LINE_MM / 2)


def printable(text: str) -> str:
    """The text as it is set: composed (NFC), with plain line breaks. Raises Unprintable."""
    composed = unicodedata.normalize("NFC", _INVISIBLE.sub("", _BREAKS.sub("\n", text)))
    plain = "".join(" " if unicodedata.category(c) == "Cc" and c != "\n" else c for c in composed)
    lacking = sorted({c for c in plain if c != "\n" and not _can_be_set(c)})
    if lacking:
        named = ", ".join(f"U+{ord(c):04X} {unicodedata.name(c, '')}".strip() for c in lacking[:5])
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        raise Unprintable(f"expected characters that Noto Sans or Noto Sans KR can show, found {named}{more}")
    return plain


@functools.lru_cache(maxsize=65536)
def _can_be_set(character: str) -> bool:
    """Whether a glyph of its own, set from left to right, shows this character as it should be."""
    return (
        unicodedata.category(character) not in {"Mn", "Mc", "Me", "Cf", "Cs", "Co", "Cn"}
        and unicodedata.bidirectional(character) not in {"R", "AL", "AN"}
        and not _JAMO.match(character)
        and any(ord(character) in glyphs(name) for name in (LATIN, KOREAN))
    )
