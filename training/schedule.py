"""Learning rate over a phase."""

from __future__ import annotations

import math

WARM_UP = 0.05
FLOOR = 0.03


def rate(step: int, steps: int) -> float:
    """Share of the full learning rate: a short linear rise, then half a cosine down to a floor."""
    rise = max(1, round(steps * WARM_UP))
    if step < rise:
        return (step + 1) / rise
    done = (step - rise) / max(1, steps - rise)
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * done))
