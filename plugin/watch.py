"""Looks where nobody calls us: at the archive, for studies."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import sqlalchemy as sa

from connectors.dicomweb.client import DicomwebClient
from connectors.dicomweb.notifications import Sighting, changes, newest_change, settled
from connectors.errors import ExchangeError, Unreachable
from connectors.exchange import StudyRef
from plugin.cases import CaseState
from plugin.casework import Enqueue
from plugin.db import Database
from plugin.orders import take_study
from plugin.settings import Settings
from plugin.tables import Case, Cursor

ARCHIVE_ACTOR = "archive"
FEED = "pacs-changes"
ASKED_AT_ONCE = 20
"""Waiting cases asked about in one round; the next round goes on with the others."""

log = logging.getLogger(__name__)


class Watch:
    """One round after the other; a peer that is away costs one line in the log."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        enqueue: Enqueue,
        archive: DicomwebClient | None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._enqueue = enqueue
        self._archive = archive
        self._sightings: dict[str, Sighting] = {}
        self._asked_last = ""

    def round(self) -> None:
        """Announce studies: those of the feed, and those of waiting orders that the archive already holds."""
        if self._archive is None:
            return
        try:
            self._look(self._archive)
        except ExchangeError as error:
            log.warning("The archive could not be watched: %s", error)

    def _look(self, archive: DicomwebClient) -> None:
        if self._settings.pacs_changes_url:
            self._follow_feed(archive)
        self._ask_for_waiting(archive)

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
        for case in self._next_cases():
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

    def _next_cases(self) -> Sequence[Case]:
        """The next waiting cases, in turn, so that a long list is asked about evenly."""
        chosen = (
            sa.select(Case).where(Case.state == CaseState.RECEIVED).order_by(Case.id).limit(ASKED_AT_ONCE)
        )
        with self._database.read() as session:
            cases = session.scalars(chosen.where(Case.id > self._asked_last)).all()
        self._asked_last = cases[-1].id if len(cases) == ASKED_AT_ONCE else ""
        return cases
