"""A network between a FHIR client and its server that fails: on command, or at random from a seed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from enum import StrEnum

import httpx

LONGEST_DELAY = 8
"""Requests that may overtake a delayed one."""


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


class Fault(StrEnum):
    """What becomes of a request. The client cannot tell whether any of them was carried out."""

    LOST = "lost"
    """It never arrives."""
    UNANSWERED = "unanswered"
    """It arrives, its answer does not."""
    DELAYED = "delayed"
    """It arrives after requests that were sent later; its answer never does."""
    TWICE = "twice"
    """It arrives twice, and the second answer is the one that is heard."""
    CUT = "cut"
    """It arrives, and its answer ends early."""
    FAILED = "failed"
    """It arrives, and something between answers 504."""


class FaultProxy(httpx.BaseTransport):
    """Passes requests on to `inner`, and treats a share of them badly; the same seed, the same faults.

    share: of requests, between 0 and 1. faults: those that it draws from. Not for several threads: give each
    client one of its own.
    """

    def __init__(
        self, inner: httpx.BaseTransport, *, share: float, seed: int, faults: tuple[Fault, ...] = tuple(Fault)
    ) -> None:
        self._inner = inner
        self._share = share
        self._faults = faults
        self._random = random.Random(seed)  # noqa: S311 - faults, not secrets
        self._waiting: list[tuple[int, httpx.Request]] = []
        self.requests = 0
        """How many the client sent."""
        self.drawn: Counter[Fault] = Counter()
        """How often each fault happened."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests += 1
        self.settle(before=self.requests)
        if self._random.random() >= self._share:
            return self._delivered(request)
        fault = self._random.choice(self._faults)
        self.drawn[fault] += 1
        if fault is Fault.LOST:
            raise httpx.ConnectError("the request was lost", request=request)
        if fault is Fault.DELAYED:
            due = self.requests + self._random.randint(1, LONGEST_DELAY)
            self._waiting.append((due, request))
            raise httpx.ReadTimeout("no answer came in time", request=request)
        response = self._delivered(request)
        if fault is Fault.TWICE:
            return self._delivered(request)
        if fault is Fault.CUT:
            return _cut(response, self._random.random())
        if fault is Fault.FAILED:
            return httpx.Response(504, request=request)
        raise httpx.ReadError("the answer was lost", request=request)

    def settle(self, *, before: int | None = None) -> None:
        """Deliver what was delayed and is due; without `before`, all of it."""
        due = [request for at, request in self._waiting if before is None or at < before]
        self._waiting = [(at, one) for at, one in self._waiting if one not in due]
        for request in due:
            self._delivered(request)

    def close(self) -> None:
        self._inner.close()

    def _delivered(self, request: httpx.Request) -> httpx.Response:
        copy = httpx.Request(request.method, request.url, headers=request.headers, content=request.content)
        response = self._inner.handle_request(copy)
        response.read()
        response.close()
        return response


def _cut(response: httpx.Response, part: float) -> httpx.Response:
    headers = {name: value for name, value in response.headers.items() if name.lower() != "content-length"}
    kept = response.content[: int(len(response.content) * part)]
    return httpx.Response(response.status_code, headers=headers, content=kept)


def first(method: str, ending: str) -> Callable[[httpx.Request], bool]:
    """Picks the first request of a method whose path ends so, and no other."""
    waiting = [True]

    def picks(request: httpx.Request) -> bool:
        if waiting[0] and request.method == method and request.url.path.rstrip("/").endswith(ending):
            waiting[0] = False
            return True
        return False

    return picks
