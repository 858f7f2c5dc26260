"""Waiting for a peer: doubling, bounded, and written down."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from connectors.exchange import OrderAction
from connectors.fhir.client import FhirClient
from connectors.fhir.identifiers import IdentifierSystems
from plugin.casework import Job, open_case
from plugin.publishing import Publishing
from plugin.retry import LONGEST_ASKED_SECONDS, LONGEST_SECONDS, delay_seconds, retry
from plugin.settings import Settings
from plugin.tables import AuditLeaf
from plugin.withdrawing import Withdrawing
from tests.case_samples import Jobs, fresh_database, holds
from tests.web_site import WebSite


@pytest.mark.parametrize(("attempt", "wait"), [(0, 5), (1, 10), (2, 20), (5, 160), (6, 300), (7, 300)])
def test_the_wait_doubles_up_to_five_minutes(attempt: int, wait: float) -> None:
    """5, 10, 20 s and so on; never longer than LONGEST_SECONDS."""
    assert delay_seconds(attempt, 5.0) == wait


@pytest.mark.parametrize("attempt", [29, 30, 31, 100_000])
@pytest.mark.parametrize("first", [0.05, 3600.0])
def test_no_attempt_is_too_many(attempt: int, first: float) -> None:
    """A peer that is away for weeks makes no number too large; there is no last attempt."""
    assert delay_seconds(attempt, first) == LONGEST_SECONDS


def test_a_wait_is_a_job_in_the_same_transaction(tmp_path: Path) -> None:
    """The case keeps its state and says what it waits for; job and leaf come and go with the transaction."""
    jobs = Jobs()
    with fresh_database(tmp_path) as database:
        with database.write() as session:
            case = open_case(session, "ACC1", "test", None, "order")
            retry(
                session, case, Job("publish", case.id, 3, 1), "It is away.", Settings(), jobs.enqueue, "test"
            )
            assert (case.state, case.reason) == (
                "RECEIVED",
                "Waiting: It is away. Attempt 3 follows in 10 s.",
            )
        assert jobs.asked == [Job("publish", case.id, 3, 2, 10.0)]
        with database.read() as session:
            actions = session.scalars(sa.select(AuditLeaf.action).order_by(AuditLeaf.position)).all()
        assert actions == ["case.opened", "publish.waits"]
        assert holds(database)


@pytest.mark.parametrize(
    ("asked", "waited"),
    [(None, 10.0), (9.0, 10.0), (11.0, 11.0), (3600.0, 3600.0), (3601.0, LONGEST_ASKED_SECONDS)],
)
def test_a_peer_that_asks_for_time_is_given_it(tmp_path: Path, asked: float | None, waited: float) -> None:
    """At least what it asks for, up to an hour; never less than our own wait."""
    jobs = Jobs()
    with fresh_database(tmp_path) as database, database.write() as session:
        case = open_case(session, "ACC1", "test", None, "order")
        job = Job("publish", case.id, 3, 1)
        retry(session, case, job, "It is away.", Settings(), jobs.enqueue, "test", asked_seconds=asked)
    assert [job.delay_seconds for job in jobs.asked] == [waited]


@pytest.mark.parametrize("kind", ["publish", "withdraw"])
def test_what_a_fhir_server_asks_for_is_waited_for_durably(tmp_path: Path, kind: str) -> None:
    """Its Retry-After, too long for the client to wait, becomes the delay of the next job."""
    throttling = httpx.MockTransport(lambda _: httpx.Response(429, headers={"Retry-After": "400"}))
    site = WebSite(tmp_path)

    def take(_: object, job: Job) -> None:
        site.jobs.append(job)

    with FhirClient("http://fhir.test/r4", transport=throttling) as server:
        words = (site.settings, site.database, take, server, IdentifierSystems())
        if kind == "publish":
            Publishing(*words).publish(site.drafted("A1"), 1, 0)
        else:
            case_id = site.published("A1")
            site.order("A1", OrderAction.CANCEL)
            Withdrawing(*words).withdraw(case_id, 1, 0)
    assert (site.jobs[-1].kind, site.jobs[-1].delay_seconds) == (kind, 400.0)
