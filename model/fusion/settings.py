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
    def from_json(cls, part: Mapping[str, Any] | None) -> FusionSettings:
        """Read the `fusion` object of drafter.json; a document without one means a prefix.

        Raises WeightsError on anything unexpected.
        """
        if part is None:
            return cls(PREFIX)
        if not isinstance(part, Mapping) or part.keys() - {"kind", "blocks"}:
            raise WeightsError("expected fusion in drafter.json to be an object of kind and blocks alone")
        kind, blocks = part.get("kind"), part.get("blocks", 2)
        if kind not in KINDS:
            raise WeightsError(f"expected fusion.kind of {', '.join(KINDS)} in drafter.json, found {kind!r}")
        if type(blocks) is not int or not 1 <= blocks <= 64:
            raise WeightsError(f"expected fusion.blocks between 1 and 64 in drafter.json, found {blocks!r}")
        return cls(kind, blocks)

    def to_json(self) -> dict[str, Any]:
        """The `fusion` object of drafter.json."""
        return {"kind": self.kind, "blocks": self.blocks}
