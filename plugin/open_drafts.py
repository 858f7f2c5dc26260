"""The cases whose report a person may still write, looked at in turn: a part of them in every round.

A round asks for what changed beside many of them, and for whatever stands beside a few. The first is cheap
with very many open drafts; with the second nothing is hidden for long, whatever clocks and accessions say.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from connectors.errors import ExchangeError, Unreachable
from connectors.fhir.client import FhirClient
from connectors.fhir.identifiers import IdentifierSystems
from connectors.fhir.outcome import Absent
from connectors.fhir.readers.pages import Sighting, look
from plugin.cases import CaseState
from plugin.db import Database, now
from plugin.standing import standing_drafts, tell_gone
from plugin.tables import Case

OPEN = frozenset(CaseState) - {CaseState.SIGNED}
"""States in which a human's report may still come. Where no draft of ours stood yet one may be there already,
for a report of an accession that was no case of ours then was not taken."""
CHANGES_AT_ONCE = 2_000
"""Open cases of which one round asks what changed: ten requests."""
WHOLE_AT_ONCE = 200
"""Open cases of which one round looks at whatever stands: one request, or four where pages hold fifty."""
CLOCKS_DIFFER = timedelta(minutes=15)
"""By how much the server's clock may differ from ours before only the slower look sees a change."""


log = logging.getLogger(__name__)


class OpenDrafts:
    """Where the two looks have come to."""

    def __init__(self, database: Database, server: FhirClient, systems: IdentifierSystems) -> None:
        self._database = database
        self._server = server
        self._systems = systems
        self._changes_last = ""
        self._whole_last = ""
        self._pass_began = now()
        self._since: datetime | None = None
        """When the pass before this one began; None in the first, which looks at everything."""

    def sightings(self) -> list[Sighting]:
        """Reports beside the cases whose turn it is. A draft that somebody deleted is told of its case.

        Raises as FhirClient does; the same cases are then looked at again.
        """
        found = {(one.reference, one.version): one for one in [*self._changes(), *self._whole()]}
        return list(found.values())

    def _changes(self) -> Sequence[Sighting]:
        began = self._pass_began if self._changes_last else now()
        cases = self._next(self._changes_last, CHANGES_AT_ONCE)
        since = self._since - CLOCKS_DIFFER if self._since else None
        found = look(self._server, self._systems, accessions=list(cases.values()), since=since)
        self._pass_began = began
        self._changes_last = _last(cases, CHANGES_AT_ONCE)
        if not self._changes_last:
            self._since = began
        return found

    def _whole(self) -> Sequence[Sighting]:
        cases = self._next(self._whole_last, WHOLE_AT_ONCE)
        with self._database.read() as session:
            standing = standing_drafts(session, list(cases))
        found = look(
            self._server, self._systems, accessions=list(cases.values()), references=sorted(standing)
        )
        for reference in standing.keys() - {one.reference for one in found}:
            try:
                self._server.read(reference)
            except Absent:
                with self._database.write() as session:
                    tell_gone(session, standing[reference])
            except Unreachable:
                break  # Whether any is gone is seen in the next pass; the cases behind them have their turn.
            except ExchangeError as error:
                log.warning("A draft on the FHIR server could not be read: %s", error)
        self._whole_last = _last(cases, WHOLE_AT_ONCE)
        return found

    def _next(self, last: str, count: int) -> dict[str, str]:
        """Accessions of the next open cases, by their id."""
        chosen = sa.select(Case.id, Case.accession).where(Case.state.in_(sorted(OPEN)), Case.id > last)
        with self._database.read() as session:
            rows = session.execute(chosen.order_by(Case.id).limit(count))
            return {row.id: row.accession for row in rows}


def _last(cases: Mapping[str, str], count: int) -> str:
    """Where the next round goes on; empty at the end of a pass."""
    return max(cases) if len(cases) == count else ""
