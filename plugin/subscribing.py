"""Asks the FHIR server to tell us when something changes, and renews that from time to time."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import replace

from sqlalchemy.orm import Session

from connectors.errors import ExchangeError, Unreachable
from connectors.fhir.client import FhirClient
from connectors.fhir.notices.subscriptions import ensure
from connectors.fhir.notices.wanted import ORDERS, REPORTS, STUDIES, Wanted
from plugin.db import Database
from plugin.notices import standing_cursor
from plugin.settings import SettingError, Settings
from plugin.tables import Cursor

RENEWED_AFTER_SECONDS = 600.0
INSTALLATION = "installation"
BY_WORD = {"orders": ORDERS, "studies": STUDIES}
"""By word of PRELIM_FHIR_TAKES."""

log = logging.getLogger(__name__)


def wanted(settings: Settings) -> list[Wanted]:
    """What this site wants to be told of; nothing where the server has no way to reach us.

    Raises SettingError where anybody could call in the server's name, or where there is no server.
    """
    if not settings.fhir_notify_url:
        return []
    if not settings.fhir_notify_secret:
        raise SettingError(
            "PRELIM_FHIR_NOTIFY_URL needs PRELIM_FHIR_NOTIFY_SECRET, the bearer token of notifications."
        )
    if not settings.fhir_url:
        raise SettingError("PRELIM_FHIR_NOTIFY_URL needs PRELIM_FHIR_URL, the server that notifies us.")
    return [REPORTS, *(BY_WORD[word] for word in settings.fhir_takes)]


def installation(session: Session) -> str:
    """The name by which this installation's subscriptions are known; empty before it asked for any."""
    known = session.get(Cursor, INSTALLATION)
    return known.value if known else ""


class Subscribing:
    """Keeps our subscriptions standing. What the server cannot do is said once, and polling covers it."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        server: FhirClient,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """clock: seconds from any moment on."""
        self._settings = settings
        self._database = database
        self._server = server
        self._clock = clock
        self._wanted = wanted(settings)
        self._renew_at = clock()
        self._told: dict[str, str] = {}

    def renew(self) -> None:
        """See that every subscription stands, when it is time. Raises Unreachable."""
        if not self._wanted or self._clock() < self._renew_at:
            return
        site = self._installation()
        for one in self._wanted:
            try:
                standing = ensure(
                    self._server,
                    replace(one, site=site),
                    endpoint=self._settings.fhir_notify_url,
                    secret=self._settings.fhir_notify_secret,
                    mechanism=self._settings.fhir_subscribe,
                    release=self._settings.fhir_release,
                )
            except Unreachable:
                raise
            except ExchangeError as error:
                self._tell(one.name, f"{one.name}: {error}")
                continue
            self._tell(one.name, "" if standing.active else str(standing))
            if standing.reference:
                with self._database.write() as session:
                    session.merge(Cursor(name=standing_cursor(one.name), value=standing.reference))
        self._renew_at = self._clock() + RENEWED_AFTER_SECONDS

    def _installation(self) -> str:
        """Tells this installation from others that share the FHIR server: its database's own random name."""
        with self._database.read() as session:
            known = installation(session)
        if not known:
            with self._database.write() as session:
                known = installation(session) or secrets.token_hex(4)
                session.merge(Cursor(name=INSTALLATION, value=known))
        return known

    def _tell(self, name: str, problem: str) -> None:
        if problem and self._told.get(name) != problem:
            log.warning("A subscription does not stand: %s", problem)
        self._told[name] = problem
