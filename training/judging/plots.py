"""Plots as SVG to stand in a page: no script, no fonts, no files. Colours are classes that the page defines,
so that one drawing serves light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axes:
    """The frame of a plot: what is drawn from where to where, in pixels and in values."""

    across: tuple[float, float]
    up: tuple[float, float]
    x_label: str
    y_label: str
    x_ticks: tuple[float, ...]
    y_ticks: tuple[float, ...]
    width: int = 380
    height: int = 320
    left: int = 52
    right: int = 14
    top: int = 12
    bottom: int = 46

    def x(self, value: float) -> float:
        """Pixels from the left."""
        low, high = self.across
        return self.left + (value - low) / (high - low) * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        low, high = self.up
        return (
            self.height - self.bottom - (value - low) / (high - low) * (self.height - self.top - self.bottom)
        )

    def drawn(self, title: str, parts: Sequence[str]) -> str:
        """The whole plot, with its title for those who do not see it."""
        x0, x1 = self.x(self.across[0]), self.x(self.across[1])
        y0, y1 = self.y(self.up[0]), self.y(self.up[1])
        lines = [
            f'<line class="grid" x1="{x0:.1f}" x2="{x1:.1f}" y1="{self.y(v):.1f}" y2="{self.y(v):.1f}"/>'
            f'<text x="{x0 - 7:.1f}" y="{self.y(v) + 4:.1f}" text-anchor="end">{abs(v):g}</text>'
            for v in self.y_ticks
        ]
        lines += [
            f'<line class="grid" x1="{self.x(v):.1f}" x2="{self.x(v):.1f}" y1="{y0:.1f}" y2="{y1:.1f}"/>'
            f'<text x="{self.x(v):.1f}" y="{y0 + 17:.1f}" text-anchor="middle">{v:g}</text>'
            for v in self.x_ticks
        ]
        lines += [
            f'<text x="{(x0 + x1) / 2:.1f}" y="{self.height - 8}" text-anchor="middle">'
            f"{escape(self.x_label)}</text>",
            f'<text transform="rotate(-90)" x="{-(y0 + y1) / 2:.1f}" y="14" text-anchor="middle">'
            f"{escape(self.y_label)}</text>",
        ]
        return _svg(self.width, self.height, title, [*lines, *parts])

    def line(self, points: Sequence[Point], kind: str) -> str:
        """A line through points, of a class of the page."""
        places = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        return f'<polyline class="{kind}" points="{places}"/>'

    def dot(self, point: Point, radius: float, kind: str, said: str = "") -> str:
        """A dot of a class of the page; `said` is told when a pointer rests on it."""
        told = f"<title>{escape(said)}</title>" if said else ""
        x, y = self.x(point[0]), self.y(point[1])
        return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}">{told}</circle>'


_SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)


def reliability_plot(curves: Sequence[tuple[str, Sequence[dict[str, float]]]]) -> str:
    """Share that came true over the probability that was given; on the diagonal the two agree.

    curves: (class, bins as of `trust.reliability`); the larger a dot, the more stands behind it.
    """
    axes = Axes((0, 1), (0, 1), "probability given", "share that came true", _SHARES, _SHARES)
    parts = [axes.line([(0, 0), (1, 1)], "guide")]
    for kind, bins in curves:
        most = max((one["count"] for one in bins), default=1)
        points = [(one["believed"], one["true"]) for one in bins]
        parts.append(axes.line(points, f"line {kind}"))
        parts += [
            axes.dot(point, 2.5 + 4.5 * (one["count"] / most) ** 0.5, kind, f"{one['count']:.0f} items")
            for point, one in zip(points, bins, strict=True)
        ]
    return axes.drawn("Reliability: probability given against share that came true", parts)


def risk_plot(curve: Sequence[Sequence[float]]) -> str:
    """Share of drafts that are not wholly right over the share of drafts kept, the surest first."""
    ticks = _ticks(max((risk for _, risk in curve), default=0.0))
    top = ticks[-1]
    axes = Axes((0, 1), (0, top), "coverage: share of drafts kept", "share not wholly right", _SHARES, ticks)
    points = [(coverage, risk) for coverage, risk in curve]
    parts = [axes.line(points, "line one")]
    if points:
        parts.insert(0, axes.line([(0, points[-1][1]), (1, points[-1][1])], "guide"))
    return axes.drawn("Risk over coverage", parts)


def sizes_plot(pairs: Sequence[Sequence[float]]) -> str:
    """Diameter said over true diameter, in millimetres; between the dotted lines the error is 3 mm."""
    ticks = _ticks(max((max(pair) for pair in pairs), default=30.0))
    top = ticks[-1]
    axes = Axes((0, top), (0, top), "true diameter, mm", "diameter said, mm", ticks, ticks)
    near = min(3.0, top)
    parts = [
        axes.line([(0, 0), (top, top)], "guide"),
        axes.line([(0, near), (top - near, top)], "guide faint"),
        axes.line([(near, 0), (top, top - near)], "guide faint"),
    ]
    parts += [axes.dot((true, said), 3, "one see-through") for true, said in pairs]
    return axes.drawn("Diameters said against true diameters", parts)


def drops_plot(pairs: Sequence[Sequence[float]], bins: int = 22) -> str:
    """How far the probability falls: upwards when the evidence is taken out, downwards when as much is taken
    out elsewhere."""
    low, high = -0.1, 1.0
    counts = [[0] * bins, [0] * bins]
    for pair in pairs:
        for which, value in enumerate(pair):
            place = int((min(max(value, low), high) - low) / (high - low) * bins)
            counts[which][min(place, bins - 1)] += 1
    # Shares: a scale of counts would say how many cases there were.
    shares = [[count / max(1, len(pairs)) for count in row] for row in counts]
    upper = _ticks(max(max(row) for row in shares))
    top, ticks = upper[-1], (*(-tick for tick in upper[:0:-1]), *upper)
    axes = Axes(
        (low, high),
        (-top, top),
        "fall of the probability",
        "share of findings",
        (0.0, 0.25, 0.5, 0.75, 1.0),
        ticks,
    )
    edges = [low + (high - low) * step / bins for step in range(bins + 1)]
    parts = []
    for kind, sign, row in (("one", 1, shares[0]), ("two", -1, shares[1])):
        for (start, stop), share in zip(pairwise(edges), row, strict=True):
            if share:
                y = min(axes.y(0), axes.y(sign * share))
                parts.append(
                    f'<rect class="{kind}" x="{axes.x(start) + 0.5:.1f}" y="{y:.1f}" '
                    f'width="{axes.x(stop) - axes.x(start) - 1:.1f}" '
                    f'height="{abs(axes.y(0) - axes.y(sign * share)):.1f}"/>'
                )
    parts.append(axes.line([(low, 0), (high, 0)], "axis"))
    return axes.drawn("Fall of the probability by removal, of the evidence and of regions elsewhere", parts)


def bars_plot(title: str, rows: Sequence[tuple[str, dict[str, float | None], float | None]]) -> str:
    """One bar a row between 0 and 1 with its interval; rows are (name, figure, value by chance or None)."""
    width, height, left, right, each = 780, 30 + 30 * len(rows), 150, 116, 30

    def x(value: float) -> float:
        return left + value * (width - left - right)

    parts = []
    for tick in _SHARES:
        parts.append(
            f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="4" y2="{height - 24}"/>'
            f'<text x="{x(tick):.1f}" y="{height - 8}" text-anchor="middle">{tick:g}</text>'
        )
    for place, (name, figure, chance) in enumerate(rows):
        y = 6 + place * each
        parts.append(f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>')
        value, low, high = (figure[key] for key in ("value", "low", "high"))
        if value is None:
            parts.append(f'<text class="quiet" x="{left + 6}" y="{y + 15}">nothing to count</text>')
            continue
        parts.append(
            f'<rect class="one bar" x="{left}" y="{y}" height="20" rx="2" '
            f'width="{max(0.0, x(value) - left):.1f}"/>'
        )
        if low is not None and high is not None:
            parts.append(
                f'<path class="whisker" d="M{x(low):.1f} {y + 10}H{x(high):.1f}'
                f'M{x(low):.1f} {y + 5}v10M{x(high):.1f} {y + 5}v10"/>'
            )
        if chance is not None:
            parts.append(f'<path class="chance" d="M{x(chance):.1f} {y - 2}v24"/>')
        interval = "" if low is None or high is None else f" ({low:.2f}–{high:.2f})"
        parts.append(f'<text x="{width - right + 10}" y="{y + 15}">{value:.2f}{interval}</text>')
    return _svg(width, height, title, parts)


def _ticks(value: float) -> tuple[float, ...]:
    """Round numbers from 0 up to the first at or above a value, five steps at most; up to 1 for nothing."""
    if value <= 0:
        return _SHARES
    power = 10.0 ** (math.floor(math.log10(value)) - 1)
    step = next(s for s in (power * m for m in (1, 2, 5, 10, 20, 50)) if s * 5 >= value - 1e-12)
    count = math.ceil(value / step - 1e-9)
    return tuple(round(step * tick, 10) for tick in range(count + 1))


def _svg(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
