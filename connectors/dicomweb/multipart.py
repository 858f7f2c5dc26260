"""multipart/related bodies (RFC 2046 section 5.1, RFC 2387) taken apart while they arrive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from email.message import Message

from connectors.errors import Malformed, Unreachable

HEADER_CAP_BYTES = 16 * 1024
"""Most bytes of preamble, and of headers of one part."""


def boundary_of(content_type: str) -> bytes:
    """Return the boundary that a multipart/related Content-Type names. Raises Malformed."""
    header = Message()
    header["Content-Type"] = content_type
    if header.get_content_type() != "multipart/related":
        raise Malformed(f"expected multipart/related, got {header.get_content_type()}: ask for DICOM parts")
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not 1 <= len(boundary) <= 70 or not boundary.isascii():
        raise Malformed("multipart/related without a boundary of 1 to 70 ASCII characters (RFC 2046 5.1.1)")
    return boundary.encode("ascii")


class Parts:
    """The parts of one multipart body, each as an iterator of chunks; never holds a whole part."""

    def __init__(self, chunks: Iterable[bytes], boundary: bytes) -> None:
        self._chunks = iter(chunks)
        self._delimiter = b"\r\n--" + boundary
        # The first delimiter may open the body, without the line break that belongs to all others.
        self._buffer = bytearray(b"\r\n")

    def __iter__(self) -> Iterator[Iterator[bytes]]:
        """Yield each part's body. A part not read to its end is skipped.

        Raises Unreachable when the body ends before its closing delimiter, Malformed when it is no multipart.
        """
        self._capped(self._delimiter, "the first boundary")
        while True:
            if not self._hold(2):
                raise self._cut_short()
            if self._buffer.startswith(b"--"):
                return
            # "CRLF" stays in the buffer, so that a part without any header also ends in CRLF CRLF.
            self._capped(b"\r\n\r\n", "the end of a part's headers")
            body = self._until(self._delimiter)
            yield body
            for _ in body:
                pass

    def _until(self, mark: bytes) -> Iterator[bytes]:
        """Yield what stands before `mark`, then remove both."""
        buffer, keep = self._buffer, len(mark) - 1
        while True:
            at = buffer.find(mark)
            if at >= 0:
                piece = bytes(memoryview(buffer)[:at])
                del buffer[: at + len(mark)]
                if piece:
                    yield piece
                return
            if len(buffer) > keep:
                piece = bytes(memoryview(buffer)[:-keep])
                del buffer[:-keep]
                yield piece
            if not self._fill():
                raise self._cut_short()

    def _capped(self, mark: bytes, expected: str) -> None:
        """Skip to after `mark`, which must come within the header cap."""
        skipped = 0
        for piece in self._until(mark):
            skipped += len(piece)
            if skipped > HEADER_CAP_BYTES:
                raise Malformed(
                    f"expected {expected} within {HEADER_CAP_BYTES} bytes; this is no multipart body"
                )

    def _hold(self, count: int) -> bool:
        while len(self._buffer) < count:
            if not self._fill():
                return False
        return True

    def _fill(self) -> bool:
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        self._buffer += chunk
        return True

    @staticmethod
    def _cut_short() -> Unreachable:
        return Unreachable("the multipart body ended before its closing boundary: fetch it again")
