"""HTTP to one peer over one pool of connections: no redirects, capped answers, one deadline for each."""

from __future__ import annotations

import ipaddress
import logging
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from connectors.errors import Unreachable
from connectors.fhir.outcome import error_of_failure
from connectors.fhir.unpacking import CODINGS, IDENTITY, Body

MAX_BODY_BYTES = 16 * 2**20

# These libraries log whole URLs and headers at INFO and DEBUG; a URL can name a patient.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever its status."""

    status: int
    body: bytes
    headers: httpx.Headers


class Wire:
    """One pool of connections; usable from several threads.

    timeout_seconds: for connecting, for each read, and for a whole answer.
    transport: replaces the network, for tests.
    tls: how the peer's certificate is verified and which one is shown to it; None for the usual authorities.
    """

    def __init__(
        self,
        *,
        timeout_seconds: float,
        transport: httpx.BaseTransport | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._max_body_bytes = max_body_bytes
        # trust_env: a proxy or netrc from the environment is not a configured peer.
        self._http = httpx.Client(
            timeout=timeout_seconds,
            transport=transport,
            follow_redirects=False,
            trust_env=False,
            verify=True if tls is None else tls,
        )

    def close(self) -> None:
        """Close the pool."""
        self._http.close()

    def exchange(
        self,
        method: str,
        url: str,
        *,
        action: str,
        headers: Mapping[str, str],
        content: bytes | None = None,
    ) -> Answer:
        """Send one request and read its whole answer. Raises Unreachable, Rejected or Malformed.

        action: what is tried, without identifiers, for errors.
        """
        deadline = time.monotonic() + self._timeout_seconds
        sent = {"Accept-Encoding": CODINGS, **headers}
        try:
            with self._http.stream(method, url, content=content, headers=sent) as response:
                body = self._capped(response, deadline=deadline, action=action)
        except (httpx.HTTPError, httpx.InvalidURL) as failure:
            raise error_of_failure(failure, action=action) from None
        return Answer(response.status_code, body, response.headers)

    def _capped(self, response: httpx.Response, *, deadline: float, action: str) -> bytes:
        # A transport in place of the network may have read the answer, and unpacked it, already.
        whole = response.is_stream_consumed
        coding = IDENTITY if whole else response.headers.get("Content-Encoding", "")
        body = Body(coding, limit_bytes=self._max_body_bytes, action=action)
        for piece in response.iter_bytes() if whole else response.iter_raw():
            body.add(piece)
            if time.monotonic() > deadline:
                raise Unreachable(
                    f"{action}: expected the whole answer in {self._timeout_seconds:g} s, came a part. "
                    f"{Unreachable.next_step}"
                )
        return body.whole()


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name alone: no name is looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
