"""Log lines about connections: enough to see what is wrong, and never enough to fill a disk."""

from __future__ import annotations

import asyncio
import logging

import pytest

from connectors.hl7.mllp.notices import OTHERS, Notices

LOG = logging.getLogger("tests.notices")


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines so far."""
    return [record.getMessage() for record in caplog.records if record.name == LOG.name]


@pytest.mark.parametrize(("count", "withheld"), [(3, 0), (4, 1)])
def test_lines_over_the_ration_are_counted(
    count: int, withheld: int, caplog: pytest.LogCaptureFixture
) -> None:
    """As many lines as the ration are written; of more only their number, when the period ends."""

    async def scenario() -> None:
        notices = Notices(LOG, lines=3, period_seconds=60)
        for number in range(count):
            notices.tell(logging.WARNING, "10.0.0.1", "line %d", number)
        notices.close()
        notices.close()

    asyncio.run(scenario())
    assert told(caplog)[:3] == ["line 0", "line 1", "line 2"]
    assert len(told(caplog)) == 3 + bool(withheld)
    if withheld:
        assert told(caplog)[3] == (
            "further lines about MLLP connections from 10.0.0.1 that were not written, in 60 s: 1"
        )


def test_a_new_period_brings_a_new_ration(caplog: pytest.LogCaptureFixture) -> None:
    """When a period ends, what was withheld is told by itself, and lines are written again."""

    async def scenario() -> None:
        notices = Notices(LOG, lines=1, period_seconds=0.02)
        notices.tell(logging.WARNING, "a", "first")
        notices.tell(logging.WARNING, "a", "second")
        while len(told(caplog)) < 2:
            await asyncio.sleep(0.005)
        notices.tell(logging.WARNING, "a", "third")
        notices.close()

    asyncio.run(scenario())
    assert told(caplog) == [
        "first",
        "further lines about MLLP connections from a that were not written, in 0.02 s: 1",
        "third",
    ]


def test_one_address_does_not_use_up_another_ration(caplog: pytest.LogCaptureFixture) -> None:
    """Addresses have rations of their own; beyond the number that is kept apart they share one."""

    async def scenario() -> None:
        notices = Notices(LOG, lines=1, max_addresses=2)
        for host in ("a", "a", "b", "c", "d", "e"):
            notices.tell(logging.WARNING, host, "from %s", host)
        notices.close()

    asyncio.run(scenario())
    assert told(caplog)[:3] == ["from a", "from b", "from c"]
    assert set(told(caplog)[3:]) == {
        "further lines about MLLP connections from a that were not written, in 60 s: 1",
        f"further lines about MLLP connections from {OTHERS} that were not written, in 60 s: 2",
    }


def test_lines_that_are_not_logged_use_up_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A line below the log's level is neither written nor counted."""

    async def scenario() -> None:
        notices = Notices(LOG, lines=1)
        for _ in range(5):
            notices.tell(logging.DEBUG, "a", "quiet")
        notices.tell(logging.WARNING, "a", "loud")
        notices.close()

    caplog.set_level(logging.INFO, LOG.name)
    asyncio.run(scenario())
    assert told(caplog) == ["loud"]
