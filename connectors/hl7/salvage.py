"""What can still be made out of a message that cannot be read: its MSH, to answer it. Pure."""

from __future__ import annotations

import re

from connectors.hl7.message import Message, NotHl7, parse

_LINE_END = re.compile(b"[\r\n\x1c]")
_HEADER_BYTES = 4096


def salvaged(raw: bytes) -> Message | None:
    """The MSH alone of a message that cannot be read as a whole; None where there is none to read."""
    start = raw.find(b"MSH", 0, 64)
    if start < 0:
        return None
    line = _LINE_END.split(raw[start : start + _HEADER_BYTES], maxsplit=1)[0]
    try:
        return parse(line)
    except NotHl7:
        pass
    try:
        # Its delimiters may be readable where its character set is not.
        return parse(line, charset="8859/1")
    except NotHl7:
        return None
