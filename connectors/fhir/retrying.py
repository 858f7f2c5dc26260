"""When a request is sent again, and how long is waited before: backoff with full jitter, and Retry-After.

What may be repeated follows from what a second arrival would do. A read may always be; a write only after
an answer that says it was not carried out (RFC 9110 15.6.4, RFC 6585 4).
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

TOO_MANY_REQUESTS = 429
UNAVAILABLE = 503

_SECONDS = re.compile(r"[0-9]{1,9}")


class Repeat(Enum):
    """How far a request may be repeated."""

    READ = "read"
    """It changes nothing: after whatever did not work this time."""
    CONDITIONAL = "conditional"
    """A second arrival changes nothing more: after 429 and 503. A proxy's 503 can hide that the first was
    carried out, and here that does no harm."""
    ONCE = "once"
    """Only after 429: that one was not carried out."""

    def after(self, status: int | None) -> bool:
        """Whether to send again after an answer of this status that asks for patience; None: no answer."""
        if self is Repeat.READ:
            return True
        return status == TOO_MANY_REQUESTS or (self is Repeat.CONDITIONAL and status == UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Patience:
    """How often one request is sent, and how long is waited between."""

    attempts: int = 4
    """Times that a request is sent at most, the first included."""
    first_seconds: float = 0.25
    """The longest first wait; each further one may be twice as long."""
    budget_seconds: float = 30.0
    """No attempt begins later than this after the first failure: waits, and what further attempts took."""
    jitter: Callable[[], float] = random.random
    """From 0 to 1: that part of the longest wait is waited, so that clients do not all come at once."""
    sleep: Callable[[float], object] = time.sleep
    clock: Callable[[], float] = time.monotonic
    """Seconds that only go forward."""

    def begin(self) -> Waits:
        """The waits of one request."""
        return Waits(self)


class Waits:
    """The waits of one request, as far as they went."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._failures = 0
        self._failed_at = 0.0
        """When the first attempt had failed, by the clock."""

    def another(self, retry_after_seconds: float | None) -> bool:
        """Wait, and say that the request may be sent again; or say at once that it may not.

        retry_after_seconds: what the peer asked for. It is never cut short: a wait over what is left of the
        budget is not begun.
        """
        patience = self._patience
        now = patience.clock()
        self._failed_at = self._failed_at if self._failures else now
        self._failures += 1
        if self._failures >= patience.attempts:
            return False
        longest = patience.first_seconds * 2.0 ** (self._failures - 1)
        wait = longest * patience.jitter() + (retry_after_seconds or 0.0)
        if wait > patience.budget_seconds - (now - self._failed_at):
            return False
        patience.sleep(wait)
        return True


ONE_ATTEMPT = Patience(attempts=1)
"""For whoever wants to know now whether the peer answers."""


def retry_after_seconds(headers: Mapping[str, str], *, at: datetime | None = None) -> float | None:
    """Seconds that Retry-After asks for, itself in seconds or as a date (RFC 9110 10.2.3); None without one.

    at: the present time; a date that has passed gives 0.
    """
    text = headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:  # "-0000" and asctime dates: RFC 9110 5.6.7 means UTC
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - (at or datetime.now(UTC))).total_seconds())


def repeat_of_transaction(bundle: Mapping[str, Any]) -> Repeat:
    """CONDITIONAL when each entry reads, or writes under ifNoneExist or ifMatch; otherwise ONCE."""
    entries = bundle.get("entry", [])
    for entry in entries if isinstance(entries, list) else [None]:
        request = entry.get("request") if isinstance(entry, dict) else None
        if not isinstance(request, dict):
            return Repeat.ONCE
        conditional = {"POST": "ifNoneExist", "PUT": "ifMatch"}.get(str(request.get("method")))
        if request.get("method") != "GET" and not (conditional and request.get(conditional)):
            return Repeat.ONCE
    return Repeat.CONDITIONAL
