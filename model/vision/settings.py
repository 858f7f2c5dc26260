"""The architecture of the vision half. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model.study import WeightsError


@dataclass(frozen=True, slots=True)
class VisionSettings:
    """The architecture of the vision half; travels in drafter.json."""

    timm_name: str
    """A timm vision transformer, for example vit_tiny_patch16_224."""
    depth: int
    stem_width: int
    """Channels of the convolutional stem, which sees the image at an eighth of its size."""
    heads: tuple[str, ...]
    """Names of the finding heads, for example "pleural effusion, left"."""

    @classmethod
    def from_json(cls, part: Mapping[str, Any]) -> VisionSettings:
        """Read the `vision` object of drafter.json. Raises WeightsError on anything unexpected."""
        try:
            return cls(
                timm_name=str(part["timm_name"]),
                depth=int(part["depth"]),
                stem_width=int(part["stem_width"]),
                heads=tuple(map(str, part["heads"])),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(
                f"expected vision settings in drafter.json: {error!r} is missing or wrong"
            ) from error

    def to_json(self) -> dict[str, Any]:
        """The `vision` object of drafter.json."""
        return {
            "timm_name": self.timm_name,
            "depth": self.depth,
            "stem_width": self.stem_width,
            "heads": list(self.heads),
        }
