"""Looks where nobody calls us: at the archive for studies, at the FHIR server for signatures."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import sqlalchemy as sa

from connectors.dicomweb.client import DicomwebClient
from connectors.dicomweb.notifications import Sighting, changes, newest_change, settled
from connectors.errors import ExchangeError, Unreachable
from connectors.exchange import StudyRef
from connectors.fhir.client import FhirClient
from connectors.fhir.identifiers import IdentifierSystems
from connectors.fhir.signoff import read_signoff
from plugin import translate
from plugin.audit.log import record
from plugin.cases import CaseState
from plugin.casework import Enqueue
from plugin.db import Database
from plugin.orders import take_study
from plugin.reports import Mismatch, check_report, published_before, take_report
from plugin.settings import Settings
from plugin.tables import Case, Cursor

ARCHIVE_ACTOR = "archive"
SERVER_ACTOR = "fhir-server"
FEED = "pacs-changes"
WAITING = frozenset({CaseState.RECEIVED})
OPEN = frozenset({CaseState.PUBLISHED, CaseState.SUPERSEDED, CaseState.WITHHELD, CaseState.HELD})
"""States in which a human's final report may still come while a draft of ours stands on the server."""
ASKED_AT_ONCE = 20
"""Waiting cases, or open drafts, asked about in one round; the next round goes on with the others."""

log = logging.getLogger(__name__)


class Watch:
    """One round after the other; a peer that is away costs one line in the log."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        enqueue: Enqueue,
        archive: DicomwebClient | None,
        server: FhirClient | None,
        systems: IdentifierSystems,
    ) -> None:
        self._settings = settings
        self._database = database
        self._enqueue = enqueue
        self._archive = archive
        self._server = server
        self._systems = systems
        self._sightings: dict[str, Sighting] = {}
        self._mismatched: set[str] = set()
        self._asked_last: dict[frozenset[CaseState], str] = {}

    def round(self) -> None:
        """Look once everywhere."""
        for name, look in (("archive", self.studies), ("FHIR server", self.signoffs)):
            try:
                look()
            except ExchangeError as error:
                log.warning("The %s could not be watched: %s", name, error)

    # --- studies ------------------------------------------------------------------------------------

    def studies(self) -> None:
        """Announce studies: those of the feed, and those of waiting orders that the archive already holds."""
        if self._archive is None:
            return
        if self._settings.pacs_changes_url:
            self._follow_feed(self._archive)
        self._ask_for_waiting(self._archive)

    def _follow_feed(self, archive: DicomwebClient) -> None:
        root, timeout = self._settings.pacs_changes_url, self._settings.peer_timeout_seconds
        with self._database.read() as session:
            cursor = session.get(Cursor, FEED)
        if cursor is None:
            # An archive that is already full would announce its whole past: what waiting orders need
            # from it is found by asking for them.
            self._remember(newest_change(root, timeout_seconds=timeout), ())
            return
        since = int(cursor.value)
        found, last = changes(root, since, timeout_seconds=timeout)
        if last != since:
            self._remember(last, [self._complete(archive, study) for study in found])

    def _complete(self, archive: DicomwebClient, study: StudyRef) -> StudyRef:
        """The feed counts no instances and names no modality: the archive's own answer does."""
        answers = archive.find_studies(study_instance_uid=study.study_instance_uid)
        return answers[0] if answers else study

    def _remember(self, last: int, studies: Sequence[StudyRef]) -> None:
        with self._database.write() as session:
            for study in studies:
                take_study(session, study, self._enqueue, ARCHIVE_ACTOR)
            session.merge(Cursor(name=FEED, value=str(last)))

    def _ask_for_waiting(self, archive: DicomwebClient) -> None:
        found: list[StudyRef] = []
        for case in self._next_cases(WAITING):
            try:
                found.extend(archive.find_studies(accession=case.accession) if case.order else ())
            except Unreachable:
                raise
            except ExchangeError as error:
                log.warning("The images of case %s could not be asked for: %s", case.id, error)
        ready, self._sightings = settled(
            found,
            self._sightings,
            now_seconds=time.monotonic(),
            quiet_seconds=self._settings.study_settle_seconds,
        )
        for study in ready:
            with self._database.write() as session:
                take_study(session, study, self._enqueue, ARCHIVE_ACTOR)

    def _next_cases(self, states: frozenset[CaseState]) -> Sequence[Case]:
        """The next cases of some states, in turn, so that a long list is asked about evenly."""
        chosen = sa.select(Case).where(Case.state.in_(sorted(states))).order_by(Case.id).limit(ASKED_AT_ONCE)
        with self._database.read() as session:
            cases = session.scalars(chosen.where(Case.id > self._asked_last.get(states, ""))).all()
        self._asked_last[states] = cases[-1].id if len(cases) == ASKED_AT_ONCE else ""
        return cases

    # --- sign-offs ----------------------------------------------------------------------------------

    def signoffs(self) -> None:
        """See what became of our drafts: a subscription on preliminary never fires on the change to final."""
        if self._server is None:
            return
        for case in self._next_cases(OPEN):
            try:
                self._look_at(self._server, case)
            except Unreachable:
                raise
            except ExchangeError as error:
                # One report that cannot be read must not hide the others behind it.
                log.warning("The report of case %s could not be looked at: %s", case.id, error)

    def _look_at(self, server: FhirClient, case: Case) -> None:
        with self._database.read() as session:
            known = published_before(session, case.id)
        if known is None:
            return
        report = read_signoff(
            server,
            known,
            accession=case.accession,
            patient=translate.order_from_json(case.order).patient,
            study_instance_uid=case.study_instance_uid,
            systems=self._systems,
        )
        if report is None:
            return
        evidence = f"{report.report_identifier}/_history/{report.version}"
        try:
            with self._database.write() as session:
                check_report(session, report, case_id=case.id)
                take_report(session, report, evidence, SERVER_ACTOR, enqueue=self._enqueue, case_id=case.id)
        except Mismatch as error:
            if evidence in self._mismatched:
                return  # Told in an earlier round: the same words every round would bury the log.
            self._mismatched.add(evidence)
            with self._database.write() as session:
                record(
                    session, SERVER_ACTOR, "report.mismatch", case_id=case.id, details={"reason": str(error)}
                )
