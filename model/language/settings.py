"""How the language half is loaded and run. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model.study import Unfit, WeightsError

COMPUTE_DTYPES = ("float32", "bfloat16", "float16")


ANY_LANGUAGE = "*"
"""Stands for every language that has no adapter of its own."""
LOCAL, VLLM = "local", "vllm"


@dataclass(frozen=True, slots=True)
class LanguageSettings:
    """How the language half is loaded and run; travels in drafter.json."""

    base: str
    """Folder of the base, relative to the model folder."""
    adapters: Mapping[str, Mapping[str, str]]
    """Task -> language or "*" -> folder of the LoRA adapter, relative to the model folder."""
    quantisation: str
    """nf4, or none."""
    compute_dtype: str
    """float32, bfloat16 or float16: what 4-bit weights are multiplied in."""
    maximum_tokens: int
    """No answer is longer."""
    runner: str = LOCAL
    """local: in this process. vllm: by a server of vLLM that holds the same base and adapters."""

    @classmethod
    def from_json(cls, part: Mapping[str, Any]) -> LanguageSettings:
        """Read the `language` object of drafter.json. Raises WeightsError on anything unexpected."""
        try:
            settings = cls(
                base=str(part["base"]),
                adapters={
                    str(task): {str(language): str(folder) for language, folder in folders.items()}
                    for task, folders in part["adapters"].items()
                },
                quantisation=str(part["quantisation"]),
                compute_dtype=str(part["compute_dtype"]),
                maximum_tokens=int(part["maximum_tokens"]),
                runner=str(part.get("runner", LOCAL)),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise WeightsError(
                f"expected language settings in drafter.json: {error!r} is missing or wrong"
            ) from error
        if settings.quantisation not in ("nf4", "none") or settings.compute_dtype not in COMPUTE_DTYPES:
            raise WeightsError("expected language.quantisation nf4 or none and a compute_dtype torch knows")
        if not 1 <= settings.maximum_tokens <= 4096:
            raise WeightsError("expected language.maximum_tokens between 1 and 4096 in drafter.json")
        if settings.runner not in (LOCAL, VLLM):
            raise WeightsError(f"expected language.runner {LOCAL} or {VLLM}, found {settings.runner!r}")
        if not settings.adapters or not all(settings.adapters.values()):
            raise WeightsError(
                "expected language.adapters in drafter.json as task -> language or * -> folder"
            )
        return settings

    @property
    def folders(self) -> tuple[str, ...]:
        """Every adapter's folder, each once."""
        return tuple(dict.fromkeys(folder for one in self.adapters.values() for folder in one.values()))

    def adapter(self, task: str, language: str) -> str:
        """The folder of the adapter for a task in a language; "*" where the language has none of its own.

        Raises Unfit, which says what there is.
        """
        folders = self.adapters.get(task, {})
        folder = folders.get(language) or folders.get(ANY_LANGUAGE)
        if folder is None:
            there = ", ".join(folders) or "no language"
            raise Unfit(
                f"These weights have no adapter for the task {task} in {language!r}, but for {there}: ask in one "
                "of these, or use weights that were trained for it."
            )
        return folder

    def to_json(self) -> dict[str, Any]:
        """The `language` object of drafter.json."""
        return {
            "base": self.base,
            "adapters": {task: dict(folders) for task, folders in self.adapters.items()},
            "quantisation": self.quantisation,
            "compute_dtype": self.compute_dtype,
            "maximum_tokens": self.maximum_tokens,
            "runner": self.runner,
        }
