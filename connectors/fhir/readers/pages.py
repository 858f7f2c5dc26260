"""Looking at many resources at once: which reports stand, which resources changed, a page of them a request.

Only identifiers, orders, status and version are asked for; who wants a whole resource fetches its dossier.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.errors import Malformed, Rejected
from connectors.fhir.client import FhirClient, reference_of, version_of
from connectors.fhir.elements import record, records, text
from connectors.fhir.identifiers import IdentifierSystems, escaped, types_of, values_of
from connectors.fhir.instants import instant
from connectors.fhir.readers.reports import ACCESSION_TYPES, accessions_of

Resource = dict[str, Any]

AT_ONCE = 200
"""Values that one search asks for."""
COUNT = 1000
"""Matches that one page may hold; a server may give fewer."""
MAX_REFUSALS = 32
"""Searches of one look that may fail before it gives up."""
MAX_CHANGES = 5000
"""Changes after which one look leaves the others to the next; a single instant is always taken whole."""
MAX_WALKS = 5
"""Times that the pages of one instant are followed while others write."""
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
"""Where following begins when nothing was seen yet."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sighting:
    """One version of a resource, as a search shows it."""

    reference: str
    version: str
    """Empty when the server counts none."""
    last_updated: datetime | None
    status: str
    case_ids: tuple[str, ...] = ()
    """Values under the system of our own report identifier."""
    accessions: tuple[str, ...] = ()
    """Values that can be accession numbers."""
    by_order: bool = False
    """Whether the order that it is based on may say whose it is, since no identifier of its own says that it
    is an accession number."""


def sighting_of(resource: Resource, systems: IdentifierSystems) -> Sighting:
    """What a search shows of a resource, whole or in part."""
    return Sighting(
        reference=reference_of(resource),
        version=version_of(resource),
        last_updated=_updated(resource),
        status=text(resource, "status"),
        case_ids=tuple(value for system, value in values_of(resource) if system == systems.report),
        accessions=tuple(accessions_of(resource, systems)),
        by_order=bool(resource.get("basedOn")) and not _says_accession(resource, systems),
    )


def look(
    client: FhirClient,
    systems: IdentifierSystems,
    *,
    accessions: Sequence[str],
    references: Sequence[str] = (),
    since: datetime | None = None,
) -> list[Sighting]:
    """Every DiagnosticReport that has one of these accession numbers or stands at one of these references.

    references: relative, as DiagnosticReport/17. Reports whose words are ours are among the answers.
    since: leave out what did not change since; None leaves out nothing. A server may ignore it.

    1. Ask for the accession numbers, AT_ONCE in a search; reports of ours carry them too.
    2. Ask for the references that were not found by that.

    A search that the server refuses, or whose page is larger than the client takes, is asked again in
    halves; a single value that cannot be asked for is left out, with a line in the log. Raises Malformed
    when the server answers what was not asked for, and as the client does after MAX_REFUSALS.
    """
    look_up = _Look(client, systems, since)
    # 1.
    look_up.ask("identifier", list(dict.fromkeys(filter(None, accessions))))
    # 2.
    missing = [reference for reference in dict.fromkeys(references) if reference not in look_up.found]
    identities = [
        identity
        for kind, _, identity in (client.relative(reference).partition("/") for reference in missing)
        if kind == "DiagnosticReport"
    ]
    look_up.ask("_id", identities)
    return list(look_up.found.values())


def changed(
    client: FhirClient,
    kind: str,
    since: datetime | None,
    *,
    params: Mapping[str, str],
    overlap_seconds: float,
    systems: IdentifierSystems | None = None,
    limit: int = MAX_CHANGES,
) -> tuple[list[Sighting], datetime]:
    """All resources of a kind that changed since, oldest first, and where to go on next time.

    since: what the last call returned, None for the first. params: further search parameters.
    overlap_seconds: how much of what was seen is looked at again, since a server may show a change later
    than its lastUpdated says. limit: about how many changes one call takes.

    Time is the server's own, the newest lastUpdated seen, never later than the present of this machine: a
    server whose clock was wrong for a moment must not hide what comes after. A change can be given twice,
    in two calls, and none is skipped: a call ends only at the end, or past a whole instant.

    1. Ask for what changed from an instant on, in order.
    2. When the first page goes past that instant, ask anew from the newest on it: further pages are counted,
       and shift while others write.
    3. Otherwise, one instant fills more than a page or the server keeps no order: follow its pages, past
       the instant or to the end, and again until that brings nothing new. Then ask for the next instant.
    4. End at the end, or after `limit`, past the instant where the call began.

    Raises Malformed when the server answers older changes than were asked for, else as the client does.
    """
    systems = systems or IdentifierSystems()
    found: dict[tuple[str, str], Sighting] = {}
    begun = since or EARLIEST
    start = newest = _whole(begun - timedelta(seconds=overlap_seconds))
    walks = 0
    while True:
        # 1.
        known, pages, ordered = len(found), 0, True
        asked = {**params, "_lastUpdated": f"ge{instant(start)}", "_sort": "_lastUpdated", **_ELEMENTS}
        for page in client.search_pages(kind, asked):
            seen = [sighting_of(resource, systems) for resource in page.matches]
            times = [_whole(one.last_updated) for one in seen if one.last_updated is not None]
            if times and min(times) < start - _PRECISION:
                raise Malformed(
                    f"search {kind}: expected what changed since a moment, came what changed before it. "
                    "The server ignores _lastUpdated: it cannot be followed."
                )
            found |= {(one.reference, one.version): one for one in seen}
            ordered = ordered and len(times) == len(seen) and times == sorted([start, *times])[1:]
            newest = max([newest, *times])
            pages += 1
            if page.is_last or (ordered and max(times, default=start) > start):
                break
        # 2.
        if pages == 1 and not page.is_last:
            start, walks = newest, 0
        # 3.
        elif pages > 1:
            walks += 1
            if len(found) > known and walks < MAX_WALKS:
                continue
            if not page.is_last:
                start, walks = start + _UNIT, 0
        # 4.
        if page.is_last:
            return list(found.values()), max(begun, min(newest, datetime.now(UTC)))
        if len(found) >= limit and start > begun:
            return list(found.values()), min(start, datetime.now(UTC))


class _Look:
    """One look at the reports of many cases: what was found, and what it may still cost."""

    def __init__(self, client: FhirClient, systems: IdentifierSystems, since: datetime | None = None) -> None:
        self.found: dict[str, Sighting] = {}
        self._since = {"_lastUpdated": f"ge{instant(since)}"} if since else {}
        self._client = client
        self._systems = systems
        self._refusals = 0

    def ask(self, parameter: str, values: Sequence[str]) -> None:
        """Search for all values, in as few requests as the server permits."""
        start, size = 0, AT_ONCE
        while start < len(values):
            batch = values[start : start + size]
            try:
                self._search(parameter, batch)
            except (Malformed, Rejected) as error:
                self._refusals += 1
                if isinstance(error, _Strangers) or self._refusals > MAX_REFUSALS:
                    raise
                if len(batch) > 1:
                    size = len(batch) // 2
                    continue
                log.warning("One value could not be searched for and was left out: %s", error)
                size = AT_ONCE
            start += len(batch)

    def _search(self, parameter: str, values: Sequence[str]) -> None:
        wanted = {value.casefold() for value in values}
        # Without a system the token matches any: a RIS names its accession numbers by a system of its own.
        query = {parameter: ",".join(escaped(value) for value in values), **self._since, **_ELEMENTS}
        for page in self._client.search_pages("DiagnosticReport", query):
            matching = [resource for resource in page.matches if wanted & _named(parameter, resource)]
            if len(matching) * 2 < len(page.matches):
                raise _Strangers(
                    "search DiagnosticReport: expected the reports that were asked for, came mostly others. "
                    f"The server ignores the parameter {parameter}: it cannot be polled."
                )
            for resource in matching:
                self.found[reference_of(resource)] = sighting_of(resource, self._systems)


class _Strangers(Malformed):
    """A server that answers everything, whatever is asked: asking less would not help."""


def _named(parameter: str, resource: Resource) -> set[str]:
    if parameter == "_id":
        return {text(resource, "id").casefold()}
    return {value.casefold() for _, value in values_of(resource)}


def _says_accession(resource: Resource, systems: IdentifierSystems) -> bool:
    return any(
        text(identifier, "system") == systems.accession or types_of(identifier) & ACCESSION_TYPES
        for identifier in records(resource, "identifier")
    )


def _updated(resource: Resource) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text(record(resource, "meta"), "lastUpdated"))
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _whole(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


_ELEMENTS = {"_elements": "identifier,status,basedOn", "_count": str(COUNT)}
_UNIT = timedelta(milliseconds=1)
"""Of the instants that are asked for."""
_PRECISION = timedelta(seconds=1)
"""Some servers keep lastUpdated to the second."""
