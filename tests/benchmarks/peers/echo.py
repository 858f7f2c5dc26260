"""A listener that copies MSH-10 into an answer and does nothing else: what the sender can do at most."""

from __future__ import annotations

import selectors
import socket
import sys

from connectors.hl7.frames import END, START

_READ_BYTES = 64 * 1024


def main() -> None:
    """Print the port, then answer until the input ends."""
    with (
        selectors.DefaultSelector() as selector,
        socket.create_server(("127.0.0.1", 0), backlog=128) as server,
    ):
        selector.register(server, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        print(server.getsockname()[1], flush=True)
        unread: dict[int, bytes] = {}
        while True:
            for key, _ in selector.select():
                if key.fileobj is sys.stdin:
                    return
                if key.fileobj is server:
                    connection, _ = server.accept()
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    selector.register(connection, selectors.EVENT_READ, connection)
                    continue
                data = key.data.recv(_READ_BYTES)
                if not data:
                    unread.pop(key.fd, None)
                    selector.unregister(key.data)
                    key.data.close()
                    continue
                *frames, unread[key.fd] = (unread.get(key.fd, b"") + data).split(END)
                answers = [
                    b"%bMSH|^~\\&|||||||ACK|1|P|2.5.1\rMSA|AA|%b\r%b" % (START, frame.split(b"|", 10)[9], END)
                    for frame in frames
                ]
                if answers:
                    key.data.sendall(b"".join(answers))


if __name__ == "__main__":
    main()
