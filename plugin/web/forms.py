"""Forms that change something: sent by our own page, by the person it was shown to, and soon after.

The pages keep no session and set no cookie: who a person is, the site's proxy says with every request, and a
foreign page could make the browser send it. So a form is taken only when the browser says that it comes from
our own pages, and when it carries a token that only our page can have written.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from flask import Request

LIFETIME_SECONDS = 15 * 60
"""How long a form may lie open."""
KEY_BYTES = 32
LONGEST = 500
"""Characters of one value."""
_TOKEN = re.compile(r"([0-9]{1,12})-([0-9a-f]{64})")
STALE = "The form is not valid any more: open the page again and see whether it was done already."
FOREIGN = "The form did not come from Prelim's own pages."


class Refused(Exception):
    """A form that is not acted on. The sentence says why and repeats nothing of what came."""

    def __init__(self, sentence: str, status: int = 403) -> None:
        super().__init__(sentence)
        self.status = status


class Tokens:
    """Writes and checks the tokens of forms. The key lives as long as the process does."""

    def __init__(self, key: bytes = b"", clock: Callable[[], float] = time.time) -> None:
        """clock: seconds since 1970."""
        self._key = key or secrets.token_bytes(KEY_BYTES)
        self._clock = clock

    def write(self, *bound: object) -> str:
        """A token for one user, one purpose and the state of things, all of which `bound` names."""
        until = int(self._clock()) + LIFETIME_SECONDS
        return f"{until}-{self._mark(until, bound)}"

    def check(self, token: str, *bound: object) -> None:
        """Raises Refused unless the token was written for just this, and not too long ago."""
        found = _TOKEN.fullmatch(token)
        until = int(found[1]) if found else 0
        good = hmac.compare_digest(found[2] if found else "", self._mark(until, bound))
        if not good or self._clock() > until:
            raise Refused(STALE)

    def _mark(self, until: int, bound: Collection[object]) -> str:
        # Lengths first: no two lists of values make the same text.
        text = "".join(f"{len(str(value))}:{value}," for value in (until, *bound))
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


def check_origin(request: Request, hosts: Collection[str]) -> None:
    """Raises Refused unless the browser says that one of our own pages sent this.

    hosts: our public names. `Sec-Fetch-Site` cannot be set by a page; browsers leave it out on plain http,
    where `Origin` must name the host that was asked, or one of our names where a proxy asks in its own.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        if site != "same-origin":
            raise Refused(FOREIGN)
        return
    try:
        origin = urlsplit(request.headers.get("Origin", ""))
        ours = bool(origin.netloc) and (origin.netloc == request.host or origin.hostname in hosts)
    except ValueError:
        ours = False
    if not ours:
        raise Refused(FOREIGN)


def field(request: Request, name: str) -> str:
    """A value of the form, without white space around it. Raises Refused when it is missing or too long."""
    value = " ".join(request.form.get(name, "").split())
    if not value:
        raise Refused(f"The form needs {name}: go back and fill it in.", 400)
    if len(value) > LONGEST or not value.isprintable():
        raise Refused(f"The field {name} takes at most {LONGEST} printable characters.", 400)
    return value
