"""A network between a FHIR client and its server that fails on command, for tests of retries."""

from __future__ import annotations

from collections.abc import Callable

import httpx


class FaultyTransport(httpx.BaseTransport):
    """Delivers every request; of those that `drops` picks, the answer is lost on the way back.

    drops: called with each request before it is delivered.
    """

    def __init__(
        self, drops: Callable[[httpx.Request], bool], *, inner: httpx.BaseTransport | None = None
    ) -> None:
        self._drops = drops
        self._inner = inner or httpx.HTTPTransport()
        self.delivered: list[tuple[str, str]] = []
        """(method, path) of each request that the server answered."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        drop = self._drops(request)
        response = self._inner.handle_request(request)
        self.delivered.append((request.method, request.url.path))
        if drop:
            response.read()
            response.close()
            raise httpx.ReadError("the answer was lost", request=request)
        return response

    def close(self) -> None:
        self._inner.close()


def first(method: str, ending: str) -> Callable[[httpx.Request], bool]:
    """Picks the first request of a method whose path ends so, and no other."""
    waiting = [True]

    def picks(request: httpx.Request) -> bool:
        if waiting[0] and request.method == method and request.url.path.rstrip("/").endswith(ending):
            waiting[0] = False
            return True
        return False

    return picks
