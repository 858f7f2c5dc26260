"""What a query string may say, read strictly: a misspelt filter must not silently show everything."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime, time

from flask import Request

LONGEST = 200
"""Characters in one value."""
HIGHEST = 10**15
"""No position or limit is larger."""


class BadQuery(Exception):
    """A query string that cannot be answered; the message says why and repeats none of it."""


class Parameters:
    """The values of one request. Every method raises BadQuery."""

    def __init__(self, request: Request, known: Collection[str]) -> None:
        """Refuse names that the page does not know, and names given twice."""
        names = ", ".join(sorted(known)) or "none"
        for name, values in request.args.lists():
            if name not in known:
                raise BadQuery(
                    f"The address has a parameter that this page does not know. It knows: {names}."
                )
            if len(values) > 1:
                raise BadQuery(f"The parameter {name} is given twice; give it once.")
        self._args = request.args

    def text(self, name: str) -> str:
        """Words, without white space around them; empty when not given."""
        value = self._args.get(name, "").strip()
        if len(value) > LONGEST:
            raise BadQuery(f"The parameter {name} takes at most {LONGEST} characters.")
        if any(character < " " or character == "\x7f" for character in value):
            raise BadQuery(f"The parameter {name} takes no control characters.")
        return value

    def choice(self, name: str, choices: Collection[str]) -> str:
        """One of the choices, or empty when not given."""
        value = self.text(name)
        if value and value not in choices:
            raise BadQuery(f"The parameter {name} must be one of {', '.join(choices)}.")
        return value

    def whole(self, name: str, default: int, low: int, high: int = HIGHEST) -> int:
        """A whole number from low to high."""
        value = self.text(name)
        if not value:
            return default
        if not re.fullmatch(r"-?[0-9]{1,16}", value) or not low <= int(value) <= high:
            raise BadQuery(f"The parameter {name} must be a whole number from {low} to {high}.")
        return int(value)

    def moment(self, name: str, *, end_of_day: bool = False) -> datetime | None:
        """A moment in ISO 8601; UTC unless it names another zone. A bare date is its first or last moment."""
        value = self.text(name)
        if not value:
            return None
        # A "+" that was not escaped arrives as a space: +00:00 is how the log itself writes times.
        value = re.sub(r"(T.*) (?=\d\d:?\d\d$)", r"\1+", value)
        try:
            at = datetime.fromisoformat(value)
            if end_of_day and re.fullmatch(r"[\d-]{8,10}", value):
                at = datetime.combine(at.date(), time.max)
            at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
            if not 1900 <= at.year < 3000:
                raise ValueError("no year of this log")
        except (ValueError, OverflowError):
            raise BadQuery(
                f"The parameter {name} must be a time such as 2026-01-31 or 2026-01-31T08:30, in UTC."
            ) from None
        return at
