"""How the pages say how long something took, and what taking something out of an image does."""

from __future__ import annotations

import pytest

from plugin.web.words import shown_duration, shown_removal


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


@pytest.mark.parametrize(
    ("drop", "words"),
    [
        (0.62, "falls by 62 points when removed"),
        (0.01, "falls by 1 point when removed"),
        (0.0, "falls by 0 points when removed"),
        (-0.2, "rises by 20 points when removed"),
    ],
)
def test_a_removal_is_told_in_points_of_probability(drop: float, words: str) -> None:
    """A probability that rises without the box is told as it is."""
    assert shown_removal(drop) == words
