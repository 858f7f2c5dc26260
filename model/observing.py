"""From what the vision half computed to readings in clinical words and units."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from model.confidence import Calibration
from model.facts import MEASURED, SIZED, SIZES, ZONED, ZONES, split_head_name
from model.preprocess import ImageSettings, pixel_mm, plane_mm, shown_area, slab_ranges
from model.readings import SEEN, Box, HeadReading
from model.study import Volume, WeightsError
from model.vision.seen import Seen


@dataclass(frozen=True, slots=True)
class SizeSettings:
    """Where small ends and large begins, and what is above; travels in drafter.json."""

    depths_mm: Mapping[str, tuple[float, float]]
    """Finding of SIZED -> depth from front to back below which it is small, and from which it is large."""
    zone_boundary: float
    """Share of the volume's height, from the feet, from which a finding lies in the upper zone."""

    @classmethod
    def from_json(cls, part: Mapping[str, Any]) -> SizeSettings:
        """Read the `sizes` object of drafter.json. Raises WeightsError on anything unexpected."""
        try:
            depths = {str(name): (float(a), float(b)) for name, (a, b) in part["depths_mm"].items()}
            settings = cls(depths, float(part["zone_boundary"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise WeightsError(
                f"expected size settings in drafter.json: {error!r} is missing or wrong"
            ) from error
        if depths.keys() - SIZED or any(not 0 < a <= b for a, b in depths.values()):
            raise WeightsError(
                "expected sizes.depths_mm in drafter.json as [small ends, large begins] for findings "
                f"of {', '.join(sorted(SIZED))}"
            )
        if not 0 < settings.zone_boundary < 1:
            raise WeightsError("expected sizes.zone_boundary between 0 and 1 in drafter.json")
        return settings

    def to_json(self) -> dict[str, Any]:
        """The `sizes` object of drafter.json."""
        return {
            "depths_mm": {name: [round(a, 2), round(b, 2)] for name, (a, b) in self.depths_mm.items()},
            "zone_boundary": self.zone_boundary,
        }

    def word(self, finding: str, depth_mm: float) -> str:
        """small, moderate or large; empty where no size is said of the finding."""
        if finding not in self.depths_mm:
            return ""
        small, large = self.depths_mm[finding]
        return SIZES[0] if depth_mm < small else SIZES[1] if depth_mm < large else SIZES[2]


@dataclass(frozen=True, slots=True)
class Observer:
    """Reads the finding heads of one set of weights."""

    image: ImageSettings
    heads: tuple[str, ...]
    calibration: Calibration
    sizes: SizeSettings

    def ranges(self, volume: Volume) -> tuple[tuple[int, int], ...]:
        """First and one past the last slice of each plane of a volume."""
        return slab_ranges(volume.voxels.shape[0], self.image.planes)

    def readings(self, seen: Seen, row: int, volume: Volume) -> dict[str, HeadReading]:
        """What each head saw in one study of a batch, in the order of the heads."""
        maps, logits = seen.maps[row].float().cpu(), seen.logits[row].float().tolist()
        measures, heights = seen.measures[row].exp().cpu(), seen.heights[row].float().cpu()
        return {
            head: self._reading(head, maps[i], logits[i], measures[i].tolist(), heights[i], volume)
            for i, head in enumerate(self.heads)
        }

    def _reading(
        self,
        head: str,
        heat: Tensor,
        logit: float,
        measures: Sequence[float],
        heights: Tensor,
        volume: Volume,
    ) -> HeadReading:
        finding, _ = split_head_name(head)
        shape, spacing = volume.voxels.shape, volume.spacing_mm
        centre = _centre(heat)
        plane = int(heat.flatten(1).amax(dim=1).argmax())
        first, stop = self.ranges(volume)[plane]
        reading = HeadReading(round(self.calibration.calibrated(head, logit), 4), (first + stop) // 2)
        # What is rounded counts: whoever reads it must not hold for seen what has no box.
        if reading.probability < SEEN:
            return reading
        millimetres = measures[3] * pixel_mm(shape, spacing, self.image)
        box = self._box(centre, heat.shape, measures, volume)
        above = float((heights * (torch.arange(len(heights)) + 0.5)).sum()) / len(heights)
        return replace(
            reading,
            slice_index=min(max((box[0] + box[3]) // 2, first), stop - 1),
            box=box,
            millimetres=round(millimetres, 1) if finding in MEASURED | SIZED else None,
            size=self.sizes.word(finding, millimetres),
            zone=ZONES[above < self.sizes.zone_boundary] if finding in ZONED else "",
        )

    def _box(
        self, centre: Sequence[float], places: Sequence[int], measures: Sequence[float], volume: Volume
    ) -> Box:
        """Centre in planes, rows and columns of places, extents in planes and pixels; the box in voxels."""
        shape, spacing = volume.voxels.shape, volume.spacing_mm
        slice_mm = plane_mm(shape, spacing, self.image)
        pixel = pixel_mm(shape, spacing, self.image)
        (top, _), (left, _) = shown_area(shape, spacing, self.image.side)
        stride = self.image.side / places[1]
        middle_mm = (
            centre[0] * slice_mm,
            (centre[1] * stride - top) * pixel,
            (centre[2] * stride - left) * pixel,
        )
        half_mm = (measures[0] * slice_mm / 2, measures[1] * pixel / 2, measures[2] * pixel / 2)
        edges = []
        for middle, half, step, count in zip(middle_mm, half_mm, spacing, shape, strict=True):
            low = min(max(round((middle - half) / step), 0), count - 1)
            edges.append((low, min(max(math.ceil((middle + half) / step - 0.5), low + 1), count)))
        (a, d), (b, e), (c, f) = edges
        return a, b, c, d, e, f


def _centre(heat: Tensor) -> tuple[float, float, float]:
    """Where a map (planes, rows, columns) of logits is high, in planes, rows and columns from their edges."""
    weights = torch.softmax(heat.flatten() * 2, dim=0).reshape(heat.shape)
    along = [weights.sum(dim=[d for d in range(3) if d != axis]) for axis in range(3)]
    plane, row, column = (float((one * (torch.arange(len(one)) + 0.5)).sum()) for one in along)
    return plane, row, column
