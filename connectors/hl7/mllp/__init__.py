"""MLLP: a server on asyncio and a plain client, with or without TLS.

Delivery is at least once: a peer that sees no acknowledgement sends again. Log lines name the peer's
address and the reason, never what a message said.
"""

from connectors.hl7.mllp.client import MllpClient, Wait, send
from connectors.hl7.mllp.peers import Peer, Senders
from connectors.hl7.mllp.server import MllpServer, running
from connectors.hl7.mllp.terms import Handler

__all__ = ["Handler", "MllpClient", "MllpServer", "Peer", "Senders", "Wait", "running", "send"]
