"""The architecture of the vision half. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from model.study import WeightsError

LAYOUTS = ("tiled", "apart")


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """One encoder of timm."""

    timm_name: str
    """Any name that timm knows: vit_tiny_patch16_224, swin_tiny_patch4_window7_224, maxvit_tiny_tf_224."""
    layout: str
    """tiled: the planes stand side by side in one image, so that attention spans the slices. apart: each
    plane is an image of its own."""
    depth: int = 0
    """Blocks of a vision transformer; 0 leaves the number that the name stands for."""
    stem_width: int = 0
    """Channels of a convolutional stem before a vision transformer, which sees the image at an eighth of
    its size; 0 gives the planes themselves to the encoder."""
    tile_columns: int = 1
    """Planes in one row of the tiled image."""
    pixels: int = 0
    """Side to which an image that stands apart is resampled; 0 leaves it as it is."""
    stages: int = 2
    """How many of the encoder's last stages are read; the last one is where findings are looked for."""
    checkpoint: str = ""
    """A local safetensors file of timm weights that training starts from; empty starts from chance."""


@dataclass(frozen=True, slots=True)
class VisionSettings:
    """The architecture of the vision half; travels in drafter.json."""

    encoders: tuple[EncoderSettings, ...]
    """One or several, side by side over the same planes."""
    heads: tuple[str, ...]
    """Names of the finding heads, for example "pleural effusion, left"."""
    width: int = 192
    """Width of the features that the heads and the language half read."""
    queries: int = 0
    """Tokens that a resampler draws from all places; 0 gives the mean of each plane instead."""

    @classmethod
    def from_json(cls, part: Mapping[str, Any]) -> VisionSettings:
        """Read the `vision` object of drafter.json. Raises WeightsError on anything unexpected."""
        try:
            encoders = tuple(
                EncoderSettings(
                    timm_name=str(one["timm_name"]),
                    layout=str(one["layout"]),
                    depth=int(one.get("depth", 0)),
                    stem_width=int(one.get("stem_width", 0)),
                    tile_columns=int(one.get("tile_columns", 1)),
                    pixels=int(one.get("pixels", 0)),
                    stages=int(one.get("stages", 2)),
                    checkpoint=str(one.get("checkpoint", "")),
                )
                for one in part["encoders"]
            )
            settings = cls(
                encoders=encoders,
                heads=tuple(map(str, part["heads"])),
                width=int(part["width"]),
                queries=int(part.get("queries", 0)),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise WeightsError(
                f"expected vision settings in drafter.json: {error!r} is missing or wrong"
            ) from error
        if not encoders or any(one.layout not in LAYOUTS for one in encoders):
            raise WeightsError(
                "expected vision.encoders in drafter.json, each with a layout of tiled or apart"
            )
        if any(one.stages < 1 or one.tile_columns < 1 or one.pixels < 0 for one in encoders):
            raise WeightsError("expected vision.encoders with stages and tile_columns of at least 1")
        if settings.width < 16 or settings.width % 16 or settings.queries < 0:
            raise WeightsError("expected vision.width as a multiple of 16 and queries of at least 0")
        if not settings.heads or len(set(settings.heads)) != len(settings.heads):
            raise WeightsError("expected vision.heads, each once, in drafter.json")
        return settings

    def to_json(self) -> dict[str, Any]:
        """The `vision` object of drafter.json."""
        return {
            "encoders": [asdict(one) for one in self.encoders],
            "heads": list(self.heads),
            "width": self.width,
            "queries": self.queries,
        }
