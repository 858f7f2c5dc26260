"""What a notification leaves: places to look at, each once, and numbers of events that were missed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from connectors.fhir.notices.notifications import Event, Kind, Notification
from plugin.db import Database
from plugin.notices import EVENTS, UnknownSubscription, notice, standing_cursor, take_notification
from plugin.tables import Cursor, FhirNotice
from tests.case_samples import fresh_database

OURS = "Subscription/7"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with fresh_database(tmp_path) as database:
        yield database


def stands(database: Database, reference: str = OURS, name: str = "reports") -> None:
    """The server said where our subscription stands."""
    with database.write() as session:
        session.merge(Cursor(name=standing_cursor(name), value=reference))


def take(database: Database, kind: Kind = Kind.HOOK, name: str = "reports", **told: Any) -> int:
    """Take one notification; how many notices are new."""
    with database.write() as session:
        return take_notification(session, Notification(kind, name=name, **told), "test")


def event(database: Database, number: int, *references: str, since: int | None = None, **told: Any) -> int:
    """Take the notification of one event of our subscription."""
    events = (Event(number, references),)
    told = {"subscription": OURS, "references": references, **told}
    return take(database, Kind.EVENT, events=events, since_start=since or number, **told)


def waiting(database: Database) -> list[str]:
    """The notices, by name."""
    with database.read() as session:
        return list(session.scalars(sa.select(FhirNotice.reference).order_by(FhirNotice.reference)))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("reports", "DiagnosticReport"), ("orders", "ServiceRequest"), ("studies", "ImagingStudy")],
)
def test_a_call_that_names_nothing_is_a_notice_of_its_type(database: Database, name: str, kind: str) -> None:
    """However often it rings, it is one row."""
    assert [take(database, name=name) for _ in range(3)] == [1, 0, 0]
    assert waiting(database) == [kind]


def test_only_types_that_are_read_become_notices(database: Database) -> None:
    """A patient that comes along is no place to look at."""
    assert take(database, references=("DiagnosticReport/1", "Patient/1", "ServiceRequest/2")) == 2
    assert waiting(database) == ["DiagnosticReport/1", "ServiceRequest/2"]


@pytest.mark.parametrize("name", ["", "others", "Reports"])
def test_a_name_that_is_none_of_ours_is_refused(database: Database, name: str) -> None:
    """Nothing is remembered."""
    with pytest.raises(UnknownSubscription):
        take(database, name=name, references=("DiagnosticReport/1",))
    assert waiting(database) == []


def test_events_of_a_foreign_subscription_are_refused(database: Database) -> None:
    """Once it is known where ours stands; what names no subscription is a hint like any other."""
    stands(database)
    with pytest.raises(UnknownSubscription):
        event(database, 1, "DiagnosticReport/1", subscription="Subscription/8")
    assert waiting(database) == []
    assert event(database, 1, "DiagnosticReport/1", subscription="") == 1


@pytest.mark.parametrize("kind", [Kind.HANDSHAKE, Kind.EVENT])
def test_what_comes_before_our_place_is_known_is_taken(database: Database, kind: Kind) -> None:
    """A server that activates at once calls before its answer to our creation was stored; a refusal would
    have it give the subscription up."""
    events = (Event(1, ("DiagnosticReport/1",)),) if kind is Kind.EVENT else ()
    references = tuple(one for each in events for one in each.references)
    take(database, kind, subscription=OURS, events=events, references=references, since_start=len(events))
    assert waiting(database) == list(references)


def test_a_handshake_of_another_is_heard(database: Database) -> None:
    """The subscription was made anew, and its place is not known yet."""
    stands(database)
    assert take(database, Kind.HANDSHAKE, subscription="Subscription/8", since_start=0) == 0


def test_a_gap_becomes_a_notice_of_its_numbers(database: Database) -> None:
    """Beside the event that showed it; the first event of all shows none, for nothing is known before."""
    stands(database)
    event(database, 3, "DiagnosticReport/3")
    event(database, 7, "DiagnosticReport/7")
    assert waiting(database) == ["DiagnosticReport/3", "DiagnosticReport/7", f"{OURS}{EVENTS}4-6"]


def test_a_heartbeat_shows_a_gap_too(database: Database) -> None:
    """The count alone tells that something was lost, and nothing else is looked at for it."""
    stands(database)
    take(database, Kind.HANDSHAKE, subscription=OURS, since_start=0)
    assert take(database, Kind.HEARTBEAT, subscription=OURS, since_start=2) == 1
    assert take(database, Kind.HEARTBEAT, subscription=OURS, since_start=2) == 0
    assert waiting(database) == [f"{OURS}{EVENTS}1-2"]


def test_counts_of_subscriptions_are_kept_apart(database: Database) -> None:
    """Reports and orders count from their own beginnings."""
    stands(database)
    stands(database, "Subscription/8", "orders")
    event(database, 5, "DiagnosticReport/1")
    event(database, 1, "ServiceRequest/1", name="orders", subscription="Subscription/8")
    event(database, 2, "ServiceRequest/2", name="orders", subscription="Subscription/8")
    assert waiting(database) == ["DiagnosticReport/1", "ServiceRequest/1", "ServiceRequest/2"]


def test_the_largest_count_is_a_gap_like_another(database: Database) -> None:
    """A number of any size is stored as text, and asked for by nobody: it is over what is worth asking."""
    stands(database)
    take(database, Kind.HANDSHAKE, subscription=OURS, since_start=0)
    take(database, Kind.HEARTBEAT, subscription=OURS, since_start=2**63 - 1)
    assert waiting(database) == [f"{OURS}{EVENTS}1-{2**63 - 1}"]


def test_a_notice_that_waits_is_renewed(database: Database) -> None:
    """The later moment stands, so that who has it in hand sees that it tells of more."""
    with database.write() as session:
        assert notice(session, "DiagnosticReport/1", "test")
        first = session.get_one(FhirNotice, "DiagnosticReport/1").noticed_at
    with database.write() as session:
        assert not notice(session, "DiagnosticReport/1", "test")
        assert session.get_one(FhirNotice, "DiagnosticReport/1").noticed_at > first


@given(
    st.lists(
        st.tuples(st.integers(1, 12), st.sampled_from([Kind.EVENT, Kind.HEARTBEAT])), min_size=1, max_size=12
    )
)
def test_no_number_up_to_the_highest_is_left_out(told: list[tuple[int, Kind]]) -> None:
    """Whatever comes, late, twice or never: each event was brought, or stands in a notice of missed ones."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder, fresh_database(Path(folder)) as database:
        stands(database)
        take(database, Kind.HANDSHAKE, subscription=OURS, since_start=0)
        brought = set()
        for number, kind in told:
            if kind is Kind.EVENT:
                event(database, number, f"DiagnosticReport/{number}")
                brought.add(number)
            else:
                take(database, kind, subscription=OURS, since_start=number)
        missed: set[int] = set()
        for reference in waiting(database):
            if EVENTS in reference:
                first, _, last = reference.partition(EVENTS)[2].partition("-")
                missed |= set(range(int(first), int(last) + 1))
        assert brought | missed == set(range(1, max(number for number, _ in told) + 1))
