"""The RIS's own MLLP listener on loopback: takes results, keeps them, acknowledges as told."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType

from connectors.hl7.ack import AckCode, acknowledge
from connectors.hl7.message import Message, parse
from connectors.hl7.mllp import MllpServer, Peer, running


class Inbox:
    """Where an embedded RIS takes drafts in."""

    def __init__(self, code: AckCode = AckCode.AA, port: int = 0) -> None:
        """code: what every message is answered with. port: 0 takes a free one."""
        self.code = code
        self.messages: list[Message] = []
        """Everything that came, in order."""
        self.port = port
        self._stack = ExitStack()

    def __enter__(self) -> Inbox:
        server = MllpServer("127.0.0.1", self.port, self._take, name="inbox")
        self.port = self._stack.enter_context(running(server))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    async def _take(self, body: bytes, _peer: Peer) -> Sequence[bytes]:
        message = parse(body)
        self.messages.append(message)
        return [acknowledge(message, self.code)]
