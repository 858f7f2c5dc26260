"""Audit entries in downloads, and who is named in them."""

from __future__ import annotations

import pytest
from flask import Request
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder

from plugin.web.leaf import FORMULA_STARTS, csv_cell
from plugin.web.viewer import LONGEST, viewer


def seen_by(value: str, header: str = "X-User") -> str:
    return viewer(Request(EnvironBuilder(headers={"X-User": value}).get_environ()), header)


@pytest.mark.parametrize("start", FORMULA_STARTS)
def test_a_cell_that_begins_like_a_formula_gets_an_apostrophe(start: str) -> None:
    """A spreadsheet must show it, not run it."""
    assert csv_cell(f"{start}cmd|' /C calc'!A0") == f"'{start}cmd|' /C calc'!A0"


@given(st.text())
def test_no_cell_begins_like_a_formula(text: str) -> None:
    """Whatever the text, and an innocent one is left alone."""
    cell = csv_cell(text)
    assert not cell.startswith(FORMULA_STARTS)
    assert cell in (text, f"'{text}")


def test_without_a_configured_header_nobody_is_named() -> None:
    """A header that the site did not name is no authority."""
    assert seen_by("mallory", header="") == "web"


def test_the_configured_header_names_the_user_behind_the_prefix() -> None:
    """No user name can pass for one of Prelim's own actors."""
    assert seen_by("prelim/worker") == "web/prelim/worker"


def test_an_empty_header_names_nobody() -> None:
    """White space is no name."""
    assert seen_by("   ") == "web"


def test_a_name_in_utf_8_is_read_as_such() -> None:
    """WSGI hands the bytes over as Latin-1."""
    assert seen_by("Jörg".encode().decode("latin-1")) == "web/Jörg"


def test_control_characters_in_a_name_become_spaces() -> None:
    """A name must not forge a line or hide text in the log."""
    request = Request(EnvironBuilder().get_environ())
    request.environ["HTTP_X_USER"] = "ann\r\nroot\x1b[2J\x85"
    assert viewer(request, "X-User") == "web/ann root [2J"


@pytest.mark.parametrize("length", [LONGEST, LONGEST + 1])
def test_a_name_is_cut_at_its_longest(length: int) -> None:
    """At the cap it is whole, over it it is cut."""
    assert seen_by("u" * length) == "web/" + "u" * LONGEST
