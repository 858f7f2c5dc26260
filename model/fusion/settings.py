"""Which fusion a model folder has. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model.study import WeightsError

PREFIX, REPEATED, INJECT = "prefix", "repeated", "inject"
KINDS = (PREFIX, REPEATED, INJECT)


@dataclass(frozen=True, slots=True)
class FusionSettings:
    """How vision meets text; travels in drafter.json."""

    kind: str
    """prefix: places stand before the text. repeated: places and the decoder's last states pass through
    further blocks together. inject: as prefix, and earlier stages of the encoder enter deeper layers."""
    blocks: int = 2
    """How many blocks the repeated fusion has; of no meaning for the others."""

    @classmethod
    def from_json(cls, part: Mapping[str, Any]) -> FusionSettings:
        """Read the `fusion` object of drafter.json. Raises WeightsError on anything unexpected."""
        try:
            settings = cls(kind=str(part["kind"]), blocks=int(part.get("blocks", 2)))
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(
                f"expected fusion settings in drafter.json: {error!r} is missing or wrong"
            ) from error
        if settings.kind not in KINDS:
            raise WeightsError(f"expected fusion.kind of {', '.join(KINDS)}, found {settings.kind!r}")
        if not 1 <= settings.blocks <= 64:
            raise WeightsError(f"expected fusion.blocks between 1 and 64, found {settings.blocks}")
        return settings

    def to_json(self) -> dict[str, Any]:
        """The `fusion` object of drafter.json."""
        return {"kind": self.kind, "blocks": self.blocks}
