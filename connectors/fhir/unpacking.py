"""The body of an answer as it comes in: as it is, or packed with gzip (RFC 9110 8.4.1.3, RFC 1952).

Pure. A server that may pack answers in one stroke; HAPI writes hundreds of small pieces where it may not, and
each costs time. What is unpacked is capped on the way: a small answer can hold a thousand times its size.
"""

from __future__ import annotations

import zlib

from connectors.errors import Malformed
from connectors.fhir.answers import Unreadable

IDENTITY = "identity"
CODINGS = "gzip"
"""What a request's Accept-Encoding says; an answer without coding is always taken."""

_GZIP = frozenset({"gzip", "x-gzip"})
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


class Body:
    """The body of one answer, unpacked, at most limit_bytes long, packed or not.

    coding: the answer's Content-Encoding. action: what is tried, without identifiers, for errors.
    Raises Malformed for any coding but gzip, and for none.
    """

    def __init__(self, coding: str, *, limit_bytes: int, action: str) -> None:
        named = coding.strip().lower() or IDENTITY
        if named != IDENTITY and named not in _GZIP:
            raise Malformed(f"{action}: expected an answer without content coding or in gzip, came another.")
        self._unpacker = None if named == IDENTITY else zlib.decompressobj(_GZIP_WINDOW)
        self._limit_bytes = limit_bytes
        self._action = action
        self._came_bytes = 0
        self._unpacked = bytearray()

    def add(self, piece: bytes) -> None:
        """Take what came next. Raises Malformed when it is too long, Unreadable when it is not gzip."""
        self._came_bytes += len(piece)
        if self._unpacker is None:
            self._unpacked += piece
        elif piece:
            # One byte over the limit is enough to know, and nothing more is unpacked.
            room = self._limit_bytes + 1 - len(self._unpacked)
            try:
                self._unpacked += self._unpacker.decompress(piece, max(1, room))
            except zlib.error:
                raise self._unreadable() from None
        if max(self._came_bytes, len(self._unpacked)) > self._limit_bytes:
            raise Malformed(f"{self._action}: expected at most {self._limit_bytes} bytes, came more.")
        if self._unpacker is not None and self._unpacker.unused_data:
            raise self._unreadable()

    def whole(self) -> bytes:
        """All of it. Raises Unreadable when it was cut off."""
        # An empty body is no gzip either, and some servers send it under the name.
        if self._unpacker is not None and self._came_bytes and not self._unpacker.eof:
            raise self._unreadable()
        return bytes(self._unpacked)

    def _unreadable(self) -> Unreadable:
        return Unreadable(f"{self._action}: expected one whole gzip document, came something else.")
