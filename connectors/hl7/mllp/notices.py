"""Log lines about connections, rationed by peer address: an attacker must not fill the disk."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

OTHERS = "other addresses"


@dataclass(slots=True)
class _Ration:
    """What was told of one address since its first line."""

    end: asyncio.TimerHandle
    written: int = 0
    withheld: int = 0


class Notices:
    """Writes so many lines an address and period, and how many it withheld when the period ends."""

    def __init__(
        self,
        log: logging.Logger,
        *,
        lines: int = 10,
        period_seconds: float = 60.0,
        max_addresses: int = 1000,
    ) -> None:
        """max_addresses: how many are counted on their own; all further ones share one ration."""
        self._log = log
        self._lines = lines
        self._period_seconds = period_seconds
        self._max_addresses = max_addresses
        self._rations: dict[str, _Ration] = {}

    def tell(self, level: int, host: str, words: str, *arguments: object) -> None:
        """Log a line about an address. Needs a running event loop."""
        if not self._log.isEnabledFor(level):
            return
        if host not in self._rations and len(self._rations) >= self._max_addresses:
            host = OTHERS
        ration = self._rations.get(host)
        if ration is None:
            end = asyncio.get_running_loop().call_later(self._period_seconds, self._close, host)
            ration = self._rations[host] = _Ration(end)
        if ration.written < self._lines:
            ration.written += 1
            self._log.log(level, words, *arguments)
        else:
            ration.withheld += 1

    def close(self) -> None:
        """End every period now, and say what was withheld."""
        for host in list(self._rations):
            self._close(host)

    def _close(self, host: str) -> None:
        ration = self._rations.pop(host)
        ration.end.cancel()
        if ration.withheld:
            self._log.warning(
                "further lines about MLLP connections from %s that were not written, in %g s: %d",
                host,
                self._period_seconds,
                ration.withheld,
            )
