"""Who looks at a patient's data, and the leaf that says so."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from flask import Request
from sqlalchemy.orm import Session

from plugin.audit.log import record
from plugin.audit.tail import Tail
from plugin.db import TAIL
from plugin.tables import AuditLeaf

ACTOR = "web"
LONGEST = 64
"""Characters of a user's name."""


def viewer(request: Request, header: str) -> str:
    """The actor of a request: web, or web/USER where the site's proxy names the user in `header`.

    The prefix stays, so that no user name reads as one of Prelim's own actors in the log.
    """
    sent = request.headers.get(header, "") if header else ""
    with suppress(UnicodeError):
        # WSGI hands header bytes over as Latin-1 (PEP 3333); proxies write names in UTF-8.
        sent = sent.encode("latin-1").decode("utf-8")
    user = " ".join("".join(c if c.isprintable() else " " for c in sent).split())[:LONGEST].strip()
    return f"{ACTOR}/{user}" if user else ACTOR


def record_view(session: Session, request: Request, header: str, case_id: str) -> None:
    """Add the leaf, in the transaction that also reads what is shown: nobody sees a case unlogged."""
    record(session, viewer(request, header), "case.viewed", case_id=case_id, details=_as(request))


def record_message_view(session: Session, request: Request, header: str, message_id: int) -> AuditLeaf:
    """The same for a message, whose body names a patient; returns the leaf, for the page to show.

    What is shown was read before, for a long message must not keep senders waiting while it is parsed; it
    is sent when this is committed, and only then.
    """
    record(session, viewer(request, header), "message.viewed", message_id=message_id, details=_as(request))
    tail: Tail = session.info[TAIL]
    return AuditLeaf(**tail.leaves[-1])


def record_search(session: Session, request: Request, header: str, found: Sequence[int]) -> None:
    """Somebody asked which messages are about a patient. found: their numbers; the patient is not named."""
    record(
        session,
        viewer(request, header),
        "message.searched",
        details={"by": "patient", "found": list(found), **_as(request)},
    )


def _as(request: Request) -> dict[str, str]:
    return {"as": "json" if request.path.startswith("/api/") else "page"}
