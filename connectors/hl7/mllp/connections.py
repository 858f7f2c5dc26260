"""The connections of one listener, and what they share."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

from connectors.hl7.mllp.notices import Notices
from connectors.hl7.mllp.peers import Peer
from connectors.hl7.mllp.terms import Terms

C = TypeVar("C")


class Connections(Generic[C]):
    """The connections of one listener, and what they share."""

    def __init__(self, terms: Terms, notices: Notices) -> None:
        self.terms = terms
        self.notices = notices
        self.open: set[C] = set()
        self.gathered_bytes = 0
        """Of frames that have begun and not ended, over all connections."""
        self.stopping = False
        self.emptied = asyncio.Event()

    def refusal(self, peer: Peer) -> str:
        """Why a new connection is not taken; empty when it is."""
        if self.stopping:
            return "stopping"
        if not self.terms.senders.allow_address(peer.host):
            return "its address is in none of the allowed networks"
        if len(self.open) >= self.terms.max_connections:
            return f"{len(self.open)} are open"
        return ""

    def leave(self, connection: C) -> None:
        """Forget a connection that is closed and has nothing in hand."""
        self.open.discard(connection)
        if not self.open:
            self.emptied.set()
