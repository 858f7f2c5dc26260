"""MLLP framing: `0x0B message 0x1C 0x0D` (HL7 v2.3.1 Implementation Guide, appendix C). Pure.

One frame is held at a time and never more than the cap, whatever the peer sends.
"""

from __future__ import annotations

from connectors.errors import Malformed

START = b"\x0b"
END = b"\x1c\r"
FRAME_CAP_BYTES = 16 * 1024 * 1024


class OverCap(Malformed):
    """A frame is larger than the cap; `head` is how it begins, for the nack."""

    def __init__(self, cap_bytes: int, head: bytes) -> None:
        """cap_bytes: the most bytes between start and end block. head: the first bytes of the message."""
        super().__init__(
            f"a frame is larger than {cap_bytes} bytes; send smaller messages or raise the frame cap"
        )
        self.head = head


def framed(message: bytes) -> bytes:
    """The message as one frame. Raises ValueError when it holds a start block or an end block itself."""
    if START in message or END in message:
        raise ValueError("a message may not hold 0x0B or 0x1C 0x0D: its receiver would cut it there")
    return START + message + END


class Deframer:
    """Cuts a stream of bytes into messages."""

    def __init__(self, cap_bytes: int = FRAME_CAP_BYTES) -> None:
        """cap_bytes: the most bytes between start and end block."""
        self._cap_bytes = cap_bytes
        self._buffer = bytearray()
        self._searched = 0

    @property
    def inside(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._buffer)

    def next(self, data: bytes = b"") -> bytes | None:
        """Add data; return the next whole message, or None when more bytes are needed.

        Call again without data for messages that came with it. Line ends between frames are ignored.
        Raises Malformed when anything else stands between frames, and OverCap.
        """
        buffer = self._buffer
        buffer += data
        if self._searched == 0:
            blank = 0
            while blank < len(buffer) and buffer[blank] in b"\r\n":
                blank += 1
            del buffer[:blank]
            if buffer and buffer[0] != START[0]:
                raise Malformed(
                    "expected the MLLP start block 0x0B, found another byte; is this peer speaking MLLP?"
                )
            if not buffer:
                return None
            self._searched = 1
        end = buffer.find(END, self._searched)
        if (end if end >= 0 else len(buffer)) - 1 > self._cap_bytes + (1 if end < 0 else 0):
            raise OverCap(self._cap_bytes, bytes(buffer[1:4097]))
        if end < 0:
            # The first byte of the end block may have come without the second.
            self._searched = max(1, len(buffer) - 1)
            return None
        message = bytes(buffer[1:end])
        del buffer[: end + len(END)]
        self._searched = 0
        return message
