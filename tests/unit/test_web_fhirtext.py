"""A resource as a person reads it: every element with its path, nothing hides, nothing is cut unsaid."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.fhir.readers.dossier import Dossier
from plugin.web.fhirtext import BEFORE, NAMED, REST, TAKEN, TOO_DEEP, shown_resource
from plugin.web.hl7text import LINES, LONGEST, VALUES, Shown
from tests.fhir_dossiers import REPORT, dossier

BASE = "http://fhir.test/r4"


def shown(focus: dict[str, Any], **others: Any) -> Shown:
    """What is shown of a resource."""
    return shown_resource(Dossier(BASE, {"resourceType": "Basic", "id": "1", **focus}, others).body())


def values(told: Shown, segment: int = 0) -> dict[str, str]:
    """By path, the value of each element of a resource."""
    return {field.place: field.value for field in told.segments[segment].fields}


def test_every_element_is_told_with_its_path() -> None:
    """Those of a list are numbered where they are several."""
    told = values(shown({"a": [{"b": "x"}], "c": ["y", "z"], "d": True, "e": 1.5, "f": None}))
    assert told == {
        "a.b": "x",
        "c[0]": "y",
        "c[1]": "z",
        "d": "true",
        "e": "1.5",
        "f": "null",
        "id": "1",
        "resourceType": "Basic",
    }


def test_what_it_names_follows_and_says_what_it_is() -> None:
    """The resource first; our own version before it is not something that it names."""
    ours = {**REPORT, "meta": {"versionId": "1"}}
    whole = dossier(REPORT)
    told = shown_resource(
        Dossier(whole.base_url, whole.focus, {"DiagnosticReport/9/_history/1": ours, **whole.others}).body()
    )
    assert [(one.name, one.meaning) for one in told.segments[:3]] == [
        ("DiagnosticReport/9/_history/2", TAKEN),
        ("DiagnosticReport/9/_history/1", BEFORE),
        ("Patient/1", NAMED),
    ]
    assert (told.unreadable, told.more_segments) == ("", 0)


def test_nothing_hides_in_values_names_or_lines() -> None:
    """Marks that turn the direction of text are written by their names."""
    told = shown({"a\u202eb": "x\u202ey"})
    assert values(told)["a‹U+202E›b"] == "x‹U+202E›y"
    assert all(line.isprintable() for line in told.lines)


@pytest.mark.parametrize(("size", "cut"), [(LONGEST, False), (LONGEST + 1, True)])
def test_a_long_value_or_name_says_how_much_is_left_out(size: int, cut: bool) -> None:
    """Just at the limit, and one over it."""
    words = ("a " * size)[:size]
    assert (values(shown({"a": words}))["a"].endswith("1 characters more]")) == cut
    name = words
    assert any(path.endswith("1 characters more]") for path in values(shown({name: "x"}))) == cut


@pytest.mark.parametrize("over", [0, 1])
def test_a_page_shows_so_many_lines_and_counts_the_rest(over: int) -> None:
    """Braces and the two elements that every resource has stand on lines of their own."""
    told = shown({f"a{number}": 1 for number in range(LINES - 4 + over)})
    assert (len(told.lines), told.more_lines) == (LINES, over)


@pytest.mark.parametrize("over", [0, 1])
def test_a_page_shows_so_many_elements_and_says_that_there_are_more(over: int) -> None:
    """A resource that is cut ends with a line that says so; those behind it are counted."""
    patient = {"resourceType": "Patient", "id": "2"}
    told = shown({"a": ["x"] * (VALUES - 2 + over)}, **{"Patient/2": patient})
    assert (REST in told.segments[0].fields) == bool(over)
    assert len(told.segments[0].fields) == VALUES + over
    assert told.more_segments == 1


def test_what_is_nested_too_deeply_is_shown_as_it_came() -> None:
    """At any depth that can be stored a page can be made of it."""
    told: list[str] = []
    for depth in (50, 300, 600, 900, 1200, 100_000):
        body = b'{"entry":[{"fullUrl":"%s/Basic/1","resource":{"a":%s,"id":"1","resourceType":"Basic"}}],' % (
            BASE.encode(),
            b"[" * depth + b"1" + b"]" * depth,
        )
        page = shown_resource(body + b'"resourceType":"Bundle","type":"collection"}')
        assert page.lines
        told.append(page.unreadable)
    assert told[0] == ""
    assert told[-1] == "Expected a dossier in JSON, came something unreadable."
    assert set(told) <= {told[0], TOO_DEEP, told[-1]}


@given(st.binary(max_size=200))
def test_any_bytes_can_be_shown(raw: bytes) -> None:
    """Of what is no dossier, the bytes and the reason."""
    told = shown_resource(raw)
    assert told.unreadable
    assert all(line.isprintable() for line in told.lines)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_any_resource_can_be_shown(focus: dict[str, Any]) -> None:
    """Whatever it holds, a page is made of it, and nothing in it hides."""
    told = shown({**focus, "resourceType": "Basic", "id": "1"})
    for segment in told.segments:
        for field in segment.fields:
            assert field.place.isprintable()
            assert all(line.isprintable() for line in field.value.split("\n"))
