"""How far a run is, told to whoever shows it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int], None]
"""Called with what the run does now (empty: the same as before) and how many more steps are done."""


def silent(label: str, steps: int) -> None:
    """Tell nobody."""
