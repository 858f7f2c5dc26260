"""How the pages say how long something took."""

from __future__ import annotations

import pytest

from plugin.web.words import shown_duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (0.0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (7509, "2 h 5 min"),
        (86_399, "23 h 59 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_a_duration_is_told_in_its_two_largest_units(seconds: float | None, words: str) -> None:
    """Nobody needs the seconds of a report that was signed the next day."""
    assert shown_duration(seconds) == words
