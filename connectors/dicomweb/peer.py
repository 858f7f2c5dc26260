"""One HTTP peer: requests out, answers in, and every failure as one of connectors.errors."""

from __future__ import annotations

import json
import logging
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import httpx

from connectors.errors import ExchangeError, Malformed, Rejected, Unreachable

# httpx writes every URL at level INFO, and the URLs of an image archive name patients' studies.
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("httpcore").setLevel(logging.WARNING)

Query = Mapping[str, str | list[str]]
"""Query parameters; a list is written as the same name several times."""
JSON_CAP_BYTES = 32 * 1024 * 1024
"""Largest JSON answer that is read."""

# First match wins: from the particular to the general.
_FAILURES: tuple[tuple[type[Exception], type[ExchangeError], str], ...] = (
    (httpx.ConnectTimeout, Unreachable, "no connection in time"),
    (httpx.TimeoutException, Unreachable, "no answer in time"),
    (httpx.UnsupportedProtocol, Rejected, "the configured URL is not http or https"),
    (httpx.ConnectError, Unreachable, "no connection"),
    (httpx.DecodingError, Malformed, "the answer cannot be decoded"),
    (httpx.TransportError, Unreachable, "the connection broke"),
    (httpx.HTTPError, Unreachable, "the exchange failed"),
    (httpx.InvalidURL, Rejected, "the configured URL is not a URL"),
)


def failure_of(status: int, noun: str) -> ExchangeError:
    """Return the error that an HTTP status stands for (RFC 9110 section 15)."""
    if status in {206, 408, 425, 429} or status >= 500:
        return Unreachable(f"the {noun} answered {status}: it cannot now, send the same thing again later")
    if 300 <= status < 400:
        return Rejected(
            f"the {noun} answered {status}, a redirect, which is never followed: configure the final address"
        )
    return Rejected(f"the {noun} answered {status}: check address, credentials and what was asked for")


@dataclass(frozen=True, slots=True)
class Answer:
    """One successful answer, its body still to be read."""

    status: int
    content_type: str
    chunks: Iterator[bytes]


class Peer:
    """A configured peer. Talks to no other host: redirects and environment proxies are not followed."""

    def __init__(
        self,
        base_url: str,
        noun: str,
        *,
        timeout_seconds: float,
        deadline_seconds: float,
        auth: tuple[str, str] | None = None,
        bearer_token: str = "",
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"the URL of the {noun} must be http://host... or https://host...")
        self._noun = noun
        self._base_url = base_url.rstrip("/")
        self._deadline_seconds = deadline_seconds
        headers = {"Accept-Encoding": "identity"}
        if bearer_token:
            headers["Authorization"] = f"Bearer {bearer_token}"
        self._client = httpx.Client(
            timeout=timeout_seconds,
            follow_redirects=False,
            trust_env=False,
            auth=auth,
            verify=verify,
            headers=headers,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def exchange(
        self,
        method: str,
        path: str,
        *,
        accept: str,
        params: Query | None = None,
        headers: Mapping[str, str] | None = None,
        content: Iterator[bytes] | bytes | None = None,
        also: tuple[int, ...] = (),
    ) -> Iterator[Answer]:
        """Send one request and give its answer while it streams.

        Statuses other than 200 and 204 raise, but for those named in `also`. The whole exchange must end
        within the deadline. Raises Unreachable, Rejected or Malformed.
        """
        ends = time.monotonic() + self._deadline_seconds
        try:
            with self._client.stream(
                method,
                self._base_url + path,
                params=dict(params) if params else None,
                headers={"Accept": accept, **(headers or {})},
                content=content,
            ) as response:
                if response.status_code not in {200, 204, *also}:
                    raise failure_of(response.status_code, self._noun)
                if response.headers.get("Content-Encoding", "identity") != "identity":
                    raise Malformed(f"the {self._noun} compressed its answer although asked not to")
                yield Answer(
                    response.status_code,
                    response.headers.get("Content-Type", ""),
                    self._within(ends, response),
                )
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise self._mapped(exc) from exc

    def json(
        self,
        path: str,
        *,
        accept: str = "application/json",
        params: Query | None = None,
        absent_ok: bool = False,
    ) -> Any:
        """Get one JSON document; None when the answer has no body, or is 404 and that is `absent_ok`.

        Raises as exchange.
        """
        also = (404,) if absent_ok else ()
        with self.exchange("GET", path, accept=accept, params=params, also=also) as answer:
            return None if answer.status == 404 else read_json(answer, self._noun)

    def _within(self, ends: float, response: httpx.Response) -> Iterator[bytes]:
        for chunk in response.iter_raw():
            if time.monotonic() > ends:
                raise Unreachable(
                    f"the {self._noun} took longer than {self._deadline_seconds:g} seconds to answer"
                )
            yield chunk

    def _mapped(self, exc: Exception) -> ExchangeError:
        for foreign, ours, what in _FAILURES:
            if isinstance(exc, foreign):
                return ours(f"{what} ({self._noun}): check that it runs and that its address is right")
        raise AssertionError("every httpx error has a row")


def read_json(answer: Answer, noun: str) -> Any:
    """Read a JSON body of bounded size; None when it is empty. Raises Malformed."""
    body = bytearray()
    for chunk in answer.chunks:
        body += chunk
        if len(body) > JSON_CAP_BYTES:
            raise Malformed(f"the {noun} sent more than {JSON_CAP_BYTES} bytes of JSON")
    if not body.strip():
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        # Not chained: the foreign message may quote what came.
        raise Malformed(f"the {noun} sent something that is not JSON") from None
