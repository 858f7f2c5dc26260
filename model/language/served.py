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
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeGuard

import httpx
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

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


class ServerError(Exception):
    """The server gave no answer that can be used; the message says why, without patient data. Asking again
    can help."""


class ServedWriter:
    """A Llama on a vLLM server. Safe to call from many threads.

    Answers are greedy. Numbers on a server depend on what else it computes at that moment: unlike those of
    LocalWriter, an answer alone and in a batch may differ where two tokens are almost equally probable.
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
        self._adapters = frozenset(adapters)
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
        bodies = [self._body(one) for one in asked]
        if not bodies:
            return []
        with ThreadPoolExecutor(min(_AT_ONCE, len(bodies)), "served") as threads:
            return list(threads.map(self._answer, bodies))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def embeddings(self, asked: Asked) -> Tensor:
        """(places, width): start token, what was seen, prompt, in memory of its own."""
        parts = [self._table[[self.start]]]
        if asked.fused is not None:
            if asked.fused.injected or asked.fused.encodings is not None:
                raise WeightsError(
                    "expected what was seen as a prefix, came states for the decoder's layers: a vLLM server "
                    "runs the prefix fusion alone, use runner local"
                )
            if asked.fused.prefix.dim() != 3 or asked.fused.prefix.shape[::2] != (1, self.width):
                raise ValueError(
                    f"expected what was seen of one case, of width {self.width}, came another shape"
                )
            parts.append(asked.fused.prefix[0].to(self._table))
        if not all(0 <= token < len(self._table) for token in asked.prompt):
            raise ValueError(f"expected a prompt of token ids below {len(self._table)}, came another id")
        parts.append(self._table[list(asked.prompt)])
        joined = torch.cat(parts).detach().cpu()
        if not joined.isfinite().all():
            raise ValueError("expected finite states of this case, came others: look at what was seen of it")
        return joined

    def _body(self, asked: Asked) -> dict[str, Any]:
        if asked.adapter and asked.adapter not in self._adapters:
            known = ", ".join(sorted(self._adapters)) or "(none)"
            raise ValueError(f"expected one of the adapters {known}, came another: the server must serve it")
        joined = self.embeddings(asked)
        most = len(joined) + asked.maximum_tokens
        if asked.maximum_tokens < 1 or most > self.length:
            raise ValueError(
                f"expected an image, a prompt and an answer of at least one token that take at most "
                f"{self.length} places together, came {most}: shorten the prompt or ask for fewer tokens"
            )
        body: dict[str, Any] = {
            "model": asked.adapter or self.server.model,
            "prompt_embeds": _encoded(joined),
            "add_special_tokens": False,
            "max_tokens": asked.maximum_tokens,
            "temperature": 0,
            "n": 1,
            "stop_token_ids": list(self.ends),
            "logprobs": 0,
            "return_token_ids": True,
            "cache_salt": secrets.token_urlsafe(32),
        }
        unwanted = sorted(self.words.special - set(self.ends))
        if unwanted:
            body["logit_bias"] = {str(token): -100 for token in unwanted}
        if asked.grammar:
            body["structured_outputs"] = {"grammar": asked.grammar}
        return body

    def _answer(self, body: Mapping[str, Any]) -> Answer:
        try:
            response = self._client.post("/v1/completions", json=body)
        except httpx.HTTPError as error:
            raise ServerError(
                f"the vLLM server at {self.server.url} gave no answer ({_kind(error)}): see that it runs and "
                "ask again"
            ) from error
        choice = _choice(response, self.server.url)
        ids, logs = choice.get("token_ids"), (choice.get("logprobs") or {}).get("token_logprobs")
        if not _are(ids, int) or not _are(logs, float, int) or len(ids) != len(logs):
            raise ServerError(
                f"the vLLM server at {self.server.url} gave an answer without token ids or their "
                "probabilities: it must know return_token_ids (vLLM 0.11 and later)"
            )
        if choice.get("finish_reason") not in ("stop", "length"):
            raise ServerError(f"the vLLM server at {self.server.url} broke an answer off: ask again")
        return self._read(ids, logs, choice["finish_reason"] == "stop")

    def _read(self, ids: Sequence[int], logs: Sequence[float], stopped: bool) -> Answer:
        """An answer of its tokens up to the one that ends it, or to one that no answer may hold."""
        end = next((at for at, token in enumerate(ids) if token in self.ends), len(ids))
        odd = next((at for at, token in enumerate(ids) if not self._ordinary(token)), len(ids))
        whole = min(end, odd)
        complete = stopped and odd >= end
        kept, said = tuple(ids[:whole]), logs[:whole]
        if not all(map(math.isfinite, said)):
            raise ServerError(
                f"the vLLM server at {self.server.url} gave tokens without a probability: ask again"
            )
        likelihood = sum(said) / len(said) if said else 0.0
        return Answer(kept, self.words.decode(kept), complete, likelihood)

    def _ordinary(self, token: int) -> bool:
        return 0 <= token < len(self._table) and token not in self.words.special

    def _check_models(self) -> int:
        """Places of one case, its answer included."""
        listed = _json(self._client.get("/v1/models"), self.server.url).get("data")
        cards = (
            {str(card.get("id")): card for card in listed if isinstance(card, dict)}
            if _are(listed, dict)
            else {}
        )
        wanted = {self.server.model, *self._adapters}
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
        for name in (self.server.model, *sorted(self._adapters)):
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
                    f"expected the vLLM server at {self.server.url} to know return_token_ids: use vLLM 0.11 "
                    "or later"
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
    """As vLLM reads them: torch.save, in base64. A copy, for a view would take all of its memory along."""
    stream = io.BytesIO()
    torch.save(embeddings.clone(), stream)
    return base64.b64encode(stream.getvalue()).decode("ascii")


def _json(response: httpx.Response, url: str) -> dict[str, Any]:
    """The object of an answer. What the server says of an error is not told on: it may hold the prompt."""
    if response.status_code != httpx.codes.OK:
        raise ServerError(f"the vLLM server at {url} answered with status {response.status_code}")
    try:
        document = response.json()
    except ValueError as error:
        raise ServerError(f"the vLLM server at {url} gave an answer that is cut off or no JSON") from error
    if not isinstance(document, dict):
        raise ServerError(f"the vLLM server at {url} gave an answer that is no JSON object")
    return document


def _choice(response: httpx.Response, url: str) -> dict[str, Any]:
    choices = _json(response, url).get("choices")
    if not _are(choices, dict) or len(choices) != 1:
        raise ServerError(f"the vLLM server at {url} gave no answer or several: expected one")
    choice: dict[str, Any] = choices[0]
    return choice


def _are(values: Any, *kinds: type) -> TypeGuard[list[Any]]:
    return isinstance(values, list) and all(type(value) in kinds for value in values)


def _kind(error: Exception) -> str:
    """What went wrong, without what was sent or received."""
    return str(error) if isinstance(error, ServerError) else type(error).__name__
