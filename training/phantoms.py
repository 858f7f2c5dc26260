"""Synthetic chests: a fact record becomes a CT-like volume with the mask of every finding.

Only sums, products, comparisons and integer noise touch the voxels, so that a seed gives the same bytes
on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.facts import LEFT, RIGHT, head_name
from model.study import Volume
from training.facts import SMALLEST_MM, Fact, FactRecord, draw

SHAPE = (40, 112, 112)
SPACING_MM = (8.0, 3.1, 3.1)

AIR_HU, FAT_HU, MUSCLE_HU, LUNG_HU, FLUID_HU, BONE_HU, LIVER_HU, BLOOD_HU, NODULE_HU = (
    -1000.0,
    -100.0,
    40.0,
    -850.0,
    10.0,
    350.0,
    60.0,
    45.0,
    60.0,
)
_SHARED = 0.5
"""Of its voxels a finding must show this share, or it is not to be seen."""
_COVERED = 0.3
"""A voxel belongs to a nodule that fills this share of it."""
_IN_LUNG = 0.9
"""A nodule of which less than this share would lie in the lung is drawn elsewhere."""
_PLACES = 20
"""So often a place is drawn for it."""
_FINER = 4
"""A nodule's share of a voxel is summed over so many layers of it."""
_SIGN = {RIGHT: -1.0, LEFT: 1.0}
_EFFUSION_TOP = {"small": 0.62, "moderate": 0.36, "large": 0.04}
_PNEUMOTHORAX_DEPTH = {"small": 0.30, "moderate": 0.52, "large": 0.80}

FloatArray = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Phantom:
    """One synthetic chest and the truth about it."""

    volume: Volume
    record: FactRecord
    masks: Mapping[str, Mask]
    """Finding head -> (slices, height, width), only for the heads that are true."""

    @property
    def millimetres(self) -> dict[str, float]:
        """Finding head -> diameter of a nodule; depth of anything else from front to back."""
        said = {head: fact.millimetres for fact in self.record.facts for head in fact.heads}
        return {
            head: float(said[head] or mask.sum(axis=1).max() * SPACING_MM[1])
            for head, mask in self.masks.items()
        }

    @property
    def boxes(self) -> dict[str, tuple[int, int, int, int, int, int]]:
        """Finding head -> first slice, row, column and one past the last of each."""
        boxes = {}
        for head, mask in self.masks.items():
            low, high = zip(*((int(i.min()), int(i.max()) + 1) for i in np.nonzero(mask)), strict=True)
            boxes[head] = (*low, *high)
        return boxes


def phantom(seed: int, record: FactRecord | None = None) -> Phantom:
    """The chest of a seed. The record is drawn from the seed unless it is given.

    The record that comes back leaves out what another finding hides.
    """
    rng = np.random.default_rng(seed)
    drawn = draw(rng)
    record = drawn if record is None else record
    voxels, masks = _Chest(rng).with_facts(record)
    record = record.only(masks)
    name = f"2.25.{(1 << 100) + seed}"
    return Phantom(Volume(voxels, SPACING_MM, "CT", name, f"{name}.1"), record, masks)


class _Chest:
    """A chest under construction: z 0 feet to 1 head, y -1 front to 1 back, x -1 right to 1 left."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        slices, height, width = SHAPE
        size = self._between(0.92, 1.06)
        self.z = np.linspace(0, 1, slices, dtype=np.float32)[:, None, None]
        self.y = (
            np.linspace(-1, 1, height, dtype=np.float32)[None, :, None] - self._between(-0.05, 0.05)
        ) / size
        self.x = (
            np.linspace(-1, 1, width, dtype=np.float32)[None, None, :] - self._between(-0.05, 0.05)
        ) / size
        self.masks: dict[str, Mask] = {}

    def _between(self, low: float, high: float) -> np.float32:
        return np.float32(low + (high - low) * self.rng.random())

    def with_facts(self, record: FactRecord) -> tuple[FloatArray, dict[str, Mask]]:
        """Build in the order in which tissue gives way: body, lungs, findings, blur, noise."""
        facts = {fact.finding: fact for fact in record.facts}
        self._body("cardiomegaly" in facts)
        for side in (RIGHT, LEFT):
            self._vessels(side)
        if "emphysema" in facts:
            self._emphysema()
        if "cardiomegaly" in facts:
            self.masks["cardiomegaly"] = self.heart
        painters = {
            "consolidation": self._consolidation,
            "atelectasis": self._atelectasis,
            "pulmonary nodule": self._nodule,
            "pneumothorax": self._pneumothorax,
            "pleural effusion": self._effusion,
        }
        for finding, paint in painters.items():
            if fact := facts.get(finding):
                for side in fact.sides:
                    self.masks[head_name(finding, side)] = paint(side, fact)
        self._hide()
        voxels = self._blurred()
        voxels += self.rng.integers(-32, 33, size=SHAPE, dtype=np.int16)
        voxels += self.rng.integers(-32, 33, size=SHAPE, dtype=np.int16)
        np.rint(voxels, out=voxels)
        return np.clip(voxels, -1024, 3071), self.masks

    def _body(self, enlarged: bool) -> None:
        x, y, z = self.x, self.y, self.z
        rx, ry = self._between(0.82, 0.92), self._between(0.62, 0.72)
        body = (x / rx) ** 2 + (y / ry) ** 2
        self.hu = np.full(SHAPE, AIR_HU, dtype=np.float32)
        self.hu[:] = np.where(body < 1, np.where(body > 0.86, FAT_HU, MUSCLE_HU), AIR_HU)

        # Ribs: slanted bars in the wall between the fat and the lungs.
        wall = (body > 0.70) & (body < 0.80)
        phase = (z * np.float32(9) + y * np.float32(1.2) + self._between(0, 1)) % np.float32(1)
        self.hu[wall & (phase < 0.35)] = BONE_HU
        spine = x**2 + (y - np.float32(0.46)) ** 2
        self.hu[np.broadcast_to(spine < 0.014, SHAPE)] = BONE_HU * np.float32(0.7)

        self.lungs: dict[str, Mask] = {}
        self.depth: dict[str, FloatArray] = {}
        middle, reach = self._between(0.46, 0.50), self._between(0.54, 0.60)
        profile = np.sqrt(np.maximum(1 - ((z - middle) / reach) ** 2, np.float32(1e-4)))
        for side, sign in _SIGN.items():
            across = (x - np.float32(sign * 0.40)) / (np.float32(0.31) * profile)
            along = y / (np.float32(0.50) * profile)
            radius = across**2 + along**2
            floor = self._between(0.10, 0.14) + np.float32(0.16) * np.maximum(1 - radius, np.float32(0))
            self.lungs[side] = (radius < 1) & (z > floor)
            self.depth[side] = radius
            below = (radius < 1) & (z <= floor)
            self.hu[below] = LIVER_HU if side == RIGHT else MUSCLE_HU
            self.hu[self.lungs[side]] = LUNG_HU + self._between(-25, 25)

        scale = self._between(1.38, 1.6) if enlarged else self._between(0.85, 1.08)
        cx, cy, cz = self._between(0.09, 0.14), self._between(-0.16, -0.10), self._between(0.32, 0.36)
        self.heart = (
            ((x - cx) / (np.float32(0.26) * scale)) ** 2
            + ((y - cy) / (np.float32(0.25) * scale)) ** 2
            + ((z - cz) / (np.float32(0.18) * scale)) ** 2
        ) < 1
        aorta = np.broadcast_to((x - np.float32(0.11)) ** 2 + (y - np.float32(0.30)) ** 2 < 0.006, SHAPE)
        for organ in (self.heart, aorta):
            self.hu[organ] = BLOOD_HU
            for side in self.lungs:
                self.lungs[side] &= ~organ

    def _vessels(self, side: str) -> None:
        sign = _SIGN[side]
        for _ in range(int(self.rng.integers(9, 14))):
            angle, radius = self._between(-2.4, 2.4), self._between(0.9, 1.6)
            at = np.array([self._between(0.42, 0.58), self._between(-0.05, 0.10), sign * 0.20])
            step = np.array(
                [self._between(-0.03, 0.03), 0.04 * math.sin(angle), sign * 0.04 * math.cos(angle)]
            )
            for _ in range(int(self.rng.integers(6, 12))):
                self._ball(self.lungs[side], at, float(radius), 0.6, float(self._between(-150, 30)))
                at, radius = at + step, radius * np.float32(0.93)

    def _ball(self, within: Mask, at: NDArray[np.float64], pixels: float, slices: float, hu: float) -> Mask:
        """Paint an ellipsoid at (z, y, x) with radii in pixels and slices, only within a mask."""
        depth, height, width = SHAPE
        cz = float(at[0]) * (depth - 1)
        cy = float(np.abs(self.y[0, :, 0] - at[1]).argmin())
        cx = float(np.abs(self.x[0, 0, :] - at[2]).argmin())
        window = tuple(
            slice(max(0, math.floor(c - r)), min(n, math.ceil(c + r) + 1))
            for c, r, n in ((cz, slices, depth), (cy, pixels, height), (cx, pixels, width))
        )
        zz, yy, xx = np.ogrid[window]
        inside = ((zz - cz) / slices) ** 2 + ((yy - cy) / pixels) ** 2 + ((xx - cx) / pixels) ** 2 <= 1
        mask = np.zeros(SHAPE, dtype=np.bool_)
        mask[window] = inside
        inside = inside & within[window]
        self.hu[window][inside] = hu
        mask[window] = inside
        return mask

    def _emphysema(self) -> None:
        both = self.lungs[RIGHT] | self.lungs[LEFT]
        aerated = both & (self.hu < -600)
        self.hu[aerated] -= 70
        holes = np.zeros(SHAPE, dtype=np.bool_)
        for side, sign in _SIGN.items():
            for _ in range(26):
                at = np.array(
                    [self._between(0.2, 0.9), self._between(-0.4, 0.4), sign * self._between(0.18, 0.62)]
                )
                holes |= self._ball(
                    self.lungs[side],
                    at,
                    float(self._between(1.7, 3.7)),
                    float(self._between(1.0, 2.0)),
                    -1000.0,
                )
        self.masks["emphysema"] = both

    def _height(self, fact: Fact) -> float:
        return float(self._between(0.60, 0.76) if fact.zone == "upper" else self._between(0.26, 0.40))

    def _consolidation(self, side: str, fact: Fact) -> Mask:
        sign, height = _SIGN[side], self._height(fact)
        mask = np.zeros(SHAPE, dtype=np.bool_)
        y, x = float(self._between(-0.2, 0.25)), sign * float(self._between(0.36, 0.48))
        for _ in range(5):
            at = np.array([height, y, x]) + np.array([0.05, 0.10, 0.07]) * self.rng.uniform(-1, 1, 3)
            pixels, slices = float(self._between(6.4, 9.9)), float(self._between(2.2, 3.8))
            mask |= self._ball(self.lungs[side], at, pixels, slices, 20.0)
        # Mottled by air that is left in the bronchi.
        mottle = mask & (self.rng.integers(0, 6, size=SHAPE, dtype=np.uint8) == 0)
        self.hu[mottle] = -350
        return mask

    def _atelectasis(self, side: str, fact: Fact) -> Mask:
        sign, height = _SIGN[side], self._height(fact)
        slope = self._between(-0.5, 0.5)
        y0, x0 = self._between(-0.02, 0.30), np.float32(sign * 0.42)
        plate = np.abs(self.y - y0 - slope * (self.x - x0)) < np.float32(0.032)
        mask: Mask = self.lungs[side] & plate & (np.abs(self.z - np.float32(height)) < np.float32(0.085))
        self.hu[mask] = 50
        return mask

    def _nodule(self, side: str, fact: Fact) -> Mask:
        """A ball that fills its outer voxels in part, so that its diameter shows more finely than they do.

        It lies in the lung: of several places that are drawn the first counts where nearly all of it does,
        else the one where most of it does.
        """
        best: tuple[float, tuple[slice, ...], FloatArray] | None = None
        for _ in range(_PLACES):
            window, share = self._ball_share(side, fact)
            inside = share * self.lungs[side][window]
            seen = float(inside.sum() / share.sum())
            if best is None or seen > best[0]:
                best = seen, window, inside
            if seen >= _IN_LUNG:
                break
        assert best is not None
        _, window, share = best
        hu = self.hu[window]
        hu += share * (NODULE_HU - hu)
        mask = np.zeros(SHAPE, dtype=np.bool_)
        mask[window] = share >= min(_COVERED, float(share.max()) or 1.0)
        return mask

    def _ball_share(self, side: str, fact: Fact) -> tuple[tuple[slice, ...], FloatArray]:
        """A window of the volume, and which share of each of its voxels a ball at a drawn place fills."""
        sign, height = _SIGN[side], self._height(fact)
        at = (height, self._between(-0.26, 0.26), sign * self._between(0.34, 0.52))
        radius = np.float32(fact.millimetres or SMALLEST_MM) / 2
        centre = (
            float(at[0]) * (SHAPE[0] - 1),
            _place(self.y[0, :, 0], at[1]),
            _place(self.x[0, 0, :], at[2]),
        )
        window = tuple(
            slice(max(0, math.floor(c - radius / mm) - 1), min(n, math.ceil(c + radius / mm) + 2))
            for c, mm, n in zip(centre, SPACING_MM, SHAPE, strict=True)
        )
        zz, yy, xx = np.ogrid[window]
        share = np.zeros(np.broadcast_shapes(zz.shape, yy.shape, xx.shape), dtype=np.float32)
        for layer in range(_FINER):
            z = zz + (layer + 0.5) / _FINER - 0.5
            squares = [
                ((places - c) * mm) ** 2
                for places, c, mm in zip((z, yy, xx), centre, SPACING_MM, strict=True)
            ]
            distance = np.sqrt(squares[0] + squares[1] + squares[2])
            share += np.clip((radius - distance) / SPACING_MM[1] + 0.5, 0, 1).astype(np.float32) / _FINER
        return window, share

    def _pneumothorax(self, side: str, fact: Fact) -> Mask:
        depth = np.float32(_PNEUMOTHORAX_DEPTH[fact.size]) + self._between(-0.05, 0.05)
        # Air rises: in a patient on the back it lies in front, and outside the collapsed lung.
        shrunk = (np.float32(1) - depth * np.float32(0.55)) * (
            np.float32(1) - np.float32(0.3) * depth * (self.y < 0)
        )
        mask = (
            self.lungs[side]
            & (self.depth[side] > shrunk**2)
            & (self.y < np.float32(0.1) + depth * np.float32(0.4))
        )
        self.hu[mask] = AIR_HU
        collapsed = self.lungs[side] & ~mask & (self.hu < -600)
        self.hu[collapsed] += 60 + 120 * float(depth)
        return mask

    def _effusion(self, side: str, fact: Fact) -> Mask:
        # Fluid lies behind, and reaches further forward towards the diaphragm.
        top = np.float32(_EFFUSION_TOP[fact.size]) + self._between(-0.05, 0.05)
        level = np.float32(0.5) * (top + np.float32(0.9) * (self.z - np.float32(0.35)))
        mask = self.lungs[side] & (self.y > level)
        self.hu[mask] = FLUID_HU
        return mask

    def _hide(self) -> None:
        """Fluid and air paint over what lies in the lung: what they mostly hide is not to be seen."""
        for side in (RIGHT, LEFT):
            over = [
                self.masks.get(head_name(finding, side)) for finding in ("pleural effusion", "pneumothorax")
            ]
            for finding in ("consolidation", "atelectasis", "pulmonary nodule"):
                head = head_name(finding, side)
                if (mask := self.masks.get(head)) is None:
                    continue
                seen = mask.copy()
                for cover in over:
                    if cover is not None:
                        seen &= ~cover
                if seen.sum() < max(1, _SHARED * mask.sum()):
                    del self.masks[head]
                else:
                    self.masks[head] = seen

    def _blurred(self) -> FloatArray:
        """(1 2 1)/4 along rows and columns: the edges of a coarse scan."""
        hu = self.hu
        out = hu.copy()
        out[:, 1:-1] = (hu[:, :-2] + 2 * hu[:, 1:-1] + hu[:, 2:]) / 4
        blurred = out.copy()
        blurred[:, :, 1:-1] = (out[:, :, :-2] + 2 * out[:, :, 1:-1] + out[:, :, 2:]) / 4
        return blurred


def _place(axis: NDArray[np.float32], at: np.float32) -> float:
    """Where on an axis of even steps a coordinate lies, in voxels."""
    return float((at - axis[0]) / (axis[1] - axis[0]))
