"""A deadline that moves with every message, on a timer that seldom does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """Calls once when its time has come, unless that was moved or taken away before."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._at: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def set(self, at: float | None) -> None:
        """at: by the loop's clock; None for never."""
        self._at = at
        # A timer that rings too early sets itself anew: cheaper than a new one for every message.
        if at is not None and (self._timer is None or at < self._timer.when()):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(at, self._wake)

    def close(self) -> None:
        """Never ring again."""
        self._at = None
        if self._timer is not None:
            self._timer.cancel()

    def _wake(self) -> None:
        self._timer = None
        if self._at is not None and self._at > self._loop.time():
            self.set(self._at)
        elif self._at is not None:
            self._ring()
