"""How the language half is loaded and run. No torch here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from model.study import Unfit, WeightsError
from model.tasks import REPORT, TASKS

COMPUTE_DTYPES = ("float32", "bfloat16", "float16")
LOCAL, VLLM = "local", "vllm"
ANY_LANGUAGE = "*"
_LANGUAGE = re.compile(r"[a-z]{2}")
_FOLDER = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")
"""A folder is also the adapter's name in peft and on a server: no dot, and no way out of the model folder."""
_KNOWN = frozenset(
    {"base", "adapter", "adapters", "quantisation", "compute_dtype", "maximum_tokens", "runner"}
)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """A vLLM server that runs the base and its adapters."""

    url: str = ""
    """Where its routes begin, without /v1: http://host:8000."""
    model: str = "base"
    """The name under which it serves the base (--served-model-name)."""
    timeout_seconds: float = 120.0
    """How long one answer may take."""
    models: Mapping[str, str] = field(default_factory=dict)
    """Folder of an adapter -> the name under which it is served, where that is not the folder itself."""

    @classmethod
    def from_json(cls, part: Mapping[str, Any]) -> ServerSettings:
        """Read the `runner` object of a vLLM server. Raises WeightsError on anything unexpected."""
        if unknown := sorted(part.keys() - {"kind", "url", "model", "timeout_seconds", "models"}):
            raise WeightsError(
                "expected kind, url, model, models and timeout_seconds in language.runner, found "
                f"{unknown[0]!r}"
            )
        url, model, seconds = part.get("url"), part.get("model", "base"), part.get("timeout_seconds", 120.0)
        try:
            split = urlsplit(url if isinstance(url, str) else "")
            fits = split.scheme in ("http", "https") and bool(split.hostname) and (split.port or 1) > 0
        except ValueError:
            fits = False
        if not fits or split.username is not None or split.query or split.fragment:
            raise WeightsError(
                "expected language.runner.url as http://HOST:PORT or https://HOST:PORT in drafter.json, "
                "without a user, a query or a fragment"
            )
        if not isinstance(model, str) or not model:
            raise WeightsError("expected language.runner.model as the name of the base on the server")
        if type(seconds) not in (int, float) or not 0 < seconds <= 3600:
            raise WeightsError("expected language.runner.timeout_seconds above 0 and at most 3600")
        models = part.get("models", {})
        if not isinstance(models, Mapping) or not all(isinstance(m, str) and m for m in models.values()):
            raise WeightsError(
                "expected language.runner.models in drafter.json: folder of an adapter -> name on the server"
            )
        return cls(str(url).rstrip("/"), model, float(seconds), dict(models))

    def to_json(self) -> dict[str, Any]:
        """The `runner` object of drafter.json."""
        return {
            "kind": VLLM,
            "url": self.url,
            "model": self.model,
            "timeout_seconds": self.timeout_seconds,
            **({"models": dict(self.models)} if self.models else {}),
        }


@dataclass(frozen=True, slots=True)
class LanguageSettings:
    """How the language half is loaded and run; travels in drafter.json."""

    base: str
    """Folder of the base, relative to the model folder."""
    adapters: Mapping[str, Mapping[str, str]]
    """Task -> language, or "*" for every other one -> folder of the LoRA adapter, relative to the model
    folder."""
    quantisation: str
    """nf4, or none."""
    compute_dtype: str
    """float32, bfloat16 or float16: what 4-bit weights are multiplied in."""
    maximum_tokens: int
    """No answer is longer."""
    runner: str = LOCAL
    """local: in this process. vllm: on a server."""
    server: ServerSettings = field(default_factory=ServerSettings)
    """The server, where runner is vllm."""

    @property
    def folders(self) -> tuple[str, ...]:
        """Folder of each adapter, each once; also its name."""
        return tuple(dict.fromkeys(folder for of in self.adapters.values() for folder in of.values()))

    def adapter(self, task: str, language: str) -> str:
        """Name of the adapter that writes this task in this language.

        Raises Unfit, which says for what there is one, when there is none.
        """
        languages = self.adapters.get(task)
        if not languages:
            known = ", ".join(sorted(self.adapters))
            raise Unfit(
                f"These weights have no adapter for the task {task}, only for {known}: add one to "
                "language.adapters in drafter.json."
            )
        name = languages.get(language, languages.get(ANY_LANGUAGE))
        if name is None:
            known = ", ".join(sorted(languages))
            raise Unfit(
                f"These weights cannot write the task {task} in the language {language!r}, only in {known}: "
                "order the report in one of these, or add an adapter to language.adapters in drafter.json."
            )
        return name

    @classmethod
    def from_json(cls, part: Mapping[str, Any]) -> LanguageSettings:
        """Read the `language` object of drafter.json. Raises WeightsError on anything unexpected."""
        if unknown := sorted(part.keys() - _KNOWN):
            raise WeightsError(
                f"expected nothing but {', '.join(sorted(_KNOWN))} in language settings of "
                f"drafter.json, found {unknown[0]!r}"
            )
        try:
            base, quantisation = str(part["base"]), str(part["quantisation"])
            compute_dtype, maximum_tokens = str(part["compute_dtype"]), int(part["maximum_tokens"])
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(
                f"expected language settings in drafter.json: {error!r} is missing or wrong"
            ) from error
        if quantisation not in ("nf4", "none") or compute_dtype not in COMPUTE_DTYPES:
            raise WeightsError("expected language.quantisation nf4 or none and a compute_dtype torch knows")
        if not 1 <= maximum_tokens <= 4096:
            raise WeightsError("expected language.maximum_tokens between 1 and 4096 in drafter.json")
        if not _FOLDER.fullmatch(base):
            raise WeightsError("expected language.base in drafter.json to be a folder of the model folder")
        runner, server = _runner(part.get("runner", {"kind": LOCAL}))
        return cls(base, _adapters(part), quantisation, compute_dtype, maximum_tokens, runner, server)

    def to_json(self) -> dict[str, Any]:
        """The `language` object of drafter.json."""
        return {
            "base": self.base,
            "adapters": {task: dict(languages) for task, languages in self.adapters.items()},
            "quantisation": self.quantisation,
            "compute_dtype": self.compute_dtype,
            "maximum_tokens": self.maximum_tokens,
            "runner": self.server.to_json() if self.runner == VLLM else {"kind": LOCAL},
        }


def _adapters(part: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Task -> language -> folder; one `adapter` alone writes reports in any language."""
    if ("adapter" in part) == ("adapters" in part):
        raise WeightsError("expected either adapter or adapters in language settings of drafter.json")
    found = part["adapters"] if "adapters" in part else {REPORT: {ANY_LANGUAGE: part["adapter"]}}
    if not isinstance(found, Mapping) or not found:
        raise WeightsError("expected language.adapters in drafter.json: task -> language -> folder")
    for task, languages in found.items():
        if task not in TASKS:
            raise WeightsError(
                f"expected language.adapters for tasks of {', '.join(TASKS)} in drafter.json, found {task!r}"
            )
        if not isinstance(languages, Mapping) or not languages:
            raise WeightsError(f"expected language.adapters.{task} in drafter.json: language -> folder")
        for language, folder in languages.items():
            if language != ANY_LANGUAGE and not _LANGUAGE.fullmatch(language):
                raise WeightsError(
                    f"expected two letters of ISO 639-1 or {ANY_LANGUAGE!r} as a language in "
                    f"language.adapters.{task} of drafter.json, found {language!r}"
                )
            if not isinstance(folder, str) or not _FOLDER.fullmatch(folder):
                raise WeightsError(
                    f"expected a folder of the model folder, of letters, digits, - and _, in "
                    f"language.adapters.{task}.{language} of drafter.json"
                )
    return {task: dict(languages) for task, languages in found.items()}


def _runner(part: Any) -> tuple[str, ServerSettings]:
    if part == LOCAL:
        return LOCAL, ServerSettings()
    kind = part.get("kind") if isinstance(part, Mapping) else None
    if kind == VLLM:
        return VLLM, ServerSettings.from_json(part)
    if kind != LOCAL or len(part) != 1:
        raise WeightsError(
            f"expected language.runner in drafter.json as kind {LOCAL} alone, or kind {VLLM} with its url"
        )
    return LOCAL, ServerSettings()
