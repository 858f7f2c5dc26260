"""How the language half is loaded and run. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model.study import WeightsError

COMPUTE_DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class LanguageSettings:
    """How the language half is loaded and run; travels in drafter.json."""

    base: str
    """Folder of the base, relative to the model folder."""
    adapter: str
    """Folder of the LoRA adapter, relative to the model folder."""
    quantisation: str
    """nf4, or none."""
    compute_dtype: str
    """float32, bfloat16 or float16: what 4-bit weights are multiplied in."""
    maximum_tokens: int
    """No answer is longer."""

    @classmethod
    def from_json(cls, part: Mapping[str, Any]) -> LanguageSettings:
        """Read the `language` object of drafter.json. Raises WeightsError on anything unexpected."""
        try:
            settings = cls(
                base=str(part["base"]),
                adapter=str(part["adapter"]),
                quantisation=str(part["quantisation"]),
                compute_dtype=str(part["compute_dtype"]),
                maximum_tokens=int(part["maximum_tokens"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(
                f"expected language settings in drafter.json: {error!r} is missing or wrong"
            ) from error
        if settings.quantisation not in ("nf4", "none") or settings.compute_dtype not in COMPUTE_DTYPES:
            raise WeightsError("expected language.quantisation nf4 or none and a compute_dtype torch knows")
        if not 1 <= settings.maximum_tokens <= 4096:
            raise WeightsError("expected language.maximum_tokens between 1 and 4096 in drafter.json")
        return settings

    def to_json(self) -> dict[str, Any]:
        """The `language` object of drafter.json."""
        return {
            "base": self.base,
            "adapter": self.adapter,
            "quantisation": self.quantisation,
            "compute_dtype": self.compute_dtype,
            "maximum_tokens": self.maximum_tokens,
        }
