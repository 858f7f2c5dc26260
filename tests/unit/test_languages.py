"""How orders name languages."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.languages import language_code


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("en", "en"),
        (" DE ", "de"),
        ("deu", "de"),
        ("GER", "de"),
        ("de-AT", "de"),
        ("de_AT", "de"),
        ("ron", "ro"),
        ("rum", "ro"),
        ("ko-KR", "ko"),
        ("kor", "ko"),
        ("eng", "en"),
        ("fr", "fr"),
        ("fra", ""),
        ("d", ""),
        ("German", ""),
        ("d3", ""),
        ("한국", ""),
        ("", ""),
    ],
)
def test_every_usual_spelling_is_one_code(said: str, code: str) -> None:
    """ISO 639-1, both codes of 639-2, and tags with a country."""
    assert language_code(said) == code


@given(st.text(max_size=30))
def test_whatever_is_said_is_a_code_or_nothing(said: str) -> None:
    """No word of an order goes on as a language that is none."""
    assert re.fullmatch(r"([a-z]{2})?", language_code(said))
