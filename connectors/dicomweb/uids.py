"""Unique identifiers as PS3.5 section 9.1 allows them."""

from __future__ import annotations

import re
from uuid import UUID, uuid4

from connectors.errors import Malformed

_COMPONENT = r"(?:0|[1-9][0-9]*)"
_UID = re.compile(rf"{_COMPONENT}(?:\.{_COMPONENT})+\Z")
LONGEST_UID = 64
"""Characters, PS3.5 section 9.1."""


def is_uid(text: str) -> bool:
    """Whether `text` is a unique identifier: digits and dots, no leading zeros, 64 characters at most."""
    return len(text) <= LONGEST_UID and _UID.match(text) is not None


def checked_uid(text: str, noun: str) -> str:
    """Return `text` unchanged, so that only a real identifier ever becomes part of a URL.

    `noun` names it in the message, which never repeats the value. Raises Malformed.
    """
    if not is_uid(text):
        raise Malformed(
            f"the {noun} is not a DICOM unique identifier: expected digits and dots without leading zeros, "
            f"at most {LONGEST_UID} characters (PS3.5 section 9.1), got {len(text)} characters otherwise"
        )
    return text


def new_uid(uuid: UUID | None = None) -> str:
    """Return a UID derived from a random UUID, or from the one given (PS3.5 annex B.2)."""
    return f"2.25.{(uuid or uuid4()).int}"
