"""What the finding heads saw in one study, in clinical words and units. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Box = tuple[int, int, int, int, int, int]
"""First slice, row and column and one past the last of each, as indices into Volume.voxels."""


@dataclass(frozen=True, slots=True)
class HeadReading:
    """What one finding head saw."""

    probability: float
    """Between 0 and 1, calibrated: of a hundred findings seen with 0.8, eighty are there."""
    slice_index: int
    """The slice that shows it best, as an index into Volume.voxels."""
    box: Box | None = None
    """Where it lies; None where the finding is not seen."""
    drop: float | None = None
    """By how much the probability falls when the box is taken out of the image; None where not tried."""
    millimetres: float | None = None
    """Diameter of a finding in MEASURED, depth of one in SIZED; None for others."""
    size: str = ""
    """small, moderate or large for a finding in SIZED."""
    zone: str = ""
    """upper or lower for a finding in ZONED."""


Readings = Mapping[str, HeadReading]
"""Finding head ("pleural effusion, left") -> what it saw."""
SEEN = 0.5
"""Probability from which a finding counts as seen."""
