"""How many orders, reports or merges one message may hold. Pure."""

from __future__ import annotations

from connectors.hl7.encoding import NotHl7

MOST_PARTS = 100
"""Far more than any sender has for one patient; each is looked up against everything else in its message."""


def check_parts(found: int, what: str, location: str) -> None:
    """Raise NotHl7 when one message holds more than MOST_PARTS of something."""
    if found > MOST_PARTS:
        raise NotHl7(
            f"expected at most {MOST_PARTS} {what} in one message, found more; send several messages",
            location=location,
            code=104,
        )
