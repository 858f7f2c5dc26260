"""Offers drafts where a person opens the report, and takes hints from there (FHIRcast).

A hint is no signature: all it does is that our own FHIR server is looked at sooner. No case is moved here.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from connectors.errors import ExchangeError, Rejected
from connectors.exchange import DraftReport, PublishedReport
from connectors.fhir.cast.client import CastClient
from connectors.fhir.cast.content import draft_content
from connectors.fhir.cast.events import CLOSE, OPEN, SELECT, Event
from connectors.fhir.cast.following import Follower
from connectors.fhir.client import FhirClient
from connectors.fhir.identifiers import IdentifierSystems
from plugin import translate
from plugin.anchors import case_of, case_of_draft
from plugin.audit.log import record
from plugin.cases import CaseState
from plugin.db import Database, now
from plugin.notices import notice
from plugin.reports import published_row
from plugin.settings import SettingError, Settings
from plugin.tables import AuditLeaf, Case, WorkerLease

ACTOR = "fhircast"
OPENED, OFFERED, HINTED = "report.opened", "draft.offered-by-cast", "cast.hint"
LONGEST_TIMEOUT_SECONDS = 10.0
"""For a hub, which waits no longer for us either (FHIRcast 3.0.0 section 2.5)."""
WAITING_EVENTS = 1000
"""Events that may wait for the database or a peer; one more is dropped, for it is only a hint."""

log = logging.getLogger(__name__)


def cast_client(settings: Settings, systems: IdentifierSystems, timeout_seconds: float) -> CastClient:
    """The hub of the settings. Raises SettingError."""
    if not settings.fhircast_topics:
        raise SettingError("PRELIM_FHIRCAST_TOPICS is empty: the hub of PRELIM_FHIRCAST_HUB is not followed.")
    try:
        return CastClient(
            settings.fhircast_hub,
            token=settings.fhircast_token or None,
            timeout_seconds=min(timeout_seconds, LONGEST_TIMEOUT_SECONDS),
            base_url=settings.fhir_url,
            systems=systems,
        )
    except Rejected as error:
        raise SettingError(f"PRELIM_FHIRCAST_HUB: {error}") from None


class Casting:
    """Follows every topic, on the one worker whose turn it is."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        server: FhirClient | None,
        systems: IdentifierSystems | None = None,
    ) -> None:
        """server: None where no FHIR server is set; then nothing is offered and no hint is of use."""
        self._settings = settings
        self._database = database
        self._server = server
        self._systems = systems or IdentifierSystems()
        self._client = cast_client(settings, self._systems, settings.peer_timeout_seconds)
        self._events: queue.Queue[Event | None] = queue.Queue()
        self._followers: list[tuple[Follower, threading.Thread]] = []
        self._open: dict[str, tuple[str, str]] = {}
        """By topic, the reference of the open report and the id of its case."""
        self._selected: set[str] = set()
        """Topics in which something was selected since the report was opened."""

    def run(self, stopping: threading.Event) -> None:
        """Follow while it is this worker's turn, until `stopping` is set; returns with every thread ended."""
        working = threading.Thread(target=self._work, name="prelim-cast-work", daemon=True)
        working.start()
        try:
            while not stopping.is_set():
                try:
                    self._follow(self._has_turn())
                except sa.exc.OperationalError:
                    log.warning("The database did not answer; who follows FHIRcast is asked again.")
                stopping.wait(self._settings.worker_lease_seconds / 3)
        finally:
            self._follow(False)
            self._events.put(None)
            working.join()
            self._client.close()

    # --- following ----------------------------------------------------------------------------------

    def _has_turn(self) -> bool:
        """Whether no live worker has a name before ours: every worker comes to the same answer.

        While that changes two may follow for a moment; what they do twice is the same.
        """
        limit = now() - timedelta(seconds=self._settings.worker_lease_seconds)
        before = sa.select(WorkerLease.executor_id).where(
            WorkerLease.seen_at >= limit, WorkerLease.executor_id < self._settings.executor_id
        )
        with self._database.read() as session:
            return session.scalars(before.limit(1)).first() is None

    def _follow(self, wanted: bool) -> None:
        if wanted and not self._followers:
            for topic in self._settings.fhircast_topics:
                follower = Follower(
                    self._client, topic, self._take, first_pause_seconds=self._settings.retry_seconds
                )
                thread = threading.Thread(target=follower.run, name="prelim-cast-topic", daemon=True)
                self._followers.append((follower, thread))
                thread.start()
        elif not wanted:
            for follower, _ in self._followers:
                follower.stop()
            for _, thread in self._followers:
                thread.join()
            self._followers.clear()

    def _take(self, event: Event) -> None:
        if self._events.qsize() >= WAITING_EVENTS:
            log.warning("A FHIRcast event was dropped: %d wait already.", WAITING_EVENTS)
            return
        self._events.put(event)

    def _work(self) -> None:
        while (event := self._events.get()) is not None:
            try:
                self._handle(event)
            except ExchangeError as error:
                log.warning("A FHIRcast event led to nothing: %s", error)
            except Exception as error:
                # Only the kind of error: its words may quote a patient.
                log.error("A FHIRcast event ended with %s.", type(error).__name__)

    def _handle(self, event: Event) -> None:
        if event.name == OPEN:
            self._opened(event)
        elif event.name in {SELECT, CLOSE}:
            if event.name == CLOSE or event.topic not in self._selected:
                self._hint(event, event.anchor.reference)
            self._selected.add(event.topic)
            if event.name == CLOSE:
                self._open.pop(event.topic, None)
        else:
            for reference in sorted(event.finals):
                self._hint(event, reference)

    # --- opened -------------------------------------------------------------------------------------

    def _opened(self, event: Event) -> None:
        """A person opened a report.

        1. See whose it is. One that is not ours, or whose patient is not the case's, is left alone.
        2. Record that it was opened: by whom, FHIRcast does not say.
        3. Offer the draft that stands, unless this very event had it offered before.
        """
        self._open.pop(event.topic, None)
        self._selected.discard(event.topic)
        with self._database.read() as session:  # 1
            opened = case_of(session, event.anchor, self._systems)
        if opened is None:
            log.info("A report was opened in a FHIRcast session that is none of ours.")
            return
        if not opened.certain:
            log.warning("The report that was opened for case %s names another patient.", opened.case.id)
            return
        case_id, mark = opened.case.id, _mark(event)
        self._open[event.topic] = (event.anchor.reference, case_id)
        with self._database.write() as session:  # 2
            if not _recorded(session, case_id, OPENED, mark):
                record(session, ACTOR, OPENED, case_id=case_id, details={"event": mark})
            offered = _recorded(session, case_id, OFFERED, mark)
            standing = None if offered or self._settings.shadow else _standing(session, case_id)
        if standing and self._server and event.version and event.anchor.reference:  # 3
            self._offer(self._server, event, *standing)

    def _offer(self, server: FhirClient, event: Event, draft: DraftReport, known: PublishedReport) -> None:
        content = draft_content(server, draft, known, self._systems)
        if content is None:
            # Somebody touched it: that is for the watch to judge.
            self._notice(draft.case_id, known.reference, OPEN)
            return
        if not self._client.offer(event.topic, event.anchor.reference, event.version, content):
            return
        with self._database.write() as session:
            details = {
                "draft": draft.number,
                "reference": known.reference,
                "version": known.version,
                "event": _mark(event),
            }
            record(session, ACTOR, OFFERED, case_id=draft.case_id, details=details)

    # --- hints --------------------------------------------------------------------------------------

    def _hint(self, event: Event, reference: str) -> None:
        """Have a report looked at, if it is one of ours or the one that is open for a case of ours."""
        at, case_id = self._open.get(event.topic, ("", ""))
        if not reference or reference != at:
            with self._database.read() as session:
                case = case_of_draft(session, reference)
            case_id = case.id if case else ""
        if not case_id:
            log.info("A FHIRcast event named a report that is none of ours; it is not looked at.")
            return
        self._notice(case_id, reference, event.name)

    def _notice(self, case_id: str, reference: str, name: str) -> None:
        if self._server is None:
            return
        with self._database.write() as session:
            if notice(session, reference, ACTOR):
                record(session, ACTOR, HINTED, case_id=case_id, details={"reference": reference, "by": name})


def _standing(session: Session, case_id: str) -> tuple[DraftReport, PublishedReport] | None:
    """The draft of a case as it stands on the FHIR server; None when none does that is worth offering."""
    case, row = session.get_one(Case, case_id), published_row(session, case_id)
    known = translate.published(row) if row else None
    if row is None or known is None or case.state != CaseState.PUBLISHED or row.withdrawn_at:
        return None
    return (translate.draft_report(case, row), known) if row.number == case.draft_number else None


def _mark(event: Event) -> str:
    """What stands for an event in the log: its id is a stranger's text."""
    return hashlib.sha256(event.id.encode()).hexdigest()[:32]


def _recorded(session: Session, case_id: str, action: str, mark: str) -> bool:
    """Whether the log of a case has an entry of this event already: a hub repeats events to late comers."""
    found = sa.select(AuditLeaf.position).where(
        AuditLeaf.case_id == case_id, AuditLeaf.action == action, AuditLeaf.entry.contains(mark)
    )
    return session.scalars(found.limit(1)).first() is not None
