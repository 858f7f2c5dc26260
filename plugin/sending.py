"""Sends what is in the outbox: one message at a time to each destination, in order, never in a flood."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

import sqlalchemy as sa

from connectors.errors import ExchangeError, Unreachable
from connectors.hl7.ack import Ack
from connectors.hl7.drafts import check_egress
from connectors.hl7.mllp import MllpClient
from plugin import outbox
from plugin.db import Database, now
from plugin.outbox import Due
from plugin.retry import delay_seconds
from plugin.settings import Settings

LOOK_SECONDS = 0.5
"""How often the outbox is looked at while it is empty, at the longest."""
IN_HAND = 2.0
"""A message is thought to be nobody's any more after so many times the time-out of a peer."""

log = logging.getLogger(__name__)


class Sender:
    """Sends to one destination.

    A destination that does not answer is left alone for a while that doubles, however many messages wait for
    it: one of them is the probe. A message that is answered with AR or CR holds back its own lane only.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        destination: str,
        address: str,
        *,
        per_second: float = 0.0,
        tls: ssl.SSLContext | None = None,
        check: Callable[[bytes], None] | None = None,
    ) -> None:
        """destination: as the outbox names it. address: HOST:PORT. per_second: 0 for no limit of its own.
        check: looks at the bytes that are about to leave, and raises for what may not."""
        self._settings = settings
        self._database = database
        self._destination = destination
        host, _, port = address.rpartition(":")
        self._client = MllpClient(
            host, int(port), timeout_seconds=settings.peer_timeout_seconds, ssl_context=tls
        )
        self._pause_seconds = 1 / per_second if per_second else 0.0
        self._check = check
        self._peer = "the RIS" if destination == outbox.RIS else "the receiver"
        self._failures = 0
        self._not_before = 0.0
        """Of the monotonic clock: when the destination is tried again."""

    def run(self, stopping: threading.Event) -> None:
        """Send until `stopping` is set."""
        look = min(self._settings.poll_seconds, LOOK_SECONDS)
        with self._client:
            while not stopping.is_set():
                wait = self._not_before - time.monotonic()
                if wait > 0:
                    stopping.wait(min(wait, look))
                    continue
                try:
                    due = self._claim()
                    if due is not None:
                        self._send(due)
                        stopping.wait(self._pause_seconds)
                        continue
                except sa.exc.OperationalError:
                    log.warning("The database did not answer while messages were sent; it is tried again.")
                except Exception as error:
                    # Only the kind of error: its words may quote a patient. The claim runs out by itself.
                    log.error("Sending to %s failed with %s.", self._destination, type(error).__name__)
                stopping.wait(look)

    def _claim(self) -> Due | None:
        with self._database.read() as session:
            if not outbox.is_any_due(session, self._destination):
                return None
        in_hand = timedelta(seconds=IN_HAND * self._settings.peer_timeout_seconds)
        with self._database.write() as session:
            return outbox.claim(session, self._destination, in_hand)

    def _send(self, due: Due) -> None:
        try:
            if self._check is not None:
                self._check(due.body)
            ack = self._client.send(due.body)
        except Unreachable as error:
            self._failures += 1
            wait = delay_seconds(self._failures - 1, self._settings.retry_seconds)
            self._not_before = time.monotonic() + wait
            self._put_off(due, f"{error} {error.next_step}", wait)
            return
        except ExchangeError as error:
            self._refused(due, f"{error} {error.next_step}", None)
            return
        self._failures = 0
        if ack.accepted:
            with self._database.write() as session:
                outbox.sent(session, due.message_id, ack)
        elif ack.retryable:
            wait = delay_seconds(due.attempts - 1, self._settings.retry_seconds)
            self._put_off(
                due, f"{self._peer} answered {ack.code.value}: it cannot take the message now.", wait
            )
        else:
            # Its words may quote the message and are not repeated.
            code = ack.error_code or "none"
            self._refused(due, f"{self._peer} answered {ack.code.value} with error code {code}.", ack)

    def _put_off(self, due: Due, reason: str, wait_seconds: float) -> None:
        with self._database.write() as session:
            until = now() + timedelta(seconds=wait_seconds)
            outbox.put_off(session, due.message_id, f"{reason} Attempt {due.attempts + 1} follows.", until)

    def _refused(self, due: Due, reason: str, ack: Ack | None) -> None:
        with self._database.write() as session:
            outbox.refused(session, due.message_id, reason, ack)


def senders(settings: Settings, database: Database, ris_tls: ssl.SSLContext | None) -> Sequence[Sender]:
    """One for the RIS, where one is set, and one for each peer that takes application acknowledgements."""
    found = []
    if settings.ris:
        found.append(
            Sender(
                settings,
                database,
                outbox.RIS,
                settings.ris,
                per_second=settings.ris_per_second,
                tls=ris_tls,
                check=check_egress,
            )
        )
    elsewhere = dict.fromkeys(listener.application_acks for listener in settings.hl7_listeners)
    found += [Sender(settings, database, address, address) for address in elsewhere if address]
    return found
