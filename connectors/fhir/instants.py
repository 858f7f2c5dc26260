"""Moments as FHIR writes them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from connectors.errors import Rejected


def instant(moment: datetime) -> str:
    """The moment as FHIR R4 writes an instant, in UTC. Raises Rejected for one without a zone."""
    if moment.tzinfo is None:
        raise Rejected("Expected times with a zone (FHIR R4 instant); came one without.")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
