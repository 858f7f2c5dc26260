"""The rows of every benchmark, and how they are printed."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import TypedDict

Progress = Callable[[str], None]
"""Takes one line that says what is being measured."""

COLUMNS = ("benchmark", "what", "ours", "peer", "ratio", "goal", "unit", "spread", "against")


class Row(TypedDict):
    """One figure. Without a peer it is a median with its spread; a skipped one says why in `what`."""

    benchmark: str
    what: str
    ours: float | None
    peer: float | None
    peer_version: str
    """Name and version of the peer; empty without one."""
    ratio: float | None
    """Above 1 means that ours is better, for times too."""
    goal: str
    """What the ratio, or ours where there is no peer, is meant to reach; empty where nothing is promised."""
    unit: str
    spread: str
    """Of what the figures were taken from."""


def figure(
    benchmark: str,
    what: str,
    unit: str,
    ours: Sequence[float],
    peer: Sequence[float] = (),
    peer_version: str = "",
    *,
    less_is_better: bool = False,
    goal: str = "",
) -> Row:
    """The row of figures taken several times in one run: medians, their ratio, least and greatest of each.

    ours, peer: each taken at least once; an empty `peer` means that there is none. goal: as `≥ 3`.
    """
    our = statistics.median(ours)
    their = statistics.median(peer) if peer else None
    better, worse = (their, our) if less_is_better else (our, their)
    # No ratio of nothing: a message too small to see has no growth of memory.
    ratio = better / worse if better is not None and worse else None
    spread = f"{number(min(ours))}–{number(max(ours))}"
    if peer:
        spread += f"; peer {number(min(peer))}–{number(max(peer))}"
    return Row(
        benchmark=benchmark,
        what=what,
        ours=our,
        peer=their,
        peer_version=peer_version,
        ratio=ratio,
        goal=goal,
        unit=unit,
        spread=f"{spread} (n={len(ours)})",
    )


def skipped(benchmark: str, why: str) -> Row:
    """The row that stands for a benchmark that could not be run."""
    return Row(
        benchmark=benchmark,
        what=f"skipped: {why}",
        ours=None,
        peer=None,
        peer_version="",
        ratio=None,
        goal="",
        unit="",
        spread="",
    )


def number(value: float | None) -> str:
    """A figure with three significant digits, or all before the point; empty for None."""
    if value is None:
        return ""
    for limit, places in ((100, 0), (10, 1), (1, 2)):
        if abs(value) >= limit:
            return f"{value:,.{places}f}"
    return f"{value:.3f}"


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row["benchmark"],
        row["what"],
        number(row["ours"]),
        number(row["peer"]),
        number(row["ratio"]),
        row["goal"],
        row["unit"],
        row["spread"],
        row["peer_version"],
    )


def plain(rows: Sequence[Row]) -> str:
    """The rows as columns of text."""
    lines = [COLUMNS, *(_cells(row) for row in rows)]
    # A skipped row is one sentence: it must not widen the columns of the others.
    measured = [COLUMNS, *(_cells(row) for row in rows if row["ours"] is not None)]
    widths = [max(len(line[place]) for line in measured) for place in range(len(COLUMNS))]
    numeric = {COLUMNS.index(name) for name in ("ours", "peer", "ratio")}
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place in numeric else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    marks = ["--:" if name in {"ours", "peer", "ratio"} else "---" for name in COLUMNS]
    lines = [COLUMNS, tuple(marks), *(_cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', ' ') for cell in line)} |" for line in lines)
