"""The losses of a run, as JSON lines while it runs and as a plot when it is over."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

_WIDTH, _HEIGHT, _MARGIN = 720, 200, 48


class LossLog:
    """Appends one JSON line a step to a file."""

    def __init__(self, path: Path) -> None:
        """The folder is made when it is missing; an earlier run's lines are kept."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._started = time.monotonic()

    def write(self, phase: str, step: int, losses: Mapping[str, float]) -> None:
        """Append the losses of one step."""
        line = {"phase": phase, "step": step, "seconds": round(time.monotonic() - self._started, 1)}
        rounded = {name: round(value, 5) for name, value in losses.items()}
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({**line, **rounded}) + "\n")

    def plot(self, path: Path) -> None:
        """Draw the loss of every phase as one SVG, on a logarithmic scale."""
        phases: dict[str, dict[int, float]] = {}
        for raw in self.path.read_text(encoding="utf-8").splitlines():
            line = json.loads(raw)
            if "loss" in line:
                phases.setdefault(line["phase"], {})[int(line["step"])] = float(line["loss"])
        charts = [
            _chart(name, sorted(points.items()), row) for row, (name, points) in enumerate(phases.items())
        ]
        height = max(1, len(charts)) * _HEIGHT
        path.write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
            f'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n'
            + "\n".join(charts)
            + "\n</svg>\n",
            encoding="utf-8",
        )


def _chart(name: str, points: Iterable[tuple[int, float]], row: int) -> str:
    kept = [(step, math.log10(loss)) for step, loss in points if loss > 0 and math.isfinite(loss)]
    if not kept:
        return ""
    last = max(step for step, _ in kept) or 1
    low, high = min(value for _, value in kept), max(value for _, value in kept)
    spread = (high - low) or 1.0
    top, inner = row * _HEIGHT + 28, _HEIGHT - 60
    places = " ".join(
        f"{_MARGIN + step / last * (_WIDTH - 2 * _MARGIN):.1f},{top + (high - value) / spread * inner:.1f}"
        for step, value in kept
    )
    return (
        f'<text x="{_MARGIN}" y="{top - 10}">{name}: loss, {last} steps</text>'
        f'<text x="4" y="{top + 4}">{10**high:.3g}</text><text x="4" y="{top + inner}">{10**low:.3g}</text>'
        f'<polyline points="{places}" fill="none" stroke="#1f5fa8" stroke-width="1.2"/>'
    )
