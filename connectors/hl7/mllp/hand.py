"""The messages of one connection that were handed over and are not answered yet."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence

Answering = asyncio.Future[Sequence[bytes]]


class Hand:
    """First in, first out, whatever is answered first."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Answering, bytes, bool]] = deque()
        self.held_bytes = 0

    def __len__(self) -> int:
        """How many messages."""
        return len(self._waiting)

    def add(self, answering: Answering, message: bytes, *, ours: bool) -> None:
        """ours: whether the future is a task that was made here, and so is ours to cancel."""
        self._waiting.append((answering, message, ours))
        self.held_bytes += len(message)

    def answered(self) -> Iterator[tuple[Answering, bytes]]:
        """Take out, in order, those that were answered and wait for none before them."""
        while self._waiting and self._waiting[0][0].done():
            answering, message, _ = self._waiting.popleft()
            self.held_bytes -= len(message)
            yield answering, message

    def drop(self) -> list[Answering]:
        """Let go of all; cancel and return the tasks that are ours."""
        tasks = [answering for answering, _, ours in self._waiting if ours]
        self._waiting.clear()
        self.held_bytes = 0
        for task in tasks:
            task.cancel()
        return tasks
