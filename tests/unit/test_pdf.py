"""A draft as PDF: what stands on its pages, read back through the fonts' own maps."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.exchange import Coding, DraftReport, Patient, Practitioner
from connectors.pdf import BANNER, Unprintable, printable, report_pdf
from tests.fhir_samples import a_draft

DRAFT = a_draft(
    case_id="c",
    accession="ACC-1",
    patient=Patient("PAT-1", "HOSP", "Example", "Ada", date(1961, 4, 2), "female"),
    procedure=Coding("1", "CT Chest", "L"),
    ordering_provider=Practitioner("1", "House", "Greg", "Dr"),
    studied_on=date(2026, 3, 3),
)


def objects(pdf: bytes) -> dict[int, bytes]:
    """The objects of a PDF by number, their streams inflated."""
    found = {}
    for match in re.finditer(rb"(\d+) 0 obj\n(.*?)\nendobj", pdf, re.DOTALL):
        head, _, stream = match[2].partition(b"\nstream\n")
        stream = stream.removesuffix(b"\nendstream")
        inflated = zlib.decompress(stream) if b"/FlateDecode" in head else stream
        found[int(match[1])] = head + b"\n" + inflated
    return found


def _map(cmap: bytes) -> dict[int, str]:
    """Code -> character of a ToUnicode map."""
    pairs = re.findall(rb"^<([0-9A-F]{4})> <([0-9A-F]+)>$", cmap, re.MULTILINE)
    return {int(code, 16): bytes.fromhex(text.decode()).decode("utf-16-be") for code, text in pairs}


def _unescaped(literal: bytes) -> bytes:
    return re.sub(rb"\\(.)", lambda m: {b"n": b"\n", b"r": b"\r"}.get(m[1], m[1]), literal, flags=re.DOTALL)


def pages(pdf: bytes) -> list[str]:
    """The text of each page, as a viewer copies it: each string through the map of its font."""
    every = objects(pdf)
    fonts: dict[bytes, dict[int, str]] = {}
    for body in every.values():
        for name, number in re.findall(rb"/(F\d+) (\d+) 0 R", body):
            reference = re.search(rb"/ToUnicode (\d+) 0 R", every[int(number)])
            assert reference, "every font is embedded with its map"
            fonts[name] = _map(every[int(reference[1])])
    texts = []
    for body in every.values():
        if not re.search(rb"/Type /Page\b", body):
            continue
        reference = re.search(rb"/Contents (\d+) 0 R", body)
        assert reference
        words, font = "", {}
        drawn = rb"/(F\d+) [\d.]+ Tf|\(((?:[^()\\]|\\.)*)\) Tj"
        for match in re.finditer(drawn, every[int(reference[1])], re.DOTALL):
            if match[1]:
                font = fonts[match[1]]
                continue
            codes = _unescaped(match[2])
            words += "".join(font[int.from_bytes(codes[at : at + 2])] for at in range(0, len(codes), 2))
            words += "\n"
        texts.append(words)
    return texts


def told(pdf: bytes) -> str:
    """All words of a PDF with white space made single."""
    return " ".join(" ".join(pages(pdf)).split())


def test_a_page_names_patient_examination_notice_and_every_section() -> None:
    """What a person must know of a report stands on it."""
    text = told(report_pdf(DRAFT))
    for words in (
        BANNER,
        "Patient: Example, Ada",
        "PAT-1 (HOSP)",
        "1961-04-02",
        "female",
        "ACC-1",
        "CT Chest",
        "2026-03-03",
        "Dr Greg House",
        "2026-03-04 05:06 UTC",
        DRAFT.notice,
        "Findings",
        "The lungs are clear.",
        "Impression",
        "No acute abnormality.",
    ):
        assert words in text


def test_every_page_of_a_long_draft_is_marked_and_belongs_to_a_patient() -> None:
    """Banner and footer are on each page: one page that is torn off still says what it is."""
    long = replace(DRAFT, sections=(("Findings", "\n".join(f"Line {n}." for n in range(200))),))
    texts = pages(report_pdf(long))
    assert len(texts) > 3
    for number, text in enumerate(texts, 1):
        assert text.startswith(BANNER)
        assert f"PAT-1 · ACC-1 · {BANNER} · page {number}" in text
    whole = " ".join(texts)
    assert all(f"Line {n}." in whole for n in range(200)), "no line is lost at the end of a page"


def test_the_same_draft_gives_the_same_bytes() -> None:
    """No clock and no chance is in a PDF; another draft is another PDF."""
    assert report_pdf(DRAFT) == report_pdf(replace(DRAFT))
    assert report_pdf(DRAFT) != report_pdf(replace(DRAFT, number=2))


def test_times_are_told_in_utc_whatever_the_offset() -> None:
    """The same moment in another zone is the same page."""
    east = datetime(2026, 3, 4, 7, 6, 7, tzinfo=timezone(timedelta(hours=2)))
    assert report_pdf(replace(DRAFT, issued_at=east)) == report_pdf(DRAFT)


@pytest.mark.parametrize(
    "words",
    [
        "12 ± 3 mm, ≥ 5 µm, 37 °C – unchanged",
        "Größe 12 mm, ß ÄÖÜ äöü „normal“",
        "Fără modificări: ș ț ă â î Ș Ț Ă Â Î",
        "흉부 CT 소견: 우측 폐에 결절이 있습니다.",
        "Ελληνικά и кириллица",
        "{nb} pages, **not bold**, __not underlined__, \\(brackets\\)",
    ],
)
def test_the_languages_of_our_sites_are_set_as_written(words: str) -> None:
    """English, German, Romanian and Korean come out letter by letter, and nothing is markup."""
    text = told(report_pdf(replace(DRAFT, sections=(("Findings", words),))))
    assert "".join(words.split()) in "".join(text.split())


def test_decomposed_letters_are_composed() -> None:
    """Letters that came in parts are set as the letter they are."""
    assert printable("a\u0308 s\u0326 \u1112\u1161\u11ab") == "ä ș 한"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("سليم", "ARABIC"),
        ("תקין", "HEBREW"),
        ("क्ष", "DEVANAGARI"),
        ("x\u0304", "COMBINING"),
        ("ok \U0001f600", "U+1F600"),
        ("\u202eabc", "OVERRIDE"),
        ("\ud800", "U+D800"),
        ("\u1112", "HANGUL"),
    ],
)
def test_what_no_font_can_show_is_refused_by_name(words: str, named: str) -> None:
    """Scripts that need shaping, run from right to left or lack glyphs are named and not drawn wrong."""
    with pytest.raises(Unprintable, match=re.escape(named)) as caught:
        report_pdf(replace(DRAFT, sections=(("Findings", f"Private words {words}"),)))
    assert "Private" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"patient": Patient("1", family_name="سليم")},
        {"notice": "סוף"},
        {"sections": (("סוף", "x"),)},
        {"accession": "\u202e1"},
    ],
)
def test_every_part_of_a_page_is_looked_at(changes: dict[str, object]) -> None:
    """Names, notice, titles and identifiers are refused as the text is."""
    with pytest.raises(Unprintable):
        report_pdf(replace(DRAFT, **changes))  # type: ignore[arg-type]


def test_control_characters_and_odd_line_ends_are_white_space() -> None:
    """Nothing of a control character reaches the page."""
    assert printable("a\r\nb\rc\u2028d\x00e\tf\u00adg") == "a\nb\nc\nd e fg"


@settings(max_examples=25)
@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_text_is_set_letter_by_letter_or_refused(words: str) -> None:
    """No character is lost or replaced in silence."""
    draft: DraftReport = replace(DRAFT, sections=(("Findings", words),))
    try:
        expected = printable(words)
    except Unprintable:
        return
    assert "".join(expected.split()) in "".join(told(report_pdf(draft)).split())
