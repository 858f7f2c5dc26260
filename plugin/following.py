"""What changes on the FHIR server: told to us, asked for since the last time, and seen beside open drafts.

Three ways lead to the same fetch, and one version of one resource is taken once, whichever way it was seen:
a notification is quick and may be lost, what changed since the last time is complete and slower, and the
open drafts are looked at because a server may tell neither.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

import sqlalchemy as sa

from connectors.errors import ExchangeError, Malformed, Unreachable
from connectors.fhir.client import FhirClient, Resource, version_of
from connectors.fhir.identifiers import IdentifierSystems
from connectors.fhir.notices.subscriptions import missed
from connectors.fhir.outcome import Absent
from connectors.fhir.readers.dossier import Dossier, gather
from connectors.fhir.readers.keys import accessions
from connectors.fhir.readers.orders import another_department
from connectors.fhir.readers.pages import Sighting, changed, sighting_of
from connectors.fhir.readers.signoff import read_report
from plugin.db import Database, now
from plugin.fetched import FHIR
from plugin.incoming import Arrival
from plugin.intake import Intake
from plugin.notices import EVENTS, NAMES, notice
from plugin.open_drafts import OpenDrafts
from plugin.settings import Settings
from plugin.standing import accessions_of_cases, known_versions, was_taken, written
from plugin.subscribing import Subscribing
from plugin.tables import Cursor, FhirNotice

NOTICES_AT_ONCE = 200
FAILURES = 3
"""So many resources in a row that the server cannot give now: then it is the server, and not one of them."""
SOURCE = "fhir-server"
"""Of notices about what was found and could not be fetched."""
VERSIONS_AT_ONCE = 50
"""Versions of one report that are taken at once, the newest of them."""
REPORTS, ORDERS = NAMES["reports"], NAMES["orders"]
RADIOLOGY = {"category": "http://terminology.hl7.org/CodeSystem/v2-0074|RAD"}
LOOKING_BACK = {REPORTS: timedelta(0)}
"""How far the first start of all goes back, a day unless it stands here: a server that is already full would
tell its whole past. Reports are looked for beside the cases, of which there is none yet."""
A_DAY = timedelta(days=1)
OVERLAP_SECONDS = 10.0
"""Servers stamp a resource before others can see it: what changed is asked for with some overlap."""

log = logging.getLogger(__name__)


class Following:
    """Follows one FHIR server."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        intake: Intake,
        server: FhirClient,
        systems: IdentifierSystems,
    ) -> None:
        self._settings = settings
        self._database = database
        self._intake = intake
        self._server = server
        self._systems = systems
        self._subscribing = Subscribing(settings, database, server)
        self._open = OpenDrafts(database, server, systems)
        self._kinds = {REPORTS, *(NAMES[word] for word in settings.fhir_takes)}
        self._told: dict[str, str] = {}

    def round(self) -> None:
        """Look once at everything. Raises Unreachable at its end when the server did not answer.

        What a server cannot do is said in the log once, and must not keep us from the rest; nor must what it
        cannot do now, for some answer 500 to whatever they do not know.
        """
        kinds = [(REPORTS, RADIOLOGY), *((NAMES[word], {}) for word in self._settings.fhir_takes)]
        looks: list[tuple[str, Callable[[], None]]] = [
            ("subscriptions", self._subscribing.renew),
            ("notices", self.notices),
            *((f"changes of {kind}", partial(self.changes, kind, params)) for kind, params in kinds),
            ("open drafts", self.open_drafts),
        ]
        away: Unreachable | None = None
        for name, look_once in looks:
            try:
                look_once()
            except Unreachable as error:
                away = away or error
            except ExchangeError as error:
                if self._told.get(name) != str(error):
                    log.warning("The FHIR server could not be asked for %s: %s", name, error)
                self._told[name] = str(error)
            else:
                self._told.pop(name, None)
        if away is not None:
            raise away

    # --- what we were told --------------------------------------------------------------------------

    def notices(self) -> None:
        """Fetch what notices name; each goes once it was looked at.

        One that the server cannot answer now waits behind the others. Raises Unreachable after several.
        """
        with self._database.read() as session:
            chosen = sa.select(FhirNotice).order_by(FhirNotice.noticed_at).limit(NOTICES_AT_ONCE)
            waiting = session.scalars(chosen).all()
        failures = 0
        for told in waiting:
            away: Unreachable | None = None
            try:
                for reference in self._meant(told.reference):
                    self._fetch(reference)
            except Unreachable as error:
                away = error
            except ExchangeError as error:
                log.warning("Events that were missed could not be asked for: %s", error)
            with self._database.write() as session:
                found = session.get(FhirNotice, told.reference)
                # One that was renewed meanwhile tells of another version.
                if found is not None and found.noticed_at == told.noticed_at:
                    if away is None:
                        session.delete(found)
                    else:
                        found.noticed_at = now()
            failures = failures + 1 if away else 0
            if away is not None and failures >= FAILURES:
                raise away

    def _meant(self, noticed: str) -> Sequence[str]:
        """The references behind a notice: itself, those of events that were missed, or none for a type."""
        if EVENTS in noticed:
            subscription, _, numbers = noticed.partition(EVENTS)
            first, _, last = numbers.partition("-")
            release = self._settings.fhir_release
            found = missed(self._server, subscription, int(first), int(last), release=release)
            return () if found is None else found.references
        return (noticed,) if "/" in noticed else ()

    # --- what changed since the last time -----------------------------------------------------------

    def changes(self, kind: str, params: Mapping[str, str]) -> None:
        """Fetch what changed of a kind that is taken, from where the last round ended."""
        name = f"fhir-changes:{kind}"
        with self._database.read() as session:
            cursor = session.get(Cursor, name)
        since = datetime.fromisoformat(cursor.value) if cursor else now() - LOOKING_BACK.get(kind, A_DAY)
        found, until = changed(
            self._server,
            kind,
            since,
            params=params,
            overlap_seconds=OVERLAP_SECONDS,
            systems=self._systems,
        )
        new = [one for one in self._new(found) if kind != REPORTS or self._may_concern_us(one)]
        self._fetch_all([one.reference for one in new])
        if cursor is None or until != since:
            with self._database.write() as session:
                session.merge(Cursor(name=name, value=until.isoformat()))

    def _may_concern_us(self, sighting: Sighting) -> bool:
        """Whether a report may be of a case: by what it names, or by the order that it is based on."""
        if sighting.by_order:
            return True
        with self._database.read() as session:
            return bool(
                accessions_of_cases(session, sighting.accessions, sighting.case_ids, sighting.reference)
            )

    # --- open drafts --------------------------------------------------------------------------------

    def open_drafts(self) -> None:
        """See what became of open drafts: a subscription on preliminary never fires on final."""
        sightings = self._open.sightings()
        try:
            self._fetch_all([one.reference for one in self._new(sightings)])
        except Exception:
            # What was seen and not fetched would be passed over: begin anew, with all of them.
            self._open = OpenDrafts(self._database, self._server, self._systems)
            raise

    # --- fetching -----------------------------------------------------------------------------------

    def _new(self, sightings: Sequence[Sighting]) -> list[Sighting]:
        with self._database.read() as session:
            names = [(one.reference, one.version) for one in sightings]
            known = known_versions(session, self._server.base_url, names)
        return [one for one in sightings if known.is_new(one.reference, one.version)]

    def _fetch_all(self, references: Sequence[str]) -> None:
        """Fetch each. What the server cannot give now waits as a notice and keeps us from nothing else; after
        several in a row it is the server, and all the others wait as well."""
        waiting: list[str] = []
        failures = 0
        for reference in references:
            if failures < FAILURES:
                try:
                    self._fetch(reference)
                    failures = 0
                    continue
                except Unreachable:
                    failures += 1
            waiting.append(reference)
        if waiting:
            log.warning("%d resources of the FHIR server could not be fetched now; they wait.", len(waiting))
            with self._database.write() as session:
                for reference in waiting:
                    notice(session, reference, SOURCE)

    def _fetch(self, reference: str) -> None:
        """Take a resource: of a report every version that was not taken yet, else as it stands now.

        Two signatures may follow each other faster than we look, and each is a person's word. One that is
        gone, or ours, is nothing to take.
        """
        kind = reference.partition("/")[0]
        if kind not in self._kinds:
            return
        try:
            with self._database.read() as session:
                before = written(session, reference)
            versions = self._versions(reference) if kind == REPORTS else [self._server.read(reference)]
            for version in versions:
                if kind != ORDERS or not another_department(version):  # else none of our business
                    self._take(gather(self._server, version, before=before))
        except Absent:
            log.warning("A %s that was told of is not on the FHIR server.", kind)
        except Unreachable:
            raise
        except ExchangeError as error:
            log.warning("A %s of the FHIR server could not be fetched: %s", kind, error)

    def _versions(self, reference: str) -> Sequence[Resource]:
        """The versions of a report that are not known, oldest first; only the newest where none are kept."""
        try:
            versions = self._server.history(reference, most=VERSIONS_AT_ONCE)
        except Unreachable:
            raise
        except ExchangeError:
            versions = []
        versions = versions or [self._server.read(reference)]
        with self._database.read() as session:
            known = known_versions(
                session, self._server.base_url, [(reference, version_of(v)) for v in versions]
            )
        return [version for version in reversed(versions) if known.is_new(reference, version_of(version))]

    def _take(self, dossier: Dossier) -> None:
        """Take a resource in, unless it is a report of ours, or of no case of ours."""
        if not version_of(dossier.focus):
            with self._database.read() as session:
                if was_taken(session, self._server.base_url, dossier.name):
                    return  # A server that counts no versions shows it as new in every round.
        expected: tuple[str, ...] = ()
        if dossier.kind == REPORTS:
            if _is_ours(dossier, self._systems):
                return
            told = sighting_of(dossier.focus, self._systems)
            named = [*told.accessions, *accessions(dossier, self._systems)]
            with self._database.read() as session:
                expected = accessions_of_cases(session, named, told.case_ids, dossier.reference)
            if not expected:
                return  # Another patient's: none of our business.
        arrival = Arrival(dossier.body(), self._server.base_url, self._intake.rules(FHIR), expected=expected)
        self._intake.receive_all([arrival])


def _is_ours(dossier: Dossier, systems: IdentifierSystems) -> bool:
    try:
        return read_report(dossier, systems=systems) is None
    except Malformed:
        return False
