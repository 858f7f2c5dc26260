"""python-hl7's asyncio server: it parses every message and accepts it."""

from __future__ import annotations

import asyncio
import sys


async def _answer(reader, writer):  # type: ignore[no-untyped-def]
    while not writer.is_closing():
        try:
            message = await reader.readmessage()
        except asyncio.IncompleteReadError:
            break
        writer.writemessage(message.create_ack())
        await writer.drain()
    writer.close()


async def main() -> None:
    """Print the port, then answer until the input ends."""
    from hl7.mllp import start_hl7_server  # type: ignore[import-not-found,unused-ignore]

    server = await start_hl7_server(_answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
