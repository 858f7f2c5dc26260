"""Looking beside open drafts: what a round costs with very many of them, and that nothing stays hidden."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from plugin.cases import CaseState
from plugin.db import now
from plugin.open_drafts import CHANGES_AT_ONCE, CLOCKS_DIFFER, OPEN, WHOLE_AT_ONCE, OpenDrafts
from plugin.tables import Case, DraftRecord
from tests.fhir_followed import SYSTEMS, Followed, followed

COUNT = 10_000
ROUNDS = COUNT // CHANGES_AT_ONCE + 1
"""Rounds of a pass; the last finds nothing left, and so learns that it is one."""
ACSN = {"coding": [{"code": "ACSN"}]}


def fill(site: Followed, count: int) -> None:
    """Open cases, each with a draft that stands on the server, as a bulk import writes them."""
    with site.database.read() as session:
        case, draft = session.scalars(sa.select(Case)).one(), session.scalars(sa.select(DraftRecord)).one()
        row = {column.key: getattr(case, column.key) for column in sa.inspect(Case).columns}
        of_draft = {column.key: getattr(draft, column.key) for column in sa.inspect(DraftRecord).columns}
    report = site.store.read(*draft.reference.split("/")).resource or {}
    names = [f"{number:06}" for number in range(1, count)]
    with site.database.write() as session:
        session.execute(
            sa.insert(Case), [{**row, "id": f"case-{one}", "accession": f"ACC{one}"} for one in names]
        )
        session.execute(
            sa.insert(DraftRecord),
            [
                {
                    **of_draft,
                    "id": of_draft["id"] + int(one),
                    "case_id": f"case-{one}",
                    "reference": f"DiagnosticReport/d{one}",
                }
                for one in names
            ],
        )
    for one in names:
        identifier = [
            {"system": SYSTEMS.report, "value": f"case-{one}"},
            {"type": ACSN, "system": SYSTEMS.accession, "value": f"ACC{one}"},
        ]
        site.store.load(f"d{one}", {**report, "id": f"d{one}", "identifier": identifier})


def cost(site: Followed, looking: OpenDrafts) -> int:
    """Requests of one round."""
    before = len(site.wire.asked)
    looking.sightings()
    return len(site.wire.asked) - before


@pytest.mark.parametrize("page", [0, 50], ids=["pages as asked for", "pages of fifty"])
def test_ten_thousand_open_drafts_cost_at_most_a_hundred_requests_a_cycle(tmp_path: Path, page: int) -> None:
    """A round, in which every case is told of what changed within a few of them; and a whole such pass,
    once the first one looked at everything that stands."""
    with followed(tmp_path, page=page) as site:
        site.published()
        fill(site, COUNT)
        looking = OpenDrafts(site.database, site.client, SYSTEMS)
        first = [cost(site, looking) for _ in range(ROUNDS)]
        assert max(first) <= 100
        assert sum(first) > 0
        # What was written a moment ago lies within what clocks may differ by: let it be old.
        assert looking._since is not None
        looking._since += timedelta(hours=1)
        later = [cost(site, looking) for _ in range(ROUNDS)]
        assert sum(later) <= 100
        print(f"page {page}: first pass {first}, later {later}")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Followed]:
    """Few cases are many for this site."""
    monkeypatch.setattr("plugin.open_drafts.CHANGES_AT_ONCE", 4)
    monkeypatch.setattr("plugin.open_drafts.WHOLE_AT_ONCE", 2)
    with followed(tmp_path) as site:
        yield site


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 9])
def test_every_open_case_is_looked_at_in_a_pass(site: Followed, count: int) -> None:
    """Whether or not the last round is full."""
    orders = [site.published()[0] for _ in range(count)]
    looking = OpenDrafts(site.database, site.client, SYSTEMS)
    seen: set[str] = set()
    for _ in range(count // 4 + 1):
        seen |= {accession for one in looking.sightings() for accession in one.accessions}
    assert seen == {order.accession for order in orders}


def test_only_the_first_pass_asks_for_everything(site: Followed) -> None:
    """Each later one asks for what changed since the one before it began, less what clocks may differ by."""
    site.published()
    looking = OpenDrafts(site.database, site.client, SYSTEMS)
    asked: list[datetime | None] = []
    real = look_with(asked)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("plugin.open_drafts.look", real)
        moments = [now()]
        for _ in range(3):
            looking.sightings()
            moments.append(now())
    changes = asked[::2]  # the others look at whatever stands
    assert asked[1::2] == [None, None, None]
    assert changes[0] is None
    for since, begun, ended in zip(changes[1:], moments, moments[1:], strict=False):
        assert since is not None
        assert begun <= since + CLOCKS_DIFFER <= ended


def look_with(asked: list[datetime | None]) -> Any:
    """The real look, of which the moments are kept."""
    from connectors.fhir.readers.pages import look

    def looked(*given: Any, **more: Any) -> Any:
        asked.append(more.get("since"))
        return look(*given, **more)

    return looked


def test_a_round_that_fails_is_made_again_from_where_it_began(site: Followed) -> None:
    """The same cases are looked at: none is passed over because the server was away."""
    orders = [site.published()[0] for _ in range(6)]
    looking = OpenDrafts(site.database, site.client, SYSTEMS)
    looking.sightings()
    site.wire.fails = lambda told: True
    with pytest.raises(Exception, match="500"):
        looking.sightings()
    site.wire.fails = lambda told: False
    seen = {accession for one in looking.sightings() for accession in one.accessions}
    with site.database.read() as session:
        last = session.scalars(sa.select(Case.accession).order_by(Case.id)).all()[4:]
    assert set(last) <= seen
    assert len(orders) == 6


@pytest.mark.parametrize("state", list(CaseState))
def test_cases_are_open_while_a_humans_report_may_still_come(site: Followed, state: CaseState) -> None:
    """A draft stands, or stood: published, superseded, withheld, held or cancelled."""
    order, reference = site.published()
    with site.database.write() as session:
        session.get_one(Case, site.case(order).id).state = state
    found = OpenDrafts(site.database, site.client, SYSTEMS).sightings()
    assert bool(found) is (state in OPEN)
    assert {one.reference for one in found} <= {reference}


def test_a_report_that_a_clock_hides_is_seen_by_the_look_at_everything(site: Followed) -> None:
    """A server whose clock lies a day behind shows nothing as changed; what stands is seen all the same."""
    order, reference = site.published()
    looking = OpenDrafts(site.database, site.client, SYSTEMS)
    looking.sightings()
    site.sign(reference)
    assert looking._since is not None
    looking._since += timedelta(days=1)
    (sighting,) = looking.sightings()
    assert (sighting.reference, sighting.version, sighting.status) == (reference, "2", "final")
    assert order.accession in sighting.accessions
    assert WHOLE_AT_ONCE
