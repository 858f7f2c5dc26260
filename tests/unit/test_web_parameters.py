"""What a query string may say."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from flask import Request
from werkzeug.test import EnvironBuilder

from plugin.web.parameters import HIGHEST, LONGEST, BadQuery, Parameters


def given(query: str) -> Parameters:
    return Parameters(Request(EnvironBuilder(query_string=query).get_environ()), ("name", "at"))


def test_an_unknown_name_is_refused_and_not_repeated() -> None:
    """A misspelt filter must not silently show everything, nor come back in the message."""
    with pytest.raises(BadQuery) as refused:
        given("nmae=secret")
    assert "nmae" not in str(refused.value)
    assert "at, name" in str(refused.value)


def test_a_name_given_twice_is_refused() -> None:
    """Two values for one filter have no meaning."""
    with pytest.raises(BadQuery, match="twice"):
        given("name=a&name=b")


def test_a_text_of_the_longest_length_is_taken() -> None:
    """The cap is inclusive."""
    assert given(f"name={'x' * LONGEST}").text("name") == "x" * LONGEST


def test_a_text_over_the_longest_length_is_refused() -> None:
    """One character over the cap is an error."""
    with pytest.raises(BadQuery, match=str(LONGEST)):
        given(f"name={'x' * (LONGEST + 1)}").text("name")


@pytest.mark.parametrize("control", ["%00", "%0a", "%1b", "%7f"])
def test_control_characters_are_refused(control: str) -> None:
    """A database may choke on them and a log may be split by them."""
    with pytest.raises(BadQuery, match="control"):
        given(f"name=a{control}b").text("name")


@pytest.mark.parametrize("value", ["1", "5"])
def test_a_whole_number_at_either_end_is_taken(value: str) -> None:
    """The range is inclusive."""
    assert given(f"name={value}").whole("name", 3, 1, 5) == int(value)


@pytest.mark.parametrize("value", ["0", "6", "2.5", "two", "9" * 30, "٣"])
def test_what_is_no_whole_number_of_the_range_is_refused(value: str) -> None:
    """Just outside the range, not whole, no number, far too long, or in other digits."""
    with pytest.raises(BadQuery, match="from 1 to 5"):
        given(f"name={value}").whole("name", 3, 1, 5)


def test_no_number_is_larger_than_the_database_can_hold() -> None:
    """The highest number stays within 64 bits."""
    assert HIGHEST < 2**63


@pytest.mark.parametrize(
    "value",
    ["2026-01-31T08:30", "2026-01-31T08:30:00Z", "2026-01-31T08:30:00%2B00:00", "2026-01-31T08:30:00+00:00",
     "2026-01-31T10:30:00%2B02:00"],
)  # fmt: skip
def test_a_moment_is_read_in_the_forms_that_people_paste(value: str) -> None:
    """Without a zone it is UTC; a plus sign that arrived as a space still names the zone."""
    assert given(f"at={value}").moment("at") == datetime(2026, 1, 31, 8, 30, tzinfo=UTC)


def test_a_bare_date_is_its_first_or_its_last_moment() -> None:
    """Until a day includes that day."""
    assert given("at=2026-01-31").moment("at") == datetime(2026, 1, 31, tzinfo=UTC)
    last = given("at=2026-01-31").moment("at", end_of_day=True)
    assert last == datetime(2026, 1, 31, 23, 59, 59, 999999, tzinfo=UTC)


@pytest.mark.parametrize("value", ["yesterday", "2026-02-30", "0001-01-01T00:00:00%2B14:00", "3000-01-01"])
def test_what_is_no_moment_of_this_log_is_refused(value: str) -> None:
    """Words, days that do not exist and years beyond the calendar's edges get one sentence."""
    with pytest.raises(BadQuery, match="must be a time"):
        given(f"at={value}").moment("at")
