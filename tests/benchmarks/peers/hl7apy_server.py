"""hl7apy's MLLPServer with a handler as its documentation shows one: it parses and accepts an ORU^R01."""

from __future__ import annotations

import sys
import threading

from hl7apy.core import Message
from hl7apy.mllp import AbstractHandler, MLLPServer
from hl7apy.parser import parse_message

TIMEOUT_SECONDS = 600


class _Accepting(AbstractHandler):  # type: ignore[misc]
    def reply(self) -> str:
        message = parse_message(self.incoming_message)
        ack = Message("ACK", version="2.5.1")
        ack.msh.msh_9 = "ACK"
        ack.msh.msh_10 = message.msh.msh_10.value
        ack.msa.msa_1 = "AA"
        ack.msa.msa_2 = message.msh.msh_10.value
        return str(ack.to_mllp())


def main() -> None:
    """Print the port, then answer until the input ends."""
    handlers = {"ORU^R01": (_Accepting,)}
    with MLLPServer("127.0.0.1", 0, handlers, timeout=TIMEOUT_SECONDS) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.socket.getsockname()[1], flush=True)
        sys.stdin.read()
        server.shutdown()


if __name__ == "__main__":
    main()
