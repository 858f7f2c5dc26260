"""Notices of the FHIR server: remembered in the caller's transaction, looked at by plugin.following.

A notice is a hint: it says where to look, and nothing of what it brought is believed.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from connectors.fhir.notices.notifications import Kind, Notification, gap, newest
from plugin.db import now
from plugin.fetched import READERS
from plugin.tables import Cursor, FhirNotice

NAMES = {"reports": "DiagnosticReport", "orders": "ServiceRequest", "studies": "ImagingStudy"}
"""What each of our subscriptions tells of, by its name, which is the end of the path that is called."""
EVENTS = "/$events/"
"""Between a subscription and the numbers of its events that were missed, in a notice."""


class UnknownSubscription(Exception):
    """A notification is of no subscription of ours."""


def standing_cursor(name: str) -> str:
    """Name of the cursor that keeps where our subscription stands on the server."""
    return f"fhir-subscription:{name}"


def _events_cursor(name: str) -> str:
    return f"fhir-events:{name}"


def take_notification(session: Session, notification: Notification, source: str) -> int:
    """Remember what a notification names; how many notices are new.

    1. It must be of a subscription of ours, by the name in its path and by the reference that it may carry.
    2. References of types that are taken become notices; a call that names nothing becomes one of its type.
    3. Events whose numbers are missing become a notice of their own.

    Raises UnknownSubscription.
    """
    name = notification.name
    if name not in NAMES:  # 1
        raise UnknownSubscription("Expected the name of a subscription of ours in the path, came another.")
    standing = session.get(Cursor, standing_cursor(name))
    known = standing.value if standing else ""
    # A server tries the endpoint, and may tell of something, before we know where the subscription stands.
    is_early = not known or notification.kind is Kind.HANDSHAKE
    if notification.subscription not in {"", known} and not is_early:
        raise UnknownSubscription("Expected a subscription of ours, came a notification of another.")
    wanted = [one for one in notification.references if one.partition("/")[0] in READERS]  # 2
    if notification.unnamed:
        wanted.append(NAMES[name])
    if notification.since_start is not None or notification.events:  # 3
        cursor = session.get(Cursor, _events_cursor(name))
        last = int(cursor.value) if cursor else 0
        missing = gap(last, notification) if cursor else None
        if missing and notification.subscription:
            wanted.append(f"{notification.subscription}{EVENTS}{missing[0]}-{missing[-1]}")
        session.merge(Cursor(name=_events_cursor(name), value=str(newest(last, notification))))
    return sum(notice(session, reference, source) for reference in wanted)


def notice(session: Session, reference: str, source: str) -> bool:
    """Remember one hint; whether it is new. One that waits already is renewed: it tells of more."""
    known = session.get(FhirNotice, reference)
    if known is not None:
        known.noticed_at = now()
        return False
    session.add(FhirNotice(reference=reference, source=source, noticed_at=now()))
    session.flush()
    return True
