"""What the FHIR server says it can do, asked once and again every hour."""

from __future__ import annotations

import time
from collections.abc import Callable

from connectors.errors import ExchangeError, Unreachable
from connectors.fhir.capabilities import Capabilities, of
from connectors.fhir.client import FhirClient

KEPT_SECONDS = 3600.0


class Abilities:
    """The capabilities of one server; for several threads, of which two may ask at once without harm.

    clock: seconds that never go back.
    """

    def __init__(self, server: FhirClient, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._server = server
        self._clock = clock
        self._known: tuple[float, Capabilities | None] | None = None

    def now(self) -> Capabilities | None:
        """What the server can do; None when it does not say in a way that can be read.

        Raises Unreachable when it was never told and the server does not answer.
        """
        known = self._known
        if known is not None and self._clock() - known[0] < KEPT_SECONDS:
            return known[1]
        try:
            told = of(self._server.capabilities())
        except Unreachable:
            if known is None:
                raise
            return known[1]
        except ExchangeError:
            told = None
        self._known = (self._clock(), told)
        return told
