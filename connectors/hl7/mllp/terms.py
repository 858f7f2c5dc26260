"""What a listener holds each of its connections to."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from connectors.hl7.ack import AckMode
from connectors.hl7.mllp.peers import Peer, Senders

Handler = Callable[[bytes, Peer], Awaitable[Sequence[bytes]]]
"""Takes one message and its sender; returns the messages to answer with, in order: none, one or two.

It is called in the order of arrival, and again before it has answered: a Future is taken as it is.
"""


@dataclass(frozen=True, slots=True)
class Terms:
    """The settings of one listener; `MllpServer` says what each means."""

    listener: str
    handler: Handler
    mode: AckMode
    frame_cap_bytes: int
    gather_cap_bytes: int
    window: int
    idle_timeout_seconds: float
    quiet_timeout_seconds: float
    max_connections: int
    ssl_context: ssl.SSLContext | None
    senders: Senders
