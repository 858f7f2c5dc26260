"""MLLP framing: `0x0B message 0x1C 0x0D` (HL7 v2.3.1 Implementation Guide, appendix C). Pure.

One frame is held at a time and never more than the cap, whatever the peer sends.
"""

from __future__ import annotations

from io import BytesIO

from connectors.errors import Malformed

START = b"\x0b"
END = b"\x1c\r"
FRAME_CAP_BYTES = 16 * 1024 * 1024
_HEAD_BYTES = 4096


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
    """Cuts a stream of bytes into messages.

    A message that came in one piece is copied once, out of that piece; one that came in several is
    gathered and given away without a copy. It holds one frame, and what was added and not asked for.
    """

    def __init__(self, cap_bytes: int = FRAME_CAP_BYTES) -> None:
        """cap_bytes: the most bytes between start and end block."""
        self._cap_bytes = cap_bytes
        self._received = b""
        self._at = 0
        """How far `_received` was read."""
        self._frame: BytesIO | None = None
        """The frame that has begun and not ended."""
        self._size = 0
        """Bytes in it."""
        self._half_ended = False
        """Whether the frame's last byte may be the first of its end block."""

    @property
    def inside(self) -> bool:
        """Whether a frame has begun and not ended, or more frames have come than were asked for."""
        return self._frame is not None or self._at < len(self._received)

    @property
    def held_bytes(self) -> int:
        """What is held of a frame that has begun and not ended."""
        return self._size

    @property
    def head(self) -> bytes:
        """The first bytes of a frame that has begun and not ended, for a nack."""
        return self._frame.getbuffer()[:_HEAD_BYTES].tobytes() if self._frame else b""

    def next(self, data: bytes = b"") -> bytes | None:
        """Add data; return the next whole message, or None when more bytes are needed.

        Call again without data for messages that came with it. Line ends between frames are ignored.
        Raises Malformed when anything else stands between frames, and OverCap; both end the stream.
        """
        if data:
            self._received = self._received[self._at :] + data if self._at < len(self._received) else data
            self._at = 0
        return self._begun() if self._frame is None else self._continued(self._frame)

    def _begun(self) -> bytes | None:
        """Read on between frames."""
        received, at = self._received, self._at
        while at < len(received) and received[at] in b"\r\n":
            at += 1
        if at == len(received):
            self._received, self._at = b"", 0
            return None
        if received[at] != START[0]:
            raise Malformed(
                "expected the MLLP start block 0x0B, found another byte; is this peer speaking MLLP?"
            )
        at += 1
        end = received.find(END, at)
        if end < 0:
            self._at = at
            self._frame = BytesIO()
            self._gather(self._frame)
            return None
        if end - at > self._cap_bytes:
            raise OverCap(self._cap_bytes, received[at : at + _HEAD_BYTES])
        self._at = end + len(END)
        return received[at:end]

    def _continued(self, frame: BytesIO) -> bytes | None:
        """Read on inside a frame that began in data before."""
        received, at = self._received, self._at
        if at == len(received):
            return None
        if self._half_ended and received[at] == END[1]:
            frame.truncate(self._size - 1)
            return self._ended(frame, at + 1)
        end = received.find(END, at)
        if end < 0:
            self._gather(frame)
            return None
        self._add(frame, end)
        return self._ended(frame, end + len(END))

    def _gather(self, frame: BytesIO) -> None:
        self._add(frame, len(self._received))
        self._received, self._at = b"", 0

    def _add(self, frame: BytesIO, end: int) -> None:
        """Move what was received up to `end` into the frame. Raises OverCap before it holds too much."""
        received, at = self._received, self._at
        whole = end < len(received)
        self._half_ended = not whole and received.endswith(END[:1], at)
        if self._size + end - at - self._half_ended > self._cap_bytes:
            head = self.head
            raise OverCap(self._cap_bytes, head + received[at : at + _HEAD_BYTES - len(head)])
        frame.write(memoryview(received)[at:end])
        self._size += end - at

    def _ended(self, frame: BytesIO, at: int) -> bytes:
        self._at = at
        self._frame, self._size, self._half_ended = None, 0, False
        # CPython hands the buffer itself over: the message is never held twice.
        return frame.getvalue()
