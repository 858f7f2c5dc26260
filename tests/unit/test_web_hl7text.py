"""A message as a person reads it: nothing hides, nothing is cut without saying so."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin.web.fieldnames import FIELDS, SEGMENTS
from plugin.web.hl7text import (
    BASE64_FROM,
    LINES,
    LONGEST,
    PARTS,
    VALUES,
    shortened_value,
    shown_message,
    visible,
)

MSH = b"MSH|^~\\&|RIS|HOSP|||2026||ORU^R01|M1|P|2.5.1\r"


def fields(raw: bytes) -> dict[str, tuple[str, str]]:
    """By place, the name and value of every field, and the value of every part."""
    shown = shown_message(raw)
    found = {field.place: (field.name, field.value) for segment in shown.segments for field in segment.fields}
    for segment in shown.segments:
        found |= {part.place: ("", part.value) for field in segment.fields for part in field.parts}
    return found


@pytest.mark.parametrize(
    ("character", "name"),
    [
        ("\x00", "‹NUL›"),
        ("\x0b", "‹VT›"),
        ("\x1c", "‹FS›"),
        ("\x1f", "‹US›"),
        ("\x7f", "‹U+007F›"),
        ("\u202e", "‹U+202E›"),
        ("\u200b", "‹U+200B›"),
        ("\u00a0", "‹U+00A0›"),
        ("\ufeff", "‹U+FEFF›"),
        (" ", " "),
        ("é", "é"),
        ("界", "界"),
    ],
)
def test_what_shows_nothing_is_written_by_its_name(character: str, name: str) -> None:
    """Controls, marks that turn the direction of text, and spaces that are none; letters stay."""
    assert visible(f"a{character}b") == f"a{name}b"


@given(st.text())
def test_nothing_that_is_shown_hides(text: str) -> None:
    """Whatever comes, only printable characters are shown."""
    assert visible(text).isprintable()


@given(st.binary(max_size=300))
def test_any_bytes_can_be_shown(raw: bytes) -> None:
    """With or without a readable MSH, a page can be made of them."""
    for body in (raw, MSH + raw):
        shown = shown_message(body)
        assert all(line.isprintable() for line in shown.lines)
        assert shown.segments or shown.unreadable


@pytest.mark.parametrize(
    ("raw", "lines"),
    [
        (b"MSH|^~\\&\rPID|1\r", ("MSH|^~\\&", "PID|1")),
        (b"MSH|^~\\&\nPID|1\n", ("MSH|^~\\&‹LF›", "PID|1‹LF›")),
        (b"MSH|^~\\&\r\nPID|1", ("MSH|^~\\&‹CR›‹LF›", "PID|1")),
        (b"MSH|^~\\&\r\rPID|1\r", ("MSH|^~\\&", "", "PID|1")),
    ],
)
def test_a_carriage_return_ends_a_line_and_any_other_line_end_is_told(
    raw: bytes, lines: tuple[str, ...]
) -> None:
    """A sender that ends segments with LF is a thing that an integrator looks for."""
    assert shown_message(raw).lines == lines


@pytest.mark.parametrize(("size", "cut"), [(BASE64_FROM - 1, False), (BASE64_FROM, True)])
def test_long_base64_is_cut_to_its_beginning_and_its_size(size: int, cut: bool) -> None:
    """Just under the limit it stays, at the limit it is a size."""
    run = base64.b64encode(bytes(range(256)) * 2).decode()[:size]
    shown = shortened_value(f"OBX|1|ED|||^^^Base64^{run}||||||F")
    assert (run not in shown) == cut
    assert (f"[base64, {size:,} characters" in shown) == cut
    assert shown.endswith("||||||F")


@pytest.mark.parametrize(("size", "cut"), [(LONGEST, False), (LONGEST + 1, True)])
def test_a_long_value_says_how_much_is_left_out(size: int, cut: bool) -> None:
    """Just at the limit, and one character over it."""
    assert ("1 characters more" in shortened_value("a " * (size // 2) + "b" * (size % 2))) == cut


@pytest.mark.parametrize(("count", "more"), [(LINES, 0), (LINES + 1, 1)])
def test_a_page_shows_so_many_lines_and_counts_the_rest(count: int, more: int) -> None:
    """Lines and segments alike."""
    shown = shown_message(MSH + b"NTE|1||x\r" * (count - 1))
    assert (shown.more_lines, shown.more_segments) == (more, more)
    assert len(shown.lines) == len(shown.segments) == LINES


@pytest.mark.parametrize(("count", "cut"), [(PARTS, False), (PARTS + 1, True)])
def test_a_field_of_very_many_components_says_that_it_is_cut(count: int, cut: bool) -> None:
    """Just at the limit and just over: nobody makes a page of a million rows."""
    (_, segment) = shown_message(MSH + b"ZZZ|" + b"~".join([b"a"] * count) + b"\r").segments
    (field,) = segment.fields
    assert len(field.parts) == PARTS + cut
    assert ("not shown" in field.parts[-1].value) == cut


def test_a_message_of_very_many_values_says_how_many_segments_are_left_out() -> None:
    """Segments are shown until there are values enough."""
    segment = b"ZZZ|" + b"|".join([b"a"] * 900) + b"\r"
    shown = shown_message(MSH + segment * 30)
    assert sum(len(one.fields) for one in shown.segments) < VALUES + 1000
    assert len(shown.segments) + shown.more_segments == 31
    assert shown.more_segments > 0


def test_msh_1_and_msh_2_are_shown_as_they_stand() -> None:
    """The delimiters are not divided by themselves."""
    found = fields(MSH)
    assert found["MSH-1"] == ("Field Separator", "|")
    assert found["MSH-2"] == ("Encoding Characters", "^~\\&")
    assert found["MSH-9.2"] == ("", "R01")


def test_repetitions_components_and_subcomponents_have_their_places() -> None:
    """As the standard writes them, so that a setting can name them."""
    found = fields(MSH + b"PID|1||11^^^HOSP&1.2&ISO^MR~22^^^NHS\r")
    assert found["PID-3[1].1"] == ("", "11")
    assert found["PID-3[1].4.2"] == ("", "1.2")
    assert found["PID-3[2].4"] == ("", "NHS")


def test_text_values_are_not_divided_and_their_escapes_are_read() -> None:
    """OBX-5 of TX: a caret is a caret, and a line break is one."""
    found = fields(MSH + b"OBX|1|TX|18748-4^Report||no ^ part\\.br\\of \\T\\ it||||||F\r")
    assert found["OBX-5"] == ("Observation Value", "no ^ part\nof & it")
    assert "OBX-5.1" not in found


def test_other_delimiters_are_those_of_the_message() -> None:
    """MSH-1 and MSH-2 say what divides."""
    found = fields(b"MSH$*~\\&$RIS$HOSP$$$2026$$ORU*R01$M1$P$2.5.1\rPID$1$$11***HOSP\r")
    assert found["PID-3.4"] == ("", "HOSP")


def test_a_field_or_segment_without_a_name_is_shown_by_its_place() -> None:
    """Nothing is left out because we do not know it."""
    assert fields(MSH + b"ZZZ|a|b\r")["ZZZ-2"] == ("", "b")


def test_a_charset_of_the_listener_reads_what_msh_18_does_not_say() -> None:
    """As the intake reads it."""
    raw = MSH + "PID|1||1||Müller\r".encode("latin-1")
    assert shown_message(raw, "8859/1").lines[1] == "PID|1||1||Müller"


def test_every_segment_that_we_take_or_send_has_names() -> None:
    """The table covers what the site looks at."""
    assert set(FIELDS) == set(SEGMENTS)
    assert set(SEGMENTS) >= {"MSH", "PID", "ORC", "OBR", "OBX", "IPC", "TXA", "MRG", "ZDS", "NTE", "TQ1"}
    assert all(1 <= number <= 60 for names in FIELDS.values() for number in names)
