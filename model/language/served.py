"""A Llama on a vLLM server that writes answers: what was seen is sent as embeddings of the prompt.

The server runs the base and its adapters; the table of embeddings alone is read here. It must be started with

    vllm serve BASE --served-model-name base --enable-prompt-embeds --no-enable-prefix-caching
        --enable-lora --lora-modules NAME=FOLDER ...

Kept keys and values of one prompt can be taken for another's where prompts are embeddings
(github.com/vllm-project/vllm/issues/56655, 42119): a server that keeps them is refused, and every request
carries a salt of its own as well.
"""

from __future__ import annotations

import base64
import io
import math
import secrets
import ssl
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeGuard

import httpx
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from model.decoding.case import Case
from model.decoding.grammar import Grammars
from model.language.asking import Answer, Asked
from model.language.base import check_weights, read_config
from model.language.settings import ServerSettings
from model.language.words import Words
from model.study import WeightsError

TABLE = "model.embed_tokens.weight"
_AT_ONCE = 64
"""Requests under way at once; the server puts them into one batch."""
_CACHE_METRIC = "vllm:cache_config_info{"
_START = (
    "start it with --enable-prompt-embeds --no-enable-prefix-caching, and --enable-lora --lora-modules "
    "NAME=FOLDER for every adapter of drafter.json"
)
_RELEASE = "use vLLM 0.11 or later, which knows return_token_ids"
_HINTS = {
    400: "it did not take the question: see that it was started with --enable-prompt-embeds on the base of "
    "this model folder, and that its --max-model-len is as it was",
    401: "it asks for a key: put it where it needs none, for no key is kept in drafter.json",
    404: "it no longer serves this name: see that it runs the base and its adapters",
}


class ServerError(RuntimeError):
    """The server gave no answer that can be used; the message says why, without patient data."""


class ServedWriter:
    """A Llama on a vLLM server. Safe to call from many threads.

    Answers are greedy. Numbers on a server depend on what else it computes at that moment: unlike those of
    LocalWriter, an answer alone and in a batch may differ where two tokens are almost equally probable.
    What comes back is read token by token as the engine would have written it: what breaks its grammar, or
    does not suffice for it, is closed as there.
    """

    def __init__(
        self,
        server: ServerSettings,
        table: Tensor,
        start: int,
        ends: Sequence[int],
        words: Words,
        adapters: Sequence[str] = (),
    ) -> None:
        """table is (vocabulary, width), the base's embeddings. Asks the server whether it will do.

        Raises WeightsError when it cannot be reached, does not serve the base and every adapter, keeps
        prefixes or takes no embeddings.
        """
        self.server, self.words = server, words
        self.start, self.ends = start, tuple(ends)
        self._table = table
        self._adapters = {name: server.models.get(name, name) for name in adapters}
        """Name of each adapter -> name under which it is served."""
        self._lock = threading.Lock()
        self._grammars = Grammars(words, len(table), self.ends)
        ordinary = self._grammars.tokens | set(self.ends)
        self._unwanted = {str(token): -100 for token in range(len(table)) if token not in ordinary}
        """Bias against the tokens without text, special ones among them: the engine bans them as well."""
        # No proxy of the environment: prompts go to the server that was named and to no other.
        self._client = httpx.Client(
            base_url=server.url,
            timeout=server.timeout_seconds,
            trust_env=False,
            verify=ssl.create_default_context() if server.url.startswith("https") else False,
            limits=httpx.Limits(max_connections=_AT_ONCE),
        )
        try:
            self.length = self._check_models()
            self._check_prefixes()
            self._check_embeddings()
        except (httpx.HTTPError, ServerError) as error:
            self._client.close()
            raise WeightsError(
                f"expected a vLLM server at {server.url}, found none that answers ({_kind(error)}): {_START}"
            ) from error
        except WeightsError:
            self._client.close()
            raise

    @classmethod
    def from_folder(
        cls, server: ServerSettings, base: Path, words: Words, adapters: Sequence[str] = ()
    ) -> ServedWriter:
        """For the base of a folder, of which the table of embeddings alone is read."""
        config = read_config(base)
        ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
        if config.bos_token_id is None or None in ends:
            raise WeightsError(f"expected bos_token_id and eos_token_id in the config.json of {base.name}")
        return cls(
            server, read_table(base), int(config.bos_token_id), [int(e) for e in ends], words, adapters
        )

    @property
    def width(self) -> int:
        """Width of the embeddings, and so of what a fusion gives it."""
        return int(self._table.shape[1])

    @property
    def device(self) -> torch.device:
        """Where the embeddings live."""
        return self._table.device

    def write(self, asked: Sequence[Asked]) -> list[Answer]:
        """Answer all, in their order.

        Raises ValueError when one does not fit or names an adapter that is not served, WeightsError when one
        has states for the decoder's own layers, ServerError when the server gives no answer.
        """
        cases = [self._case(one) for one in asked]
        bodies = [self._body(one) for one in asked]
        if not cases:
            return []
        with ThreadPoolExecutor(min(_AT_ONCE, len(cases)), "served") as threads:
            return list(threads.map(self._answer, cases, bodies))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def embeddings(self, asked: Asked) -> Tensor:
        """(places, width): start token, what was seen, prompt, in memory of its own."""
        parts = [self._table[[self.start]]]
        if asked.fused is not None:
            parts.append(asked.fused.prefix[0].to(self._table))
        parts.append(self._table[list(asked.prompt)])
        joined = torch.cat(parts).detach().cpu()
        if not joined.isfinite().all():
            raise ValueError("expected finite states of this case, came others: look at what was seen of it")
        return joined

    def _case(self, asked: Asked) -> Case:
        """Checked, and with its grammar, before anything is sent."""
        if asked.fused is not None and (asked.fused.injected or asked.fused.encodings is not None):
            raise WeightsError(
                "expected what was seen as a prefix, came states for the decoder's layers: a vLLM server "
                "runs the prefix fusion alone, use runner local"
            )
        if asked.adapter and asked.adapter not in self._adapters:
            known = ", ".join(sorted(self._adapters)) or "(none)"
            raise ValueError(f"expected one of the adapters {known}, came another: the server must serve it")
        case = Case(asked)
        case.begin(self.length, self.width, len(self._table))
        if asked.grammar:
            with self._lock:
                case.form = self._grammars.form(asked.grammar)
            if case.form.least > asked.maximum_tokens:
                raise ValueError(
                    f"expected at least {case.form.least} tokens for an answer of this grammar, "
                    f"came {asked.maximum_tokens}"
                )
        return case

    def _body(self, asked: Asked) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._adapters[asked.adapter] if asked.adapter else self.server.model,
            "prompt_embeds": _encoded(self.embeddings(asked)),
            "add_special_tokens": False,
            "max_tokens": asked.maximum_tokens,
            # The server's own defaults are those of the base's generation_config.json, which samples.
            "temperature": 0,
            "repetition_penalty": 1,
            "n": 1,
            "stop_token_ids": list(self.ends),
            "logprobs": 1,
            "return_token_ids": True,
            "cache_salt": secrets.token_urlsafe(32),
        }
        if asked.grammar:
            body["structured_outputs"] = {"grammar": asked.grammar}
        elif self._unwanted:
            body["logit_bias"] = self._unwanted
        return body

    def _answer(self, case: Case, body: Mapping[str, Any]) -> Answer:
        try:
            response = self._client.post("/v1/completions", json=body)
        except httpx.HTTPError as error:
            raise ServerError(
                f"the vLLM server at {self.server.url} gave no answer ({_kind(error)}): see that it runs and "
                "ask again"
            ) from error
        choice = _choice(response, self.server.url)
        ids, chances = choice.get("token_ids"), choice.get("logprobs")
        logs = chances.get("token_logprobs") if isinstance(chances, dict) else None
        if not _are(ids, int) or not _are(logs, float, int) or len(ids) != len(logs):
            raise ServerError(
                f"the vLLM server at {self.server.url} gave an answer without token ids or their "
                f"probabilities: {_RELEASE}"
            )
        if choice.get("finish_reason") not in ("stop", "length"):
            raise ServerError(f"the vLLM server at {self.server.url} broke an answer off: ask again")
        if not all(map(math.isfinite, logs)) or not all(0 <= token < len(self._table) for token in ids):
            raise ServerError(
                f"the vLLM server at {self.server.url} gave tokens that the base lacks, or without a "
                "probability: see that it serves the base of this model folder"
            )
        return self._read(case, ids, logs, choice["finish_reason"] == "stop")

    def _read(self, case: Case, ids: Sequence[int], logs: Sequence[float], stopped: bool) -> Answer:
        """An answer of its tokens, up to the one that ends it or to the first that it may not hold."""
        # Some releases leave the token that ended it out.
        for token, log in [*zip(ids, logs, strict=True), *([(self.ends[0], 0.0)] if stopped else [])]:
            ends = token in self.ends
            if not ends and token not in self._grammars.tokens:
                break
            if ends and case.form is not None and case.form.closing():
                break
            try:
                case.take(token, log, self.ends, self.words)
            except RuntimeError:  # the grammar does not allow it
                break
            if case.done:
                break
        if not case.done:
            case.close(self.words)
        assert case.answer is not None
        return case.answer

    def _check_models(self) -> int:
        """Places of one case, its answer included."""
        listed = _json(self._client.get("/v1/models"), self.server.url).get("data")
        cards = (
            {str(card.get("id")): card for card in listed if isinstance(card, dict)}
            if _are(listed, dict)
            else {}
        )
        wanted = {self.server.model, *self._adapters.values()}
        if missing := sorted(wanted - cards.keys()):
            raise WeightsError(
                f"expected the vLLM server at {self.server.url} to serve {', '.join(sorted(wanted))}, "
                f"{missing[0]} is missing: {_START}"
            )
        length = cards[self.server.model].get("max_model_len")
        if type(length) is not int or length < 1:
            raise WeightsError(f"expected the vLLM server at {self.server.url} to name its max_model_len")
        return length

    def _check_prefixes(self) -> None:
        response = self._client.get("/metrics")
        lines = [line for line in response.text.splitlines() if line.startswith(_CACHE_METRIC)]
        if not lines or any('enable_prefix_caching="False"' not in line for line in lines):
            raise WeightsError(
                f"expected the vLLM server at {self.server.url} to say in /metrics that it keeps no prefixes "
                f'(enable_prefix_caching="False"): one case could read another\'s, {_START}'
            )

    def _check_embeddings(self) -> None:
        """One answer to the start token, in every name that is served."""
        for name in (self.server.model, *sorted(set(self._adapters.values()))):
            body = {**self._body(Asked((), maximum_tokens=1)), "model": name}
            response = self._client.post("/v1/completions", json=body)
            if 400 <= response.status_code < 500:
                raise WeightsError(
                    f"expected the vLLM server at {self.server.url} to take embeddings of width {self.width} "
                    f"for {name}, found status {response.status_code}: {_START}"
                )
            choice = _choice(response, self.server.url)
            if not _are(choice.get("token_ids"), int):
                raise WeightsError(
                    f"expected the vLLM server at {self.server.url} to give the ids of tokens: {_RELEASE}"
                )


def read_table(base: Path) -> Tensor:
    """(vocabulary, width): the embeddings of a base, in the precision they lie in. Nothing else is read."""
    for path in check_weights(base):
        try:
            with safe_open(path, framework="pt") as stored:
                if TABLE in stored.keys():  # noqa: SIM118 - no mapping
                    table: Tensor = stored.get_tensor(TABLE)
                    return table
        except (OSError, SafetensorError) as error:
            raise WeightsError(f"expected {path.name} in {base.name} to be safetensors: {error}") from error
    raise WeightsError(f"expected {TABLE} among the weights of {base.name}")


def _encoded(embeddings: Tensor) -> str:
    """As vLLM reads them: torch.save, in base64. A view would take along all that shares its memory."""
    stream = io.BytesIO()
    torch.save(embeddings, stream)
    return base64.b64encode(stream.getvalue()).decode("ascii")


def _json(response: httpx.Response, url: str) -> dict[str, Any]:
    """The object of an answer. What the server says of an error is not told on: it may hold the prompt."""
    if response.status_code != httpx.codes.OK:
        hint = _HINTS.get(response.status_code, "look into its log and ask again")
        raise ServerError(f"the vLLM server at {url} answered with status {response.status_code}: {hint}")
    try:
        document = response.json()
    except ValueError as error:
        raise ServerError(
            f"the vLLM server at {url} gave an answer that is cut off or no JSON: ask again"
        ) from error
    if not isinstance(document, dict):
        raise ServerError(
            f"the vLLM server at {url} gave an answer that is no JSON object: see that it is vLLM"
        )
    return document


def _choice(response: httpx.Response, url: str) -> dict[str, Any]:
    choices = _json(response, url).get("choices")
    if not _are(choices, dict) or len(choices) != 1:
        raise ServerError(f"the vLLM server at {url} gave no answer or several: expected one, ask again")
    choice: dict[str, Any] = choices[0]
    return choice


def _are(values: Any, *kinds: type) -> TypeGuard[list[Any]]:
    return isinstance(values, list) and all(type(value) in kinds for value in values)


def _kind(error: Exception) -> str:
    """What went wrong, without what was sent or received."""
    return str(error) if isinstance(error, ServerError) else type(error).__name__
